"""Train fields of the provoking scenes for size with the shipped settings, from several seeds.

    python benchmarks/provoke_rate.py [--scenes glass dark_photo] [--steps 400] [--costs 1e-3]

A field is trained as `benchmarks/provoke.py` does, then for as many steps with `configs/rate.yaml` and one cost of a
bit. The file is decoded and measured on held-out views, beside the field before and the file that this makes at one QP.
The stage may not lose what the field had: ``lost`` is what the worst seed loses. Runs that are through are kept in
``runs/benchmarks/provoke_rate_runs.json``.
"""

import json
import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
from benchmarks.common import FOLDER, report
from benchmarks.provoke import Case, arguments_of, psnr_of, say_little, scene_parser, trained_by
from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.artifacts.kinds import of_scene
from nerfcomp.artifacts.nfc import read_nfc, write_nfc
from nerfcomp.callbacks import RateStage
from nerfcomp.evaluation.report import write_csv, write_json
from nerfcomp.rate_control.targets import RateTarget, encode_for

_FIELDS = {"dark_photo": "ngp/capture"}  # their configuration, where it is not ngp/lego
_QP = -9  # of the file of the field as it is
logger = logging.getLogger("benchmark")


class Run(NamedTuple):
    """A field, its file at one QP, and its file after training for size: bytes, and PSNR on held-out views, dB."""

    scene: str
    seed: int
    cost: float
    field_psnr: float
    plain_bytes: int
    plain_psnr: float
    rate_bytes: int
    rate_psnr: float


class Row(NamedTuple):
    """All seeds of a scene and a cost, one word each: dB of the field, kB and dB of files."""

    scene: str
    cost: float
    field: str
    plain: str
    trained: str
    lost: float


def written(trained: SceneArtifact, target: RateTarget, case: Case, path: Path) -> tuple[int, float]:
    """Bytes of the file, and PSNR of what is decoded from it."""
    size = write_nfc(encode_for(trained, target), path)
    return size, psnr_of(of_scene(read_nfc(path), "Views show"), case)


def measure(case: Case, costs: list[float]) -> Iterator[Run]:
    """Train a field, train it on for size once per cost, and measure all."""
    with tempfile.TemporaryDirectory() as name:
        start, path = Path(name) / "field.ckpt", Path(name) / "file.nfc"
        field = trained_by(case, arguments_of(case))
        write_checkpoint(field, start)
        before = psnr_of(field, case), *written(field, RateTarget(qp=_QP), case, path)
        settings = ["--config", str(ROOT / "configs" / "rate.yaml"), f"--seed_everything={case.seed}"]
        settings += [
            f"--model.init_args.init_from={start}",
            f"--data.init_args.seed={case.seed}",
            "--data.init_args.reader=ProceduralReader",
        ]
        for cost in costs:
            rated = trained_by(case, settings, [RateStage(cost)])
            yield Run(case.scene, case.seed, cost, *before, *written(rated, RateTarget(), case, path))


def measure_all(cases: list[Case], costs: list[float], kept: Path) -> list[Run]:
    """Runs of all cases and costs; those in the file are taken from there, the others added to it."""
    known = {key: Run(*run) for key, run in json.loads(kept.read_text()).items()} if kept.exists() else {}
    keys = {(case, cost): f"{case.key} {cost:g}" for case in cases for cost in costs}
    for case in cases:
        missing = [cost for cost in costs if keys[case, cost] not in known]
        for run in measure(case, missing) if missing else ():
            known[keys[case, run.cost]] = run
            write_json(kept, known)
            logger.info("%s", run)
    return [known[key] for key in keys.values()]


def row_of(runs: list[Run]) -> Row:
    """One row of all seeds."""
    field = " ".join(f"{run.field_psnr:.2f}" for run in runs)
    plain = " ".join(f"{run.plain_bytes / 1e3:.0f}:{run.plain_psnr:.2f}" for run in runs)
    trained = " ".join(f"{run.rate_bytes / 1e3:.0f}:{run.rate_psnr:.2f}" for run in runs)
    return Row(runs[0].scene, runs[0].cost, field, plain, trained, max(run.field_psnr - run.rate_psnr for run in runs))


def main(args: list[str] | None = None) -> list[Row]:
    """Parse the command line and run."""
    parser = scene_parser(__doc__)
    parser.add_argument("--costs", nargs="*", type=float, default=[1e-3], help="what a bit per weight may cost")
    options = parser.parse_args(args)
    say_little()
    cases = [
        Case(scene, _FIELDS.get(scene, "ngp/lego"), seed, options.steps, options.size)
        for seed in options.seeds
        for scene in options.scenes
    ]
    runs = measure_all(cases, options.costs, FOLDER / "provoke_rate_runs.json")
    groups: dict[tuple[str, float], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.scene, run.cost), []).append(run)
    rows = [row_of(group) for group in groups.values()]
    report("provoke_rate", {key: getattr(options, key) for key in ("steps", "size", "seeds")}, rows)
    write_csv(FOLDER / "provoke_rate.csv", rows)
    return rows


if __name__ == "__main__":
    main()
