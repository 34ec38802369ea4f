import math

import pytest
import torch
from torch import Tensor

from nerfcomp.geometry.rays import Rays
from nerfcomp.readers.solids import KEY, Hits, Solid, trace

GREY = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
BALL = Solid("sphere", (0, 0, 0), (1, 0, 0), GREY)


def rays_from(origins: list[list[float]] | Tensor, directions: list[list[float]] | Tensor, far: float = 100.0) -> Rays:
    o, d = torch.as_tensor(origins).float(), torch.nn.functional.normalize(torch.as_tensor(directions).float(), dim=-1)
    bound = torch.ones(len(o), 1)
    return Rays(o, d, 0 * bound, far * bound, d)


def hit(solid: Solid, origin: list[float], direction: list[float]) -> Hits:
    return trace([solid], rays_from([origin], [direction]))


@pytest.mark.parametrize(
    ("solid", "origin", "direction", "depth", "normal"),
    [
        (BALL, [0, 0, 4], [0, 0, -1], 3.0, [0, 0, 1]),
        # x = 0.6, so z = sqrt(1 - 0.36) = 0.8 on the surface
        (BALL, [0.6, 0, 4], [0, 0, -1], 3.2, [0.6, 0, 0.8]),
        (Solid("box", (1, 0, 0), (0.5, 2, 0.25), GREY), [-4, 0.3, 0.1], [1, 0, 0], 4.5, [-1, 0, 0]),
        # a quarter turn about z swaps the half edges 0.5 and 2
        (Solid("box", (0, 0, 0), (0.5, 2, 0.25), GREY, turn=(0, 0, 90)), [-4, 0, 0], [1, 0, 0], 2.0, [-1, 0, 0]),
        # an eighth turn: the edge lies at 0.5 * sqrt(2); the ray passes 0.1 beside it and meets the face 0.1 later
        (
            Solid("box", (0, 0, 0), (0.5, 0.5, 0.5), GREY, turn=(0, 0, 45)),
            [-4, 0.1, 0],
            [1, 0, 0],
            4 - 0.5 * math.sqrt(2) + 0.1,
            [-math.sqrt(0.5), math.sqrt(0.5), 0],
        ),
        # diagonal through a rounded corner: centre of the rounding at (0.4, 0.4, 0.4), radius 0.1
        (
            Solid("box", (0, 0, 0), (0.5, 0.5, 0.5), GREY, rounding=0.1),
            [3, 3, 3],
            [-1, -1, -1],
            math.sqrt(3) * 2.6 - 0.1,
            [math.sqrt(1 / 3)] * 3,
        ),
        (Solid("torus", (0, 0, 0), (0.5, 0.2, 0), GREY), [0.5, 0, 4], [0, 0, -1], 3.8, [0, 0, 1]),
        (Solid("torus", (0, 0, 0), (0.5, 0.2, 0), GREY), [-4, 0, 0], [1, 0, 0], 3.3, [-1, 0, 0]),
        # a quarter turn about x lays the hole along y
        (
            Solid("torus", (0, 0, 0), (0.5, 0.2, 0), GREY, turn=(90, 0, 0)),
            [0, 0, 4],
            [0, 0, -1],
            3.3,
            [0, 0, 1],
        ),
        (Solid("cylinder", (0, 0, 1), (0.5, 0.25, 0), GREY), [0.4, 0, 4], [0, 0, -1], 2.75, [0, 0, 1]),
        (Solid("cylinder", (0, 0, 1), (0.5, 0.25, 0), GREY), [0, -4, 1.2], [0, 1, 0], 3.5, [0, -1, 0]),
    ],
)
def test_depth_and_normal_by_hand(
    solid: Solid, origin: list[float], direction: list[float], depth: float, normal: list[float]
) -> None:
    hits = hit(solid, origin, direction)
    assert hits.depth.item() == pytest.approx(depth, abs=1e-6)
    assert torch.allclose(hits.normals[0], torch.tensor(normal).float(), atol=1e-4)
    assert hits.solid.item() == 0


@pytest.mark.parametrize(
    ("solid", "origin"),
    [
        (BALL, [1.01, 0, 4]),
        (Solid("torus", (0, 0, 0), (0.5, 0.2, 0), GREY), [0, 0, 4]),
        (Solid("cylinder", (0, 0, 0), (0.5, 0.25, 0), GREY, rounding=0.1), [0.36, 0.36, 4]),
    ],
    ids=["beside the ball", "through the ring", "beside the disc"],
)
def test_miss_is_empty(solid: Solid, origin: list[float]) -> None:
    hits = hit(solid, origin, [0, 0, -1])
    assert hits.depth.item() == math.inf and hits.solid.item() == -1
    assert not hits.normals.any() and not hits.light.any() and not hits.openness.any()


