"""Ways of pruning fV-SRN's latent grid, at equal bytes of whole files: masks, Smallify, variational dropout.

    python benchmarks/volume_pruning.py wmag91.npy egpbos_LCDM.npy [--methods smallify] [--strengths 5e-7 5e-6]

The network is `LatentGridVolume` as it stands. All methods share points, steps, optimizer and schedule; those that
prune learn it for two thirds of the steps, drop, and fine-tune. A file of no pruning at the QP of ``encode`` gives B;
every network is then encoded for B, B/2, B/4 and B/8 bytes, decoded and measured over all voxels. Rows that are in
``pruning.csv`` under ``--out`` are not measured again; other settings need another ``--out``.
"""

import argparse
import csv
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch
from lightning import Callback, LightningModule, Trainer
from torch.optim import Adam

from benchmarks.common import report
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.nfc import decode_artifact
from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.callbacks import DynamicNoise, LearnedPruning
from nerfcomp.codec import to_bytes
from nerfcomp.commands.training import inner_trainer
from nerfcomp.commands.volume_training import KnownVolume
from nerfcomp.compression import BinaryMask, Smallify, VariationalDropout, WeightHook
from nerfcomp.datamodules import VolumeDataModule
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.volumes import volume_quality
from nerfcomp.fields import LatentGridVolume
from nerfcomp.modules import VolumeModule
from nerfcomp.optim import WarmupCosine
from nerfcomp.rate_control.targets import RateTarget, encode_for
from nerfcomp.readers import Volume, volume_reader

logger = logging.getLogger("benchmark")
GRID = ["grid.*"]
UNPRUNED = ("none", "restarted")
SHARES = (1 / 2, 1 / 4, 1 / 8)  # of B
STRENGTHS: dict[str, list[float]] = {
    "none": [0.0],
    "restarted": [0.0],  # nothing is pruned, but optimizer and learning rate start again where pruning would settle
    "binary": [4e-8],
    "smallify": [5e-8, 5e-7],
    "static": [-3.5],
    "dynamic": [-3.5],
}  # weight of the loss that drops; of dropout the logarithm of the noise


class Row(NamedTuple):
    """One file; ``asked`` is the share of B that it was encoded for."""

    volume: str
    method: str
    strength: float
    shared: bool  # the features of a place are dropped together
    steps: int
    zeros: float  # share of the grid's coefficients
    trained_psnr: float  # before coding
    asked: float
    bytes: int
    ratio: float
    psnr: float
    seconds: float  # of training


class Settings(NamedTuple):
    """What all methods share."""

    steps: int
    points: int
    learning_rate: float
    rate: float  # of fine-tuning, as a multiple
    seed: int


