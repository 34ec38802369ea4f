from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ProgressBar
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

import train
from nerfcomp.artifacts.runs import find_checkpoint
from nerfcomp.callbacks import RunLogger
from tests.callbacks.tiny_cli import main
from tests.tiny import TinyReader
from tests.workspace import Workspace

SHORT = ["--trainer.max_steps=2", "--trainer.limit_val_batches=0", "--trainer.callbacks=[]", "--model.record=null"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("events"))


@pytest.mark.slow
def test_new_runs_get_new_folders_and_resumed_runs_their_own(tmp_path: Path, config: Path) -> None:
    runs = tmp_path / "runs" / "tiny"
    keep = ["--trainer.callbacks+=RunCheckpoint"]
    main(["fit", "--config", str(config), *SHORT, *keep])
    main(["fit", "--config", str(config), *SHORT, *keep])
    assert names(runs) == ["version_0", "version_1"]
    assert names(runs / "version_0") == ["checkpoints", "config.yaml", "hparams.yaml"]

    last = runs / "version_0" / "checkpoints" / "last.ckpt"
    written = (runs / "version_0" / "config.yaml").read_text()
    again = ["--config", str(runs / "version_0" / "config.yaml"), "--ckpt_path", str(last)]
    main(["fit", *again])
    assert names(runs / "version_0") == ["checkpoints", "config.yaml", "hparams.yaml"]
    main(["fit", *again, "--trainer.max_steps=4"])
    assert torch.load(last, weights_only=True)["global_step"] == 4
    main(["test", "--config", str(config), *SHORT, "--ckpt_path", str(last)])

    assert names(runs) == ["version_0", "version_1"]
    assert names(runs / "version_0") == ["checkpoints", "config.yaml", "config_2.yaml", "hparams.yaml", "test.yaml"]
    assert (runs / "version_0" / "config.yaml").read_text() == written
    assert "ckpt_path: null" in written
    assert f"ckpt_path: {last}" in (runs / "version_0" / "test.yaml").read_text()


def test_checkpoint_of_another_run_does_not_choose_the_folder(tmp_path: Path) -> None:
    other = tmp_path / "runs" / "other" / "version_7" / "checkpoints" / "last.ckpt"
    other.parent.mkdir(parents=True)
    other.touch()
    assert not RunLogger("tiny", str(tmp_path / "runs")).continue_from(other)
    logger = RunLogger("other", str(tmp_path / "runs"))
    assert logger.version == 8
    assert logger.continue_from(other)
    assert logger.version == 7
    assert Path(logger.log_dir) == other.parent.parent
    chosen = RunLogger("other", str(tmp_path / "runs"), version="mine")
    assert not chosen.continue_from(other)
    assert Path(chosen.log_dir).name == "mine"


def test_runs_started_together_get_a_folder_each(tmp_path: Path) -> None:
    loggers = [RunLogger("tiny", str(tmp_path / "runs")) for _ in range(4)]
    assert {logger.version for logger in loggers} == {0}  # all have looked before any of them writes
    for logger in loggers:
        logger.experiment.close()
    assert [Path(logger.log_dir).name for logger in loggers] == [f"version_{n}" for n in range(4)]
    assert all(list(Path(logger.log_dir).glob("events*")) for logger in loggers)


@pytest.mark.slow
def test_dry_run_writes_nothing(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["fit", "--config", str(config), "--trainer.fast_dev_run=true", "--model.record=null"])
    assert names(tmp_path) == ["tiny.yaml"]


@pytest.mark.slow
def test_run_without_a_logger_keeps_no_configuration(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["fit", "--config", str(config), *SHORT, "--trainer.logger=false", "--trainer.enable_checkpointing=false"])
    assert names(tmp_path) == ["tiny.yaml"]


@pytest.mark.slow
def test_progress_bar_can_be_switched_off(config: Path) -> None:
    def bars(*options: str) -> int:
        cli = main(["fit", "--config", str(config), "--trainer.fast_dev_run=true", "--model.record=null", *options])
        return sum(isinstance(callback, ProgressBar) for callback in vars(cli.trainer)["callbacks"])

    assert bars() == 1
    assert bars("--trainer.enable_progress_bar=false") == 0


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--data.reader=UnreadableReader"], ["--model.lr=-1"]])
def test_a_start_that_fails_leaves_no_folder(
    options: list[str], tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError):
        main(["fit", "--config", str(config), *SHORT, *options])
    assert names(tmp_path) == ["tiny.yaml"]


@pytest.mark.slow
def test_the_folder_appears_after_the_scene_has_been_read(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, found = TinyReader.read, list[bool]()

    def note(self: TinyReader, split: Any) -> Any:
        found.append((tmp_path / "runs").exists())
        return read(self, split)

    monkeypatch.setattr(TinyReader, "read", note)
    main(["fit", "--config", str(config), *SHORT])
    assert found and not any(found) and (tmp_path / "runs" / "tiny" / "version_0").is_dir()


def test_a_run_that_has_logged_something_keeps_its_folder_when_it_fails(tmp_path: Path) -> None:
    kept, gone = RunLogger("kept", str(tmp_path / "runs")), RunLogger("gone", str(tmp_path / "runs"))
    for logger in (kept, gone):
        assert logger.experiment and Path(logger.log_dir).is_dir()
    kept.log_metrics({"loss": 1.0}, 0)
    mine = RunLogger("mine", str(tmp_path / "runs"))
    assert mine.experiment
    (Path(mine.log_dir) / "notes.txt").write_text("of a person")
    for logger in (kept, gone, mine):
        logger.finalize("failed")
    assert names(tmp_path / "runs") == ["kept", "mine"]


@pytest.mark.slow
def test_latest_is_a_link_to_the_run_that_has_finished_last(tmp_path: Path, config: Path) -> None:
    for _ in range(2):
        main(["fit", "--config", str(config), *SHORT, "--trainer.callbacks+=RunCheckpoint"])
    link = tmp_path / "runs" / "latest"
    assert link.is_symlink() and link.readlink() == Path("tiny/version_1")
    assert find_checkpoint("latest", tmp_path / "runs") == link / "checkpoints" / "last.ckpt"
    assert find_checkpoint(link).resolve() == tmp_path / "runs" / "tiny" / "version_1" / "checkpoints" / "last.ckpt"


@pytest.mark.slow
def test_the_board_opens_on_quality_and_says_nothing_twice(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "--trainer.log_every_n_steps=1")
    train.main(["test", "--config", str(workspace.config), "--ckpt_path", str(workspace.run)])
    events = EventAccumulator(str(workspace.run), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    groups = list(dict.fromkeys(sorted(tag.partition("/")[0] for tag in tags)))
    assert groups[: groups.index("throughput")] == ["bytes", "loss", "lr", "psnr", "ssim"]
    assert {"psnr/train", "psnr/val", "psnr/test", "psnr/decoded", "bytes/nfc", "loss/train"} <= set(tags)
    last = [tag.rpartition("/")[2] for tag in tags if tag.startswith(("throughput", "train"))]
    assert len(last) == len(set(last)) and "epoch" not in tags
    assert [entry.step for entry in events.Scalars("psnr/test")] == [6]
    assert len(events.Scalars("lr")) >= 1 and events.Scalars("lr")[0].value == pytest.approx(1e-2)
    settings = yaml.safe_load((workspace.run / "hparams.yaml").read_text())
    assert settings["model"]["init_args"]["field"]["init_args"]["levels"] == 3
    shown = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"model.init_args.field.init_args.levels" in shown
