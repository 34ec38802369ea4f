"""A slow vanilla NeRF, ray by ray in float64, from the equations: what nerf-pytorch computes without any disturbance.

It takes rays as nerf-pytorch has them: directions are not normalised, and distances count in their length.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]
State = Mapping[str, torch.Tensor]


def encode(x: Array, octaves: int) -> Array:
    parts = [x]
    for octave in range(octaves):
        parts += [np.sin(x * 2**octave), np.cos(x * 2**octave)]
    return np.concatenate(parts, -1)


def linear(state: State, name: str, x: Array) -> Array:
    weight, bias = (state[f"{name}.{part}"].detach().double().numpy() for part in ("weight", "bias"))
    return np.asarray(x @ weight.T + bias)


def network(state: State, x: Array, d: Array, octaves: tuple[int, int] = (10, 4), skip: int = 4) -> Array:
    """Colour logits and density (M, 4) before activations, at (M, 3) seen along unit (M, 3)."""
    depth = sum(name.startswith("pts_linears.") for name in state) // 2
    points = h = encode(x, octaves[0])
    for layer in range(depth):
        h = np.maximum(linear(state, f"pts_linears.{layer}", h), 0)
        if layer == skip:
            h = np.concatenate([points, h], -1)
    if "output_linear.weight" in state:
        return linear(state, "output_linear", h)[:, :4]
    both = np.concatenate([linear(state, "feature_linear", h), encode(d, octaves[1])], -1)
    seen = np.maximum(linear(state, "views_linears.0", both), 0)
    return np.concatenate([linear(state, "rgb_linear", seen), linear(state, "alpha_linear", h)], -1)


def blend(raw: Array, t: Array, length: float, background: float) -> tuple[Array, Array]:
    """Colour (3,) and weights (S,) of one ray, from raw outputs (S, 4) at distances (S,)."""
    steps = np.append(t[1:] - t[:-1], 1e10) * length
    alpha = 1 - np.exp(-np.maximum(raw[:, 3], 0) * steps)
    weights = np.array([alpha[i] * math.prod(1 - alpha[:i]) for i in range(len(t))])
    colour = (weights[:, None] / (1 + np.exp(-raw[:, :3]))).sum(0)
    return colour + (1 - weights.sum()) * background, weights


def draw(bins: Array, weights: Array, count: int) -> Array:
    """Distances (count,) at equal steps of the distribution with these weights between the bins' edges."""
    chance = (weights + 1e-5) / (weights + 1e-5).sum()
    total = np.append(0.0, np.cumsum(chance))
    found = []
    for u in np.linspace(0, 1, count):
        i = int((total <= u).sum()) - 1
        j = min(i + 1, len(bins) - 1)
        rise = total[j] - total[i]
        found.append(bins[i] + (u - total[i]) / (rise if rise >= 1e-5 else 1.0) * (bins[j] - bins[i]))
    return np.array(found)


def render_ray(
    coarse: State,
    fine: State,
    origin: Array,
    direction: Array,
    bounds: tuple[float, float],
    counts: tuple[int, int] = (64, 128),
    background: float = 1.0,
    viewdir: Array | None = None,
    lindisp: bool = False,
) -> Array:
    """Colour (3,) of one ray, through both networks."""
    part, length = np.linspace(0, 1, counts[0]), float(np.linalg.norm(direction))
    near, far = bounds
    t = 1 / ((1 - part) / near + part / far) if lindisp else near * (1 - part) + far * part
    seen = (direction if viewdir is None else viewdir) / np.linalg.norm(direction if viewdir is None else viewdir)

    def ask(state: State, t: Array) -> Array:
        return network(state, origin + t[:, None] * direction, np.tile(seen, (len(t), 1)))

    weights = blend(ask(coarse, t), t, length, background)[1]
    t = np.sort(np.append(t, draw((t[1:] + t[:-1]) / 2, weights[1:-1], counts[1])))
    return blend(ask(fine, t), t, length, background)[0]
