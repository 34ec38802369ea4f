"""Deciding what each parameter of a trained field costs, from what its pictures feel. No image of the scene is read."""

from collections.abc import Callable

import torch
from torch import Tensor

from nerfcomp.compression import allocate_qp, measure_sensitivity, plain_parameters
from nerfcomp.fields import NeRFField
from nerfcomp.pipeline.bitstream import BitPlan
from nerfcomp.pipeline.pairs import coarse_sensitivity
from nerfcomp.pipeline.trained import TrainedField
from nerfcomp.pipeline.weights import SideQP, coded_tensors, side_qps, weights_of
from nerfcomp.rays import Rays, camera_rays
from nerfcomp.rendering import render
from nerfcomp.rendering.visibility import visible_samples

BIT_PRICE = 0.11  # where a bit buys what halving the step would: the slope of D^2 / 12 per bit is about D^2 / 9
_MANY_RAYS, _FEW_RAYS = 8192, 1024


def random_rays(trained: TrainedField, count: int, generator: torch.Generator) -> Rays:
    """Draw rays through random pixels of the scene's known poses.

    Args:
        trained: The field whose scene knows the poses.
        count: Number of rays.
        generator: Source of randomness.

    Returns:
        ``count`` rays.
    """
    scene, camera = trained.scene, trained.scene.camera
    view = torch.randint(len(scene.poses), (count,), generator=generator)
    x = torch.rand(count, generator=generator) * (scene.width - 1)
    y = torch.rand(count, generator=generator) * (scene.height - 1)
    return camera_rays(camera, view, x, y, scene.near, scene.far, scene.ndc)


def field_sensitivity(
    trained: TrainedField, batches: int = 16, rays_per_batch: int | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """Measure how much each weight of a field matters to the pictures from its known poses.

    Args:
        trained: Field, sampler and scene.
        batches: Number of random batches.
        rays_per_batch: Rays in each; when absent, fewer for the large networks of a vanilla NeRF than for others.
        seed: Of the rays and the estimator.

    Returns:
        Sensitivities by parameter name (see `measure_sensitivity`).
    """
    trained.scene.warn_of_one_pose()
    generator = torch.Generator().manual_seed(seed)
    field, device = trained.field, trained.device
    count = rays_per_batch or (_FEW_RAYS if isinstance(field, NeRFField) else _MANY_RAYS)
    background = torch.tensor(trained.scene.background, device=device)

    def batch() -> Tensor:
        rays = Rays(*(part.to(device) for part in random_rays(trained, count, generator)))
        samples = trained.sampler(rays, density_fn=trained.field.coarse_density)
        samples = visible_samples(samples, trained.field.density)
        return render(trained.field.shade, rays, samples, background).rgb

    calls: list[Callable[[], Tensor]] = [batch] * batches
    found = measure_sensitivity(calls, plain_parameters(field), generator)
    if isinstance(field, NeRFField) and field.model_fine is not None:
        found |= coarse_sensitivity(trained, random_rays(trained, _FEW_RAYS, generator), generator)
    return found


def plan_bits(
    trained: TrainedField,
    qp: int,
    sensitivity: dict[str, Tensor],
    price: float = BIT_PRICE,
    side: SideQP = SideQP(),
) -> BitPlan:
    """Spread one quality setting over the parameters.

    Args:
        trained: The field.
        qp: QP of a tensor of typical sensitivity.
        sensitivity: Of every parameter, from `field_sensitivity`.
        price: What a bit may cost, see `BitPlan`.
        side: QPs of biases and scales.

    Returns:
        The plan that `encode_trained` writes.
    """
    tensors = coded_tensors(trained.field)
    weights = weights_of(tensors)
    known = {name: sensitivity[name] for name in weights}
    deep = isinstance(trained.field, NeRFField)
    layers = [name for name, value in weights.items() if deep and value.dim() == 2]
    return BitPlan(allocate_qp(qp, weights, known, layers=layers) | side_qps(tensors, side), price, known)
