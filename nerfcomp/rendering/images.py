"""From samples to pixels: one path, on alpha, for every kind of field.

Notation of this file: ``N`` rays, ``M`` samples packed ray after ray. A *shade function* maps positions (M, 3), unit
viewing directions (M, 3) and interval lengths (M,) to an object with ``alpha`` (M,) and ``rgb`` (M, 3).
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from nerfcomp.errors import DivergedError
from nerfcomp.geometry.rays import Rays
from nerfcomp.kernels.composite import composite
from nerfcomp.kernels.march import Samples

EARLY_STOP = 1e-4
_FIRST_WAVE = 2  # samples per ray: what is shaded in vain is about half of a ray's last wave
_SAMPLES_AT_ONCE = 2**15  # on a CPU: what layers hand on stays in the cache, which saves a quarter of the time
_SAMPLES_AT_ONCE_ELSEWHERE = 2**21


class Shaded(Protocol):
    """What a shade function returns."""

    @property
    def alpha(self) -> Tensor:
        """(M,) opacity in [0, 1]."""

    @property
    def rgb(self) -> Tensor:
        """(M, 3) colour in [0, 1]."""

    @property
    def normals(self) -> Tensor | None:
        """(M, 3) unit normals, of fields with a surface."""


ShadeFunction = Callable[[Tensor, Tensor, Tensor], Shaded]


class Rendered(NamedTuple):
    """Pixels of N rays.

    Attributes:
        rgb: (N, 3) colour over the background.
        depth: (N,) expected distance, ``sum w t``; divide by the opacity for the mean distance of what is there.
        opacity: (N,) in [0, 1].
        weights: (M,) weight of each sample; absent after `render_image`.
        samples: The M samples; absent after `render_image`.
        normals: (N, 3) blended normals, ``sum w n``, of fields with a surface; divide by the opacity for the mean.
        shade: What the field says of the M samples, for losses; absent after `render_image`.
    """

    rgb: Tensor
    depth: Tensor
    opacity: Tensor
    weights: Tensor | None = None
    samples: Samples | None = None
    normals: Tensor | None = None
    shade: Shaded | None = None


def render(shade_fn: ShadeFunction, rays: Rays, samples: Samples, background: Tensor) -> Rendered:
    """Shade all samples and blend them. Differentiable in what ``shade_fn`` depends on.

    Args:
        shade_fn: Opacity and colour of samples.
        rays: N rays.
        samples: Their samples.
        background: (3,) or (N, 3) colour behind.

    Returns:
        Pixels, weights and the samples.

    >>> ray = Rays(*(torch.tensor([v]) for v in ([0.0, 0, 0], [0, 0, 1.0], [0.0], [1.0], [0, 0, 1.0])))
    >>> one = Samples(torch.zeros(1, 3), torch.ones(1), torch.ones(1), torch.tensor([0]), torch.tensor([0, 1]))
    >>> class Grey(NamedTuple):
    ...     alpha: Tensor
    ...     rgb: Tensor
    ...     normals: Tensor | None = None
    >>> shade = lambda x, d, dt: Grey(torch.tensor([0.5]), torch.tensor([[0.5, 0.5, 0.5]]))
    >>> render(shade, ray, one, torch.ones(3)).rgb.tolist()
    [[0.75, 0.75, 0.75]]
    """
    shade = shade_fn(samples.x, rays.viewdirs.index_select(0, samples.ray_indices), samples.dt)
    pixels = composite(shade.alpha, shade.rgb, samples.t, samples.offsets, EARLY_STOP)
    rgb = pixels.rgb + (1 - pixels.opacity).unsqueeze(1) * background
    normals = blend(shade.normals, pixels.weights, samples.ray_indices, len(rays.origins))
    return Rendered(rgb, pixels.depth, pixels.opacity, pixels.weights, samples, normals, shade)


def blend(values: Tensor | None, weights: Tensor, ray_indices: Tensor, n_rays: int) -> Tensor | None:
    """Weighted sums of what is known of samples, ray by ray.

    Args:
        values: (M, K), or nothing.
        weights: (M,).
        ray_indices: (M,) ray of each sample, below ``n_rays``.
        n_rays: N.

    Returns:
        (N, K), or nothing.

    >>> blend(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0.5, 0.5, 1.0]), torch.tensor([0, 0, 1]), 2).tolist()
    [[2.0], [5.0]]
    """
    if values is None:
        return None
    return values.new_zeros(n_rays, values.shape[1]).index_add(0, ray_indices, weights.unsqueeze(1) * values)


@torch.no_grad()
def render_image(
    shade_fn: ShadeFunction,
    rays: Rays,
    sampler: Callable[[Rays], Samples],
    background: Tensor,
    chunk: int = 2**15,
    early_stop: float = EARLY_STOP,
    portion: int = 0,
    portions: int | None = None,
) -> Rendered:
    """Render many rays without gradients, evaluating the field only as far as light reaches.

    Samples are shaded in waves, some of every ray at a time; rays that have become opaque drop out. The result is that
    of `render` up to rounding.

    Behind the first surface of a scene that is seen from within, there may be a hundred samples more. A sampler that
    places at most ``portion`` samples of a ray at a time is called again, from the last one on, for the rays that are
    not opaque yet.

    Args:
        shade_fn: Opacity and colour of samples.
        rays: N rays.
        sampler: Places the samples; in evaluation mode, so that it does not jitter.
        background: (3,) or (N, 3) colour behind.
        chunk: Rays marched at a time.
        early_stop: What is behind less transmittance is not evaluated; no colour changes by more than that.
        portion: Most samples of a ray that ``sampler`` places at a time, the nearest ones; 0 if it places all.
        portions: Most portions of a ray; as many as there are when absent.

    Returns:
        Pixels.
    """
    parts = []
    for begin in range(0, len(rays.origins), chunk):
        some = Rays(*(value[begin : begin + chunk] for value in rays))
        parts.append(_render_portions(shade_fn, some, sampler, early_stop, portion, portions))
    rgb = torch.cat([part.rgb for part in parts]) if parts else rays.origins.new_zeros(0, 3)
    depth = torch.cat([part.depth for part in parts]) if parts else rays.origins.new_zeros(0)
    opacity = torch.cat([part.opacity for part in parts]) if parts else rays.origins.new_zeros(0)
    normals = None
    if any(part.normals is not None for part in parts):
        normals = torch.cat([torch.zeros_like(part.rgb) if part.normals is None else part.normals for part in parts])
    return checked(Rendered(rgb + (1 - opacity).unsqueeze(1) * background, depth, opacity, normals=normals))


def checked(rendered: Rendered) -> Rendered:
    """The same, if its colours are finite.

    Raises:
        DivergedError: They are not.
    """
    if not bool(torch.isfinite(rendered.rgb).all()):
        raise DivergedError(
            "A picture has values that are not finite: these weights have diverged, or the file is damaged. Take an "
            "earlier checkpoint."
        )
    return rendered


def _render_portions(
    shade_fn: ShadeFunction,
    rays: Rays,
    sampler: Callable[[Rays], Samples],
    early_stop: float,
    portion: int,
    portions: int | None,
) -> Rendered:
    """Colour without background, depth and opacity of some rays, whose samples are placed portion by portion."""
    samples = sampler(rays)
    whole = _render_waves(shade_fn, rays, samples, early_stop, torch.ones_like(rays.origins[:, 0]))
    alive = torch.arange(len(rays.origins), device=rays.origins.device)
    for _ in (itertools.count() if portions is None else range(portions - 1)) if portion else ():
        more = (samples.offsets.diff() >= portion) & (1 - whole.opacity[alive] > early_stop)
        if not bool(more.any()):
            break
        last = samples.offsets[1:][more] - 1
        alive = alive[more]
        rest = Rays(*(value.index_select(0, alive) for value in rays))
        ahead = torch.nextafter(samples.t[last], samples.t.new_tensor(torch.inf))  # steps may be below rounding
        rest = rest._replace(near=torch.maximum(samples.t[last] + samples.dt[last] / 4, ahead).view_as(rest.near))
        samples = sampler(rest)
        part = _render_waves(shade_fn, rest, samples, early_stop, 1 - whole.opacity[alive])
        for sums, own in zip(whole, part):
            if isinstance(sums, Tensor) and isinstance(own, Tensor):
                sums.index_add_(0, alive, own)
    return whole


def _render_waves(
    shade_fn: ShadeFunction, rays: Rays, samples: Samples, early_stop: float, transmittance: Tensor
) -> Rendered:
    """What samples add to the colour without background, depth and opacity of rays (N,) that have some light left."""
    begin, end = samples.offsets[:-1].clone(), samples.offsets[1:]
    rgb, depth, opacity = (samples.t.new_zeros(len(begin), *shape) for shape in ((3,), (), ()))
    normals: Tensor | None = None
    alive, size = (begin < end).nonzero().squeeze(1), _FIRST_WAVE
    at_once = _SAMPLES_AT_ONCE if samples.t.device.type == "cpu" else _SAMPLES_AT_ONCE_ELSEWHERE
    while len(alive):
        for some in torch.split(alive, max(1, at_once // size)):
            counts = (end[some] - begin[some]).clamp(max=size)
            wave = _render_wave(
                shade_fn, rays.viewdirs, samples, begin[some], counts, transmittance[some] - opacity[some], early_stop
            )
            rgb[some] += wave.rgb
            if wave.normals is not None:
                normals = torch.zeros_like(rgb) if normals is None else normals
                normals[some] += wave.normals
            depth[some] += wave.depth
            opacity[some] += wave.opacity
            begin[some] += counts
        alive = alive[(begin[alive] < end[alive]) & (transmittance[alive] - opacity[alive] > early_stop)]
        size = max(size, min(2 * size, at_once // max(len(alive), 1)))  # no longer than few rays need to fill a wave
    return Rendered(rgb, depth, opacity, normals=normals)


def _render_wave(
    shade_fn: ShadeFunction,
    viewdirs: Tensor,
    samples: Samples,
    begin: Tensor,
    counts: Tensor,
    transmittance: Tensor,
    early_stop: float,
) -> Rendered:
    """Blend the next ``counts`` samples, from ``begin`` on, of some rays."""
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    rows = torch.arange(int(offsets[-1]), device=counts.device)
    rows += torch.repeat_interleave(begin - offsets[:-1], counts)
    x, t, dt, ray_indices = (part.index_select(0, rows) for part in samples[:4])
    shade = shade_fn(x, viewdirs.index_select(0, ray_indices), dt)
    pixels = composite(shade.alpha, shade.rgb, t, offsets, early_stop, transmittance)
    rays = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    return Rendered(
        pixels.rgb, pixels.depth, pixels.opacity, normals=blend(shade.normals, pixels.weights, rays, len(counts))
    )
