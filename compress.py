"""Compress a trained field to one small file and back: ``python compress.py encode --ckpt CKPT --out lego.nfc``."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
from jsonargparse import auto_cli

from nerfcomp import fields, readers, rendering
from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.artifacts.nfc import fp32_bytes, read_nfc, write_nfc
from nerfcomp.artifacts.reading import read_artifact, read_scene_artifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.codec import read_container
from nerfcomp.codec import unwrap as nnc_streams
from nerfcomp.commands import bdrate, lsa, plot, with_names
from nerfcomp.commands.students import export, slim
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.report import format_table, mean_result, write_csv, write_json
from nerfcomp.evaluation.sweep import plot_sweep, run_sweep
from nerfcomp.evaluation.views import evaluate_views, mean_psnr, some_views, thinned
from nerfcomp.exchange.nerf_pytorch import LAST_STEP, export_nerf, import_nerf, usual_distances
from nerfcomp.exchange.ngp_pl import BLENDER_RADIUS, export_file, import_file
from nerfcomp.files import atomic_write, refuse_overwrite
from nerfcomp.rate_control.targets import RateTarget, encode_for
from nerfcomp.readers import SceneReader

SEARCH_VIEWS = 4  # of the training views, for a limit in dB
SHORT_NAMES = (fields, readers, rendering)
logger = logging.getLogger("compress")


def encode(
    ckpt: Path,
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
        ckpt: Checkpoint of ``train.py``, or a .nfc file.
        out: File to write.
        qp: Quality of a tensor of typical sensitivity; 4 more doubles its quantization step. Useful: -40 to -8.
        uniform: Give every tensor this QP instead of spreading it by how much the pictures feel each tensor.
        target_bytes: Search the finest quality whose file is at most this large, instead of taking ``qp``.
        max_psnr_drop: Search the coarsest quality that loses at most this many dB, measured on a few training views of
            ``reader``.
        reader: The scene, only needed with ``max_psnr_drop``.
        force: Overwrite ``out``.
    """
    refuse_overwrite(out, force)
    trained = read_artifact(ckpt)
    target = RateTarget(qp, uniform, target_bytes, max_psnr_drop)
    quality = None if reader is None else mean_psnr(some_views(reader.read("train"), SEARCH_VIEWS))
    container = encode_for(trained, target, quality, {"source": ckpt.name})
    size = write_nfc(container, out)
    original = fp32_bytes(trained)
    report(format_table(["file", "bytes", "fp32 bytes", "ratio"], [[str(out), size, original, original / size]]))


def decode(file: Path, out: Path, trust: bool = False, force: bool = False) -> None:
    """Decode a .nfc file to a checkpoint that ``train.py test --ckpt_path`` and ``init_from`` read.

    Args:
        file: The .nfc file.
        out: Checkpoint to write.
        trust: Run the native decoder without its protective child process.
        force: Overwrite ``out``.
    """
    refuse_overwrite(out, force)
    write_checkpoint(read_nfc(file, trust), out)
    report(format_table(["file", "bytes", "checkpoint"], [[str(file), file.stat().st_size, str(out)]]))


def evaluate(
    file: Path,
    reader: SceneReader,
    split: str = "test",
    out: Path | None = None,
    stride: int = 1,
    trust: bool = False,
) -> None:
    """Measure PSNR and SSIM of a .nfc file (or checkpoint) on the views of a scene, rendered from what is decoded.

    Args:
        file: The .nfc file, or a checkpoint.
        reader: The scene.
        split: ``test``, ``val`` or ``train``.
        out: Folder for results.json and per_image.csv; beside the file, in a folder of its name, when absent.
        stride: Draw every n-th row and column only, where whole views take too long.
        trust: Run the native decoder without its protective child process.
    """
    if split not in ("train", "val", "test"):
        raise NerfcompError(f"split is {split!r}; allowed are train, val and test.")
    trained = read_scene_artifact(file, trust)
    views = evaluate_views(trained, thinned(reader.read(split), stride))  # type: ignore[arg-type]
    mean = mean_result(views)
    folder = out or file.with_name(f"{file.stem}_{split}")
    size = file.stat().st_size
    write_json(folder / "results.json", {**mean._asdict(), "bytes": size, "sections": section_bytes(file)})
    write_csv(folder / "per_image.csv", views)
    report(format_table(["view", "psnr", "ssim", "seconds"], [*views, ["mean", *mean[1:]]]))
    ratio = f", {fp32_bytes(trained) / size:.1f}x smaller than fp32" if file.suffix == ".nfc" else ""
    report(f"{file}: {size:,} bytes{ratio}. Written to {folder}")


def info(file: Path) -> None:
    """Show what a .nfc file holds, without decoding it.

    Args:
        file: The .nfc file.
    """
    container = read_container(file)
    rows: list[list[Any]] = [[name, kind, len(data), len(tensors)] for name, kind, data, tensors in container.sections]
    size = file.stat().st_size
    rows.append(["header, digest", "json", size - sum(row[2] for row in rows), 0])
    report(format_table(["section", "kind", "bytes", "tensors"], [*rows, ["all", "", size, sum(r[3] for r in rows)]]))
    report(f"field: {container.header['field']['class_path']} {container.header['field']['init_args']}")
    report("".join(f"{key}: {container.header[key]}\n" for key in sorted(container.header) if key != "field").rstrip())


