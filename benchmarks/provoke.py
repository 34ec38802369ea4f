"""Scenes made to lead training astray, trained with the shipped settings of teachers from several seeds.

python benchmarks/provoke.py                                     # all scenes and configurations: an hour of one core
python benchmarks/provoke.py --scenes dark_stand --configs ngp/lego_fast --steps 600 --size 100

A run may end more than 1 dB below the best seed of its scene and configuration only if something is wrong. Tables,
learning rates, losses, schedules and the batch, of which a step may take a part (``--share``), are those of the
configuration. What it counts in steps is scaled with ``--steps``, of which a vanilla NeRF, which learns more slowly,
takes three times as many. Every run that is through is kept in ``runs/benchmarks/provoke_runs.json`` under a digest
of all that it depends on, so that a benchmark that was stopped goes on and other settings begin anew.
"""

import argparse
import functools
import hashlib
import json
import logging
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
from lightning import Callback, Trainer, seed_everything

import train
from benchmarks.common import FOLDER, report
from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.kinds import of_scene
from nerfcomp.commands.configurations import merged
from nerfcomp.evaluation.report import mean_result, write_csv, write_json
from nerfcomp.evaluation.views import evaluate_views
from nerfcomp.readers import ProceduralReader, Scene, Split
from nerfcomp.readers.arrangements import Arrangement

CONFIGS = ("default", "ngp/lego_fast", "ngp/lego", "ngp/fern", "ngp/capture", "nerf/lego")
_LONGER = {"nerf/lego": 3}  # times as many steps as the others
_NARROW = ["field.init_args.width=64", "field.init_args.depth=4", "sampler.init_args.resolution=32"]
_ONLY = {  # where settings apply
    "ngp/fern": ("dark_stand", "dark_photo"),
    "ngp/capture": ("dark_photo",),
    "nerf/lego": ("dark_stand", "dark_photo"),
}
logger = logging.getLogger("benchmark")


class SceneSettings(NamedTuple):
    """What is shown in how many training views, and whether the images have no alpha."""

    arrangement: Arrangement
    n_train: int = 40
    opaque: bool = False


SCENES = {
    "dark_stand": SceneSettings("dark_stand"),
    "white_on_white": SceneSettings("white_on_white"),
    "small_gem": SceneSettings("small_gem"),
    "glass": SceneSettings("glass"),
    "few_views": SceneSettings("still_life", n_train=10),
    "dark_photo": SceneSettings("dark_room", opaque=True),
}


class Case(NamedTuple):
    """One training run, whose steps take one of ``share`` parts of the configuration's batch."""

    scene: str
    config: str
    seed: int
    steps: int
    size: int
    share: int = 1

    @property
    def key(self) -> str:
        """Digest of all that the run depends on, besides the program."""
        config = merged(ROOT / "configs" / f"{self.config}.yaml")
        return hashlib.sha256(repr((self, SCENES[self.scene], config)).encode()).hexdigest()[:16]


class Row(NamedTuple):
    """All seeds of one scene and configuration: PSNR on held-out views, dB.

    Attributes:
        scene: Name of the scene.
        config: Configuration.
        seeds: PSNR of every seed.
        best: The largest of them.
        worst: The smallest.
        spread: Difference of the two.
    """

    scene: str
    config: str
    seeds: str
    best: float
    worst: float
    spread: float


