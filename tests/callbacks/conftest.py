from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning import Trainer

from nerfcomp.callbacks import RunProgressBar
from tests.callbacks.tiny_cli import CONFIG


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Configuration of a tiny run that writes below ``tmp_path``."""
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG.format(root=tmp_path))
    return path


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """Makes a quiet trainer that writes below ``tmp_path``."""

    def make(**options: Any) -> Trainer:
        quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
        if not any(isinstance(callback, RunProgressBar) for callback in options.get("callbacks", [])):
            quiet["enable_progress_bar"] = False
        return Trainer(accelerator="cpu", devices=1, default_root_dir=tmp_path, **{**quiet, **options})

    return make
