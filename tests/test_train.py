"""The front door of ``train.py``."""

import importlib
import inspect
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
    assert "  --trainer.max_steps 2000\n" in result.stdout and "  --model.field.levels 12\n" in result.stdout
    assert not {"jsonargparse", *HEAVY} & set(result.stderr.split())
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


@pytest.mark.slow
def test_help_shows_the_values_of_the_named_configuration() -> None:
    text = in_process(LOADED, "fit", "--config", "configs/ngp/lego.yaml", "--help").stdout
    assert "what ngp/lego.yaml says:" in text and "  --trainer.max_steps 9000\n" in text
    assert "  --data.reader BlenderReader\n" in text


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--trainer.max_stps", "there is no option --trainer.max_stps.\nDid you mean --trainer.max_steps?"),
        ("--max_steps", "there is no option --max_steps.\nDid you mean --trainer.max_steps?"),
        ("--model.sampler.nsteps", "there is no argument 'nsteps' of OccupancySampler.\nDid you mean n_steps?"),
        ("--data.reader.imagesize", "there is no argument 'imagesize' of ProceduralReader.\nDid you mean image_size?"),
        ("--data.batch_size", "data.batch_size is 'three'. Expected int."),
        ("--model.field", "model.field: there is no class 'three' that fits here."),
    ],
)
def test_what_is_misspelt_is_refused_in_three_lines(
    option: str, sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        train.main(["fit", option, "three"])
    said = capsys.readouterr().err
    assert sentence in said and len(said.splitlines()) <= 3 and "fit --help says" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_wrong_value_of_a_callback_is_named_as_one(
    repository: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stage = ["fit", "--config", str(repository / "configs" / "rate" / "lego.yaml")]
    for option, sentence in (
        ("rd_lambda=much", "trainer.callbacks.rd_lambda is 'much'. Expected float."),
        ("drop_unsen=false", "there is no argument 'drop_unsen' of RateStage.\nDid you mean drop_unseen?"),
    ):
        with pytest.raises(SystemExit, match="2"):
            train.main([*stage, f"--trainer.callbacks.{option}"])
        assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_lightning_advertises_nothing_at_the_start(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    small = ["image_size=16", "n_train=4", "n_val=1", "n_test=1", "supersampling=1"]
    args = ["fit", "--trainer.max_steps=1", f"--trainer.logger.save_dir={tmp_path}", "--trainer.callbacks=[]"]
    with caplog.at_level("INFO"):
        cli = train.main([*args, "--trainer.limit_val_batches=0", *(f"--data.reader.{option}" for option in small)])
    assert not any(word in caplog.text for word in ("litlogger", "TPU", "HPU"))
    assert "RadianceFieldModule trains a NGPField of" in caplog.text
    assert not any("ModelSummary" in type(callback).__name__ for callback in vars(cli.trainer)["callbacks"])


def test_readers_share_words() -> None:
    from nerfcomp import readers

    for reader in (readers.BlenderReader, readers.LLFFReader, readers.TransformsReader, readers.DTUReader):
        assert {"root", "downscale", "test_every", "val_hold", "pixel_centers"} <= inspect.signature(
            reader
        ).parameters.keys()
