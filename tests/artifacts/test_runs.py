"""Folders and names of runs in the place of checkpoints."""

import logging
from pathlib import Path

import pytest

from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.artifacts.runs import LAST, find_checkpoint, is_there, mark_finished
from nerfcomp.errors import CheckpointError
from tests.teacher import write_teacher


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_a_run_stands_for_its_last_checkpoint(tmp_path: Path) -> None:
    last = touch(tmp_path / "lego" / "version_0" / "checkpoints" / "last.ckpt")
    assert find_checkpoint(tmp_path / "lego" / "version_0") == last
    assert find_checkpoint(last) == last


def test_a_name_stands_for_its_last_version_that_has_a_checkpoint(tmp_path: Path) -> None:
    for version in (2, 10, 9):
        touch(tmp_path / f"version_{version}" / "checkpoints" / "last.ckpt")
    (tmp_path / "version_11").mkdir()
    (tmp_path / "version_12_old").mkdir()
    assert find_checkpoint(tmp_path).relative_to(tmp_path).parts[0] == "version_10"


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "version_0").mkdir()
    with pytest.raises(CheckpointError, match="none of a run"):
        read_artifact(tmp_path)


def test_what_is_missing_stays_missing(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path / "none.ckpt") == tmp_path / "none.ckpt"


def test_readers_of_checkpoints_take_folders(tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path)
    last = tmp_path / "lego" / "version_3" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    teacher.rename(last)
    assert read_artifact(tmp_path / "lego").describe() == read_artifact(last).describe()


def begin(runs: Path, name: str, number: int, finished: bool = True) -> Path:
    last = touch(runs / name / f"version_{number}" / "checkpoints" / "last.ckpt")
    mark_finished(last, finished)
    return last


def test_the_name_of_a_run_is_its_newest_finished_version(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    begin(tmp_path, "ngp_lego", 2)
    tenth = begin(tmp_path, "ngp_lego", 10)
    eleventh = begin(tmp_path, "ngp_lego", 11, finished=False)
    with caplog.at_level(logging.INFO):
        assert find_checkpoint("ngp_lego", tmp_path) == tenth
    assert caplog.messages == [f"ngp_lego: taking {tenth} (version_11 has not finished)"]
    assert find_checkpoint(tmp_path / "ngp_lego") == tenth
    assert find_checkpoint(eleventh.parent.parent) == eleventh


def test_a_run_that_goes_on_is_not_taken_by_its_name(tmp_path: Path) -> None:
    mark_finished(begin(tmp_path, "ngp_lego", 0), False)
    with pytest.raises(
        CheckpointError, match="No run 'ngp_lego' has finished. Resume .*version_0, or name that folder"
    ):
        find_checkpoint("ngp_lego", tmp_path)


def test_an_unknown_name_lists_what_has_finished(tmp_path: Path) -> None:
    begin(tmp_path, "ngp_fern", 0)
    begin(tmp_path, "ngp_ship", 0, finished=False)
    with pytest.raises(CheckpointError, match="no run of this name in .*finished there: ngp_fern. Train one"):
        find_checkpoint("ngp_lego", tmp_path)


def test_files_without_a_suffix_stay_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plain").write_text("a checkpoint of another tool")
    assert find_checkpoint("plain") == Path("plain")


def test_models_are_read_by_the_name_of_their_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    last = begin(Path("runs"), "tiny", 0)
    write_teacher(tmp_path).rename(last)
    assert read_artifact("tiny").describe() == read_artifact(last).describe()


def test_a_run_that_has_not_finished_is_not_there_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    last = tmp_path / "runs" / "teacher" / "version_0" / LAST
    last.parent.mkdir(parents=True)
    last.write_bytes(b"")
    assert not is_there("teacher") and is_there(last) and not is_there("none.ckpt")
    mark_finished(last)
    assert is_there("teacher")
