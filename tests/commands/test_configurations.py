"""Including configurations."""

from pathlib import Path

import pytest
import yaml

from nerfcomp.commands.configurations import merged, with_included
from nerfcomp.errors import SettingsError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "run.yaml").write_text("trainer: {callbacks: [A], max_steps: 1}\n")
    (tmp_path / "method.yaml").write_text("include: [parts/run.yaml]\ntrainer: {max_steps: 2, callbacks+: [B]}\n")
    (tmp_path / "run.yaml").write_text("include: [method.yaml]\n")
    return tmp_path


def test_lowest_first_and_the_rest_of_the_line_as_it_is(folder: Path) -> None:
    args = with_included(["fit", "--config", str(folder / "method.yaml"), "--trainer.max_steps=3"])
    assert args[:4] == ["fit", "--config", str(folder / "parts" / "run.yaml"), "--config"]
    assert yaml.safe_load(args[4]) == {"trainer": {"max_steps": 2, "callbacks+": ["B"]}}
    assert args[5:] == ["--trainer.max_steps=3"]
    same = with_included(["fit", f"--config={folder / 'run.yaml'}", "--trainer.max_steps=3"])
    assert same == args


def test_what_is_laid_over_what(folder: Path) -> None:
    assert merged(folder / "run.yaml") == {"trainer": {"callbacks": ["A", "B"], "max_steps": 2}}
    (folder / "a.yaml").write_text("model: {class_path: A, init_args: {x: 1, y: 2}}\nlogger: L\n")
    (folder / "b.yaml").write_text("include: [a.yaml]\nmodel: {init_args: {x: 3}}\nlogger: {init_args: {n: 1}}\n")
    (folder / "c.yaml").write_text("include: [b.yaml]\nmodel: {class_path: B, init_args: {z: 1}}\n")
    assert merged(folder / "b.yaml")["model"] == {"class_path": "A", "init_args": {"x": 3, "y": 2}}
    assert merged(folder / "b.yaml")["logger"] == {"class_path": "L", "init_args": {"n": 1}}
    assert merged(folder / "c.yaml")["model"] == {"class_path": "B", "init_args": {"z": 1}}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("include: [nothing.yaml]", "no configuration .*nothing.yaml"), ("include: me.yaml", "list of files"),
     ("include: [me.yaml]", "include itself")],
)  # fmt: skip
def test_includes_that_cannot_be_are_refused(folder: Path, text: str, sentence: str) -> None:
    (folder / "me.yaml").write_text(text)
    with pytest.raises(SettingsError, match=sentence):
        with_included(["fit", "--config", str(folder / "me.yaml")])
