"""Compositing and distortion: hand-computed rays, a slow loop, and gradients against autograd in double precision."""

import pytest
import torch
from torch import Tensor

from nerfcomp.kernels import composite as kernels
from nerfcomp.kernels.backends import Backend
from nerfcomp.kernels.composite import Composite
from tests.kernels.twins import BACKENDS, TRITON, TWINS, run_on

COUNTS = [3, 0, 5, 1, 0, 4]


def composite(
    alpha: Tensor,
    rgb: Tensor,
    t: Tensor,
    offsets: Tensor,
    early_stop: float = 1e-4,
    start: Tensor | None = None,
    backend: Backend = "auto",
) -> Composite:
    """`kernels.composite` on the device of a backend."""
    found: Composite = run_on(backend, kernels.composite, alpha, rgb, t, offsets, early_stop, start)
    return found


def distortion_loss(weights: Tensor, t: Tensor, dt: Tensor, offsets: Tensor, backend: Backend = "auto") -> Tensor:
    """`kernels.distortion_loss` on the device of a backend."""
    loss: Tensor = run_on(backend, kernels.distortion_loss, weights, t, dt, offsets)
    return loss


def packed(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """alpha, rgb, t, dt and offsets of six rays, two of them empty."""
    offsets = torch.tensor([0, *COUNTS]).cumsum(0)
    m = int(offsets[-1])
    dt = torch.rand(m, dtype=dtype) * 0.1 + 0.05
    t = torch.cat([(dt[a:b].cumsum(0) + 1) for a, b in zip(offsets[:-1], offsets[1:])])
    return torch.rand(m, dtype=dtype) * 0.8, torch.rand(m, 3, dtype=dtype), t, dt, offsets


def slow_weights(alpha: Tensor, offsets: Tensor, early_stop: float) -> list[float]:
    """Weights by the recursion, sample by sample."""
    weights = []
    for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist()):
        through = 1.0
        for a in alpha[begin:end].tolist():
            weights.append(through * a if through > early_stop else 0.0)
            through *= 1 - a
    return weights


@pytest.mark.parametrize("backend", BACKENDS)
def test_hand_computed_ray(backend: Backend) -> None:
    alpha, t = torch.tensor([0.4, 0.5, 0.25]), torch.tensor([1.0, 2.0, 4.0])
    rgb = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    out = composite(alpha, rgb, t, torch.tensor([0, 3]), backend=backend)
    w = [1.0 * 0.4, 0.6 * 0.5, 0.6 * 0.5 * 0.25]
    torch.testing.assert_close(out.weights, torch.tensor(w))
    torch.testing.assert_close(out.rgb, torch.tensor([[w[0] + w[2], w[1] + w[2], w[2]]]))
    torch.testing.assert_close(out.depth, torch.tensor([w[0] * 1.0 + w[1] * 2.0 + w[2] * 4.0]))
    torch.testing.assert_close(out.opacity, torch.tensor([1 - 0.6 * 0.5 * 0.75]))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("early_stop", [0.0, 1e-4, 0.3])
