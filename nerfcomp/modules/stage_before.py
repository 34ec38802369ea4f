"""What a stage takes over from the one before besides weights: where training met something, and where nothing.

A grid that had to learn it anew would call a surface empty that its few random places of the warm-up miss; a trained
network would be told to be empty there, and until the memory of surfaces is filled, each step has few rays.
"""

import torch
from torch import Tensor

from nerfcomp.artifacts.checkpoint import stage_state
from nerfcomp.rendering import OccupancySampler
from nerfcomp.rendering.occupancy import OccupancyGrid, OpacityFunction
from nerfcomp.rendering.surface_memory import SurfaceMemory

_PLACES = 16  # of a cell of a trained field that are looked at, see `OccupancyGrid.rebuild`
_MOST_PLACES = 2**22  # in all


def meet_again(path: str, sampler: OccupancySampler, memory: SurfaceMemory, aabb: Tensor) -> bool:
    """Take over what the stage before knew of a trained field.

    Args:
        path: The file that weights start from.
        sampler: Of training; ``training_sampler`` in checkpoints.
        memory: What that training saw; ``memory`` in checkpoints.
        aabb: (2, 3) box of the field.

    Returns:
        Whether the file says it, for grids of this size and box.
    """
    places, seen = (stage_state(path, *part) for part in ((sampler, "training_sampler."), (memory, "memory.")))
    if not (places and seen) or not torch.equal(places["grid.aabb"], aabb.cpu()):
        return False
    sampler.load_state_dict(places)
    memory.load_state_dict(seen)
    return True


def look_everywhere(grid: OccupancyGrid, opacity_fn: OpacityFunction) -> None:
    """Find out what is occupied from a trained field itself.

    Args:
        grid: Cells that may be occupied have a density of at least 0.
        opacity_fn: Opacities (K,) of intervals of length (K,) about positions (K, 3).
    """
    cells = max(1, int((grid.density >= 0).sum()))
    grid.rebuild(opacity_fn, min(_PLACES, max(1, _MOST_PLACES // cells)))
