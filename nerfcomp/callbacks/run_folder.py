"""Where a run writes: ``runs/<name>/version_<n>/``, a new one for every new run, the old one for a resumed run."""

import itertools
import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only

from nerfcomp.callbacks.board_names import board_names
from nerfcomp.files import atomic_write, claim_folder

logger = logging.getLogger(__name__)
_PLAIN = (bool, int, float, str)
_COMPARED = ("bytes/nfc", "loss/train", "psnr/decoded", "psnr/test", "psnr/val", "ssim/val")
_SHOWN = ("seed_everything", "model", "data", "optimizer")  # settings that make the difference between runs
CONFIG = "config"  # name of the file with the settings of a run


def flattened(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested lists and dicts as one dict with dotted names.

    >>> flattened({"a": {"b": 1}, "c": [2, {"d": 3}], "e": []})
    {'a.b': 1, 'c.0': 2, 'c.1.d': 3, 'e': []}
    """
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    found: dict[str, Any] = {}
    for name, part in parts:
        found |= flattened(part, f"{prefix}.{name}" if prefix else str(name))
    return found if found else {prefix: value}


def _is_beginning(path: Path) -> bool:
    """Whether a file or folder of a run is written before the first step."""
    return path.is_dir() or path.name in ("config.yaml", "hparams.yaml") or path.name.startswith("events.out.tfevents")


class RunLogger(TensorBoardLogger):
    """TensorBoard files in ``<save_dir>/<name>/version_<n>``.

    Args:
        name: Name of the run, or of its method.
        scene: What the method is used on; the run is called ``<name>_<scene>`` then.
        save_dir: Folder of all runs.
        version: Number of the version, or the name of its folder; the next free number when absent.
    """

    def __init__(
        self,
        name: str = "default",
        save_dir: str = "runs",
        version: int | str | None = None,
        scene: str | None = None,
    ) -> None:
        name = f"{name}_{scene}" if scene else name
        if Path(name).is_absolute() or ".." in Path(name).parts or ".." in Path(str(version)).parts:
            raise ValueError(f"A run called {name!r}, version {version}, would not lie in {save_dir}; leave out '..'.")
        super().__init__(save_dir=save_dir, name=name, version=version, default_hp_metric=False)
        self._chosen = version is not None
        self._claimed = self._new = self._used = False

    @property
    def experiment(self) -> Any:
        """The writer of TensorBoard files; the first to ask claims the folder of a new run."""
        if self._first_process() and not (self._chosen or self._claimed):
            name, first = "version_{}".format, int(self.version)
            self._version = claim_folder(Path(self.root_dir), name, first)
            self._claimed = self._new = True
        return super().experiment

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write figures under the names of `board_names`; a run with some has begun."""
        self._used = self._used or bool(metrics)
        super().log_metrics(board_names(metrics), step)

    def log_settings(self, settings: Mapping[str, Any]) -> None:
        """Fill TensorBoard's table of settings, beside the figures that runs are compared by."""
        from torch.utils.tensorboard.summary import hparams

        if not self._first_process():
            return
        self.hparams.update(settings)
        flat = {key: value if isinstance(value, _PLAIN) else str(value) for key, value in flattened(settings).items()}
        writer = self.experiment._get_file_writer()
        for summary in hparams(flat, dict.fromkeys(_COMPARED, 0.0)):
            writer.add_summary(summary)

    def finalize(self, status: str) -> None:
        """Close the files; a new run that failed before it had anything to say leaves no folder."""
        super().finalize(status)
        if status == "failed" and self._new and not self._used and self._first_process():
            self._discard(Path(self.log_dir))

    @staticmethod
    def _discard(folder: Path) -> None:
        """Remove a folder that holds nothing but how the run began, and folders above it that are empty then."""
        found = list(folder.iterdir()) if folder.is_dir() else []
        if any(path.is_dir() and any(path.iterdir()) or not _is_beginning(path) for path in found):
            return
        for path in found:
            path.rmdir() if path.is_dir() else path.unlink()
        with suppress(OSError):  # others may write there, or it is not empty
            for empty in (folder, *list(folder.parents)[:2]):
                empty.rmdir()

    def save(self) -> None:
        """Write what is logged; of hyper-parameters plain values alone, so that any YAML reader takes the file."""
        self.hparams = json.loads(json.dumps(dict(self.hparams), default=str))
        super().save()

    @staticmethod
    def _first_process() -> bool:
        return getattr(rank_zero_only, "rank", 0) == 0

    def continue_from(self, checkpoint: str | Path) -> bool:
        """Write on into the folder of the run that made ``checkpoint``, unless a version was asked for.

        Returns:
            Whether the checkpoint belongs to a run of this name.
        """
        folder = Path(checkpoint).resolve().parent.parent
        match = re.fullmatch(r"version_(\d+)", folder.name)
        if self._chosen or match is None or folder.parent != Path(self.root_dir).resolve():
            return False
        self._claimed = True
        self._version = int(match[1])  # whatever Lightning's profiler has asked for before
        return True


class RunFolder(SaveConfigCallback):
    """Keep the full configuration in the folder of a run; for ``LightningCLI(save_config_callback=RunFolder)``.

    It is ``config.yaml`` for ``fit`` and ``<subcommand>.yaml`` for the others. A file that says something else is never
    overwritten: the new one gets a number. The checkpoint that a run was resumed from is left out, so that the
    configuration of a resumed run is that of the run. A run without a logger has no folder and keeps nothing.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the configuration before anything else is written."""
        log_dir = trainer.log_dir  # all processes must ask
        if trainer.is_global_zero and trainer.loggers and log_dir is not None and not self.already_saved:
            folder, training = Path(log_dir), stage == "fit"
            config = self.save_as(folder, CONFIG if training else TrainerFn(stage).value, keep_checkpoint=not training)
            if training:
                self._show_settings(trainer)
                last = folder / "checkpoints" / "last.ckpt"
                logger.info("Writing to %s. To resume: train.py fit --config %s --ckpt_path %s", folder, config, last)
        self.already_saved = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what is trained."""
        if trainer.is_global_zero:
            count = sum(weight.numel() for weight in pl_module.parameters() if weight.requires_grad)
            field = getattr(pl_module, "field", pl_module)
            logger.info("%s trains a %s of %d weights.", type(pl_module).__name__, type(field).__name__, count)

    def _show_settings(self, trainer: Trainer) -> None:
        """Let TensorBoard know the settings."""
        known = self.config.as_dict()
        settings = {key: known[key] for key in _SHOWN if known.get(key) is not None}
        for log in trainer.loggers:
            if isinstance(log, RunLogger):
                log.log_settings(settings | {"max_steps": trainer.max_steps})

    def save_as(self, folder: Path, stem: str, keep_checkpoint: bool) -> Path:
        """Write the configuration, or find it written already; returns its path."""
        config = self.config.clone()
        if not keep_checkpoint:
            config.ckpt_path = None
        text: str = self.parser.dump(config, skip_none=False)
        for number in itertools.count(1):
            path = folder / (f"{stem}.yaml" if number == 1 else f"{stem}_{number}.yaml")
            if not path.exists():
                with atomic_write(path) as temporary:
                    temporary.write_text(text)
                break
            if path.read_text() == text:
                break
        return path
