"""Models to and from other tools: nerf-pytorch, nerf_pl, ngp_pl, and students as ONNX graphs."""

import logging
from pathlib import Path
from typing import Literal

from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.nfc import fp32_bytes
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.report import format_table
from nerfcomp.exchange.nerf_pytorch import LAST_STEP, export_nerf, import_nerf, usual_distances
from nerfcomp.exchange.neus import import_neus as read_neus_artifact
from nerfcomp.exchange.ngp_pl import BLENDER_RADIUS, export_file, import_file
from nerfcomp.exchange.onnx_export import Precision, compare_with_torch
from nerfcomp.exchange.onnx_export import export_onnx as write_onnx
from nerfcomp.files import new_file, refuse_overwrite
from nerfcomp.readers import SceneReader
from nerfcomp.rendering import HierarchicalSampler

logger = logging.getLogger("compress")


def export_onnx(input: Path, out: Path, precision: Precision = "fp32", scale: float = 1.0, force: bool = False) -> None:
    """Write a student as one ONNX graph from the pose of a camera to its picture.

    Its pictures are compared with those of torch.

    Args:
        input: Checkpoint or .nfc file of a student, or the folder of a run.
        out: The .onnx file to write.
        precision: ``fp32``; ``bf16`` for 16-bit weights; ``int8`` for products of bytes, with the ranges of
            training for them where there are any.
        scale: Size of the pictures relative to those that the student learned from.
        force: Overwrite ``out``.
    """
    refuse_overwrite(out, force)
    if not scale > 0:
        raise NerfcompError(f"Pictures cannot be scaled by {scale}; give a number above 0.")
    trained = of_kind(read_artifact(input), LightFieldArtifact, "ONNX export takes")
    trained = trained.replace(scene=trained.scene.scaled(scale))
    with new_file(out, force) as temporary:
        size = write_onnx(trained, temporary, precision)
        agreement = compare_with_torch(temporary, trained)
    rows = [[str(out), precision, size, trained.scene.height, trained.scene.width, agreement.psnr]]
    logger.info(format_table(["file", "precision", "bytes", "height", "width", "dB to torch"], rows))
    logger.info("largest difference to torch: %.2e", agreement.largest)
    if agreement.psnr < 30:
        logger.warning("Pictures of %s are far from torch's: use another precision, or train for 8 bits.", out)
    if precision == "fp32" and agreement.largest > 1e-4:
        raise NerfcompError(
            f"{out} differs from torch by {agreement.largest:.2e}; at most 1e-4 is rounding. Report this."
        )


def import_ngp_pl(input: Path, out: Path, radius: float = BLENDER_RADIUS, force: bool = False) -> None:
    """Turn a checkpoint of ngp_pl into one of ours.

    Args:
        input: Slim or full ngp_pl checkpoint.
        out: Checkpoint to write.
        radius: Distance of the scene's cameras from the origin, in world units.
        force: Overwrite ``out``.
    """
    refuse_overwrite(out, force)
    trained = import_file(input, radius)
    with new_file(out, force) as temporary:
        write_checkpoint(trained, temporary)
    logger.info(format_table(["checkpoint", "weights"], [[str(out), fp32_bytes(trained) // 4]]))


def export_ngp_pl(input: Path, out: Path, padding: Literal[8, 16] = 16, force: bool = False) -> None:
    """Turn a checkpoint or .nfc file of ours into a slim checkpoint of ngp_pl.

    Args:
        input: Checkpoint of ``train.py``, folder of a run, or a .nfc file, of a field with the class's default sizes.
        out: Checkpoint to write.
        padding: Rows that tiny-cuda-nn pads output layers to: 16, or 8 for old builds on old GPUs.
        force: Overwrite ``out``.
    """
    with new_file(out, force) as temporary:
        export_file(read_artifact(input), temporary, padding)
    logger.info(format_table(["checkpoint", "bytes"], [[str(out), out.stat().st_size]]))


def import_nerf_pytorch(
    input: Path,
    out: Path,
    reader: SceneReader,
    n_samples: int = 64,
    n_importance: int = 128,
    lindisp: bool = False,
    background: Literal["white", "black"] = "white",
    force: bool = False,
) -> None:
    """Turn a .tar of nerf-pytorch, or a .ckpt of nerf_pl, into a checkpoint of ours.

    Args:
        input: The checkpoint.
        out: Checkpoint to write.
        reader: The scene, of which the file knows nothing. Synthetic scenes are marched from 2 to 6, as nerf-pytorch
            does, unless their cameras stand elsewhere or the reader is told ``near`` or ``far``.
        n_samples: Samples of the first pass, N_samples in nerf-pytorch.
        n_importance: Samples that the second pass adds, N_importance in nerf-pytorch.
        lindisp: Take the first samples at equal steps of 1 / distance.
        background: Colour behind scenes with alpha; what is opaque has black.
        force: Overwrite ``out``.
    """
    refuse_overwrite(out, force)
    scene = reader.read("train")
    if getattr(reader, "near", None) is None and getattr(reader, "far", None) is None:
        scene = usual_distances(scene)
    white = 1.0 if background == "white" and scene.has_alpha else 0.0
    sampler = HierarchicalSampler(n_samples, n_importance, lindisp, cascades=1 if scene.ndc else 2)
    trained = import_nerf(input, SceneInfo.from_scene(scene, (white, white, white)), sampler)
    with new_file(out, force) as temporary:
        write_checkpoint(trained, temporary)
    logger.info(format_table(["checkpoint", "weights"], [[str(out), fp32_bytes(trained) // 4]]))


def import_neus(
    input: Path, out: Path, reader: SceneReader, background: bool | None = None, force: bool = False
) -> None:
    """Turn a ckpt_*.pth of the authors' NeuS into a checkpoint of ours.

    Args:
        input: The checkpoint.
        out: Checkpoint to write.
        reader: The scene it was trained on: usually ``DTUReader``; with surroundings where there is a background.
        background: Take the background network over, too; when absent, if the file shows that it was trained.
        force: Overwrite ``out``.
    """
    refuse_overwrite(out, force)
    scene = reader.read("train")
    white = 1.0 if scene.has_alpha else 0.0
    trained = read_neus_artifact(input, SceneInfo.from_scene(scene, (white, white, white)), None, background)
    with new_file(out, force) as temporary:
        write_checkpoint(trained, temporary)
    logger.info(format_table(["checkpoint", "weights"], [[str(out), fp32_bytes(trained) // 4]]))


def export_nerf_pytorch(input: Path, out: Path, step: int = LAST_STEP, force: bool = False) -> None:
    """Turn a checkpoint or .nfc file of ours into a .tar of nerf-pytorch.

    Its optimizer starts afresh. Exact for fields whose rays went through the corners of pixels (``pixel_centers`` of
    the reader that they were trained with turned off); of others the log warns.

    Args:
        input: Checkpoint of ``train.py``, folder of a run, or a .nfc file, of a vanilla NeRF.
        out: File to write; nerf-pytorch takes the last by name, such as 200000.tar.
        step: Training steps that nerf-pytorch shall count from.
        force: Overwrite ``out``.
    """
    with new_file(out, force) as temporary:
        export_nerf(read_artifact(input), temporary, step)
    logger.info(format_table(["checkpoint", "bytes"], [[str(out), out.stat().st_size]]))
