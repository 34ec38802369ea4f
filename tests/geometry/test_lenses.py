"""The lens model against its formula, against kornia's forward model and against its own inverse."""

import pytest
import torch
from kornia.geometry.calibration import distort_points

from nerfcomp.geometry.lenses import distort, undistort


def test_distort_agrees_with_the_formula_and_with_kornia() -> None:
    x, y, lens = torch.rand(50) - 0.5, torch.rand(50) - 0.5, torch.randn(50, 4) * 0.1
    found = torch.stack(distort(x, y, lens), -1)
    for n in range(50):
        k1, k2, p1, p2 = lens[n].tolist()
        a, b = float(x[n]), float(y[n])
        r2 = a**2 + b**2
        radial = 1 + k1 * r2 + k2 * r2**2
        slow = (a * radial + 2 * p1 * a * b + p2 * (r2 + 2 * a**2), b * radial + p1 * (r2 + 2 * b**2) + 2 * p2 * a * b)
        assert found[n].tolist() == pytest.approx(slow, abs=1e-6)
    eyes = torch.eye(3).expand(50, 3, 3)
    kornia = distort_points(torch.stack([x, y], -1)[:, None], eyes, lens)[:, 0]
    torch.testing.assert_close(found, kornia)


@pytest.mark.parametrize("lens", [(-0.28, 0.07, 0.001, -0.0005), (0.1, 0.05, 0.01, 0.01), (-0.05, 0.0, 0.0, 0.0)])
@pytest.mark.parametrize("shared", [True, False])
def test_undistort_inverts_distort(lens: tuple[float, float, float, float], shared: bool) -> None:
    grid = torch.linspace(-0.6, 0.6, 13)
    x, y = (part.flatten() for part in torch.meshgrid(grid, grid, indexing="ij"))
    distortion = torch.tensor([lens]) if shared else torch.tensor([lens]).expand(len(x), 4)
    back = undistort(*distort(x, y, distortion), distortion)
    torch.testing.assert_close(back, (x, y), atol=1e-6, rtol=0)
