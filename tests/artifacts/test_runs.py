"""Folders of runs in the place of checkpoints."""

from pathlib import Path

import pytest

from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.artifacts.runs import find_checkpoint
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
