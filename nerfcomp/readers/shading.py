"""Colours for the solids of :mod:`nerfcomp.readers.solids`: procedural texture and light that depends on the view.

Notation of this file: M surface points, ``n`` unit normals, ``view`` unit directions to the eye. Colours are linear
until :func:`shade` encodes them for display. The highlight is that of Blinn 1977, "Models of light reflection", the rim
that of Schlick 1994, "An inexpensive BRDF model".
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nerfcomp.readers.solids import KEY, Hits, Solid, rotation

_FILL = (-0.64, 0.48, 0.60)  # unit direction to a second light, which casts no shadow
_KEY_COLOR, _FILL_COLOR = (2.5, 2.3, 2.0), (0.16, 0.22, 0.34)
_SKY_COLOR, _GROUND_COLOR = (0.55, 0.64, 0.78), (0.34, 0.28, 0.24)
_GAMMA = 2.2


def shade(solids: Sequence[Solid], hits: Hits, origins: Tensor, directions: Tensor) -> Tensor:
    """Colour what rays have met.

    Args:
        solids: The solids that were traced.
        hits: N hits.
        origins: (N, 3) of the rays.
        directions: (N, 3) of the rays, unit length.

    Returns:
        (N, 3) float32 in [0, 1], display-encoded; zero where a ray meets nothing.
    """
    (rows,) = torch.nonzero(hits.solid >= 0, as_tuple=True)
    hits, view = Hits(*(tensor[rows] for tensor in hits)), -directions[rows]
    points = origins[rows] - hits.depth[:, None].float() * view
    albedo = torch.empty(len(rows), 3)
    for index, solid in enumerate(solids):
        (own,) = torch.nonzero(hits.solid == index, as_tuple=True)
        local = (points[own] - points.new_tensor(solid.center)) @ torch.from_numpy(rotation(solid.turn)).float().T
        first, second = albedo.new_tensor(solid.colors)
        albedo[own] = torch.lerp(first, second, pattern(solid, local)[:, None])
    linear = _illuminate(solids, albedo, hits, view)
    rgb = torch.zeros(len(directions), 3)
    rgb[rows] = (1 - torch.exp(-linear)).pow(1 / _GAMMA)  # highlights roll off instead of clipping
    return rgb


def pattern(solid: Solid, points: Tensor) -> Tensor:
    """Evaluate the texture of a solid.

    Args:
        solid: Names the texture and its frequency.
        points: (M, 3) in the frame of the solid, world units.

    Returns:
        (M,) float32 in [0, 1], how much of the second colour shows.
    """
    cells = points * solid.frequency + solid.phase
    if solid.texture == "checker":
        return torch.floor(cells).sum(-1).remainder(2)
    if solid.texture == "stripes":
        return torch.floor(cells[:, 2]).remainder(2)
    if solid.texture == "swirl":
        bands = torch.atan2(points[:, 1], points[:, 0]) / math.pi * solid.frequency
        return torch.floor(bands + cells[:, 2]).remainder(2)
    if solid.texture == "marble":
        veins = torch.sin(cells[:, 0] + 0.6 * cells[:, 2] + 9.0 * _turbulence(0.7 * cells))
        return (0.5 + 0.5 * veins).pow(2.5)
    return torch.zeros(len(points))


def _illuminate(solids: Sequence[Solid], albedo: Tensor, hits: Hits, view: Tensor) -> Tensor:
    """Reflect two lights and the surroundings towards the eye: (M, 3), linear, unbounded."""
    n = hits.normals
    specular, shininess = albedo.new_tensor([[s.specular, s.shininess] for s in solids])[hits.solid, :, None].unbind(1)
    key, fill, key_color, fill_color, sky, ground = albedo.new_tensor(
        [KEY, _FILL, _KEY_COLOR, _FILL_COLOR, _SKY_COLOR, _GROUND_COLOR]
    ).unbind()
    light, openness = hits.light[:, None], hits.openness[:, None]
    diffuse = key_color * light * (n @ key).clamp(min=0)[:, None] + fill_color * (n @ fill).clamp(min=0)[:, None]
    ambient = torch.lerp(ground, sky, 0.5 + 0.5 * n[:, 2:]) * openness
    half = torch.nn.functional.normalize(view + key, dim=-1)
    highlight = (n * half).sum(-1, keepdim=True).clamp(min=0).pow(shininess) * light * (n @ key > 0)[:, None]
    facing = (n * view).sum(-1, keepdim=True).clamp(0, 1)
    mirrored = 2 * facing * n[:, 2:] - view[:, 2:]  # z of the mirrored eye direction: the surroundings vary with z only
    surroundings = torch.lerp(ground, sky, torch.sigmoid(6 * mirrored)) * openness
    rim = specular * (0.25 + 0.75 * (1 - facing).pow(5))
    gloss = rim * surroundings + specular * 2.0 * highlight * key_color
    return albedo * (diffuse + ambient) * 0.8 + gloss


def _turbulence(points: Tensor) -> Tensor:
    """Sum three octaves of value noise: (M,), about 0 to 1."""
    return sum((_value_noise(points * 2.0**k) * 0.5 ** (k + 1) for k in range(3)), torch.zeros(len(points)))


def _value_noise(points: Tensor) -> Tensor:
    """Interpolate fixed random numbers of the integer lattice: (M,) in [0, 1)."""
    corner = points.floor()
    f = points - corner
    f = f * f * f * (f * (f * 6 - 15) + 10)
    cell = corner.long()
    total = torch.zeros(len(points))
    for x, y, z in ((x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)):
        weight = (f[:, 0] if x else 1 - f[:, 0]) * (f[:, 1] if y else 1 - f[:, 1]) * (f[:, 2] if z else 1 - f[:, 2])
        total += weight * _lattice(cell[:, 0] + x, cell[:, 1] + y, cell[:, 2] + z)
    return total


def _lattice(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Hash integers to numbers in [0, 1), the same on every machine."""
    h = (x * 374761393 + y * 668265263 + z * 1440662683) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF).float() / 65536
