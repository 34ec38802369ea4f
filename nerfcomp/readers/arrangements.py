"""What the procedural reader shows: a still life, and scenes on which training is known to go wrong.

All of them lie in the cube [-1, 1]^3, z up, but for the walls of a room. Solids of one arrangement may touch but do not
cross each other, except the rods of the stand.
"""

import colorsys
import math
from typing import Literal, NamedTuple, get_args

import torch

from nerfcomp.readers.glass import Glass
from nerfcomp.readers.solids import Solid, Vector

Arrangement = Literal["still_life", "dark_stand", "white_on_white", "small_gem", "glass", "dark_room"]

_STONE, _SLATE, _WHITE = (0.50, 0.44, 0.35), (0.10, 0.12, 0.17), (0.82, 0.84, 0.82)
_TEAL, _BRICK, _SAND, _RED = (0.02, 0.22, 0.30), (0.62, 0.09, 0.03), (0.83, 0.55, 0.15), (0.60, 0.015, 0.12)
_BLUE, _GOLD, _GREEN, _PLUM = (0.03, 0.06, 0.42), (0.85, 0.42, 0.03), (0.06, 0.38, 0.04), (0.36, 0.04, 0.42)
_COAL, _CHALK, _PAPER = (0.012, 0.012, 0.016), (0.97, 0.97, 0.97), (0.80, 0.78, 0.72)
_WALL = 3.6  # from the middle; cameras stand at 3.2


class Arranged(NamedTuple):
    """What stands where.

    Attributes:
        solids: Opaque solids.
        glass: Semi-transparent balls.
        half_side: Half the side of the scene's cube, world units.
    """

    solids: tuple[Solid, ...]
    glass: tuple[Glass, ...] = ()
    half_side: float = 1.0


def arrange(name: Arrangement, seed: int) -> Arranged:
    """Arrange a scene by its name.

    Args:
        name: ``still_life``: textured solids on a plinth. ``dark_stand``: thin black rods, which let most light pass,
            so that opacity alone can explain their pixels over a bright background. ``white_on_white``: white solids
            whose lit sides equal a white background. ``small_gem``: a bright object that fills a thousandth of the
            scene's cube. ``glass``: balls that absorb a part of the light behind them. ``dark_room``: the stand in a
            bright room that surrounds the cameras, so that every ray ends at something, as in photographs.
        seed: Chooses colours, patterns and turns of the still life.

    Raises:
        ValueError: There is no such arrangement.
    """
    if name == "still_life":
        return Arranged(still_life(seed))
    if name == "dark_stand":
        return Arranged(_dark_stand())
    if name == "white_on_white":
        return Arranged(_white_on_white())
    if name == "small_gem":
        return Arranged(_small_gem(), half_side=1.8)
    if name == "glass":
        return Arranged(_plinth(), _BALLS)
    if name == "dark_room":
        return Arranged((*_dark_stand(), *_room()), half_side=_WALL + 0.1)
    raise ValueError(f"arrangement is {name!r}; there are {', '.join(get_args(Arrangement))}")


