"""Trained fields in checkpoints.

A checkpoint of ours is a Lightning checkpoint with one more key, ``trained``: the description from which the artifact
is rebuilt without the command line that made it. Weights stand in ``state_dict`` under ``field.`` and, where there is
one, ``sampler.``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.artifacts.kinds import rebuild
from nerfcomp.artifacts.runs import find_checkpoint
from nerfcomp.compression import SCALING_HOOK
from nerfcomp.descriptions import Description
from nerfcomp.errors import CheckpointError
from nerfcomp.files import atomic_write
from nerfcomp.geometry.checks import check_box
from nerfcomp.readers.torch_file import load_torch_file, save_torch_file

DESCRIPTION_KEY = "trained"
_FIELD, _SCALE_KEY = "field.", ".parametrizations.weight.0.scale"  # of files that do not describe their hooks
_ADVICE = "It is not a readable checkpoint, and nothing else is ever loaded. Take one that `python train.py fit` wrote."
_SLACK = 2**20  # bytes; files of torch are not compressed
_LIGHTNING_VERSION = "2.6.0"  # format that the keys below follow; Lightning migrates older ones


def load_file(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint's dictionary, tensors and plain values only.

    Args:
        path: The file; or the folder of a run or the name of a finished one, see `find_checkpoint`.

    Raises:
        CheckpointError: The file is missing, damaged, or holds pickled code.
    """
    path = find_checkpoint(path)
    if not path.is_file():
        raise CheckpointError(
            f"There is no checkpoint at {path}. Train one with `python train.py fit` or mend the path."
        )
    content = load_torch_file(path, "checkpoint", 2 * path.stat().st_size + _SLACK, _ADVICE)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; a checkpoint is a dictionary.")
    return content


def load_weights(module: nn.Module, state: dict[str, Any], prefix: str, path: str | Path) -> None:
    """Copy the tensors under ``prefix`` into ``module``; all of them must fit.

    Raises:
        CheckpointError: Names or shapes differ.
    """
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    try:
        module.load_state_dict(own)
    except (RuntimeError, TypeError, AttributeError, NotImplementedError) as error:
        raise CheckpointError(
            f"The weights in {path} do not fit the {type(module).__name__} it describes: {error}"
        ) from error


def read_checkpoint(path: str | Path) -> Artifact:
    """Rebuild the trained field of a checkpoint that ``train.py`` or `write_checkpoint` wrote.

    Raises:
        CheckpointError: The file is missing, damaged or of another kind.
        ContainerError: It describes a class that may not be built.
    """
    content = load_file(path)
    if not isinstance(content.get(DESCRIPTION_KEY), dict) or not _are_tensors(content.get("state_dict")):
        raise CheckpointError(
            f"{path} does not describe a trained field (its keys are {sorted(map(str, content))[:8]}). "
            "Give a checkpoint of `python train.py fit`; one of ngp_pl goes through `python compress.py import ngp-pl`."
        )
    held = sum(value.numel() for value in content["state_dict"].values())
    trained = rebuild({**content[DESCRIPTION_KEY], "hooks": described_hooks(content)}, held)
    for prefix, module in trained.modules().items():
        load_weights(module, content["state_dict"], f"{prefix}.", path)
        _check_loaded(module, path)
    return trained


def stage_state(path: str | Path, module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Read what a stage of training kept for itself beside its artifact, where another stage can take it over.

    Args:
        path: Any file that training starts from.
        module: What shall take it over.
        prefix: Before its names in the checkpoint.

    Returns:
        A state of ``module``; empty where the file keeps none, or one of other shapes.
    """
    if Path(path).suffix == ".nfc":
        return {}
    state = load_file(path).get("state_dict")
    if not _are_tensors(state):
        return {}
    assert isinstance(state, dict)
    shapes = {f"{prefix}{key}": value.shape for key, value in module.state_dict().items()}
    if any(key not in state or state[key].shape != shape for key, shape in shapes.items()):
        return {}
    return {key.removeprefix(prefix): state[key] for key in shapes}


def _check_loaded(module: nn.Module, path: str | Path) -> None:
    """Refuse weights that are not finite, and boxes that no scene has.

    Raises:
        CheckpointError: There is one.
    """
    for name, value in module.named_parameters():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{path} holds weights that are not finite ({name}): that run has diverged.")
    for name, buffer in module.named_buffers():
        if name.rpartition(".")[2] == "aabb":
            try:
                check_box(buffer)
            except ValueError as error:
                raise CheckpointError(f"{path} cannot be used ({name}): {error}") from error


def _are_tensors(state: Any) -> bool:
    """Whether a state holds tensors by name, each with all of its values in the file."""
    return isinstance(state, dict) and all(
        isinstance(key, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and not (value.is_complex() or value.is_quantized)
        and value.device.type == "cpu"
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
        for key, value in state.items()
    )


def described_hooks(content: Mapping[str, Any]) -> Any:
    """What a checkpoint says of the hooks on its weights, see `describe_hooks`; not trusted.

    Args:
        content: The dictionary of a checkpoint that describes a trained field.
    """
    if "hooks" in content[DESCRIPTION_KEY]:
        return content[DESCRIPTION_KEY]["hooks"]
    layers = [key for key in content["state_dict"] if key.startswith(_FIELD) and key.endswith(_SCALE_KEY)]
    names = [f"{key.removesuffix(_SCALE_KEY).removeprefix(_FIELD)}.weight" for key in layers]
    return [Description(SCALING_HOOK, {"weights": names})._asdict()] if names else []


def write_checkpoint(trained: Artifact, path: str | Path) -> None:
    """Write a checkpoint that ``train.py test --ckpt_path`` and ``init_from`` read; it holds no optimizer state."""
    parts = {prefix: module.state_dict() for prefix, module in trained.modules().items()}
    state = {f"{prefix}.{key}": value for prefix, part in parts.items() for key, value in part.items()}
    content = {
        "pytorch-lightning_version": _LIGHTNING_VERSION,
        "epoch": 0,
        "global_step": 0,
        "state_dict": state,
        DESCRIPTION_KEY: trained.describe(),
    }
    with atomic_write(path) as temporary:
        save_torch_file(content, temporary)
