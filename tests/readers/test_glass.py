import math

import torch

from nerfcomp.geometry.rays import Rays
from nerfcomp.readers.glass import Glass, behind_glass

RED = Glass((0.0, 0.0, 0.0), 1.0, (1.0, 0.0, 0.0), 0.8)
BLUE = Glass((0.0, 0.0, 3.0), 0.5, (0.0, 0.0, 1.0), 2.0)


def rays(*origins: tuple[float, float, float], direction: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> Rays:
    o = torch.tensor(origins)
    d = torch.nn.functional.normalize(torch.tensor(direction), dim=0).expand_as(o)
    return Rays(o, d, torch.zeros(len(o), 1), torch.full((len(o), 1), 9.0), d)


def marched(balls: tuple[Glass, ...], ray: Rays, behind: torch.Tensor, end: float, steps: int = 20_000) -> torch.Tensor:
    """What volume rendering of many thin intervals shows, in float64."""
    length = min(end, 9.0) / steps
    t = (torch.arange(steps, dtype=torch.float64) + 0.5) * length
    x = ray.origins[0].double() + t[:, None] * ray.directions[0].double()
    density, color = torch.zeros(steps, dtype=torch.float64), torch.zeros(steps, 3, dtype=torch.float64)
    for ball in balls:
        inside = (x - torch.tensor(ball.center)).norm(dim=-1) < ball.radius
        density[inside], color[inside] = ball.density, torch.tensor(ball.color, dtype=torch.float64)
    depth = density.cumsum(0) * length - density * length
    weights = (-depth).exp() * -torch.expm1(-density * length)
    light = (-density.sum() * length).exp()
    mixed = (weights[:, None] * color).sum(0) + light * behind[:3]
    return torch.cat([mixed, (1 - light * (1 - behind[3]))[None]])


def test_a_ray_through_the_middle_meets_the_law_of_beer_and_lambert() -> None:
    found = behind_glass([RED], rays((0.0, 0.0, -3.0)), torch.zeros(1, 4), torch.tensor([math.inf]))
    alpha = 1 - math.exp(-0.8 * 2.0)
    assert torch.allclose(found, torch.tensor([[alpha, 0.0, 0.0, alpha]]))


def test_two_balls_and_a_wall_are_what_volume_rendering_shows() -> None:
    wall = torch.tensor([[0.2, 0.9, 0.4, 1.0]])
    for ray in (rays((0.3, 0.1, -3.0)), rays((0.1, 0.0, 6.0), direction=(0.02, 0.0, -1.0))):
        for end in (math.inf, 6.2, 3.1):  # nothing, a wall behind both, a wall inside a ball
            behind = wall if end < math.inf else torch.zeros(1, 4)
            found = behind_glass([RED, BLUE], ray, behind, torch.tensor([end]))
            assert torch.allclose(found[0].double(), marched((RED, BLUE), ray, behind[0].double(), end), atol=1e-3)


def test_the_order_of_the_list_does_not_matter_and_a_miss_changes_nothing() -> None:
    ray, behind = rays((0.2, 0.0, -3.0), (5.0, 0.0, -3.0)), torch.rand(2, 4)
    depth = torch.tensor([8.0, 8.0])
    found = behind_glass([RED, BLUE], ray, behind, depth)
    assert torch.equal(found, behind_glass([BLUE, RED], ray, behind, depth))
    assert torch.equal(found[1], behind[1]) and torch.equal(behind_glass([], ray, behind, depth), behind)
