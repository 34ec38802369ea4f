"""One trial of ``compress.py search``: trained, encoded, decoded and measured in a process of its own."""

import json
import logging
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.nfc import read_nfc, write_nfc
from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.commands.volume_training import Training, bytes_for_ratio, train_volume
from nerfcomp.evaluation.report import write_json
from nerfcomp.evaluation.volumes import volume_quality
from nerfcomp.fields import HashVolume, LatentGridVolume, VolumeField
from nerfcomp.fields.volume_design import suited_field
from nerfcomp.process import end_with_parent
from nerfcomp.rate_control.targets import RateTarget, encode_for
from nerfcomp.readers import VolumeHints, volume_reader

Space = Literal["hash_grid", "latent_grid"]
DEFAULT_RATIO = 500.0


class Range(NamedTuple):
    """Values that a setting may take."""

    low: float
    high: float
    kind: Literal["int", "float"] = "int"
    log: bool = False


SPACES: dict[Space, dict[str, Range]] = {
    "hash_grid": {
        "levels": Range(3, 8),
        "log2_table_size": Range(9, 18),
        "hidden_width": Range(8, 48),
        "finest": Range(0.25, 1.0, "float"),  # lattice points per voxel of the longest axis
        "learning_rate": Range(2e-3, 4e-2, "float", True),
        "ratio": Range(100.0, 2000.0, "float", True),
    },
    "latent_grid": {
        "features": Range(4, 24),
        "size": Range(4, 32),
        "hidden_width": Range(4, 32),
        "learning_rate": Range(2e-3, 4e-2, "float", True),
        "ratio": Range(100.0, 2000.0, "float", True),
    },
}


class TrialJob(NamedTuple):
    """What a process is given."""

    folder: Path
    input: Path
    hints: VolumeHints
    space: Space
    settings: dict[str, Any]
    steps: int
    seed: int
    threads: int


def default_settings(space: Space, shape: tuple[int, ...]) -> dict[str, Any]:
    """Settings of the default: what ``compress.py volume`` takes, or the seed's latent grid.

    >>> default_settings("latent_grid", (64, 64, 64))["size"]
    15
    """
    common = {"learning_rate": 1e-2, "ratio": DEFAULT_RATIO}
    if space == "latent_grid":
        return {"features": 16, "size": 15, "hidden_width": 32, **common}
    voxels = shape[0] * shape[1] * shape[2]
    found = suited_field(shape, max(1, int(4 * voxels / DEFAULT_RATIO))).arguments
    kept = {name: found[name] for name in ("levels", "log2_table_size", "hidden_width")}
    settings = {**kept, "finest": found["finest_resolution"] / max(shape), **common}
    limits = SPACES[space]
    return {name: type(value)(min(max(value, limits[name].low), limits[name].high)) for name, value in settings.items()}


def build(space: Space, settings: Mapping[str, Any], shape: tuple[int, ...]) -> VolumeField:
    """Make the network of a trial."""
    if space == "latent_grid":
        width, size = int(settings["hidden_width"]), int(settings["size"])
        return LatentGridVolume(features=int(settings["features"]), size=size, hidden_width=width)
    finest = max(4, round(settings["finest"] * max(shape)))
    return HashVolume(
        levels=int(settings["levels"]),
        log2_table_size=int(settings["log2_table_size"]),
        base_resolution=max(2, min(finest, round(max(shape) / 25.0) + 1)),
        finest_resolution=finest,
        hidden_width=int(settings["hidden_width"]),
    )


def run_trial(job: TrialJob) -> None:
    """Run a trial; leaves ``result.json``, or ``error.txt`` and a failed process."""
    end_with_parent()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(job.threads)
    started = time.perf_counter()
    try:
        given = volume_reader(job.input, job.hints).read()
        torch.manual_seed(job.seed)
        field = build(job.space, job.settings, given.values.shape)
        target = bytes_for_ratio(given, float(job.settings["ratio"]))
        rate = float(job.settings["learning_rate"])
        trained = train_volume(given, Training(target, job.steps, job.seed, field, rate))
        size = write_nfc(encode_for(trained, RateTarget()), job.folder / "volume.nfc")
        decoded = of_kind(read_nfc(job.folder / "volume.nfc"), VolumeArtifact, "Trials need")
        psnr = volume_quality(given.values, decoded.values(), ssim_every=1 << 30).psnr
    except Exception:
        (job.folder / "error.txt").write_text(traceback.format_exc())
        raise SystemExit(1) from None
    figures = {"bytes": size, "compression_ratio": 4.0 * given.values.size / size, "psnr": psnr}
    write_json(job.folder / "result.json", {**figures, "seconds": time.perf_counter() - started})


def read_result(folder: Path) -> dict[str, float] | None:
    """What a trial has left; none when it failed or has not ended."""
    path = folder / "result.json"
    if not path.exists():
        return None
    found: dict[str, float] = json.loads(path.read_text())
    return found
