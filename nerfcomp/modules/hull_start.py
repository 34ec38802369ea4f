"""A surface field that starts from the visual hull instead of from a sphere."""

import torch
from torch import Tensor

from nerfcomp.fields import SurfaceField
from nerfcomp.optim import GridAdam

_POINTS = 8192  # of a step
_RATE = 5e-3
_NEAR = 0.1  # half widths: errors closer to the surface than this count alike, farther ones less
_SHRINK = 0.5  # cells: masks leave the hull half a cell too large


def fit_distance(field: SurfaceField, distance: Tensor, steps: int, seed: int = 0) -> float:
    """Teach a field a signed distance, point by point.

    Args:
        field: The field, in its box.
        distance: (R, R, R) wanted at the middles of cells of the box, in its half widths.
        steps: Of `GridAdam`.
        seed: Of the points.

    Returns:
        Mean error of the last step's points, in half widths.
    """
    optimizer = GridAdam(field.parameters(), lr=_RATE)
    generator = torch.Generator().manual_seed(seed)
    volume = (distance + _SHRINK * 2 / len(distance)).to(field.aabb)[None, None]
    error = 0.0
    for step in range(steps):
        unit = (2 * torch.rand(_POINTS, 3, generator=generator) - 1).to(field.aabb)
        places = unit.flip(1)[None, None, None]  # torch's grids have x last
        wanted = torch.nn.functional.grid_sample(volume, places, padding_mode="border", align_corners=False).view(-1)
        found = field.sdf(unit * field.half_side + field.aabb.mean(0)) / field.half_side
        wrong = (found - wanted).abs()
        optimizer.param_groups[0]["lr"] = _RATE * (1 - step / steps)
        optimizer.zero_grad()
        (wrong / (_NEAR + wanted.abs())).mean().backward()
        optimizer.step()
        error = float(wrong.detach().mean())
    optimizer.zero_grad()
    return error
