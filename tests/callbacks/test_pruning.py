"""Three rounds in one run: masks hold and add up, the table is true, an interrupted run ends the same."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nerfcomp.artifacts.nfc import read_nfc
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.callbacks import PruningRounds
from nerfcomp.compression import baked_copy, chosen_weights, named_masks
from nerfcomp.datamodules import RayDataModule
from nerfcomp.errors import SettingsError
from tests.modules.test_light_field import School
from tests.tiny import UnvalidatedReader

pytestmark = pytest.mark.slow

CALLBACKS: list[dict[str, Any]] = [
    {"class_path": "PruningRounds", "init_args": {"rounds": 3, "amount": 0.4, "layers": ["*.weight", "!rgb.*"]}},
    {"class_path": "RunCheckpoint", "init_args": {"every_n_train_steps": 5}},
]


class Pruned:
    """A student after three rounds of three steps."""

    def __init__(self, folder: Path) -> None:
        self.school = School(folder)
        self.cli = self.fit("pruned", CALLBACKS)
        self.folder = folder / "pruned" / "version_0"

    def fit(self, name: str, callbacks: list[dict[str, Any]], *options: str) -> Any:
        start = [f"--model.init_args.init_from={self.school.last}", "--model.init_args.field=null"]
        steps = ["--trainer.max_steps=9", f"--trainer.logger.init_args.name={name}"]
        return self.school.fit(*start, *steps, f"--trainer.callbacks={json.dumps(callbacks)}", *options)


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Pruned:
    return Pruned(tmp_path_factory.mktemp("pruned"))


def test_zeros_are_exact_and_add_up(pruned: Pruned) -> None:
    shares = []
    for stage in ("before", "round1", "round2", "round3"):
        field = read_artifact(pruned.folder / "pruning" / f"{stage}.ckpt").without_hooks().field
        values = torch.cat([weight.flatten() for weight in chosen_weights(field, ["*.weight", "!rgb.*"]).values()])
        shares.append(float((values == 0).float().mean()))
    assert shares == pytest.approx([0, 0.4, 0.64, 0.784], abs=2e-3)
    student = pruned.cli.model.student
    for network in (student, pruned.cli.model.field):
        masks, used = named_masks(network), dict(baked_copy(network).named_parameters())
        assert list(masks) == list(chosen_weights(network, ["*.weight", "!rgb.*"]))
        assert all(bool((used[name][~mask] == 0).all()) for name, mask in masks.items())
    assert bool((student.rgb.weight != 0).all())


def test_table_is_true(pruned: Pruned) -> None:
    with open(pruned.folder / "pruning" / "pruning.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["stage"] for row in rows] == ["before", "round 1", "round 2", "round 3"]
    for row in rows:
        path = pruned.folder / "pruning" / f"{row['stage'].replace(' ', '')}.nfc"
        assert int(row["bytes"]) == path.stat().st_size
        decoded = torch.cat([parameter.flatten() for parameter in read_nfc(path).field.parameters()])
        assert int(row["parameters"]) == len(decoded)
        assert int((decoded == 0).sum()) >= 0.99 * int(row["zeros"])  # the trellis may buy cheap bits with one of them
    figures = [(int(row["zeros"]), -float(row["mmacs"]), -int(row["bytes"])) for row in rows]
    assert figures == sorted(figures) and float(rows[-1]["sparsity"]) > 0.6
    assert all(float(row["psnr"]) > 3 and float(row["milliseconds"]) > 0 for row in rows)


def test_interrupted_run_ends_the_same(pruned: Pruned) -> None:
    stop = {"class_path": "tests.modules.test_light_field.StopAfter", "init_args": {"steps": 5}}
    pruned.fit("again", [stop, *CALLBACKS])
    last = pruned.folder.parent.parent / "again" / "version_0" / "checkpoints" / "last.ckpt"
    pruned.fit("again", CALLBACKS, "--ckpt_path", str(last))
    other = pruned.folder / "checkpoints" / "last.ckpt"
    resumed, straight = (torch.load(path, weights_only=True)["state_dict"] for path in (last, other))
    assert all(torch.allclose(resumed[name], value, atol=1e-6) for name, value in straight.items())
    assert all(torch.equal(resumed[name] == 0, value == 0) for name, value in straight.items())
    stages = [row["stage"] for row in csv.DictReader((last.parent.parent / "pruning" / "pruning.csv").open())]
    assert stages == ["before", "round 1", "round 2", "round 3"]


def test_impossible_rounds_are_refused(pruned: Pruned) -> None:
    with pytest.raises(ValueError, match="amount in"):
        PruningRounds(amount=1.0)
    with pytest.raises(ValueError, match="No weight matches"):
        callbacks = [{"class_path": "PruningRounds", "init_args": {"layers": ["nothing"]}}]
        pruned.fit("wrong", callbacks)
    with pytest.raises(ValueError, match="--trainer.max_steps"):
        pruned.fit("wrong", CALLBACKS, "--trainer.max_steps=2")


def test_rounds_need_views_to_be_measured_on(pruned: Pruned) -> None:
    data = RayDataModule(UnvalidatedReader())
    trainer = SimpleNamespace(estimated_stepping_batches=9, datamodule=data)
    with pytest.raises(SettingsError, match="val_hold"):
        PruningRounds().on_train_start(trainer, pruned.cli.model)  # type: ignore[arg-type]
