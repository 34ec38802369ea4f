"""``compress.py volume``: a scalar volume to a small file, with everything a scientist asks about it."""

import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.nfc import read_nfc, write_nfc
from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.callbacks import RunProgressBar
from nerfcomp.callbacks.resume_point import ResumePoint
from nerfcomp.commands.volume_choice import METHODS, PILOTS, better, bytes_for_psnr, transformed, worth_training
from nerfcomp.commands.volume_results import VolumeOptions, measure, read_options, show, write_options
from nerfcomp.commands.volume_training import Training, bytes_for_ratio, steps_within, train_volume
from nerfcomp.errors import VolumeError
from nerfcomp.files import refuse_overwrite
from nerfcomp.rate_control.targets import RateTarget, encode_for
from nerfcomp.readers import Volume, VolumeHints, volume_reader

logger = logging.getLogger("compress")
_RATIO = 500.0
LAST = Path("checkpoints") / "last.ckpt"  # in the folder of a run


def volume(
    input: Path,
    out: Path,
    target_ratio: float | None = None,
    target_bytes: int | None = None,
    min_psnr: float | None = None,
    method: str = "auto",
    minutes: float = 15.0,
    steps: int | None = None,
    seed: int = 0,
    dataset: str | None = None,
    axes: str | None = None,
    spacing: tuple[float, float, float] | None = None,
    origin: tuple[float, float, float] | None = None,
    dtype: str | None = None,
    shape: tuple[int, int, int] | None = None,
    byte_order: str | None = None,
    offset: int | None = None,
    vti: bool = False,
    curve: Path | None = None,
    resume: bool = False,
    force: bool = False,
) -> None:
    """Compress a scalar volume: train, encode, decode, measure.

    Ctrl-C ends the search or the training early and keeps what is there; ``--resume true`` goes on.

    Args:
        input: .npy, .cvol, .raw, .h5, .nrrd, .nii, .nc or .zarr.
        out: The .nfc file; tables, pictures and checkpoints go into a folder of the same name with .run at its end.
        target_ratio: How many times smaller than float32 values the file is to be; 500 when nothing else is said.
        target_bytes: Most bytes of the file, instead.
        min_psnr: Least PSNR in dB, instead: the smallest file that reaches it.
        method: ``transform``, in seconds: wavelets or interpolation; ``network``, trained; ``auto`` keeps the best one,
            and trains only where a short training comes near the others.
        minutes: Time for training.
        steps: Training steps, instead of as many as ``minutes`` allow for.
        seed: Of weights and points.
        dataset: Name of one volume among several in the file.
        axes: Order of the axes in the file, slowest first, as in zyx.
        spacing: Distance of voxels along x, y and z.
        origin: Position of voxel (0, 0, 0).
        dtype: Type of bare values, as in uint8.
        shape: Sizes of bare values along x, y and z.
        byte_order: Of bare values, little or big.
        offset: Bytes before the first bare value.
        vti: Write decoded and true values as a .vti for ParaView.
        curve: CSV to add the result to as a row, for benchmarks/volume_codecs.py.
        resume: Go on with the run that Ctrl-C or something else ended, with the options it was started with.
        force: Overwrite ``out``.
    """
    options = VolumeOptions(**{name: value for name, value in locals().items() if name in VolumeOptions._fields})
    show(out, compress_volume(options, out, vti, curve, resume, force))


