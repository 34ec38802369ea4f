"""Subcommands for students: smaller ones, and ones that run elsewhere."""

import logging
from pathlib import Path

from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.complexity import frame_milliseconds
from nerfcomp.evaluation.report import format_table
from nerfcomp.exchange.onnx_export import Precision, compare_with_torch, export_onnx
from nerfcomp.files import refuse_overwrite
from nerfcomp.rate_control.slimming import slim as slim_trained

logger = logging.getLogger("compress")


def slim(ckpt: Path, out: Path, keep: float = 0.5, multiple: int = 8, views: int = 4, force: bool = False) -> None:
    """Write a smaller dense student that draws faster; fine-tune it with ``train.py fit`` and its ``init_from``.

    Args:
        ckpt: Checkpoint or .nfc file of a student.
        out: Checkpoint to write.
        keep: Share of what drawing costs that stays: inner channels of the residual blocks and channels of the tail.
        multiple: Channels stay in groups of this size.
        views: Known poses to measure the importance of channels from.
        force: Overwrite ``out``.
    """
    refuse_overwrite(out, force)
    whole = of_kind(read_artifact(ckpt), LightFieldArtifact, "Slimming takes")
    small = slim_trained(whole, keep, views, multiple)
    write_checkpoint(small, out)
    rows = []
    for name, trained in ((ckpt, whole), (out, small)):
        parameters = sum(parameter.numel() for parameter in trained.field.parameters())
        mmacs = trained.multiplications().dense / 1e6
        rows.append([str(name), parameters, mmacs, frame_milliseconds(trained)])
    logger.info(format_table(["student", "parameters", "Mmacs", "ms per frame"], rows))
    logger.info("inner widths %s, tail %s", *(small.field.arguments[key] for key in ("inner_widths", "tail_widths")))


def export(ckpt: Path, out: Path, precision: Precision = "fp32", scale: float = 1.0, force: bool = False) -> None:
    """Write a student as one ONNX graph from the pose of a camera to its picture, and compare it with torch.

    Args:
        ckpt: Checkpoint or .nfc file of a student.
        out: The .onnx file to write.
        precision: ``fp32``; ``bf16`` for 16-bit weights; ``int8`` for 8-bit weights and activations of convolutions.
        scale: Size of the pictures relative to those that the student learned from.
        force: Overwrite ``out``.
    """
    refuse_overwrite(out, force)
    if not scale > 0:
        raise NerfcompError(f"Pictures cannot be scaled by {scale}; give a number above 0.")
    trained = of_kind(read_artifact(ckpt), LightFieldArtifact, "ONNX export takes")
    trained = trained.replace(scene=trained.scene.scaled(scale))
    size = export_onnx(trained, out, precision)
    agreement = compare_with_torch(out, trained)
    rows = [[str(out), precision, size, trained.scene.height, trained.scene.width, agreement.psnr]]
    logger.info(format_table(["file", "precision", "bytes", "height", "width", "dB to torch"], rows))
    logger.info("largest difference to torch: %.2e", agreement.largest)
    if agreement.psnr < 30:
        logger.warning("Pictures of %s are far from torch's: use another precision, or train with batch_norm.", out)
    if precision == "fp32" and agreement.largest > 1e-4:
        raise NerfcompError(
            f"{out} differs from torch by {agreement.largest:.2e}; at most 1e-4 is rounding. Report this."
        )