class SecondStart(LearnedPruning):
    """What `LearnedPruning` does to the optimizer and its schedule, where no hook prunes."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the step of the second start."""
        self._step, self._turn = trainer.global_step, max(1, round(trainer.max_steps * self.share))

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add no losses."""

    def _count(self, trainer: Trainer, module: LightningModule) -> None:
        """Nothing is hooked."""


def hook_of(method: str, strength: float, axis: int | None, points: int) -> WeightHook:
    """The hook of a method, with the published settings beside its strength."""
    if method == "binary":
        return BinaryMask(GRID, threshold=0.7, drop_weight=strength, weight_decay=strength, channel_axis=axis)
    if method == "smallify":
        return Smallify(GRID, drop_weight=strength, weight_decay=5e-8, channel_axis=axis)
    return VariationalDropout(GRID, log_noise=strength, points=points, channel_axis=axis)


def trained(given: Volume, method: str, strength: float, axis: int | None, settings: Settings) -> VolumeArtifact:
    """Train the latent grid with a method."""
    torch.manual_seed(settings.seed)
    hooks = [] if method in UNPRUNED else [hook_of(method, strength, axis, settings.points)]
    module = VolumeModule(
        field=LatentGridVolume(),
        optimizer=lambda parameters: Adam(parameters, lr=settings.learning_rate),
        scheduler=lambda o, n: WarmupCosine(o, n, final=0.02, warmup_steps=20),
        head_rate=1.0,
        hooks=hooks,
    )
    module.hparams.clear()  # they hold functions, which no checkpoint should
    data = VolumeDataModule(KnownVolume(given), settings.points, importance=0.0, seed=settings.seed)
    kind = SecondStart if method == "restarted" else LearnedPruning
    callbacks: list[Callback] = [] if method == "none" else [kind(rate=settings.rate)]
    callbacks += [DynamicNoise(log_noise=strength)] if method == "dynamic" else []
    inner_trainer(settings.steps, callbacks).fit(module, datamodule=data)
    return module.trained.replace(field=module.trained.field.eval()).without_hooks()


def measured(given: Volume, model: VolumeArtifact, target: int | None, known: Row) -> Row:
    """Encode for so many bytes, decode, compare."""
    try:
        container = encode_for(model, RateTarget(target_bytes=target))
    except NerfcompError as error:
        logger.info("%s", error)
        return known._replace(bytes=0, ratio=0.0, psnr=float("nan"))
    size = len(to_bytes(container))
    decoded = of_kind(decode_artifact(container, trust=True), VolumeArtifact, "Volumes are decoded from")
    psnr = volume_quality(given.values, decoded.values(), ssim_every=1 << 30).psnr
    return known._replace(bytes=size, ratio=4 * given.values.size / size, psnr=psnr)


def rows_of(
    given: Volume, method: str, strength: float, axis: int | None, settings: Settings, whole: int | None
) -> list[Row]:
    """Train once; a file for each share of ``whole`` bytes, or of those of the first file."""
    started = time.process_time()
    model = trained(given, method, strength, axis, settings)
    seconds = time.process_time() - started
    bands = [value for name, value in model.field.named_parameters() if name.startswith("grid.")]
    zeros = sum(int((band == 0).sum()) for band in bands) / sum(band.numel() for band in bands)
    psnr = volume_quality(given.values, model.values(), ssim_every=1 << 30).psnr
    known = Row(given.name, method, strength, axis is not None, settings.steps, zeros, psnr, 1.0, 0, 0.0, 0.0, seconds)
    rows = [measured(given, model, whole, known)]
    limit = whole or rows[0].bytes
    return rows + [measured(given, model, int(share * limit), known._replace(asked=share)) for share in SHARES]


def read_rows(path: Path) -> list[Row]:
    """What has been measured."""
    if not path.exists():
        return []
    kinds: list[Any] = [
        str,
        str,
        float,
        lambda text: text == "True",
        int,
        float,
        float,
        float,
        int,
        float,
        float,
        float,
    ]
    with open(path, newline="") as file:
        return [Row(*(kind(text) for kind, text in zip(kinds, row))) for row in list(csv.reader(file))[1:]]


def append(path: Path, rows: Sequence[Row]) -> None:
    """Add rows, with a head in front of the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first = not path.exists()
    with open(path, "a", newline="") as file:
        csv.writer(file).writerows([*([Row._fields] if first else []), *rows])


def run(given: Volume, arguments: argparse.Namespace, path: Path) -> None:
    """All methods on one volume."""
    settings = Settings(*(getattr(arguments, name) for name in Settings._fields))
    axis = None if arguments.apart else 0
    for method in ["none", *(name for name in arguments.methods if name != "none")]:
        for strength in STRENGTHS[method] if method in UNPRUNED else arguments.strengths or STRENGTHS[method]:
            rows = [row for row in read_rows(path) if (row.volume, row.steps) == (given.name, settings.steps)]
            key = (method, strength, method not in UNPRUNED and axis is not None)
            if any((row.method, row.strength, row.shared) == key for row in rows):
                continue
            whole = next((row.bytes for row in rows if row.method == "none" and row.asked == 1.0), None)
            found = rows_of(given, method, strength, None if method in UNPRUNED else axis, settings, whole)
            append(path, found)
            for row in found:
                logger.info("%s", row)


def main() -> None:
    """Measure and tabulate."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volumes", type=Path, nargs="+")
    parser.add_argument("--methods", nargs="+", default=list(STRENGTHS), choices=list(STRENGTHS))
    parser.add_argument("--strengths", type=float, nargs="+", help="Instead of those listed, for each of --methods.")
    parser.add_argument("--apart", action="store_true", help="Every coefficient has a decision of its own.")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--points", type=int, default=8192)
    parser.add_argument("--learning_rate", type=float, default=8e-3)
    parser.add_argument("--rate", type=float, default=0.1, help="Of fine-tuning, as a multiple.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/volume_pruning"))
    arguments = parser.parse_args()
    path = arguments.out / "pruning.csv"
    for volume in arguments.volumes:
        run(volume_reader(volume).read()._replace(name=volume.stem), arguments, path)
    report("volume_pruning", {key: str(value) for key, value in vars(arguments).items()}, read_rows(path))


if __name__ == "__main__":
    main()
