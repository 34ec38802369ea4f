"""How much each weight matters to the picture.

Notation: ``y`` are the values of a rendered batch, ``w_i`` the weights, ``J = dy/dw`` the Jacobian. The sensitivity
``h_i = mean_y (dy/dw_i)^2`` is the growth of the picture's mean squared error per squared error of ``w_i``, errors of
different weights taken as independent. A random sign vector ``v`` gives an unbiased estimate from one backward pass:
``E[(v . J)_i^2] = sum_y J_yi^2`` (Hutchinson's estimator of the diagonal of ``J^T J``).

Where gradients do not tell, noise does: errors of variance ``e^2`` in all ``n`` weights of a tensor change the picture
by ``n h e^2`` in the mean square. Unlike derivatives this sees weights that only decide where a network is evaluated,
and rectified outputs that are 0 and would not stay so.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn


def measure_sensitivity(
    outputs: Iterable[Callable[[], Tensor]],
    weights: Mapping[str, nn.Parameter],
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Estimate the sensitivity of every weight.

    Args:
        outputs: Calls that each render one batch, any shape, with gradients to ``weights``; more batches, less noise.
        weights: Named parameters, frozen or not.
        generator: Source of the random signs.

    Returns:
        Sensitivities of each weight's shape, >= 0; 0 for a weight that no batch touched.

    Raises:
        ValueError: No batch was given.

    >>> w = nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> measure_sensitivity([lambda: 2.0 * w[:1]], {"w": w})["w"].tolist()
    [4.0, 0.0]
    """
    frozen = [weight.requires_grad_() for weight in weights.values() if not weight.requires_grad]
    try:
        return _mean_square_gradients(outputs, weights, generator)
    finally:
        for weight in frozen:
            weight.requires_grad_(False)


@torch.enable_grad()
def _mean_square_gradients(
    outputs: Iterable[Callable[[], Tensor]], weights: Mapping[str, nn.Parameter], generator: torch.Generator | None
) -> dict[str, Tensor]:
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    batches = 0
    for render in outputs:
        y = render()
        signs = torch.randint(0, 2, y.shape, generator=generator, device="cpu").to(y) * 2 - 1
        grads = torch.autograd.grad((signs * y).sum(), list(weights.values()), allow_unused=True)
        for (name, _), grad in zip(weights.items(), grads):
            if grad is not None:
                total[name].addcmul_(grad, grad, value=1.0 / y.numel())
        batches += 1
    if batches == 0:
        raise ValueError("Sensitivity needs at least one batch of rays, got none.")
    return {name: value / batches for name, value in total.items()}


@torch.no_grad()
def noise_sensitivity(
    draw: Callable[[], Tensor],
    weights: Mapping[str, nn.Parameter],
    error: float,
    draws: int = 2,
    generator: torch.Generator | None = None,
) -> dict[str, float]:
    """Measure the mean sensitivity of the weights of each tensor.

    Args:
        draw: Renders a picture, any shape, the same one whenever the weights are the same.
        weights: Named tensors; afterwards they are what they were.
        error: Standard deviation of the noise; best that of the errors which quantization will make.
        draws: Independent noises per tensor.
        generator: Source of the noise.

    Returns:
        For each tensor the mean of ``h`` over its weights.

    Raises:
        ValueError: The noise or the number of draws is not positive.

    >>> w = {"a": nn.Parameter(torch.ones(1000)), "b": nn.Parameter(torch.ones(1))}
    >>> round(1000 * noise_sensitivity(lambda: 3 * w["a"], w, 0.1, 9, torch.Generator().manual_seed(0))["a"])
    9
    """
    if error <= 0 or draws < 1:
        raise ValueError(f"Noise of {error} in {draws} draws measures nothing; both must be positive.")
    before = draw()
    found = {}
    for name, weight in weights.items():
        original, change = weight.clone(), 0.0
        for _ in range(draws):
            weight.copy_(original + error * torch.randn(weight.shape, generator=generator).to(weight))
            change += ((draw() - before) ** 2).mean().item()
        weight.copy_(original)
        found[name] = change / draws / (weight.numel() * error**2)
    return found