def still_life(seed: int) -> tuple[Solid, ...]:
    """Arrange textured solids on a plinth.

    Args:
        seed: Chooses colours, patterns and the turn of the box.

    Returns:
        Solids inside the cube [-1, 1]^3 that touch but do not cross each other.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))

    turn = draw(0.0, 90.0)
    solids = (
        Solid("cylinder", (0, 0, -0.36), (0.97, 0.06, 0), (_STONE, _SLATE), "checker", 4.0, 0.5, 0.025, specular=0.15),
        Solid("sphere", (0.1, 0.34, 0.16), (0.46, 0, 0), (_TEAL, _WHITE), "marble", 4.0, specular=0.6, shininess=90),
        Solid("box", (-0.48, -0.18, -0.02), (0.28,) * 3, (_BRICK, _SAND), "checker", 4.6, 0.5, 0.05, (0, 0, turn)),
        Solid(
            "torus", (0.32, -0.5, -0.175), (0.26, 0.125, 0), (_RED, _WHITE), "swirl", 5.0, specular=0.5, shininess=70
        ),
        Solid("cylinder", (0.7, 0.1, 0.05), (0.11, 0.35, 0), (_BLUE, _SAND), "swirl", 2.0, rounding=0.03),
        Solid("sphere", (-0.14, -0.7, -0.17), (0.13, 0, 0), (_GOLD, _GOLD), specular=0.7, shininess=60),
        Solid("sphere", (-0.48, -0.18, 0.4), (0.14, 0, 0), (_GREEN, _GREEN), specular=0.5, shininess=60),
        Solid("sphere", (-0.52, 0.54, -0.12), (0.18, 0, 0), (_PLUM, _WHITE), "stripes", 16.0, turn=(40, 20, 0)),
    )
    return tuple(_vary(solid, draw(-0.04, 0.04), draw(0.0, 7.0)) for solid in solids)


def _dark_stand() -> tuple[Solid, ...]:
    """Six leaning rods between two rings, all black and a fiftieth of the scene thick."""
    rods = []
    for number in range(6):
        angle = math.pi / 3 * number
        center = (0.5 * math.cos(angle), 0.5 * math.sin(angle), 0.0)
        lean = (14.0 * math.sin(angle), -14.0 * math.cos(angle), 0.0)
        rods.append(Solid("cylinder", center, (0.02, 0.62, 0), (_COAL, _COAL), turn=lean, specular=0.1))
    rings = [
        Solid("torus", (0, 0, z), (radius, 0.022, 0), (_COAL, _COAL), specular=0.1)
        for z, radius in ((-0.62, 0.66), (0.0, 0.5), (0.62, 0.34))
    ]
    return (*rods, *rings)


def _room() -> tuple[Solid, ...]:
    """Six bright walls around everything, cameras included."""
    sides = [(axis, sign * _WALL) for axis in range(3) for sign in (-1.0, 1.0)]
    walls = []
    for axis, place in sides:
        center, size = [0.0, 0.0, 0.0], [_WALL + 0.05] * 3
        center[axis], size[axis] = place, 0.05
        walls.append(Solid("box", _vector(center), _vector(size), (_CHALK, _PAPER), "marble", 0.5, specular=0.0))
    return tuple(walls)


def _vector(values: list[float]) -> Vector:
    x, y, z = values
    return x, y, z


def _white_on_white() -> tuple[Solid, ...]:
    """Chalk without texture or gloss."""
    solids = (
        Solid("cylinder", (0, 0, -0.36), (0.9, 0.06, 0), (_CHALK, _CHALK), rounding=0.025),
        Solid("sphere", (0.2, 0.3, 0.1), (0.4, 0, 0), (_CHALK, _CHALK)),
        Solid("box", (-0.4, -0.2, 0.0), (0.3, 0.3, 0.3), (_CHALK, _CHALK), rounding=0.03, turn=(0, 0, 25)),
        Solid("torus", (0.35, -0.45, -0.2), (0.25, 0.1, 0), (_CHALK, _CHALK)),
    )
    return tuple(solid._replace(specular=0.0) for solid in solids)


def _small_gem() -> tuple[Solid, ...]:
    return (
        Solid("sphere", (0.1, -0.1, 0.05), (0.2, 0, 0), (_GOLD, _WHITE), "swirl", 3.0, specular=0.5),
        Solid("box", (0.1, -0.1, -0.22), (0.16, 0.16, 0.06), (_RED, _SAND), "checker", 12.0, 0.5, turn=(0, 0, 30)),
    )


def _plinth() -> tuple[Solid, ...]:
    return (
        Solid("cylinder", (0, 0, -0.5), (0.9, 0.06, 0), (_STONE, _SLATE), "checker", 4.0, 0.5, 0.025, specular=0.15),
        Solid("box", (0.0, 0.45, -0.19), (0.2, 0.2, 0.25), (_BRICK, _SAND), "checker", 4.6, 0.5, 0.03),
        Solid("sphere", (0.0, 0.0, -0.29), (0.15, 0, 0), (_BLUE, _WHITE), "stripes", 12.0),
    )


_BALLS = (
    Glass((-0.42, -0.3, 0.1), 0.4, (0.25, 0.75, 0.45), 1.2),
    Glass((0.45, -0.15, 0.15), 0.35, (0.1, 0.1, 0.12), 1.5),
)


def _vary(solid: Solid, hue: float, phase: float) -> Solid:
    """Turn the hues of a solid and shift its pattern; checkers keep theirs, which the faces of the solid cut."""
    first, second = (_turn_hue(color, hue) for color in solid.colors)
    return solid._replace(colors=(first, second), phase=solid.phase if solid.texture == "checker" else phase)


def _turn_hue(color: Vector, turn: float) -> Vector:
    hue, saturation, value = colorsys.rgb_to_hsv(*color)
    return colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)
