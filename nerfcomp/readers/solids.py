"""A small ray tracer of solids given by signed distances: depth, normals, soft shadows and contact shading.

Notation of this file: ``(x, y, z)`` a point, ``(qx, qy, qz)`` the same point in the frame of a solid, ``o + t d`` a ray
with unit direction, ``i`` the index of a solid; world units, double precision. Rays advance by the distance to the
nearest solid (Hart 1996, "Sphere tracing") and end with Newton's method. All compiled functions live in this file,
because numba's cache does not notice changes in another one.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numba import njit, prange
from numpy.typing import NDArray
from torch import Tensor

from nerfcomp.geometry.rays import Rays

Float = NDArray[np.float64]
Vector = tuple[float, float, float]
Shape = Literal["sphere", "box", "torus", "cylinder"]
Texture = Literal["plain", "checker", "stripes", "swirl", "marble"]
SHAPES = ("sphere", "box", "torus", "cylinder")
KEY = (0.48, -0.36, 0.80)  # unit direction to the light that casts the shadow

# columns of the (S, 18) table of solids: one array, because passing many costs more than the arithmetic
_SHAPE, _CENTER, _SIZE, _ROUNDING, _REACH, _ROTATION = 0, 1, 4, 7, 8, 9

_TOUCH = 1e-5  # sphere tracing hands over to Newton's method below this distance
_PENUMBRA = 9.0  # larger is harder: the shadow fades over t / _PENUMBRA behind an edge at distance t


class Solid(NamedTuple):
    """One solid and its surface.

    Attributes:
        shape: Which solid.
        center: World position.
        size: Sphere: (radius, -, -); box: half edges; torus around z: (ring radius, tube radius, -);
            cylinder along z: (radius, half height, -).
        colors: Two linear RGB colours in [0, 1] that the texture mixes.
        texture: Pattern in the frame of the solid.
        frequency: Cells of the pattern per world unit; for ``swirl`` pairs of bands per turn.
        phase: Shift of the pattern, in cells.
        rounding: Radius of the edges of boxes and cylinders, world units; the size includes it.
        turn: Rotation in degrees about x, then y, then z.
        specular: Strength of highlight and reflection, 0 to 1.
        shininess: Exponent of the highlight.
    """

    shape: Shape
    center: Vector
    size: Vector
    colors: tuple[Vector, Vector]
    texture: Texture = "plain"
    frequency: float = 4.0
    phase: float = 0.0
    rounding: float = 0.0
    turn: Vector = (0.0, 0.0, 0.0)
    specular: float = 0.3
    shininess: float = 40.0


class Hits(NamedTuple):
    """Where rays meet the solids; a ray that meets none has infinite depth, solid -1 and zeros elsewhere.

    Attributes:
        depth: (N,) float64, distance along the ray.
        normals: (N, 3) float32, unit length, outward.
        solid: (N,) int64, index of the solid.
        light: (N,) float32 in [0, 1], share of the key light that arrives: 0 in full shadow.
        openness: (N,) float32 in [0, 1], share of the surroundings that the point sees.
    """

    depth: Tensor
    normals: Tensor
    solid: Tensor
    light: Tensor
    openness: Tensor


def trace(solids: Sequence[Solid], rays: Rays) -> Hits:
    """Find the first surface that each ray meets between near and far.

    Args:
        solids: At least one solid.
        rays: N rays in world space.

    Returns:
        N hits.
    """
    # float32 positions of size 4 are too coarse for distances of 1e-5
    directions = torch.nn.functional.normalize(rays.directions.double(), dim=-1)
    hits = Hits(
        torch.full((len(directions),), math.inf, dtype=torch.float64),
        torch.zeros(len(directions), 3),
        torch.full((len(directions),), -1),
        torch.zeros(len(directions)),
        torch.zeros(len(directions)),
    )
    inputs = (rays.origins.double(), directions, rays.near.double()[:, 0], rays.far.double()[:, 0])
    _trace(_pack(solids), *(tensor.contiguous().numpy() for tensor in inputs), *(tensor.numpy() for tensor in hits))
    return hits


def rotation(turn: Vector) -> Float:
    """Build the matrix that takes world directions to the frame of a solid.

    Args:
        turn: Degrees about x, then y, then z, as in :class:`Solid`.

    Returns:
        (3, 3) rotation.
    """
    (cx, sx), (cy, sy), (cz, sz) = ((math.cos(math.radians(a)), math.sin(math.radians(a))) for a in turn)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.ascontiguousarray((about_z @ about_y @ about_x).T)


def _pack(solids: Sequence[Solid]) -> Float:
    """Put the solids into one table for compiled code, a row each; the columns are named at the top of the file."""
    rows = [
        [SHAPES.index(s.shape), *s.center, *s.size, s.rounding, _reach(s), *rotation(s.turn).ravel()] for s in solids
    ]
    return np.array(rows, np.float64)


def _reach(solid: Solid) -> float:
    """Radius of a sphere around the centre that holds the whole solid."""
    a, b, c = solid.size
    if solid.shape == "sphere":
        return a
    if solid.shape == "torus":
        return a + b
    return math.hypot(a, b, c) if solid.shape == "box" else math.hypot(a, b)


@njit(cache=True, error_model="numpy")
def _distance(s: Float, i: int, x: float, y: float, z: float) -> float:
    x, y, z = x - s[i, _CENTER], y - s[i, _CENTER + 1], z - s[i, _CENTER + 2]
    a: float = s[i, _SIZE]
    b: float = s[i, _SIZE + 1]
    c: float = s[i, _SIZE + 2]
    edge: float = s[i, _ROUNDING]
    shape = int(s[i, _SHAPE])
    if shape == 0:
        return math.sqrt(x * x + y * y + z * z) - a
    qx = s[i, _ROTATION] * x + s[i, _ROTATION + 1] * y + s[i, _ROTATION + 2] * z
    qy = s[i, _ROTATION + 3] * x + s[i, _ROTATION + 4] * y + s[i, _ROTATION + 5] * z
    qz = s[i, _ROTATION + 6] * x + s[i, _ROTATION + 7] * y + s[i, _ROTATION + 8] * z
    if shape == 2:
        ring = math.sqrt(qx * qx + qy * qy) - a
        return math.sqrt(ring * ring + qz * qz) - b
    if shape == 1:
        dx, dy, dz = abs(qx) - a + edge, abs(qy) - b + edge, abs(qz) - c + edge
    else:
        dx, dy, dz = math.sqrt(qx * qx + qy * qy) - a + edge, abs(qz) - b + edge, -1e9
    outside = math.sqrt(max(dx, 0.0) ** 2 + max(dy, 0.0) ** 2 + max(dz, 0.0) ** 2)
    inside: float = min(max(dx, dy, dz), 0.0)
    return outside + inside - edge


@njit(cache=True, error_model="numpy")
def _nearest(s: Float, x: float, y: float, z: float) -> tuple[float, int]:
    best, index = 1e9, -1
    for i in range(len(s)):
        dx, dy, dz = x - s[i, _CENTER], y - s[i, _CENTER + 1], z - s[i, _CENTER + 2]
        limit = best + s[i, _REACH]
        if limit > 0.0 and dx * dx + dy * dy + dz * dz < limit * limit:
            distance = _distance(s, i, x, y, z)
            if distance < best:
                best, index = distance, i
    return best, index


@njit(cache=True, error_model="numpy")
def _span(
    s: Float, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, near: float, far: float
) -> tuple[float, float]:
    """Shorten [near, far] to the part of a ray that lies inside the spheres around the solids."""
    start, end = math.inf, -math.inf
    for i in range(len(s)):
        x, y, z, reach = ox - s[i, _CENTER], oy - s[i, _CENTER + 1], oz - s[i, _CENTER + 2], s[i, _REACH]
        middle = -(x * dx + y * dy + z * dz)
        square = reach * reach - (x * x + y * y + z * z) + middle * middle
        if square > 0.0:
            half = math.sqrt(square)
            start, end = min(start, middle - half), max(end, middle + half)
    return max(near, start), min(far, end)


@njit(cache=True, error_model="numpy")
def _first_hit(
    s: Float, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, near: float, far: float
) -> tuple[float, int]:
    t, end = _span(s, ox, oy, oz, dx, dy, dz, near, far)
    index = -1
    while t <= end:
        distance, i = _nearest(s, ox + t * dx, oy + t * dy, oz + t * dz)
        if distance < _TOUCH:
            index = i
            break
        t += distance
    if index < 0:
        return math.inf, -1
    for _ in range(3):  # sphere tracing creeps at grazing angles; Newton's method ends on the surface
        distance = _distance(s, index, ox + t * dx, oy + t * dy, oz + t * dz)
        u = t + 1e-6
        slope = (_distance(s, index, ox + u * dx, oy + u * dy, oz + u * dz) - distance) / 1e-6
        if slope > -0.02:
            break
        t -= distance / slope
    return t, index


@njit(cache=True, error_model="numpy")
def _normal(s: Float, i: int, x: float, y: float, z: float) -> Vector:
    h = 1e-5
    nx = _distance(s, i, x + h, y, z) - _distance(s, i, x - h, y, z)
    ny = _distance(s, i, x, y + h, z) - _distance(s, i, x, y - h, z)
    nz = _distance(s, i, x, y, z + h) - _distance(s, i, x, y, z - h)
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    return nx / length, ny / length, nz / length


@njit(cache=True, error_model="numpy")
def _lit(s: Float, x: float, y: float, z: float) -> float:
    """Share of the key light that reaches a point: 0 in the shadow, 1 outside, smooth between."""
    light, t = 1.0, 0.02
    end = 0.2 + _span(s, x, y, z, KEY[0], KEY[1], KEY[2], 0.0, math.inf)[1]  # a solid beside the ray dims it, too
    while t < end:
        distance, _index = _nearest(s, x + t * KEY[0], y + t * KEY[1], z + t * KEY[2])
        light = min(light, 0.5 + 0.5 * _PENUMBRA * distance / t)
        if light <= 0.0:
            return 0.0
        t += min(max(abs(distance), 0.02), 0.2)
    return light * light * (3.0 - 2.0 * light)


@njit(cache=True, error_model="numpy")
def _openness(s: Float, x: float, y: float, z: float, nx: float, ny: float, nz: float) -> float:
    """Share of the sky that a point sees, guessed from the distances at five steps along its normal."""
    hidden, weight = 0.0, 1.0
    for k in range(1, 6):
        step = 0.06 * k
        distance, _index = _nearest(s, x + step * nx, y + step * ny, z + step * nz)
        hidden += weight * (step - distance)
        weight *= 0.72
    return min(max(1.0 - 1.3 * hidden, 0.0), 1.0)


@njit(cache=True, error_model="numpy", parallel=True)
def _trace(
    s: Float,
    origins: Float,
    directions: Float,
    near: Float,
    far: Float,
    depth: Float,
    normals: NDArray[np.float32],
    solid: NDArray[np.int64],
    light: NDArray[np.float32],
    openness: NDArray[np.float32],
) -> None:
    for ray in prange(len(depth)):
        ox, oy, oz = origins[ray, 0], origins[ray, 1], origins[ray, 2]
        dx, dy, dz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
        t, i = _first_hit(s, ox, oy, oz, dx, dy, dz, near[ray], far[ray])
        if i < 0:
            continue
        x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
        nx, ny, nz = _normal(s, i, x, y, z)
        depth[ray], solid[ray] = t, i
        normals[ray, 0], normals[ray, 1], normals[ray, 2] = nx, ny, nz
        openness[ray] = _openness(s, x, y, z, nx, ny, nz)
        if nx * KEY[0] + ny * KEY[1] + nz * KEY[2] > 0.0:
            light[ray] = _lit(s, x + 1e-3 * nx, y + 1e-3 * ny, z + 1e-3 * nz)
