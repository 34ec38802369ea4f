"""Students through the front door: taught from disk, on the fly and by real views; resumed, tested, handed over."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer

import train
from nerfcomp.artifacts.reading import read_scene_artifact
from nerfcomp.errors import CheckpointError, NerfcompError, SceneError
from nerfcomp.fields import LightField
from tests.student import write_configs
from tests.teacher import write_teacher

pytestmark = pytest.mark.slow

FIELD = "--model.init_args.field=null"
QUIET = ["--trainer.callbacks=[]", "--trainer.enable_checkpointing=false"]


class School:
    """A folder with pseudo views and one taught student."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        predict, self.config = write_configs(folder)
        train.main(["predict", "--config", str(predict)])
        train.main(["fit", "--config", str(self.config)])
        self.run = folder / "student" / "version_0"
        self.last = self.run / "checkpoints" / "last.ckpt"

    def fit(self, *options: str) -> Any:
        return train.main(["fit", "--config", str(self.config), *options])


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> School:
    return School(tmp_path_factory.mktemp("school"))


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def test_student_describes_itself(school: School) -> None:
    trained, state = read_scene_artifact(school.last), load(school.last)["state_dict"]
    assert isinstance(trained.field, LightField) and trained.field.factor == 4
    assert trained.scene.aabb[0] == (-1.0, -1.0, -1.0) and len(trained.scene.poses) == 7
    assert torch.equal(state["field.head.weight"], trained.field.head.weight)
    assert not torch.equal(state["student.head.weight"], trained.field.head.weight)  # the average lags behind
    assert (school.run / "checkpoints" / "best.ckpt").exists()


def test_average_follows_the_weights(school: School) -> None:
    cli = school.fit("--trainer.max_steps=1", "--trainer.logger=false", *QUIET)
    start = train.main(["--config", str(school.config)], run=False).model
    first, now, average = (model.state_dict() for model in (start.student, cli.model.student, cli.model.field))
    for name, value in first.items():
        if value.is_floating_point() and name != "aabb":
            assert torch.allclose(average[name], torch.lerp(now[name], value, 2 / 11), atol=1e-6), name


def test_resumed_run_ends_as_the_undisturbed_one(school: School, tmp_path: Path) -> None:
    halfway = [f"--trainer.logger.init_args.save_dir={tmp_path}", "--trainer.max_steps=6"]
    stop = {"class_path": "tests.modules.test_light_field.StopAfter", "init_args": {"steps": 4}}
    keep = {"class_path": "RunCheckpoint", "init_args": {"every_n_train_steps": 4}}
    school.fit(*halfway, f"--trainer.callbacks={json.dumps([stop, keep])}")
    last = tmp_path / "student" / "version_0" / "checkpoints" / "last.ckpt"
    assert load(last)["global_step"] == 4
    school.fit(*halfway, "--ckpt_path", str(last))
    resumed, straight = load(last), load(school.last)
    assert resumed["global_step"] == 6
    for key, value in straight["state_dict"].items():
        assert torch.allclose(resumed["state_dict"][key], value, atol=1e-6), key


def test_resumed_run_needs_no_init_from(school: School, tmp_path: Path) -> None:
    start = Path(shutil.copy(school.last, tmp_path / "start.ckpt"))
    options = [f"--model.init_args.init_from={start}", FIELD, f"--trainer.logger.init_args.save_dir={tmp_path}"]
    keep = {"class_path": "RunCheckpoint", "init_args": {"every_n_train_steps": 2}}
    school.fit(*options, f"--trainer.callbacks={json.dumps([keep])}", "--trainer.max_steps=2")
    last = tmp_path / "student" / "version_0" / "checkpoints" / "last.ckpt"
    start.unlink()
    cli = school.fit(*options, f"--trainer.callbacks={json.dumps([keep])}", "--ckpt_path", str(last))
    assert cli.trainer.global_step == 6 and cli.model.scene == read_scene_artifact(school.last).scene
    with pytest.raises(CheckpointError, match="no checkpoint at .*start.ckpt"):
        school.fit(*options[:2], "--trainer.logger=false", *QUIET)


def test_test_writes_results_of_all_views(school: School) -> None:
    cli = train.main(["test", "--config", str(school.config), "--ckpt_path", str(school.last)])
    results = json.loads((Path(cli.trainer.log_dir or "") / "results.json").read_text())
    with open(Path(cli.trainer.log_dir or "") / "per_image.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == results["views"] == 2
    assert results["psnr"] > 3
    with pytest.raises(NerfcompError, match="--ckpt_path"):
        train.main(["test", "--config", str(school.config)])


def test_real_views_fine_tune_the_student(school: School) -> None:
    reader = ["--data=ViewDataModule", "--data.init_args.reader=ProceduralReader", "--data.init_args.batch_size=2"]
    sizes = [f"--data.init_args.reader.init_args.{name}={value}" for name, value in SIZES.items()]
    start = [f"--model.init_args.init_from={school.last}", FIELD, "--model.init_args.ssim_weight=0.1"]
    cli = school.fit(*reader, *sizes, *start, *QUIET, "--trainer.max_steps=3", "--trainer.logger=false")
    begin = read_scene_artifact(school.last)
    assert cli.model.field.arguments == begin.field.arguments
    assert cli.model.scene.near == begin.scene.near and torch.equal(cli.model.field.aabb, begin.field.aabb)
    moved = (cli.model.field.head.weight - begin.field.head.weight).abs().max()  # type: ignore[union-attr]
    assert 0 < moved < 0.02
    assert "train/ssim" in cli.trainer.callback_metrics


SIZES = {"image_size": 16, "n_train": 2, "n_val": 1, "n_test": 1, "supersampling": 1}


def test_teacher_in_the_loop(school: School, tmp_path: Path) -> None:
    teacher = ["--data=TeacherDataModule", f"--data.init_args.teacher={write_teacher(tmp_path)}"]
    sizes = [f"--data.init_args.reader.init_args.{name}={value}" for name, value in SIZES.items()]
    sizes += ["--data.init_args.fresh_views=2", "--data.init_args.pool_views=3", "--data.init_args.batch_size=2"]
    reader = ["--data.init_args.reader=ProceduralReader", "--data.init_args.steps_per_epoch=2"]
    cli = school.fit(*teacher, *reader, *sizes, *QUIET, "--trainer.logger=false")
    loader = cli.trainer.train_dataloader
    assert sorted(loader.pool) == [3, 4, 5] and cli.trainer.global_step == 6 and cli.trainer.current_epoch == 3
    assert cli.model.scene.height == 16 and torch.isfinite(cli.trainer.callback_metrics["train/loss"])


def test_what_cannot_be_taught_ends_in_a_sentence(school: School, tmp_path: Path) -> None:
    with pytest.raises(NerfcompError, match="needs a student"):
        school.fit(FIELD, "--trainer.logger=false", *QUIET)
    with pytest.raises(NerfcompError, match="other sizes"):
        start = f"--model.init_args.init_from={school.last}"
        school.fit(start, "--model.init_args.field.init_args.width=16", "--trainer.logger=false", *QUIET)
    with pytest.raises(NerfcompError, match="a light field; this is a radiance field"):
        school.fit(f"--model.init_args.init_from={write_teacher(tmp_path)}", FIELD, "--trainer.logger=false", *QUIET)
    with pytest.raises(SceneError, match="train.py predict"):
        school.fit(f"--data.init_args.root={tmp_path}", "--trainer.logger=false", *QUIET)


class StopAfter(Callback):
    """Stop a run at a step, as if it had been interrupted after its last checkpoint.

    Args:
        steps: When.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step >= self.steps
