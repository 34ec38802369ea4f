"""Checkpoints of ngp_pl, a CUDA implementation of Instant-NGP: read into plain tensors, and written back.

Its "slim" checkpoint is a flat dictionary. Two of its tensors are tiny-cuda-nn's parameter vectors; which of two
roundings a build used for the levels' sizes follows from their length. The world is the cube [-scale, scale]^3; the
occupancy is a Morton-ordered bitfield with 128^3 cells per cascade.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from nerfcomp.errors import CheckpointError
from nerfcomp.files import atomic_write
from nerfcomp.kernels.hash_grid import GridGeometry, Rounding
from nerfcomp.readers.ngp_pl_layout import (
    CELLS,
    DENSITY_SHAPES,
    FEATURES,
    RGB_SHAPES,
    check_shapes,
    find_rounding,
    join,
    ngp_pl_cascades,
    ngp_pl_geometry,
    split_matrices,
    split_rgb,
)
from nerfcomp.readers.torch_file import load_torch_file, save_torch_file

_MOST_BYTES = 2**30  # a slim checkpoint has 46 to 53 MB, a full one of 16 cascades some 300 MB


class NgpPlCheckpoint(NamedTuple):
    """What an ngp_pl checkpoint says, in its own units and frame.

    Attributes:
        tables: 16 hash tables (T_l, 2) float32, coarsest level first.
        density_matrices: Weights (64, 32) and (16, 64) of the density network, for ``h = W x``.
        rgb_matrices: Weights (64, 32), (64, 64) and (3, 64) of the colour network.
        rounding: How the levels' sizes were rounded; see `nerfcomp.kernels.hash_grid.grid_geometry`.
        scale: Half the edge of the cube around the origin: 0.5, 1, 2, 4, ...
        bitfield: (C * 128^3 / 8,) uint8 occupancy in Morton order, C = `cascades`.
    """

    tables: tuple[Tensor, ...]
    density_matrices: tuple[Tensor, ...]
    rgb_matrices: tuple[Tensor, ...]
    rounding: Rounding
    scale: float
    bitfield: Tensor

    @property
    def cascades(self) -> int:
        """Number of nested cubes; the innermost one has edge 1."""
        return ngp_pl_cascades(self.scale)

    @property
    def geometry(self) -> GridGeometry:
        """Shape of the hash grid's levels."""
        return ngp_pl_geometry(self.scale, self.rounding)


def read_ngp_pl(path: str | Path) -> NgpPlCheckpoint:
    """Read a slim or full ngp_pl checkpoint.

    Args:
        path: The file. Nothing in it is trusted.

    Returns:
        Its tensors, on the CPU.

    Raises:
        CheckpointError: The file is missing, damaged, holds anything but tensors and plain values, or does not fit the
            one architecture that ngp_pl has.
    """
    advice = "Save the model's state_dict with a recent torch, or ngp_pl's slim checkpoint."
    content = load_torch_file(Path(path), "ngp_pl checkpoint", _MOST_BYTES, advice)
    return unpack_ngp_pl(content, str(path))


def unpack_ngp_pl(content: Any, source: str = "The checkpoint") -> NgpPlCheckpoint:
    """Take an ngp_pl state dictionary apart.

    Args:
        content: Slim checkpoint, or a full one with its ``state_dict``; density grid, cell coordinates, poses and other
            things that a field does not need are ignored.
        source: What messages call it.

    Returns:
        Its tensors, float32, not sharing memory with ``content``.

    Raises:
        CheckpointError: Something is missing, of the wrong size, not finite, or contradicts the rest.
    """
    state = _model_state(content, source)
    scale = _read_scale(state, source)
    cascades = ngp_pl_cascades(scale)
    bitfield = _tensor(state, "density_bitfield", source)
    if bitfield.dtype != torch.uint8 or bitfield.numel() * 8 != cascades * CELLS:
        raise CheckpointError(
            f"{source} has an occupancy of {bitfield.numel():,} numbers of {bitfield.dtype}, but scale {scale} has "
            f"{cascades} cascades of 128^3 bits: {cascades * CELLS // 8:,} bytes. Was it trained at another scale?"
        )
    encoder, rgb = _vector(state, "xyz_encoder.params", source), _vector(state, "rgb_net.params", source)
    rounding = find_rounding(encoder.numel(), scale, source)
    density_matrices, tables = split_matrices(encoder, DENSITY_SHAPES)
    geometry = ngp_pl_geometry(scale, rounding)
    rows = [entries * FEATURES for entries in geometry.entries]
    return NgpPlCheckpoint(
        tables=tuple(table.view(-1, FEATURES).clone() for table in tables.split(rows)),
        density_matrices=density_matrices,
        rgb_matrices=split_rgb(rgb, source),
        rounding=rounding,
        scale=scale,
        bitfield=bitfield.flatten().clone(),
    )