def test_equals_slow_loop(backend: Backend, early_stop: float) -> None:
    alpha, rgb, t, _, offsets = packed()
    out = composite(alpha, rgb, t, offsets, early_stop, backend=backend)
    weights = torch.tensor(slow_weights(alpha, offsets, early_stop), dtype=torch.float64)
    torch.testing.assert_close(out.weights, weights)
    for ray, (begin, end) in enumerate(zip(offsets[:-1], offsets[1:])):
        w = weights[begin:end]
        torch.testing.assert_close(out.rgb[ray], (w.unsqueeze(1) * rgb[begin:end]).sum(0))
        torch.testing.assert_close(out.depth[ray], (w * t[begin:end]).sum())
        torch.testing.assert_close(out.opacity[ray], w.sum())


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_behind_the_last_ray_do_not_matter(backend: Backend) -> None:
    alpha, rgb, t, dt, offsets = packed()
    more = [torch.cat([part, torch.full_like(part[:2], torch.nan)]) for part in (alpha, rgb, t, dt)]
    results = []
    for a, c, at, width in ((alpha, rgb, t, dt), more):
        a, c = a.clone().requires_grad_(), c.clone().requires_grad_()
        out = composite(a, c, at, offsets, backend=backend)
        spread = distortion_loss(out.weights, at, width, offsets, backend=backend)
        loss = out.rgb.sum() + out.depth.sum() + spread.sum()
        results.append([*out, spread, *torch.autograd.grad(loss, [a, c])])
    for name, known, buffered in zip((*Composite._fields, "distortion", "alpha", "colours"), *results):
        torch.testing.assert_close(buffered[: len(known)], known, msg=name)
        assert not buffered[len(known) :].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_sample_that_crosses_the_limit_is_the_last(backend: Backend) -> None:
    """Transmittance 1, 0.01, 0.0001: the second sample takes it to the limit and counts, the third does not."""
    alpha = torch.tensor([0.99, 0.99, 0.5], dtype=torch.float64)
    out = composite(alpha, torch.ones(3, 3), torch.ones(3), torch.tensor([0, 3]), 1.0000001e-4, backend=backend)
    torch.testing.assert_close(out.weights, torch.tensor([0.99, 0.0099, 0.0], dtype=torch.float64))
    assert out.weights[2] == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_wave_carries_the_transmittance_on(backend: Backend) -> None:
    alpha, rgb, t, _, offsets = packed()
    whole = composite(alpha, rgb, t, offsets, backend=backend)
    cut = torch.minimum(offsets[:-1] + 2, offsets[1:])
    rays = range(len(COUNTS))
    heads = [torch.arange(int(offsets[r]), int(cut[r])) for r in rays]
    tails = [torch.arange(int(cut[r]), int(offsets[r + 1])) for r in rays]
    first, second = torch.cat(heads), torch.cat(tails)
    head_offsets = torch.tensor([0, *[len(h) for h in heads]]).cumsum(0)
    tail_offsets = torch.tensor([0, *[len(h) for h in tails]]).cumsum(0)
    one = composite(alpha[first], rgb[first], t[first], head_offsets, backend=backend)
    two = composite(alpha[second], rgb[second], t[second], tail_offsets, 1e-4, 1 - one.opacity, backend)
    for part in ("rgb", "depth", "opacity"):
        torch.testing.assert_close(getattr(one, part) + getattr(two, part), getattr(whole, part))


@pytest.mark.parametrize("early_stop", [0.0, 1e-4, 0.3])
@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize("twin", TWINS)
def test_gradients_equal_autograd(early_stop: float, opaque: bool, twin: Backend) -> None:
    alpha, rgb, t, _, offsets = packed()
    if opaque:
        alpha[1], alpha[5], alpha[7] = 1.0, 1.0, 0.0
    factors = [torch.rand(6, 3), torch.rand(6), torch.rand(6), torch.rand(len(alpha))]
    gradients = []
    backends: list[Backend] = [twin, "torch"]
    for backend in backends:
        a, c = alpha.clone().requires_grad_(), rgb.clone().requires_grad_()
        out = composite(a, c, t, offsets, early_stop, backend=backend)
        loss = torch.stack([(value * factor).sum() for value, factor in zip(out, factors)]).sum()
        gradients.append(torch.autograd.grad(loss, (a, c)))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-12)
    assert float(gradients[0][0].abs().sum()) > 0


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_gradcheck(backend: Backend) -> None:
    alpha, rgb, t, _, offsets = packed()
    start = torch.rand(6, dtype=torch.float64) / 2 + 0.5

    def run(a: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        return composite(a, c, t, offsets, 0.0, start, backend)

    assert torch.autograd.gradcheck(run, (alpha.requires_grad_(), rgb.requires_grad_()))


def test_gradient_at_full_opacity() -> None:
    """alpha = (0.5, 1, 0.5), colours 1, 2, 4: the third is never seen, so d/da_0 = 1 - 2 and d/da_1 = 0.5 * 2."""
    alpha = torch.tensor([0.5, 1.0, 0.5], requires_grad=True)
    rgb = torch.tensor([1.0, 2.0, 4.0]).unsqueeze(1).expand(3, 3)
    composite(alpha, rgb, torch.zeros(3), torch.tensor([0, 3])).rgb[0, 0].backward()
    assert alpha.grad is not None
    assert alpha.grad.tolist() == [-1.0, 1.0, 0.0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_sum_to_the_opacity(backend: Backend) -> None:
    counts = torch.randint(0, 40, (300,))
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    m = int(offsets[-1])
    out = composite(torch.rand(m), torch.rand(m, 3), torch.rand(m), offsets, backend=backend)
    sums = torch.zeros(300).index_add(0, torch.arange(300).repeat_interleave(counts), out.weights)
    torch.testing.assert_close(sums, out.opacity)
    assert bool((out.opacity <= 1 + 1e-6).all() and (out.weights >= 0).all())
    assert bool((out.opacity[counts == 0] == 0).all())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rays", [0, 3])
def test_no_samples(backend: Backend, rays: int) -> None:
    alpha, rgb = torch.zeros(0, requires_grad=True), torch.zeros(0, 3, requires_grad=True)
    offsets = torch.zeros(rays + 1, dtype=torch.int64)
    out = composite(alpha, rgb, torch.zeros(0), offsets, backend=backend)
    assert [part.shape for part in out] == [(rays, 3), (rays,), (rays,), (0,)]
    assert float(out.rgb.detach().sum()) == 0
    out.rgb.sum().backward()
    assert alpha.grad is not None and alpha.grad.shape == (0,)
    assert distortion_loss(alpha, torch.zeros(0), torch.zeros(0), offsets, backend).tolist() == [0.0] * rays


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_blended_in_single(dtype: torch.dtype) -> None:
    alpha, rgb, t, _, offsets = packed(torch.float32)
    out = composite(alpha.to(dtype), rgb.to(dtype), t, offsets)
    assert out.rgb.dtype == torch.float32
    torch.testing.assert_close(out.rgb, composite(alpha.to(dtype).float(), rgb.to(dtype).float(), t, offsets).rgb)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_result_does_not_depend_on_threads(threads: int) -> None:
    counts = torch.randint(0, 20, (500,))
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    m = int(offsets[-1])
    alpha, rgb, t = torch.rand(m), torch.rand(m, 3), torch.rand(m)
    expected, before = composite(alpha, rgb, t, offsets), torch.get_num_threads()
    torch.set_num_threads(threads)
    out = composite(alpha, rgb, t, offsets)
    torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(out, expected))


@pytest.mark.parametrize("backend", BACKENDS)
def test_distortion_equals_double_loop(backend: Backend) -> None:
    weights, _, t, dt, offsets = packed()
    expected = []
    for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist()):
        w, s, d = weights[begin:end].tolist(), t[begin:end].tolist(), dt[begin:end].tolist()
        pairs = sum(w[i] * w[j] * abs(s[i] - s[j]) for i in range(len(w)) for j in range(len(w)))
        expected.append(pairs + sum(w[i] ** 2 * d[i] for i in range(len(w))) / 3)
    loss = distortion_loss(weights, t, dt, offsets, backend)
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_distortion_gradcheck(backend: Backend) -> None:
    weights, _, t, dt, offsets = packed()
    assert torch.autograd.gradcheck(lambda w: distortion_loss(w, t, dt, offsets, backend), (weights.requires_grad_(),))


