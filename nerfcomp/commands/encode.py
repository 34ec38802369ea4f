"""Checkpoints to ``.nfc`` files and back."""

import logging
from pathlib import Path

from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.artifacts.nfc import fp32_bytes, read_nfc, write_nfc
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.artifacts.runs import find_checkpoint
from nerfcomp.codec import read_container
from nerfcomp.codec import unwrap as nnc_streams
from nerfcomp.evaluation.report import format_table
from nerfcomp.evaluation.views import mean_psnr, some_views
from nerfcomp.files import atomic_write, new_file, refuse_overwrite
from nerfcomp.rate_control.targets import RateTarget, encode_for
from nerfcomp.readers import SceneReader

SEARCH_VIEWS = 4  # of the training views, for a limit in dB
logger = logging.getLogger("compress")


def encode(
    input: Path,
    out: Path,
    qp: int = -24,
    uniform: bool = False,
    target_bytes: int | None = None,
    max_psnr_drop: float | None = None,
    reader: SceneReader | None = None,
    force: bool = False,
) -> None:
    """Encode a checkpoint as a .nfc file.

    Args:
        input: Checkpoint of ``train.py``, folder of a run, or a .nfc file.
        out: File to write.
        qp: Quality of a tensor of typical sensitivity; 4 more doubles its quantization step. Useful: -40 to -8.
        uniform: Give every tensor this QP instead of spreading it by how much the pictures feel each tensor.
        target_bytes: Search the finest quality whose file is at most this large, instead of taking ``qp``.
        max_psnr_drop: Search the coarsest quality that loses at most this many dB, measured on a few training views of
            ``reader``.
        reader: The scene, only needed with ``max_psnr_drop``.
        force: Overwrite ``out``.
    """
    refuse_overwrite(out, force)  # before an hour of search, not after it
    ckpt = find_checkpoint(input)
    trained = read_artifact(ckpt)
    target = RateTarget(qp, uniform, target_bytes, max_psnr_drop)
    quality = None if reader is None else mean_psnr(some_views(reader.read("train"), SEARCH_VIEWS))
    container = encode_for(trained, target, quality, {"source": ckpt.name})
    with new_file(out, force) as temporary:
        size = write_nfc(container, temporary)
    original = fp32_bytes(trained)
    logger.info(format_table(["file", "bytes", "fp32 bytes", "ratio"], [[str(out), size, original, original / size]]))


def decode(input: Path, out: Path, trust: bool = False, force: bool = False) -> None:
    """Decode a .nfc file to a checkpoint that ``train.py test --ckpt_path`` and ``init_from`` read.

    Args:
        input: The .nfc file.
        out: Checkpoint to write.
        trust: Run the native decoder without its protective child process.
        force: Overwrite ``out``.
    """
    with new_file(out, force) as temporary:
        write_checkpoint(read_nfc(input, trust), temporary)
    logger.info(format_table(["file", "bytes", "checkpoint"], [[str(input), input.stat().st_size, str(out)]]))


def unwrap(input: Path, out: Path) -> None:
    """Write the bare NNC bitstreams of a .nfc file, which plain nncodec decodes.

    Args:
        input: The .nfc file.
        out: Folder for one .nnc file per section.
    """
    rows = []
    for name, stream in nnc_streams(read_container(input)).items():
        path = out / f"{name.replace('/', '_')}.nnc"
        with atomic_write(path) as temporary:
            temporary.write_bytes(stream)
        rows.append([str(path), len(stream)])
    logger.info(format_table(["stream", "bytes"], rows))
