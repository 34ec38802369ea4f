"""Checkpoints of the authors' NeuS (``ckpt_*.pth``) as our fields."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.artifacts.surface import SurfaceArtifact
from nerfcomp.errors import CheckpointError
from nerfcomp.fields import NeuSField
from nerfcomp.readers.torch_file import load_torch_file
from nerfcomp.rendering import OccupancyGrid, OccupancySampler

_NETWORKS = {
    "sdf_network_fine": "sdf_network",
    "color_network_fine": "color_network",
    "variance_network_fine": "deviation_network",
}
_BACKGROUND = {"nerf": "outside"}
_MOST_BYTES = 2**28
_BLOCK = 4  # cells along an axis that are ruled out together
_STEEPEST = 2.0  # slope of a learned distance
_LEAST_WEIGHT = 1e-4  # of a cell that counts
_CHUNK = 2**15
_ADVICE = "Use a file that exp_runner.py of NeuS has written into its folder checkpoints."


def read_neus(path: Path, background: bool | None = None) -> NeuSField:
    """Read the networks of a checkpoint. Its optimizer is left out.

    Args:
        path: The file.
        background: Read its background network (``nerf``), too; when absent, if it was trained. There is one in any
            case.

    Returns:
        The field, in the cube around the unit sphere.

    Raises:
        CheckpointError: The file is missing, damaged, or holds other networks.
    """
    stored = load_torch_file(path, "NeuS checkpoint", _MOST_BYTES, _ADVICE)
    lacking = [name for name in _NETWORKS if not isinstance(stored, dict) or not isinstance(stored.get(name), dict)]
    if lacking:
        raise CheckpointError(f"{path} has no {lacking[0]}. {_ADVICE}")
    networks = _NETWORKS | (_BACKGROUND if _with_background(stored, background, path) else {})
    tensors = {f"{ours}.{key}": value for theirs, ours in networks.items() for key, value in stored[theirs].items()}
    field = NeuSField(**_shape(tensors, path))
    tensors["deviation_network.variance"] = tensors["deviation_network.variance"].reshape(1)
    wanted = {name: value.shape for name, value in field.named_parameters()}
    found = {name: value.shape for name, value in tensors.items()}
    if wanted != found:
        wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise CheckpointError(f"{path}: {wrong[0]} does not fit the published networks.")
    field.load_state_dict({**field.state_dict(), **tensors})
    field.set_aabb(torch.tensor([[-1.0] * 3, [1.0] * 3]))
    return field.eval()


def _with_background(stored: dict[str, Any], wanted: bool | None, path: Path) -> bool:
    """Whether a file's background network is read.

    Its parameters are the first of an optimizer, whose state knows those alone that had a gradient.
    """
    if wanted is False:
        return False
    if wanted and not isinstance(stored.get("nerf"), dict):
        raise CheckpointError(f"{path} has no background network (nerf). {_ADVICE}")
    state = stored["optimizer"].get("state") if isinstance(stored.get("optimizer"), dict) else None
    trained = isinstance(state, dict) and 0 in state and isinstance(stored.get("nerf"), dict)
    return bool(wanted) or trained


def _shape(tensors: dict[str, Tensor], path: Path) -> dict[str, Any]:
    """Arguments of the field that has tensors of these names and sizes."""
    sdf = _depth(tensors, "sdf_network")
    needed = ("sdf_network.lin0.weight_v", "sdf_network.lin0.bias", "deviation_network.variance")
    if sdf < 3 or any(name not in tensors for name in needed):
        raise CheckpointError(f"{path} lacks layers of the published networks. {_ADVICE}")
    width, encoded = tensors["sdf_network.lin0.bias"].shape[0], tensors["sdf_network.lin0.weight_v"].shape[1]
    narrow = [n for n in range(sdf - 1) if tensors[f"sdf_network.lin{n}.bias"].shape[0] == width - encoded]
    found = {"background_depth": sum(name.startswith("outside.pts_linears.") for name in tensors) // 2}
    first = tensors.get("outside.pts_linears.0.bias")
    if first is not None:
        found |= {"background": True, "background_width": len(first)}
    return (found if found["background_depth"] else {}) | {
        "sdf_hidden_layers": sdf - 1,
        "hidden_width": width,
        "skip": narrow[0] + 1 if narrow else 4,
        "position_octaves": (encoded - 3) // 6,
        "rgb_hidden_layers": _depth(tensors, "color_network") - 1,
    }


def _depth(tensors: dict[str, Tensor], network: str) -> int:
    """Layers lin0, lin1, ... of a network."""
    return sum(name.startswith(f"{network}.lin") and name.endswith(".bias") for name in tensors)


def import_neus(
    path: Path, scene: SceneInfo, sampler: OccupancySampler | None = None, background: bool | None = None
) -> SurfaceArtifact:
    """A checkpoint of the authors with all that drawing it needs.

    Args:
        path: The file.
        scene: Views of the scene it was trained on, in the frame of the unit sphere, as `DTUReader` gives them, with
            surroundings where the file has a background.
        sampler: Steps through the unit sphere; 512 of them when absent.
        background: See `read_neus`.

    Returns:
        The field in its box, its emptiness found out.

    Raises:
        CheckpointError: See `read_neus`.
    """
    field = read_neus(path, background)
    if field.outside is not None:
        _surround(field, scene)
    sampler = sampler or OccupancySampler(n_steps=512, opacity_threshold=0.001)
    sampler.set_cascades(field.cascades)
    sampler.prepare(field.aabb)
    sampler.set_occupied(_occupied(field, sampler.grid))
    corners = [tuple(corner) for corner in field.aabb.tolist()]
    return SurfaceArtifact(field=field, sampler=sampler.eval(), scene=scene._replace(aabb=(corners[0], corners[1])))


def _surround(field: NeuSField, scene: SceneInfo) -> None:
    """Move a field into the cube of a scene, of which the innermost nested one holds the unit sphere."""
    box = torch.tensor(scene.aabb)
    doublings = math.log2(float(box[1, 0]))
    if doublings < 1 or doublings % 1 or not torch.equal(box[1], -box[0]) or box.unique().numel() != 2:
        raise CheckpointError(
            f"The background needs a cube of 2, 4, 8, ... radii of the unit sphere, not {box.tolist()}: say "
            "--reader.surroundings 4, or --background false to leave it out."
        )
    field.set_cascades(1 + int(doublings))
    field.set_aabb(box)


@torch.no_grad()
def _occupied(field: NeuSField, grid: OccupancyGrid) -> Tensor:
    """(C, R, R, R) the cells near the surface; blocks of them that lie far away are ruled out together.

    Everything beyond the sphere of a field with a background counts as occupied.
    """
    resolution, coarse = grid.resolution, grid.resolution // _BLOCK
    blocks = torch.arange(coarse**3)
    reach = _STEEPEST * grid.diagonal / coarse / 2
    distances = [field.sdf(x) for x in grid.cell_points(blocks, 0.5, coarse).split(_CHUNK)]
    near = (torch.cat(distances).abs() <= reach).view(coarse, coarse, coarse)
    for axis in range(3):
        near = near.repeat_interleave(_BLOCK, axis)
    length = grid.diagonal / resolution
    occupied = torch.zeros(grid.cascades, resolution**3, dtype=torch.bool)
    if field.outside is not None:
        occupied |= field.radius(grid.cell_points(torch.arange(resolution**3))) > 1 - length / float(field.half_side)
        occupied[1:] = True
    cells = (near.flatten() & ~occupied[0]).nonzero().squeeze(1)
    found = [field.peak_alpha(x, x.new_full((len(x),), length)) for x in grid.cell_points(cells).split(_CHUNK)]
    occupied[0, cells] = torch.cat([torch.zeros(0), *found]) > _LEAST_WEIGHT
    return occupied.view(grid.occupied.shape)