@pytest.mark.parametrize("backend", BACKENDS)
def test_distortion_scales_with_distance_and_with_squared_weights(backend: Backend) -> None:
    weights, _, t, dt, offsets = packed()
    base = distortion_loss(weights, t, dt, offsets, backend)
    torch.testing.assert_close(distortion_loss(weights, 3 * t, 3 * dt, offsets, backend), 3 * base)
    torch.testing.assert_close(distortion_loss(2 * weights, t, dt, offsets, backend), 4 * base)
    torch.testing.assert_close(distortion_loss(weights, t + 100, dt, offsets, backend), base, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("backend", [TRITON])
def test_long_rays_equal_the_reference(backend: Backend) -> None:
    """Rays of more samples than a program takes at a time, in single precision; the last samples belong to none."""
    offsets = torch.nn.functional.pad(torch.randint(0, 100, (60,)).cumsum(0), (1, 0))
    m = int(offsets[-1]) + 9
    alpha, rgb, t, dt = torch.rand(m) ** 6, torch.rand(m, 3), torch.rand(m).cumsum(0) / 50, torch.rand(m)
    alpha[5::40] = 1.0
    factors = [torch.rand(60, 3), torch.rand(60), torch.rand(60), torch.rand(m)]
    found = []
    backends: list[Backend] = [backend, "torch"]
    for name in backends:
        used = m if name == backend else m - 9
        a, c = alpha.clone().requires_grad_(), rgb.clone().requires_grad_()
        out = composite(a[:used], c[:used], t[:used], offsets, backend=name)
        loss = torch.stack([(value * factor[: len(value)]).sum() for value, factor in zip(out, factors)]).sum()
        weights = out.weights.detach().requires_grad_()
        distortion = distortion_loss(weights, t[:used], dt[:used], offsets, name)
        gradients = *torch.autograd.grad(loss, (a, c)), *torch.autograd.grad(distortion.sum(), weights)
        found.append(([*out[:3], distortion], [gradient[: m - 9] for gradient in gradients], gradients))
    for tolerance, ours, theirs in zip((1e-5, 1e-4), found[0], found[1]):
        for one, other in zip(ours, theirs):
            torch.testing.assert_close(one, other, rtol=0, atol=tolerance * float(other.abs().max()))
    assert all(not gradient[m - 9 :].any() for gradient in found[0][2])
