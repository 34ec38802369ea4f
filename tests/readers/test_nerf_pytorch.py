"""Checkpoints of nerf-pytorch and nerf_pl: both ways, and strange ones refused with a sentence."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nerfcomp.errors import CheckpointError
from nerfcomp.readers.nerf_pytorch import (
    pack_nerf_pytorch,
    read_nerf_pytorch,
    unpack_nerf_pytorch,
    write_nerf_pytorch,
)
from nerfcomp.readers.nerf_pytorch_layout import NetworkShape


def network(depth: int = 8, width: int = 16, skip: int = 4, octaves: tuple[int, int] = (10, 4)) -> dict[str, Tensor]:
    """Parameters as nerf-pytorch names and orders them."""
    points, directions = (3 + 6 * count for count in octaves)
    inputs = [points, *(width + points * (layer == skip + 1) for layer in range(1, depth))]
    sizes = {f"pts_linears.{layer}": (width, columns) for layer, columns in enumerate(inputs)}
    sizes |= {"views_linears.0": (width // 2, width + directions), "feature_linear": (width, width)}
    sizes |= {"alpha_linear": (1, width), "rgb_linear": (3, width // 2)}
    return tensors(sizes)


def plain_network(width: int = 16, outputs: int = 5) -> dict[str, Tensor]:
    """Parameters of a network without view directions."""
    sizes = {"pts_linears.0": (width, 63), "pts_linears.1": (width, width)}
    return tensors(sizes | {"views_linears.0": (width // 2, width), "output_linear": (outputs, width)})


def tensors(sizes: dict[str, tuple[int, int]]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for layer, size in sizes.items():
        state |= {f"{layer}.weight": torch.randn(size), f"{layer}.bias": torch.randn(size[0])}
    return state


def content(**changes: Any) -> dict[str, Any]:
    """What nerf-pytorch saves, with the Adam state of a run."""
    coarse, fine = network(), network(width=24)
    parameters = [nn.Parameter(value.clone()) for state in (coarse, fine) for value in state.values()]
    adam = torch.optim.Adam(parameters)
    torch.stack([p.sum() for p in parameters]).sum().backward()
    adam.step()
    return {
        "global_step": 1234,
        "network_fn_state_dict": coarse,
        "network_fine_state_dict": fine,
        "optimizer_state_dict": adam.state_dict(),
    } | changes


@pytest.mark.parametrize("legacy", [False, True])
def test_file_is_read(tmp_path: Path, legacy: bool) -> None:
    saved = content()
    torch.save(saved, tmp_path / "a.tar", _use_new_zipfile_serialization=not legacy)
    found = read_nerf_pytorch(tmp_path / "a.tar")
    assert found.step == 1234
    assert found.coarse_shape == NetworkShape(8, 16, (4,), 10, 4, True)
    assert found.fine_shape == NetworkShape(8, 24, (4,), 10, 4, True)
    assert found.fine is not None
    assert all(torch.equal(value, saved["network_fn_state_dict"][name]) for name, value in found.coarse.items())
    assert all(torch.equal(value, saved["network_fine_state_dict"][name]) for name, value in found.fine.items())


def test_file_is_written_as_it_was(tmp_path: Path) -> None:
    saved = content()
    write_nerf_pytorch(tmp_path / "a.tar", unpack_nerf_pytorch(saved))
    again = torch.load(tmp_path / "a.tar", weights_only=True)
    assert again.keys() == saved.keys() and again["global_step"] == 1234
    for part in ("network_fn_state_dict", "network_fine_state_dict"):
        assert list(again[part]) == list(saved[part])
        assert all(torch.equal(value, saved[part][name]) for name, value in again[part].items())


def test_optimizer_state_is_that_of_an_adam_over_both_networks() -> None:
    saved = pack_nerf_pytorch(unpack_nerf_pytorch(content()))
    states = (saved["network_fn_state_dict"], saved["network_fine_state_dict"])
    parameters = [nn.Parameter(value.clone()) for state in states for value in state.values()]
    adam = torch.optim.Adam(parameters, lr=1.0, betas=(0.5, 0.5))
    adam.load_state_dict(saved["optimizer_state_dict"])
    assert adam.param_groups[0]["lr"] == 5e-4 and adam.param_groups[0]["betas"] == (0.9, 0.999)
    torch.stack([p.sum() for p in parameters]).sum().backward()
    adam.step()
    assert torch.allclose(parameters[0], states[0]["pts_linears.0.weight"] - 5e-4)


def test_without_fine_network_and_view_directions(tmp_path: Path) -> None:
    coarse = plain_network(outputs=4)
    saved = {"global_step": 0, "network_fn_state_dict": coarse, "network_fine_state_dict": None}
    torch.save(saved, tmp_path / "a.tar")
    found = read_nerf_pytorch(tmp_path / "a.tar")
    assert found.fine is None and found.coarse_shape == NetworkShape(2, 16, (), 10, 4, False)
    assert list(pack_nerf_pytorch(found)["network_fn_state_dict"]) == list(coarse)


def test_nerf_pl_names(tmp_path: Path) -> None:
    ours = network(skip=3)
    names = {"feature_linear": "xyz_encoding_final", "views_linears.0": "dir_encoding.0"}
    names |= {"alpha_linear": "sigma", "rgb_linear": "rgb.0"}
    names |= {f"pts_linears.{layer}": f"xyz_encoding_{layer + 1}.0" for layer in range(8)}
    theirs = {f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value for key, value in ours.items()}
    state = {f"nerf_{part}.{key}": value for part in ("coarse", "fine") for key, value in theirs.items()}
    torch.save(
        {"epoch": 3, "global_step": 7, "state_dict": {**state, "loss.weight": torch.ones(1)}}, tmp_path / "a.ckpt"
    )
    found = read_nerf_pytorch(tmp_path / "a.ckpt")
    assert found.step == 7 and found.coarse_shape == found.fine_shape == NetworkShape(8, 16, (3,), 10, 4, True)
    assert all(torch.equal(value, ours[name]) for name, value in found.coarse.items())


def broken(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (network() | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"network_fn_state_dict": broken(**{"rgb_linear.bias": torch.ones(4)})}, "rgb_linear.bias"),
        ({"network_fn_state_dict": broken(**{"pts_linears.3.weight": None})}, "without gaps|pts_linears"),
        ({"network_fn_state_dict": broken(**{"pts_linears.0.weight": torch.ones(16, 62)})}, "62 numbers"),
        ({"network_fn_state_dict": broken(**{"alpha_linear.bias": torch.tensor([torch.nan])})}, "NaN"),
        ({"network_fn_state_dict": broken(**{"alpha_linear.bias": torch.ones(1, dtype=torch.int32)})}, "floats"),
        ({"network_fn_state_dict": broken(**{"alpha_linear.bias": 3.0})}, "floats"),
        ({"network_fn_state_dict": broken(**{"extra.weight": torch.ones(1)})}, "extra.weight"),
        ({"network_fn_state_dict": {}}, "pts_linears.0.weight"),
        ({"network_fn_state_dict": [1]}, "dictionary of tensors"),
        ({"network_fn_state_dict": plain_network(outputs=7)}, "7 outputs"),
        ({"network_fn_state_dict": broken(**{"pts_linears.0.weight": torch.ones(1, 1).expand(10**6, 63)})}, "at most"),
        ({"network_fine_state_dict": 3}, "fine network"),
        ({"global_step": -1}, "whole number"),
        ({"global_step": "many"}, "whole number"),
    ],
)
def test_strange_contents_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        unpack_nerf_pytorch(content(**changes))


def test_other_files_are_refused(tmp_path: Path) -> None:
    for name, value in {"list": [1], "other": {"a": 1}, "ngp": {"state_dict": {"model.x": torch.ones(1)}}}.items():
        torch.save(value, tmp_path / name)
        with pytest.raises(CheckpointError):
            read_nerf_pytorch(tmp_path / name)
    (tmp_path / "text").write_text("no checkpoint")
    torch.save({"global_step": Path("code")}, tmp_path / "pickle")
    for name in ("text", "pickle", "missing"):
        with pytest.raises(CheckpointError):
            read_nerf_pytorch(tmp_path / name)
