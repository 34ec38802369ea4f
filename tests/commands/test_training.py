"""What trainings say."""

import io
import logging

import pytest

from nerfcomp.commands.training import quiet_lightning


def test_lightning_says_what_is_about_the_run_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lightning.pytorch")  # programs that ran before in this process may have raised it
    said = io.StringIO()
    for name in ("", "lightning"):  # a program shows what reaches the root; Lightning has a handler of its own
        monkeypatch.setattr(logging.getLogger(name), "handlers", [logging.StreamHandler(said)])
    quiet_lightning()
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "handlers", [])  # as when the root has one first
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "propagate", True)
    speaker = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    speaker.info("GPU available: False, used: False")
    speaker.info("`Trainer.fit` stopped: `max_steps=10` reached.")
    assert said.getvalue() == "`Trainer.fit` stopped: `max_steps=10` reached.\n"