def test_spheres_agree_with_the_quadratic_equation() -> None:
    center, radius = torch.tensor([0.2, -0.3, 0.1]), 0.7
    generator = torch.Generator().manual_seed(3)
    origins = 3 * torch.nn.functional.normalize(torch.randn(500, 3, generator=generator), dim=-1)
    rays = rays_from(origins, center + 0.5 * torch.randn(500, 3, generator=generator) - origins)
    hits = trace([Solid("sphere", (0.2, -0.3, 0.1), (radius, 0, 0), GREY)], rays)

    offset, d = (origins - center).double(), torch.nn.functional.normalize(rays.directions.double(), dim=-1)
    along = (offset * d).sum(-1)
    square = along**2 - (offset**2).sum(-1) + radius**2
    clear = square.abs() > 1e-3  # grazing rays amplify the rounding of the inputs
    assert torch.equal((hits.solid >= 0)[clear], (square > 0)[clear])
    both = clear & (square > 0)
    assert 100 < int(both.sum()) < 450
    assert torch.allclose(hits.depth[both], (-along - square.sqrt())[both], atol=1e-6)
    points = origins + hits.depth[:, None].float() * rays.directions
    assert torch.allclose(hits.normals[both], ((points - center) / radius)[both], atol=1e-4)


def test_normals_are_unit_on_every_shape() -> None:
    shapes = [
        BALL._replace(center=(-3, 0, 0)),
        Solid("box", (0, 0, 0), (0.7, 0.5, 0.6), GREY, rounding=0.1, turn=(20, 30, 40)),
        Solid("torus", (3, 0, 0), (0.6, 0.3, 0), GREY, turn=(50, 0, 0)),
        Solid("cylinder", (6, 0, 0), (0.6, 0.8, 0), GREY, rounding=0.05, turn=(0, 70, 0)),
    ]
    grid = torch.cartesian_prod(torch.linspace(-4, 7, 111), torch.linspace(-1, 1, 21), torch.tensor([5.0]))
    hits = trace(shapes, rays_from(grid, torch.tensor([[0.1, 0.0, -1.0]]).expand_as(grid)))
    assert set(hits.solid.tolist()) == {-1, 0, 1, 2, 3}
    lengths = hits.normals.norm(dim=-1)
    assert torch.allclose(lengths[hits.solid >= 0], torch.tensor(1.0), atol=1e-6)
    assert not lengths[hits.solid < 0].any()


def test_nearest_solid_wins_and_bounds_hold() -> None:
    row = [BALL._replace(center=(0, 0, z), size=(0.5, 0, 0)) for z in (-3.0, 0.0)]
    one = rays_from([[0, 0, 4]], [[0, 0, -1]])
    assert trace(row, one).solid.item() == 1
    behind = one._replace(near=torch.tensor([[5.0]]))
    assert trace(row, behind).solid.item() == 0 and trace(row, behind).depth.item() == pytest.approx(6.5)
    assert trace(row, one._replace(far=torch.tensor([[3.4]]))).solid.item() == -1
    assert trace(row, one._replace(far=torch.tensor([[3.6]]))).solid.item() == 1


def test_shadow_falls_along_the_key_light() -> None:
    floor = Solid("box", (0, 0, -0.1), (4, 4, 0.1), GREY)
    ball = BALL._replace(center=(KEY[0] * 2, KEY[1] * 2, KEY[2] * 2), size=(0.5, 0, 0))
    # the shadow's middle is the origin; a point 3 away along y is far outside
    hits = trace([floor, ball], rays_from([[-0.2, 0.2, 1], [0, 3, 1]], [[0.2, -0.2, -1], [0, 0, -1]]))
    assert hits.light.tolist() == [0.0, 1.0]


def test_shadow_edge_is_soft() -> None:
    floor = Solid("box", (0, 0, -0.1), (4, 4, 0.1), GREY)
    ball = BALL._replace(center=(KEY[0] * 2, KEY[1] * 2, KEY[2] * 2), size=(0.5, 0, 0))
    x = torch.linspace(0, 2, 41)
    light = trace([floor, ball], rays_from(torch.stack([-x, 0 * x, 0 * x + 0.5], -1), [[0.0, 0.0, -1.0]] * 41)).light
    assert light[0] == 0 and light[-1] == 1
    assert (light.diff() >= -0.02).all()
    assert ((light > 0.1) & (light < 0.9)).sum() >= 3


def test_corners_see_less_of_the_sky() -> None:
    floor = Solid("box", (0, 0, -0.1), (4, 4, 0.1), GREY)
    wall = Solid("box", (-1, 0, 1), (0.5, 4, 1), GREY)
    near, away = trace([floor, wall], rays_from([[-0.45, 0, 1], [3, 0, 1]], [[0, 0, -1]] * 2)).openness.tolist()
    assert near < 0.7 and away == pytest.approx(1.0)
