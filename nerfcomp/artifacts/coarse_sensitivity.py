"""Sensitivities of weights that only steer the sampling, such as those of a NeRF's coarse network.

They say where the network of the picture is evaluated, which has no derivative: each tensor gets noise, and the picture
is compared with the one before, all distances drawn alike.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from nerfcomp.compression import noise_sensitivity

COARSE_ERROR = 0.03  # about the step of QP -20


def coarse_sensitivity(
    picture: Callable[[], Tensor],
    weights: Mapping[str, nn.Parameter],
    generator: torch.Generator,
    error: float = COARSE_ERROR,
    draws: int = 2,
) -> dict[str, Tensor]:
    """Measure how much steering weights matter to the picture.

    Args:
        picture: Renders some rays, (N, 3); leaves nothing out as empty, as errors may fill what was empty before.
        weights: What to measure, by name.
        generator: Source of the noise.
        error: Standard deviation of the noise on each weight.
        draws: Noises per tensor.

    Returns:
        Sensitivities by parameter name, the same for all weights of a tensor; 0 for the layers of its colours.
    """
    found = noise_sensitivity(picture, weights, error, draws, generator)
    return {name: torch.full_like(weights[name], mean).detach() for name, mean in found.items()}
