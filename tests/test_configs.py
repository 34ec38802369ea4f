"""Every shipped configuration builds, and stays short."""

from pathlib import Path

import pytest

import train

CONFIGS = sorted((Path(train.__file__).parent / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_builds(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cli = train.main(["--config", str(path)], run=False)
    assert cli.model is not None and cli.datamodule is not None
    assert len(path.read_text().splitlines()) < 30


def test_there_are_configs() -> None:
    assert len(CONFIGS) >= 4
