"""Checkpoints to ``.nfc`` files and back."""

import logging
import shutil
from pathlib import Path

from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.nfc import decode_artifact, fp32_bytes, read_nfc, write_nfc
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.artifacts.runs import find_checkpoint
from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.codec import Container, read_container
from nerfcomp.codec import unwrap as nnc_streams
from nerfcomp.commands.known_scene import scene_of
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.report import format_table
from nerfcomp.evaluation.views import mean_psnr, some_views
from nerfcomp.files import new_file, refuse_input, refuse_overwrite
from nerfcomp.limits import MOST_ELEMENTS
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
    tune: str | None = None,
    drop_unseen: bool = False,
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
        tune: Train the field for the size of its file for so long, such as 10m, and keep the better file. Views that
            ``reader`` holds back decide. What a killed run needs to go on lies in a folder named like ``out``, with
            .tune at its end; the same command goes on.
        drop_unseen: Call cells empty that no view of the training shows, nor a tenth around it: smaller files, for
            pictures from between these views. A field that ``tune`` has trained leaves them out by itself.
        reader: The scene, only needed with ``max_psnr_drop`` and ``tune``; that of the run when absent. Where it is
            given without ``tune``, the drop of PSNR on a few of its training views is measured.
        force: Overwrite ``out``.
    """
    refuse_overwrite(out, force)  # before an hour of search, not after it
    ckpt = find_checkpoint(input)
    refuse_input(out, ckpt)
    trained = read_artifact(ckpt)
    target = RateTarget(qp, uniform, target_bytes, max_psnr_drop, drop_unseen=drop_unseen)
    reader = scene_of(ckpt, reader) if max_psnr_drop is not None or tune is not None else reader
    work = out.with_name(f"{out.name}.tune")
    quality = None if reader is None or tune is not None else mean_psnr(some_views(reader.read("train"), SEARCH_VIEWS))
    if tune is None:
        container = encode_for(trained, target, quality, {"source": ckpt.name})
    else:
        from nerfcomp.commands.tuned_encoding import tuned_container  # here, as all that trains is slow to import

        container = tuned_container(ckpt, trained, target, tune, reader, work)
    with new_file(out, force) as temporary:
        size = write_nfc(container, temporary)
    if tune is not None:
        shutil.rmtree(work, ignore_errors=True)
    original = fp32_bytes(trained)
    logger.info(format_table(["section", "bytes"], section_rows(container, size)))
    found = container.header.get("provenance", {})
    if "qp" in found:
        logger.info("QP %d%s", found["qp"], ", the same for every tensor" if uniform else "")
    if quality is not None:
        before, after = quality(trained), quality(decode_artifact(container, trust=True))
        dropped = (before - after, before, after, SEARCH_VIEWS)
        logger.info("PSNR drop %.3f dB, from %.2f to %.2f dB on %d training views", *dropped)
    logger.info(format_table(["file", "bytes", "fp32 bytes", "ratio"], [[str(out), size, original, original / size]]))


def section_rows(container: Container, size: int) -> list[list[str | int]]:
    """Name and bytes of each section of a file of ``size`` bytes, and of what lies around them."""
    rows: list[list[str | int]] = [[section.name, len(section.data)] for section in container.sections]
    return [*rows, ["header, digest", size - sum(len(section.data) for section in container.sections)]]


def decode(
    input: Path,
    out: Path,
    trust: bool = False,
    force: bool = False,
    region: list[int] | None = None,
    resolution: list[int] | None = None,
    max_elements: int = MOST_ELEMENTS,
) -> None:
    """Decode a .nfc file: to the values of a volume, or to a checkpoint that train.py reads.

    Args:
        input: The .nfc file.
        out: File to write: ``.npy`` for the values of a volume, in their stored type; otherwise a checkpoint for
            ``train.py test --ckpt_path`` and ``init_from``.
        trust: Run the native decoder, where it is chosen, without its protective child process.
        force: Overwrite ``out``.
        region: Part of a volume, in voxels: ``[x0, x1, y0, y1, z0, z1]``, ends not included.
        resolution: Points along x, y and z, from the first voxel to the last, instead of the voxels.
        max_elements: Most numbers that may come out; more for large files that you trust.
    """
    refuse_input(out, input)
    with new_file(out, force) as temporary:
        decoded = read_nfc(input, trust, max_elements)
        if out.suffix == ".npy":
            write_values(of_kind(decoded, VolumeArtifact, "Values are those of"), temporary, region, resolution)
        elif region is None and resolution is None:
            write_checkpoint(decoded, temporary)
        else:
            raise NerfcompError(
                f"{out} would be a checkpoint; a region and a resolution are for values, in a .npy file."
            )
    logger.info(format_table(["file", "bytes", "decoded"], [[str(input), input.stat().st_size, str(out)]]))


def write_values(trained: VolumeArtifact, out: Path, region: list[int] | None, resolution: list[int] | None) -> None:
    """Write the values of a volume; arguments as of `decode`.

    Raises:
        NerfcompError: The region or the resolution is impossible.
    """
    if len(region or [0] * 6) != 6 or len(resolution or [0] * 3) != 3:
        raise NerfcompError("A region is six numbers, [x0, x1, y0, y1, z0, z1]; a resolution three.")
    part = None if region is None else tuple(slice(*region[2 * axis : 2 * axis + 2]) for axis in range(3))
    try:
        axes = trained.info.axes(part, None if resolution is None else tuple(resolution))  # type: ignore[arg-type]
    except ValueError as error:
        raise NerfcompError(str(error)) from error
    trained.write_npy(out, axes)


def unwrap(input: Path, out: Path, force: bool = False) -> None:
    """Write the bare NNC bitstreams of a .nfc file, which plain nncodec decodes.

    Args:
        input: The .nfc file.
        out: Folder for one .nnc file per section.
        force: Overwrite files that are there.
    """
    rows = []
    for name, stream in nnc_streams(read_container(input)).items():
        path = out / f"{name.replace('/', '%2F')}.nnc"  # no name has a per cent sign, so none meets another
        with new_file(path, force) as temporary:
            temporary.write_bytes(stream)
        rows.append([str(path), len(stream)])
    logger.info(format_table(["stream", "bytes"], rows))