def unwrap(file: Path, out: Path) -> None:
    """Write the bare NNC bitstreams of a .nfc file, which plain nncodec decodes.

    Args:
        file: The .nfc file.
        out: Folder for one .nnc file per section.
    """
    rows = []
    for name, stream in nnc_streams(read_container(file)).items():
        path = out / f"{name.replace('/', '_')}.nnc"
        with atomic_write(path) as temporary:
            temporary.write_bytes(stream)
        rows.append([str(path), len(stream)])
    report(format_table(["stream", "bytes"], rows))


def sweep(
    ckpt: Path,
    reader: SceneReader,
    out: Path,
    qps: list[int] = [-36, -32, -28, -24, -20, -16],  # noqa: B006  # never changed
    uniform: bool = False,
    split: str = "test",
) -> None:
    """Measure a rate-distortion curve: encode, decode and evaluate over several QPs.

    Points that ``out`` already holds are kept, so that a sweep that was stopped goes on; those of another checkpoint or
    of other views are refused.

    Args:
        ckpt: Checkpoint of the field.
        reader: The scene.
        out: Folder for sweep.csv and sweep.png, and the files themselves.
        qps: Qualities to measure.
        uniform: Give every tensor the same QP.
        split: Views to measure on: ``test``, ``val`` or ``train``.
    """
    trained = read_scene_artifact(ckpt)
    points = run_sweep(trained, reader.read(split), out, qps, uniform)  # type: ignore[arg-type]
    plot_sweep(points, out / "sweep.png")
    report(format_table(["qp", "bytes", "ratio", "psnr", "ssim"], [point[:5] for point in points]))
    report(f"Written to {out / 'sweep.csv'} and {out / 'sweep.png'}")


def import_ngp_pl(ckpt: Path, out: Path, radius: float = BLENDER_RADIUS, force: bool = False) -> None:
    """Turn a checkpoint of ngp_pl into one of ours.

    Args:
        ckpt: Slim or full ngp_pl checkpoint.
        out: Checkpoint to write.
        radius: Distance of the scene's cameras from the origin, in world units.
        force: Overwrite ``out``.
    """
    refuse_overwrite(out, force)
    trained = import_file(ckpt, radius)
    write_checkpoint(trained, out)
    report(format_table(["checkpoint", "weights"], [[str(out), fp32_bytes(trained) // 4]]))


def export_ngp_pl(ckpt: Path, out: Path, padding: Literal[8, 16] = 16, force: bool = False) -> None:
    """Turn a checkpoint or .nfc file of ours into a slim checkpoint of ngp_pl.

    Args:
        ckpt: Checkpoint of ``train.py``, or a .nfc file, of a field with the class's default sizes.
        out: Checkpoint to write.
        padding: Rows that tiny-cuda-nn pads output layers to: 16, or 8 for old builds on old GPUs.
        force: Overwrite ``out``.
    """
    refuse_overwrite(out, force)
    export_file(read_artifact(ckpt), out, padding)
    report(format_table(["checkpoint", "bytes"], [[str(out), out.stat().st_size]]))


def import_nerf_pytorch(
    ckpt: Path,
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
        ckpt: The checkpoint.
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
    sampler = rendering.HierarchicalSampler(n_samples, n_importance, lindisp, cascades=1 if scene.ndc else 2)
    trained = import_nerf(ckpt, SceneInfo.from_scene(scene, (white, white, white)), sampler)
    write_checkpoint(trained, out)
    report(format_table(["checkpoint", "weights"], [[str(out), fp32_bytes(trained) // 4]]))


def export_nerf_pytorch(ckpt: Path, out: Path, step: int = LAST_STEP, force: bool = False) -> None:
    """Turn a checkpoint or .nfc file of ours into a .tar of nerf-pytorch, with a fresh optimizer.

    Exact for fields whose rays went through the corners of pixels (``pixel_centers`` of the reader that they were
    trained with turned off); of others the log warns.

    Args:
        ckpt: Checkpoint of ``train.py``, or a .nfc file, of a vanilla NeRF.
        out: File to write; nerf-pytorch takes the last by name, such as 200000.tar.
        step: Training steps that nerf-pytorch shall count from.
        force: Overwrite ``out``.
    """
    refuse_overwrite(out, force)
    export_nerf(read_artifact(ckpt), out, step)
    report(format_table(["checkpoint", "bytes"], [[str(out), out.stat().st_size]]))


def section_bytes(file: Path) -> dict[str, int]:
    """Bytes of each section of a .nfc file; nothing for other files."""
    if file.suffix != ".nfc":
        return {}
    return {section.name: len(section.data) for section in read_container(file).sections}


def report(text: str) -> None:
    """Show a result to the person at the keyboard."""
    logger.info(text)


def main(args: Sequence[str] | None = None) -> None:
    """Run the subcommand that ``args`` (the command line when absent) name."""
    functions: tuple[Callable[..., None], ...] = (
        *(encode, decode, evaluate, info, unwrap, sweep),
        *(slim, export),
        *(lsa, plot, bdrate),
        *(import_ngp_pl, export_ngp_pl, import_nerf_pytorch, export_nerf_pytorch),
    )
    commands: dict[str, Any] = {function.__name__: function for function in functions}
    auto_cli(commands, args=with_names(sys.argv[1:] if args is None else args), as_positional=False)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        main()
    except (NerfcompError, ValueError) as error:
        sys.exit(f"Error: {error}")
