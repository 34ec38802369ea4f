"""Encoding a trained field to a quality, a size or a loss."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from nerfcomp.codec import Container, to_bytes
from nerfcomp.compression import largest_passing
from nerfcomp.errors import NerfcompError
from nerfcomp.fields import LightField
from nerfcomp.pipeline.bitstream import BitPlan, decode_trained, encode_trained, uniform_plan
from nerfcomp.pipeline.evaluate import evaluate_views
from nerfcomp.pipeline.light_fields import folded, view_sensitivity
from nerfcomp.pipeline.plan import field_sensitivity, plan_bits
from nerfcomp.pipeline.report import mean_result
from nerfcomp.pipeline.trained import TrainedField
from nerfcomp.pipeline.weights import SideQP
from nerfcomp.readers.scene import Scene, SceneReader

FINEST_QP, COARSEST_QP = -56, 0
_SEARCH_VIEWS = 4


class Target(NamedTuple):
    """What an encoding aims at: a QP, or the best QP under one limit."""

    qp: int = -24
    uniform: bool = False  # the same QP for every tensor
    target_bytes: int | None = None
    max_psnr_drop: float | None = None  # dB on training views
    side: SideQP = SideQP()  # biases and scales


class Planner:
    """Plans of one field at any QP; measures sensitivities once, when first needed.

    Args:
        trained: The field.
        uniform: Give every tensor the same QP.
        side: QPs of biases and scales.
    """

    def __init__(self, trained: TrainedField, uniform: bool, side: SideQP = SideQP()) -> None:
        self.trained = trained
        self.side = side
        measure = view_sensitivity if isinstance(trained.field, LightField) else field_sensitivity
        self.sensitivity: dict[str, torch.Tensor] | None = None if uniform else measure(trained)

    def plan(self, qp: int) -> BitPlan:
        """Plan at a QP."""
        if self.sensitivity is None:
            return uniform_plan(self.trained, qp, self.side)
        return plan_bits(self.trained, qp, self.sensitivity, side=self.side)


def encode_for(
    trained: TrainedField,
    target: Target,
    reader: SceneReader | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Container:
    """Encode a field to a target.

    Args:
        trained: The field.
        target: QP or limit.
        reader: The scene, needed for a limit in dB.
        provenance: Kept in the header.

    Returns:
        The container.

    Raises:
        NerfcompError: Both limits at once, a limit in dB without a scene, a limit for a field whose weights are
            quantized already, or one in bytes that no QP meets.
        ValueError: No QP meets a limit in dB.
    """
    if target.target_bytes is not None and target.max_psnr_drop is not None:
        raise NerfcompError("Give target_bytes or max_psnr_drop, not both.")
    trained = folded(trained)
    if trained.qp is not None:
        if target.target_bytes is not None or target.max_psnr_drop is not None:
            raise NerfcompError("The weights of this field are quantized already; set the limit where that is done.")
        return encode_trained(trained, BitPlan(trained.qp), provenance)
    planner = Planner(trained, target.uniform, target.side)

    def container(qp: int) -> Container:
        return encode_trained(trained, planner.plan(qp), {**(provenance or {}), "qp": qp, "uniform": target.uniform})

    if target.target_bytes is not None:
        return container(_qp_for_bytes(lambda qp: len(to_bytes(container(qp))), target.target_bytes))
    if target.max_psnr_drop is not None:
        if reader is None:
            raise NerfcompError("max_psnr_drop is measured on training views; name the scene with --reader.")
        views = some_views(reader.read("train"), _SEARCH_VIEWS)
        floor = mean_result(evaluate_views(trained, views)).psnr - target.max_psnr_drop

        def passes(qp: int) -> bool:
            decoded = decode_trained(container(qp), trust=True)
            return mean_result(evaluate_views(decoded, views)).psnr >= floor

        return container(largest_passing(passes, FINEST_QP, COARSEST_QP))
    return container(target.qp)


def _qp_for_bytes(size: Callable[[int], int], limit: int) -> int:
    """The finest QP whose file, of so many bytes at a QP, is at most ``limit`` bytes large."""
    try:
        return -largest_passing(lambda q: size(-q) <= limit, -COARSEST_QP, -FINEST_QP)
    except ValueError as error:
        raise NerfcompError(
            f"No file of {limit:,} bytes is possible: at QP {COARSEST_QP}, the coarsest, it has {size(COARSEST_QP):,}. "
            "Raise target_bytes."
        ) from error


def some_views(scene: Scene, count: int) -> Scene:
    """Evenly spread views of a scene, ``count`` at most."""
    kept = sorted({turn * len(scene.names) // count for turn in range(count)})
    camera = scene.camera
    chosen = camera._replace(
        c2w=camera.c2w[kept], intrinsics=camera.intrinsics[kept], distortion=camera.distortion[kept]
    )
    return scene._replace(images=scene.images[kept], camera=chosen, names=tuple(scene.names[view] for view in kept))
