"""The front door of ``train.py``."""

import importlib
import os
import runpy
import sys
from pathlib import Path

import pytest

import nerfcomp
import train
from nerfcomp.commands.configurations import shipped
from nerfcomp.commands.training_help import shown_classes
from tests.commands.test_program import HEAVY, in_process

LOADED = "import sys, train; train.run(); print(*sys.modules, file=sys.stderr)"
SCENE = "import runpy, sys; runpy.run_module('nerfcomp.make_scene', run_name='__main__')"
ORDER = """
import importlib.abc, os, sys
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            sys.exit(print("OMP_WAIT_POLICY is", os.environ.get("OMP_WAIT_POLICY")))
sys.meta_path.insert(0, Watch())
"""


@pytest.mark.parametrize("args", [[], ["--help"]])
def test_help_names_every_subcommand_and_loads_nothing(args: list[str]) -> None:
    result = in_process(LOADED, *args)
    assert all(f"  {name} " in result.stdout for name in train.SUBCOMMANDS)
    assert not {"jsonargparse", "yaml", *HEAVY} & set(result.stderr.split())


def test_help_on_a_subcommand_names_options_and_classes_and_loads_nothing() -> None:
    result = in_process(LOADED, "fit", "--help")
    wanted: tuple[str, ...] = ("--ckpt_path", "--data.reader.root", "--full_help")
    wanted += ("RadianceFieldModule", "LSAModule", "RayDataModule", "TransformsReader", "NGPField", "OccupancySampler")
    wanted += ("BinaryMask", "PruningRounds", "VolumeDataModule", "LatentGridVolume")
    assert [name for name in wanted if f"  {name} " not in result.stdout] == []
    assert not {"jsonargparse", "yaml", *HEAVY} & set(result.stderr.split())
    assert all(len(line) < 130 for line in result.stdout.splitlines())


def test_every_class_that_help_names_can_be_named_in_yaml() -> None:
    for room in ("modules", "datamodules", "readers", "fields", "callbacks", "compression"):
        loaded = importlib.import_module(f"nerfcomp.{room}")
        assert all(isinstance(getattr(loaded, name), type) and text for name, text in shown_classes(room))


@pytest.mark.parametrize("program", ["import train; train.run()", SCENE])
def test_process_is_prepared_before_torch_is_loaded(program: str) -> None:
    assert "OMP_WAIT_POLICY is PASSIVE" in in_process(ORDER + program, "fit", "--config", "none.yaml").stdout


def test_the_former_program_of_the_readers_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, words: started.append([path, *words]))
    monkeypatch.setattr(sys, "argv", ["readers", "runs/solids", "--seed", "1"])
    runpy.run_module("nerfcomp.readers", run_name="__main__", alter_sys=True)
    assert started == [[sys.executable, sys.executable, "-m", "nerfcomp.make_scene", "runs/solids", "--seed", "1"]]


def test_without_a_configuration_the_default_trains(repository: Path) -> None:
    default = str(repository / "configs" / "default.yaml")
    assert train.with_default_config(["fit", "--seed=1"]) == ["fit", "--config", default, "--seed=1"]
    for args in (["fit", "--config", "a.yaml"], ["fit", "--config=a.yaml"], ["fit", "-c", "a.yaml"], ["--help"]):
        assert train.with_default_config(args) == args


@pytest.mark.parametrize("program", ["train", "compress"])
def test_programs_say_their_version_and_load_nothing(program: str) -> None:
    code = f"import sys, {program}; {program}.run(); print(*sys.modules, file=sys.stderr)"
    result = in_process(code, "--version")
    assert result.stdout == f"nerfcomp {nerfcomp.__version__}\n"
    assert not {"jsonargparse", "yaml", *HEAVY} & set(result.stderr.split())


def test_shipped_configurations_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shipped(Path("configs/ngp/lego.yaml")).is_file() and shipped(Path("ngp/lego.yaml")).is_file()
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "default.yaml").write_text("{}")
    assert shipped(Path("configs/default.yaml")) == Path("configs/default.yaml")  # one's own comes first
    for name in ("configs/none.yaml", "/configs/ngp.yaml"):
        assert shipped(Path(name)) == Path(name)
