import math

import pytest
import torch

from nerfcomp.geometry.rays import Rays
from nerfcomp.readers.shading import pattern, shade
from nerfcomp.readers.solids import Solid, Texture, trace

BALL = Solid("sphere", (0, 0, 0), (1, 0, 0), ((0.8, 0.1, 0.1), (0.1, 0.1, 0.8)), specular=0.6)


def looks(solid: Solid, eye: list[float], point: list[float]) -> torch.Tensor:
    origin = torch.tensor([eye])
    direction = torch.nn.functional.normalize(torch.tensor([point]) - origin, dim=-1)
    rays = Rays(origin, direction, torch.zeros(1, 1), torch.full((1, 1), 10.0), direction)
    return shade([solid], trace([solid], rays), origin, direction)[0]


def test_glossy_colour_depends_on_the_view_and_matt_colour_does_not() -> None:
    point = [0.48, -0.36, 0.80]  # faces the key light
    eyes = [[0.96, -0.72, 1.6], [2.0, 1.0, 2.0]]
    glossy = [looks(BALL, eye, point) for eye in eyes]
    matt = [looks(BALL._replace(specular=0.0), eye, point) for eye in eyes]
    assert (glossy[0] - glossy[1]).abs().max() > 0.1
    assert torch.allclose(matt[0], matt[1], atol=1e-5)
    assert (glossy[0] > matt[0]).all()  # the mirror direction sees the highlight


def test_light_side_is_brighter() -> None:
    matt = BALL._replace(specular=0.0)
    bright, dark = looks(matt, [0.96, -0.72, 1.6], [0.0, 0.0, 0.0]), looks(matt, [-0.96, 0.72, -1.6], [0.0, 0.0, 0.0])
    assert bright.sum() > 1.5 * dark.sum()
    assert 0 < dark.min() and bright.max() < 1


def test_miss_is_black() -> None:
    assert not looks(BALL, [0.0, 0.0, 4.0], [0.0, 2.0, 0.0]).any()


@pytest.mark.parametrize(
    ("texture", "frequency", "points", "expected"),
    [
        ("plain", 1.0, [[0.3, 0.2, 0.1]], [0.0]),
        # cells are half a unit: floor(2 x) + floor(2 y) + floor(2 z) is odd or even
        ("checker", 2.0, [[0.1, 0.1, 0.1], [0.6, 0.1, 0.1], [0.6, 0.6, 0.1], [-0.1, 0.1, 0.1]], [0.0, 1.0, 0.0, 1.0]),
        ("stripes", 4.0, [[9.0, 9.0, 0.1], [0.0, 0.0, 0.3], [0.0, 0.0, -0.1]], [0.0, 1.0, 1.0]),
        # one pair of bands: the half turn with positive y, then the other
        ("swirl", 1.0, [[0.0, 1.0, 0.0], [0.0, -1.0, 0.0], [0.0, 1.0, 1.0]], [0.0, 1.0, 1.0]),
    ],
)
def test_patterns_by_hand(texture: Texture, frequency: float, points: list[list[float]], expected: list[float]) -> None:
    solid = BALL._replace(texture=texture, frequency=frequency)
    assert pattern(solid, torch.tensor(points)).tolist() == expected


def test_marble_is_smooth_and_uses_its_range() -> None:
    solid = BALL._replace(texture="marble", frequency=3.0)
    x = torch.linspace(-2, 2, 4001)
    values = pattern(solid, torch.stack([x, 0.3 * x, 0.1 + 0 * x], -1))
    assert 0 <= values.min() < 0.05 and 0.8 < values.max() <= 1
    assert values.diff().abs().max() < 0.05


def test_phase_shifts_the_pattern_by_cells() -> None:
    solid = BALL._replace(texture="stripes", frequency=4.0)
    points = torch.rand(100, 3)
    shifted = points + torch.tensor([0.0, 0.0, 1.5 / 4.0])
    same = pattern(solid._replace(phase=1.5), points) == pattern(solid, shifted)
    assert same.float().mean() > 0.98  # sums differ in the last bit on cell borders


def test_swirl_turns_with_height() -> None:
    solid = BALL._replace(texture="swirl", frequency=2.0)
    angle, z = torch.tensor(0.3), 0.2
    low = torch.stack([angle.cos(), angle.sin(), torch.tensor(0.0)])
    turned = angle - z * math.pi
    high = torch.stack([turned.cos(), turned.sin(), torch.tensor(z)])
    first, second = pattern(solid, torch.stack([low, high])).tolist()
    assert first == second != pattern(solid, torch.stack([turned.cos(), turned.sin(), torch.tensor(0.0)])[None]).item()
