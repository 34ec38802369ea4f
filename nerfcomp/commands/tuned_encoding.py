"""The better of two files of one field: as it is, and trained for size."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.artifacts.nfc import decode_artifact
from nerfcomp.codec import Container, to_bytes
from nerfcomp.commands.tuning_run import seconds_of, tuned_field
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.report import format_table
from nerfcomp.evaluation.views import mean_psnr, some_views
from nerfcomp.rate_control.targets import Quality, RateTarget, encode_for
from nerfcomp.readers import SceneReader

logger = logging.getLogger("compress")
_VIEWS = 4  # that are held back from training, to choose by
_SHARE = 0.65  # of the bytes of an untuned file, that tuning aims at for a loss in dB


class _File(NamedTuple):
    """An encoded field and what it is worth."""

    container: Container
    bytes: int
    psnr: float  # on views that were held back, dB


def tuned_container(
    source: Path, trained: Artifact, target: RateTarget, time: str, reader: SceneReader | None, folder: Path
) -> Container:
    """Encode a field as it is and after training for size, and keep the better file.

    Args:
        source: File of the field.
        trained: The field.
        target: A limit in bytes or dB.
        time: For training, such as 10m.
        reader: The scene; views that it holds back from training decide.
        folder: Of the run, see `tuned_field`.

    Raises:
        NerfcompError: No limit, no scene, no views to choose by, or neither file meets the limit.
    """
    if target.target_bytes is None and target.max_psnr_drop is None:
        raise NerfcompError("What is the file to be tuned for? Give --target_bytes or --max_psnr_drop beside --tune.")
    if reader is None or not reader.has("val"):
        raise NerfcompError("Tuning trains on the scene and chooses by views held back from it: name it with --reader.")
    seconds = seconds_of(time)
    quality = mean_psnr(some_views(reader.read("val"), _VIEWS))
    provenance = {"source": source.name}
    untuned = _untuned(trained, target, quality, provenance)
    limit = target.target_bytes or round(_SHARE * untuned.bytes if untuned is not None else 0)
    field = tuned_field(source, limit, seconds, reader, folder)
    tuned = _measured(encode_for(field, RateTarget(), provenance={**provenance, "tuned": round(seconds)}), quality)
    rows = [[name, *found[1:]] for name, found in (("as it is", untuned), ("tuned", tuned)) if found is not None]
    logger.info(format_table(["field", "bytes", "PSNR of held-back views"], rows))
    floor = None if target.max_psnr_drop is None else quality(trained) - target.max_psnr_drop
    return _better(untuned, tuned, target.target_bytes, floor)


def _untuned(trained: Artifact, target: RateTarget, quality: Quality, provenance: Mapping[str, Any]) -> _File | None:
    """The file without tuning; none if there is none within a limit in bytes."""
    try:
        return _measured(encode_for(trained, target, quality, provenance), quality)
    except NerfcompError:
        if target.max_psnr_drop is not None:
            raise
        return None


def _measured(container: Container, quality: Quality) -> _File:
    """Size and quality of what a receiver gets."""
    return _File(container, len(to_bytes(container)), quality(decode_artifact(container, trust=True)))


def _better(untuned: _File | None, tuned: _File, limit: int | None, floor: float | None) -> Container:
    """The file of higher PSNR within a limit in bytes, or the smaller one that loses no more than allowed.

    Raises:
        NerfcompError: Neither is within the limit.
    """
    files = [file for file in (tuned, untuned) if file is not None]
    fitting = [file for file in files if limit is None or file.bytes <= limit]
    good = [file for file in fitting if floor is None or file.psnr >= floor]
    if not good:
        raise NerfcompError(f"No file of {limit:,} bytes is possible; the tuned one has {tuned.bytes:,}.")
    best = min(good, key=lambda file: file.bytes) if limit is None else max(good, key=lambda file: file.psnr)
    return best.container