def arguments_of(case: Case) -> list[str]:
    """The shipped configuration with a seed, a smaller batch, and its steps scaled."""
    path = ROOT / "configs" / f"{case.config}.yaml"
    settings = merged(path)
    model, data = settings["model"]["init_args"], settings["data"]["init_args"]
    march = "training_sampler" if "training_sampler" in model else "sampler"
    coarse = model[march]["init_args"].get("coarse_until", 0) * case.steps // settings["trainer"]["max_steps"]
    sampler = {"coarse_until": coarse, "warmup_steps": max(16, case.steps // 5), "seed": case.seed}
    return [
        *("--config", str(path), f"--seed_everything={case.seed}"),
        *(f"--data.init_args.batch_size={data['batch_size'] // case.share}", f"--data.init_args.seed={case.seed}"),
        f"--model.init_args.max_samples={model['max_samples'] // case.share}",
        *(f"--model.init_args.{march}.init_args.{name}={value}" for name, value in sampler.items()),
        *(f"--model.init_args.{setting}" for setting in _NARROW if case.config.startswith("nerf/")),
    ]


@functools.cache
def scene_of(name: str, size: int, split: Split) -> Scene:
    """One split of a scene, the same for every seed."""
    arrangement, n_train, opaque = SCENES[name]
    reader = ProceduralReader(size, n_train, 1, 6, supersampling=3, arrangement=arrangement, opaque=opaque)
    return reader.read(split)


class Kept(ProceduralReader):
    """The reader of a case, which renders every scene once.

    Args:
        case: Names the scene.
    """

    def __init__(self, case: Case) -> None:
        super().__init__(case.size)
        self.case = case

    def read(self, split: Split) -> Scene:
        """See :meth:`SceneReader.read`."""
        return scene_of(self.case.scene, self.case.size, split)


def trained_by(case: Case, arguments: list[str], callbacks: Sequence[Callback] = ()) -> SceneArtifact:
    """Train on the scene of a case for its steps, with arguments of ``train.py``; the trained field."""
    seed_everything(case.seed, verbose=False)
    cli = train.main(arguments, run=False)
    cli.datamodule.reader = Kept(case)
    trainer = Trainer(
        max_steps=case.steps,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        callbacks=list(callbacks),
    )
    trainer.fit(cli.model, datamodule=cli.datamodule)
    cli.model.eval()
    return of_scene(cli.model.trained, "Views show")


def psnr_of(trained: SceneArtifact, case: Case) -> float:
    """Mean PSNR over the test views."""
    return mean_result(evaluate_views(trained, scene_of(case.scene, case.size, "test"))).psnr


def measure(case: Case) -> float:
    """Train; returns the mean PSNR over the test views."""
    return psnr_of(trained_by(case, arguments_of(case)), case)


def cases_of(options: argparse.Namespace) -> Iterator[Case]:
    """All runs, the first seed of everything before the second."""
    for seed in options.seeds:
        for config in options.configs:
            for scene in options.scenes:
                if scene in _ONLY.get(config, SCENES):
                    yield Case(scene, config, seed, _LONGER.get(config, 1) * options.steps, options.size, options.share)


def measure_all(cases: list[Case], kept: Path) -> dict[str, float]:
    """PSNR by key of every run; those in the file are taken from there, the others added to it."""
    found: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else {}
    for number, case in enumerate(cases):
        if case.key not in found:
            start = time.perf_counter()
            psnr = measure(case)
            found[case.key] = {**case._asdict(), "psnr": psnr, "seconds": round(time.perf_counter() - start, 1)}
            write_json(kept, found)
        psnr, seconds = found[case.key]["psnr"], found[case.key]["seconds"]
        logger.info("%d of %d: %s, %s, seed %d: %.2f dB, %.0f s", number + 1, len(cases), *case[:3], psnr, seconds)
    return {key: run["psnr"] for key, run in found.items()}


def rows_of(cases: list[Case], found: dict[str, float]) -> list[Row]:
    """One row per scene and configuration."""
    together: dict[tuple[str, str], list[float]] = {}
    for case in cases:
        together.setdefault((case.scene, case.config), []).append(found[case.key])
    return [
        Row(*names, " ".join(f"{psnr:.2f}" for psnr in psnrs), max(psnrs), min(psnrs), max(psnrs) - min(psnrs))
        for names, psnrs in together.items()
    ]


def scene_parser(description: str | None) -> argparse.ArgumentParser:
    """Options of every benchmark of these scenes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="*", default=list(SCENES), choices=list(SCENES))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400, help="of each stage")
    parser.add_argument("--size", type=int, default=64, help="rows and columns of every view")
    return parser


def say_little() -> None:
    """Messages of the benchmark alone."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def main(args: list[str] | None = None) -> list[Row]:
    """Parse the command line and run."""
    parser = scene_parser(__doc__)
    parser.add_argument("--configs", nargs="*", default=list(CONFIGS), choices=list(CONFIGS))
    parser.add_argument("--share", type=int, default=1, help="parts of a configuration's batch; a step takes one")
    options = parser.parse_args(args)
    say_little()
    cases = list(cases_of(options))
    rows = rows_of(cases, measure_all(cases, FOLDER / "provoke_runs.json"))
    settings = {key: getattr(options, key) for key in ("steps", "size", "seeds", "share")}
    report("provoke", settings, rows)
    write_csv(FOLDER / "provoke.csv", rows)
    return rows


if __name__ == "__main__":
    main()
