"""Sensitivities of the two networks of a NeRF.

The fine network's follow from the picture's derivatives. The coarse one only says where the fine one is asked, which
has no derivative: its tensors get noise, and the picture is compared with the one before, all distances drawn alike.
"""

import copy

import torch
from torch import Tensor

from nerfcomp.compression import noise_sensitivity, plain_parameters
from nerfcomp.pipeline.trained import TrainedField
from nerfcomp.rays import Rays

COARSE_ERROR = 0.03  # about the step of QP -20
_COARSE = "model."


def is_coarse(name: str) -> bool:
    """Whether a tensor of a `NeRFField` belongs to the coarse network.

    >>> is_coarse("model.pts_linears.0.weight"), is_coarse("model_fine.pts_linears.0.weight")
    (True, False)
    """
    return name.startswith(_COARSE)


def coarse_sensitivity(
    trained: TrainedField, rays: Rays, generator: torch.Generator, error: float = COARSE_ERROR, draws: int = 2
) -> dict[str, Tensor]:
    """Measure how much the weights of the coarse network matter to the picture.

    Nothing is left out as empty meanwhile: a network with errors may call places occupied that were empty before.

    Args:
        trained: A `NeRFField` with a fine network, its sampler and scene.
        rays: What is rendered.
        generator: Source of the noise.
        error: Standard deviation of the noise on each weight.
        draws: Noises per tensor.

    Returns:
        Sensitivities by parameter name, the same for all weights of a tensor; 0 for the layers of its colours.
    """
    weights = {
        name: value for name, value in plain_parameters(trained.field).items() if is_coarse(name) and value.dim() > 1
    }
    sampler = copy.deepcopy(trained.sampler)
    sampler.set_occupied(torch.ones_like(sampler.occupied))
    full = trained._replace(sampler=sampler)
    found = noise_sensitivity(lambda: full.render(rays).rgb, weights, error, draws, generator)
    return {name: torch.full_like(weights[name], mean).detach() for name, mean in found.items()}
