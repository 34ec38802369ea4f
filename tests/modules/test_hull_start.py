"""A field that learns a distance: that of a ball, which is known everywhere."""

import pytest
import torch

from nerfcomp.fields import HashSurfaceField
from nerfcomp.modules.hull_start import fit_distance

SIDE = 24
HALF = 2.0  # half width of the box


def ball(radius: float) -> torch.Tensor:
    """Signed distance (R, R, R) to a ball about the middle of the box, at the middles of cells, in half widths."""
    middles = (torch.arange(SIDE) + 0.5) * 2 / SIDE - 1
    x, y, z = torch.meshgrid(middles, middles, middles, indexing="ij")
    return (x * x + y * y + z * z).sqrt() - radius - 1.0 / SIDE  # masks leave hulls half a cell too large


@pytest.mark.slow
def test_the_field_learns_the_distance() -> None:
    torch.manual_seed(0)
    field = HashSurfaceField(levels=4, log2_table_size=12, base_resolution=8, finest_resolution=32)
    field.set_aabb(torch.tensor([[-1.0, -2.0, -3.0], [3.0, 2.0, 1.0]]))
    error = fit_distance(field, ball(0.5), steps=120)
    assert error < 0.03
    directions = torch.nn.functional.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    middle = torch.tensor([1.0, 0.0, -1.0])
    with torch.no_grad():
        for radius, expected in ((0.5, 0.0), (0.75, 0.25), (0.3, -0.2)):
            found = field.sdf(middle + radius * HALF * directions) / HALF
            assert float((found - expected).abs().mean()) < 0.04
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in field.parameters())
