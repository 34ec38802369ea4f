"""Every shipped configuration builds, and stays short."""

from pathlib import Path
from typing import Any

import pytest

import train
from nerfcomp.callbacks import RateStage
from nerfcomp.commands.configurations import merged

ROOT = Path(train.__file__).parent / "configs"
WHOLE = [
    ROOT / "default.yaml",
    *sorted(path for path in ROOT.glob("*/*.yaml") if path.parent.name not in ("parts", "scenes")),
]
LEGO, FERN = ROOT / "scenes" / "lego.yaml", ROOT / "scenes" / "fern.yaml"


def build(*args: str | Path) -> Any:
    return train.main([str(arg) for arg in args], run=False)


@pytest.mark.slow
@pytest.mark.parametrize("path", WHOLE, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_config_builds(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cli = build("--config", path)
    assert cli.model is not None and cli.datamodule is not None


@pytest.mark.parametrize(("method", "scene"), [("ngp", LEGO), ("ngp_ndc", FERN)])
def test_a_method_on_a_scene_is_the_file_of_both(
    method: str, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    together = build("--config", ROOT / f"{method}.yaml", "--config", scene).config
    alone = build("--config", ROOT / "ngp" / scene.name).config
    together.pop("config", None), alone.pop("config", None)
    assert together.as_dict() == alone.as_dict()
    assert together.trainer.logger.init_args.scene == scene.stem


@pytest.mark.parametrize("name", ["lego", "fern"])
def test_the_cost_of_a_bit_is_an_option(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cli = build("--config", ROOT / "rate" / f"{name}.yaml", "--trainer.callbacks.rd_lambda", "5e-4")
    (stage,) = [callback for callback in cli.trainer.callbacks if isinstance(callback, RateStage)]
    assert stage.rd_lambda == 5e-4


def test_configs_are_short_and_chain_runs_by_name() -> None:
    for path in ROOT.rglob("*.yaml"):
        text = path.read_text()
        assert len(text.splitlines()) < 30 and "version_" not in text, path


def test_settings_of_a_configuration_with_all_that_it_includes() -> None:
    settings = merged(ROOT / "nerf" / "lego.yaml")
    sampler = settings["model"]["init_args"]["training_sampler"]
    assert sampler["class_path"] == "OccupancySampler" and sampler["init_args"]["coarse_until"] == 3500
    assert sampler["init_args"]["n_steps"] == 256
    assert settings["trainer"]["callbacks"] == ["RunProgressBar", "Throughput", "RunCheckpoint", "ImageLogger"]


@pytest.mark.parametrize("path", [ROOT / "default.yaml", *(ROOT / "ngp").glob("*.yaml")], ids=lambda path: path.stem)
def test_every_ngp_run_leaves_pictures_a_film_and_a_file(path: Path) -> None:
    callbacks = merged(path)["trainer"]["callbacks"]
    names = {entry if isinstance(entry, str) else entry["class_path"] for entry in callbacks}
    assert {"ImageLogger", "VideoRender", "BitstreamExport", "RunCheckpoint"} <= names
