"""Which model a volume is compressed by: wavelets, interpolation, or a network, whichever is nearest to it."""

import logging
import math
from functools import partial
from typing import Any, NamedTuple

from tqdm import tqdm

from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.nfc import decode_artifact
from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.commands.volume_results import VolumeOptions
from nerfcomp.commands.volume_training import KnownVolume, Training, bytes_for_ratio, steps_within, train_volume
from nerfcomp.datamodules import VolumeDataModule
from nerfcomp.errors import VolumeError
from nerfcomp.evaluation.volumes import volume_quality
from nerfcomp.fields.wavelet_volume import Transform
from nerfcomp.limits import MOST_VOXELS
from nerfcomp.rate_control.targets import RateTarget, encode_for
from nerfcomp.rate_control.wavelets import MOST_TRIES, Wavelets
from nerfcomp.readers import Volume

logger = logging.getLogger("compress")
METHODS = ("auto", "transform", "network")
TRANSFORMS: tuple[Transform, ...] = ("wavelets", "interpolation")
PILOTS = (0.15, 0.2)  # shares of the time
_SLOPE, _SLOPES = 7.0, (3.0, 14.0)  # dB per factor e of bytes, and its limits
_RATIO, _LEAST_BYTES, _MARGIN = 500.0, 1500, 0.2  # dB
_TRIAL, _HOPE, _LEAST_TRIAL = 0.1, 4.0, 50  # share of the run; dB that the rest of it may add; steps


class Candidate(NamedTuple):
    """A model, and what its file gives back.

    Attributes:
        model: Ready to be encoded.
        psnr: In dB.
        bytes: Of the file.
        stopped: Ctrl-C has ended the search for it.
    """

    model: VolumeArtifact
    psnr: float
    bytes: int
    stopped: bool = False


def psnr_of(given: Volume, model: VolumeArtifact) -> float:
    """PSNR of a model as its file gives it back, in dB."""
    decoded = of_kind(decode_artifact(encode_for(model, RateTarget()), trust=True), VolumeArtifact, "Volumes are")
    return volume_quality(given.values, decoded.values(), ssim_every=1 << 30).psnr


def transformed(given: Volume, options: VolumeOptions) -> Candidate | None:
    """The volume as wavelet coefficients or as differences to interpolation; none where it is too large for them.

    A bar shows the tries of the search. Ctrl-C ends it; the best that was found stays.

    Raises:
        VolumeError: It is too large, and nothing else is wanted.
        KeyboardInterrupt: Ctrl-C, before anything was found.
    """
    if given.values.size > MOST_VOXELS:
        if options.method == "transform":
            raise VolumeError(f"Transforms take up to {MOST_VOXELS} voxels; leave --method out to train a network.")
        return None
    info, best = VolumeDataModule(KnownVolume(given)).info, None
    with tqdm(total=len(TRANSFORMS) * MOST_TRIES, unit="try", leave=False) as bar:
        for number, transform in enumerate(TRANSFORMS, start=1):
            bar.set_description(transform)
            try:
                found = _found(Wavelets(given.values, info, transform, partial(_moved, bar)), given, options)
            except KeyboardInterrupt:
                if best is None:
                    raise
                return best._replace(stopped=True)
            bar.update(number * MOST_TRIES - bar.n)
            logger.info("%s: %.2f dB in %d bytes", transform.capitalize(), found.psnr, found.bytes)
            ahead = best is None or rank(found, options) > rank(best, options)
            best = (found if ahead or best is None else best)._replace(stopped=found.stopped)
            if best.stopped:
                break
    return best


def _moved(bar: "tqdm[Any]", share: float) -> None:
    """Move a bar on by a try that takes a share of the bytes, or of the error, that are allowed."""
    bar.set_postfix_str(f"last: {100 * share:.0f} % of what is allowed", refresh=False)
    bar.update()


def _found(coder: Wavelets, given: Volume, options: VolumeOptions) -> Candidate:
    """The best of one transform."""
    if options.target_bytes is not None:
        model = coder.for_bytes(options.target_bytes)
    else:
        model = coder.for_psnr(options.min_psnr or 0.0)
    return Candidate(model, psnr_of(given, model), coder.file_bytes(model), coder.stopped)


def rank(candidate: Candidate, options: VolumeOptions) -> tuple[bool, float, float]:
    """What makes a candidate better: it meets its target, then PSNR, or bytes where a PSNR is asked for."""
    if options.target_bytes is not None:
        return candidate.bytes <= options.target_bytes, candidate.psnr, -candidate.bytes
    return candidate.psnr >= (options.min_psnr or 0.0), -candidate.bytes, candidate.psnr


def worth_training(given: Volume, options: VolumeOptions, candidate: Candidate) -> bool:
    """Whether a short training comes near enough to the transforms."""
    if options.method == "transform" or options.target_bytes is None or options.target_bytes < _LEAST_BYTES:
        return False
    training = Training(options.target_bytes, 1, options.seed)
    steps = options.steps or steps_within(given, training, 60.0 * options.minutes)
    trained = train_volume(given, training._replace(steps=max(_LEAST_TRIAL, int(_TRIAL * steps))))
    psnr = psnr_of(given, trained)
    logger.info("A network reaches %.2f dB in a %d-th of the time", psnr, round(1 / _TRIAL))
    return psnr > candidate.psnr - _HOPE


def better(given: Volume, candidate: Candidate, trained: VolumeArtifact) -> VolumeArtifact:
    """The model whose file is nearer to the volume."""
    psnr = psnr_of(given, trained)
    logger.info("The network reaches %.2f dB, the transform %.2f dB; the better one stays", psnr, candidate.psnr)
    return trained if psnr > candidate.psnr else candidate.model


def bytes_for_psnr(given: Volume, options: VolumeOptions, seconds: float) -> int:
    """Bytes that a network of a PSNR takes, from short trainings at two sizes; the whole one then does better."""
    size, points = bytes_for_ratio(given, _RATIO), list[tuple[float, float]]()
    aim = (options.min_psnr or 0.0) + _MARGIN
    for share in PILOTS:
        training = Training(size, options.steps or 1, options.seed)
        steps = options.steps or steps_within(given, training, share * seconds)
        psnr = psnr_of(given, train_volume(given, training._replace(steps=steps)))
        logger.info("A short training at %d bytes reaches %.2f dB", size, psnr)
        points.append((math.log(size), psnr))
        size = next_bytes(points, aim, given.values.nbytes // 2)
    return size


def next_bytes(points: list[tuple[float, float]], aim: float, most: int) -> int:
    """Follow the line through the last two points, of a slope that curves of volumes have."""
    slope = _SLOPE
    if len(points) > 1 and points[-1][0] != points[-2][0]:
        slope = (points[-1][1] - points[-2][1]) / (points[-1][0] - points[-2][0])
    x, y = points[-1]
    return int(max(_LEAST_BYTES, min(most, math.exp(x + (aim - y) / max(_SLOPES[0], min(_SLOPES[1], slope))))))
