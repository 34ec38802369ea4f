"""What a description may cost, for every kind of model: refused by its numbers, before memory is asked for."""

import resource
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nerfcomp
from nerfcomp.artifacts.checkpoint import load_file, read_checkpoint
from nerfcomp.artifacts.kinds import rebuild
from nerfcomp.artifacts.nfc import read_nfc
from nerfcomp.codec import Container, Storage, encode, from_bytes, to_bytes, write_container
from nerfcomp.errors import CheckpointError, ContainerError, NerfcompError

SCENE = {
    "aabb": [[-1.0] * 3, [1.0] * 3],
    "near": 2.0,
    "far": 6.0,
    "ndc": False,
    "background": [1.0] * 3,
    "height": 8,
    "width": 8,
    "intrinsics": [8.0, 8.0, 4.0, 4.0],
    "distortion": [0.0] * 4,
    "poses": [[1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 4]],
}
VOLUME = {"shape": [8, 8, 8], "dtype": "uint8", "low": 0.0, "high": 255.0, "spacing": [1.0] * 3, "origin": [0.0] * 3}


def described(cls: str, part: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
    sampler = {"class_path": "nerfcomp.rendering.OccupancySampler", "init_args": {"resolution": 32}}
    field = {"class_path": f"nerfcomp.fields.{cls}", "init_args": arguments}
    return {"field": field, "sampler": sampler, "scene": SCENE, "volume": {**VOLUME, "name": "values"}, **(part or {})}


COSTLY = [
    described("LightField", n_blocks=2**27),
    described("LightField", n_blocks=2**40),
    described("LightField", tail_blocks=[2, 2, 2**40]),
    described("LightField", factors=[1] * 3000, kernels=[1] * 3000, tail_widths=[3] * 3000, tail_blocks=[0] * 3000),
    described("LightField", {"scene": {**SCENE, "height": 4096, "width": 4096}}, points_per_ray=4096, octaves=16),
    described("NGPField", log2_table_size=30, levels=60),
    described("NGPField", finest_resolution=10**300),
    described(
        "NGPField", {"sampler": {"class_path": "nerfcomp.rendering.OccupancySampler", "init_args": {"cascades": 9}}}
    ),
    described(
        "NGPField",
        {"hooks": [{"class_path": "nerfcomp.compression.BinaryMask", "init_args": {}}] * 16},
        log2_table_size=22,
    ),
    described("NGPField", {"scene": {**SCENE, "height": 2**15, "width": 2**15}}),
    described("NeRFField", width=4096, depth=64),
    described("NeRFField", skips=list(range(10**5))),
    described(
        "NeRFField",
        {"sampler": {"class_path": "nerfcomp.rendering.HierarchicalSampler", "init_args": {"resolution": 256}}},
    ),
    described("HashVolume", hidden_layers=2**40),
    described("HashVolume", levels=2**40),
    described("HashVolume", hidden_width=10**9),
    described("LatentGridVolume", size=10**6),
    described("LatentGridVolume", n_frequencies=2**40),
    described("LatentGridVolume", features=10**9),
    described("HashVolume", {"volume": {**VOLUME, "name": "v", "shape": [1, 2**20, 2**20]}}),
    described("HashSurfaceField", log2_table_size=30, levels=32),
    described("NeuSField", hidden_width=10**400),
    described("NGPField", {"int8": {"rgb_mlp.layers.0": [[0.1, 10**400]]}}),
]


@pytest.mark.parametrize("description", COSTLY)
def test_costly_descriptions_are_refused_in_little_memory(description: dict[str, Any]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ContainerError):
        rebuild(description)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB


def test_a_description_costs_no_more_than_its_file_holds() -> None:
    large = described("HashVolume", finest_resolution=512, log2_table_size=18)
    assert rebuild(large, 3 * 2**20)
    with pytest.raises(ContainerError, match="elements; at most 1,048,676 are"):
        rebuild(large, 100)


def test_the_limit_is_on_what_comes_out_and_an_option_raises_it(tmp_path: Path) -> None:
    sections = encode({"zeros": np.zeros((1024, 1024), np.float32)}, {"zeros": Storage("all", qp=-20)})
    data = to_bytes(Container({"kind": "tensors"}, sections))
    assert len(data) < 20_000
    with pytest.raises(ContainerError, match="1,048,576 tensor elements; at most 1,000,000"):
        nerfcomp.decode(data, max_elements=10**6)
    assert nerfcomp.decode(data, max_elements=2**20)["zeros"].shape == (1024, 1024)
    path = tmp_path / "zeros.nfc"
    write_container(path, from_bytes(data))
    with pytest.raises(ContainerError, match="Raise max_elements"):
        read_nfc(path, max_elements=1000)


def test_checkpoints_do_not_unpack_to_more_than_they_are(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.ckpt"
    torch.save({"state_dict": {"field.weight": torch.zeros(2**22)}}, tmp_path / "plain.ckpt")
    with zipfile.ZipFile(tmp_path / "plain.ckpt") as plain, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    assert bomb.stat().st_size < 2**16
    with pytest.raises(CheckpointError, match="unpacks to"):
        load_file(bomb)


@pytest.mark.parametrize(
    "state",
    [
        {"field.grid.levels.0.weight": torch.zeros(1).expand(2**40)},
        {"field.weight": "text"},
        {3: torch.zeros(1)},
        ["field.weight"],
        {"field.weight": torch.zeros(3).to_sparse()},
        {"field.weight": torch.zeros(2**30, device="meta")},
    ],
)
def test_states_that_hold_less_than_they_say_are_refused(state: Any, tmp_path: Path) -> None:
    torch.save({"state_dict": state, "trained": described("HashVolume")}, tmp_path / "odd.ckpt")
    with pytest.raises(NerfcompError):
        read_checkpoint(tmp_path / "odd.ckpt")