def compress_volume(
    options: VolumeOptions,
    out: Path,
    vti: bool = False,
    curve: Path | None = None,
    resume: bool = False,
    force: bool = False,
) -> Mapping[str, Any]:
    """Do what `volume` says; returns the figures of ``results.json``.

    Raises:
        VolumeError: The volume cannot be read, targets contradict each other, or there is nothing to resume.
    """
    folder = out.with_suffix(".run")
    if not resume:
        refuse_overwrite(out, force)
        refuse_overwrite(folder / "options.json", force)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    started = time.perf_counter()
    options = read_options(folder) if resume else options
    check_targets(options)
    found = volume_reader(Path(options.input), VolumeHints(*(getattr(options, name) for name in VolumeHints._fields)))
    given = found.read()
    if options.target_bytes is None and options.min_psnr is None:
        options = options._replace(target_bytes=bytes_for_ratio(given, options.target_ratio or _RATIO))
    model, options, stopped = compressed(given, options._replace(target_ratio=None), folder, resume)
    size = write_nfc(encode_for(model, RateTarget()), out)
    if not stopped:
        shutil.rmtree(folder / LAST.parent, ignore_errors=True)  # there is nothing to go on with
    if options.target_bytes is not None and size > options.target_bytes:
        logger.warning(
            "The file has %d bytes, more than the %d asked for: it cannot be smaller.",
            size,
            options.target_bytes,
        )
    seconds = time.perf_counter() - started
    decoded = of_kind(read_nfc(out), VolumeArtifact, "Volumes are decoded from")
    more = {
        "method": decoded.field.arguments.get("transform", "network"),
        "seconds": seconds,
        "steps": options.steps,
        "stopped": stopped,
    }
    figures = measure(given, decoded, out, folder, more)
    return figures.finish(vti, curve, options)


def compressed(
    given: Volume, options: VolumeOptions, folder: Path, resume: bool
) -> tuple[VolumeArtifact, VolumeOptions, bool]:
    """Make the best of all models: transforms, and a network where there is hope for it.

    Returns:
        The model, options with the number of steps taken, and whether Ctrl-C ended training.
    """
    candidate = None if options.method == "network" else transformed(given, options)
    if not resume:
        write_options(folder, options)
    if candidate is not None and candidate.stopped:
        logger.info("Stopped by hand; the best transform so far is kept, and --resume true searches again.")
        return candidate.model, options._replace(steps=0), True
    resume = resume and (folder / LAST).exists()
    if candidate is not None and not resume and not worth_training(given, options, candidate):
        return candidate.model, options._replace(steps=0), False
    if not resume:
        options = resolved(given, options)
        write_options(folder, options)
    trained, stopped = train(given, options, folder, resume)
    if candidate is not None:
        trained = better(given, candidate, trained)
    return trained, options, stopped


def check_targets(options: VolumeOptions) -> None:
    """Stop when targets contradict each other, or cannot be.

    Raises:
        VolumeError: They do.
    """
    asked = [name for name in ("target_ratio", "target_bytes", "min_psnr") if getattr(options, name) is not None]
    if len(asked) > 1 and not (asked == ["target_bytes", "min_psnr"] and options.steps is not None):
        raise VolumeError(f"Give one of {' and '.join(asked)}: they contradict each other.")
    if options.method not in METHODS:
        raise VolumeError(f"There is no method {options.method!r}; take one of {', '.join(METHODS)}.")
    if options.minutes <= 0 or (options.steps is not None and options.steps < 1):
        raise VolumeError(f"Training takes time: minutes={options.minutes:g}, steps={options.steps}.")
    if options.target_bytes is not None and options.target_bytes < 1:
        raise VolumeError(f"A file of {options.target_bytes} bytes cannot be; --target_bytes must be positive.")


def resolved(given: Volume, options: VolumeOptions) -> VolumeOptions:
    """Decide on bytes and steps of the network, so that a resumed run need not do it again."""
    seconds, size = 60.0 * options.minutes, options.target_bytes
    if size is None:
        size, left = bytes_for_psnr(given, options, seconds), 1.0 - sum(PILOTS)
        seconds *= left
    steps = options.steps or steps_within(given, Training(size, 1, options.seed), seconds)
    logger.info("Training %d steps for a file of at most %d bytes", steps, size)
    return options._replace(target_bytes=size, steps=steps)


def train(given: Volume, options: VolumeOptions, folder: Path, resume: bool) -> tuple[VolumeArtifact, bool]:
    """Train with a bar that shows the remaining time; says whether Ctrl-C ended it."""
    assert options.target_bytes is not None and options.steps is not None
    last = folder / LAST
    point = ResumePoint(last)
    training = Training(options.target_bytes, options.steps, options.seed)
    trained = train_volume(given, training, [RunProgressBar(), point], last if resume and last.exists() else None)
    if point.stopped:
        logger.info("Stopped by hand; what is there is kept, and --resume true goes on.")
    return trained, point.stopped