def pack_ngp_pl(checkpoint: NgpPlCheckpoint, padding: Literal[8, 16] = 16) -> dict[str, Tensor]:
    """Put a slim checkpoint together; inverts `unpack_ngp_pl`.

    Args:
        checkpoint: Its tensors.
        padding: The colour network's last matrix is filled with zero rows up to a multiple of this; 8 suits builds of
            tiny-cuda-nn for old GPUs before September 2022.

    Returns:
        The state dictionary.

    Raises:
        CheckpointError: A tensor has not the shape that ngp_pl's one architecture has.
    """
    if padding not in (8, 16):
        raise CheckpointError(f"tiny-cuda-nn pads matrices to 8 or 16 rows, not to {padding}.")
    tables = [(entries, FEATURES) for entries in checkpoint.geometry.entries]
    check_shapes("hash tables", checkpoint.tables, tables)
    check_shapes("density matrices", checkpoint.density_matrices, DENSITY_SHAPES)
    check_shapes("colour matrices", checkpoint.rgb_matrices, RGB_SHAPES)
    check_shapes("occupancy bytes", [checkpoint.bitfield], [(checkpoint.cascades * CELLS // 8,)])
    last = checkpoint.rgb_matrices[-1]
    padded = torch.cat([last, last.new_zeros(padding - len(last), last.shape[1])])
    box = torch.full((1, 3), checkpoint.scale)
    return {
        "model.center": torch.zeros(1, 3),
        "model.xyz_min": -box,
        "model.xyz_max": box.clone(),
        "model.half_size": box.clone(),
        "model.density_bitfield": checkpoint.bitfield.to("cpu", torch.uint8, copy=True),
        "model.xyz_encoder.params": join([*checkpoint.density_matrices, *checkpoint.tables]),
        "model.dir_encoder.params": torch.zeros(0),
        "model.rgb_net.params": join([*checkpoint.rgb_matrices[:-1], padded]),
    }


def write_ngp_pl(path: str | Path, checkpoint: NgpPlCheckpoint, padding: Literal[8, 16] = 16) -> None:
    """Write a slim checkpoint that ngp_pl loads.

    Args:
        path: The file to write.
        checkpoint: Its tensors.
        padding: See `pack_ngp_pl`.

    Raises:
        CheckpointError: A tensor has not the shape that ngp_pl's one architecture has.
    """
    state = pack_ngp_pl(checkpoint, padding)
    with atomic_write(path) as temporary:
        save_torch_file(state, temporary)


def _model_state(content: Any, source: str) -> dict[str, Any]:
    """Entries of the model, without the wrapper and the prefix that they may have."""
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise CheckpointError(f"{source} holds a {type(content).__name__}; an ngp_pl checkpoint is a dictionary.")
    state = {str(key).removeprefix("model."): value for key, value in content.items()}
    if any(key.startswith("tonemapper_net") for key in state):
        raise CheckpointError(
            f"{source} is an HDR model with tone mappers, which cannot be read. Train without --use_exposure."
        )
    return state


def _tensor(state: dict[str, Any], key: str, source: str) -> Tensor:
    value = state.get(key)
    if value is None:
        raise CheckpointError(
            f"{source} has no 'model.{key}', so it is no ngp_pl checkpoint; its keys are {sorted(state)[:8]}."
        )
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type == "meta":
        raise CheckpointError(f"{source}: 'model.{key}' is no plain tensor.")
    return value.detach()


def _vector(state: dict[str, Any], key: str, source: str) -> Tensor:
    """A parameter vector as float32."""
    value = _tensor(state, key, source)
    if value.ndim != 1 or not value.is_floating_point():
        raise CheckpointError(
            f"{source}: 'model.{key}' must be a vector of floats, found {tuple(value.shape)} {value.dtype}."
        )
    if value.numel() and (value.stride(0) != 1 or not bool(torch.isfinite(value).all())):
        raise CheckpointError(
            f"{source}: 'model.{key}' holds NaN, infinity or repeated memory; the training had failed."
        )
    return value.float()


def _read_scale(state: dict[str, Any], source: str) -> float:
    """Half edge of the box, which must be a cube around the origin."""
    low, high = (_tensor(state, key, source) for key in ("xyz_min", "xyz_max"))
    if low.numel() != 3 or high.numel() != 3 or not low.is_floating_point() or not high.is_floating_point():
        raise CheckpointError(
            f"{source} has a box of {low.numel()} and {high.numel()} numbers; two corners are needed."
        )
    corners = [*(-low).flatten().tolist(), *high.flatten().tolist()]
    if any(corner != corners[0] for corner in corners):
        raise CheckpointError(
            f"{source} has the box {low.flatten().tolist()} to {high.flatten().tolist()}; "
            "ngp_pl's is a cube around the origin."
        )
    return float(corners[0])
