"""Training the field of a volume."""

import logging
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from nerfcomp.artifacts.checkpoint import DESCRIPTION_KEY
from nerfcomp.artifacts.kinds import of_kind, rebuild
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.artifacts.volume_info import VolumeInfo
from nerfcomp.compression import WeightHook, baked_copy
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.report import write_json
from nerfcomp.evaluation.slab_error import SlabError, measure_slab, merged
from nerfcomp.fields import VolumeField
from nerfcomp.fields.volume_design import suited_field
from nerfcomp.geometry.lattice import VolumeBatch, VolumeSlab
from nerfcomp.modules.base import FieldModule, OptimizerFactory, SchedulerFactory, gather_rows
from nerfcomp.modules.sliced_loss import sliced_loss
from nerfcomp.optim import GridAdam

logger = logging.getLogger(__name__)
_RATIO = 500.0  # below float32, that a field is made for when nothing else is said


class VolumeModule(FieldModule):
    """A field trained on points of a volume.

    Args:
        field: The network; when absent, one that suits the volume and the bytes that it is to take.
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the schedule from the optimizer and the total number of steps.
        head_rate: Learning rate of the head, as a multiple of the optimizer's.
        target_bytes: What the file is to take; decides on the size of the network when there is no ``field``.
        init_from: Checkpoint or ``.nfc`` file whose weights start this stage, hooks on them baked.
        hooks: What changes how the field computes with its weights, see `FieldModule`.
    """

    def __init__(
        self,
        field: VolumeField | None = None,
        optimizer: OptimizerFactory = GridAdam,
        scheduler: SchedulerFactory | None = None,
        head_rate: float = 0.4,
        target_bytes: int | None = None,
        init_from: str | None = None,
        hooks: list[WeightHook] | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler, init_from, hooks)
        self.save_hyperparameters()
        self.field = field
        self.head_rate = head_rate
        self.target_bytes = target_bytes
        self.info: VolumeInfo | None = None
        self.qps: dict[str, int] | None = None
        self._slabs: list[SlabError] = []

    def setup(self, stage: str) -> None:
        """Learn what the volume is, and make the field."""
        info: VolumeInfo = self.trainer.datamodule.info  # type: ignore[attr-defined]
        self.info = info
        if stage == "fit" and self.init_from is not None and Path(self.init_from).exists():
            start = of_kind(read_artifact(self.init_from), VolumeArtifact, "A volume's field starts from")
            self.field = start.without_hooks().field.train()
        elif self.field is None:
            size = 4 * math.prod(info.shape) / _RATIO
            self.field = suited_field(info.shape, self.target_bytes or round(size))
        if stage == "fit":
            self.attach_hooks(self.field)

    @property
    def trained(self) -> VolumeArtifact:
        """The field with all that decoding needs."""
        if self.field is None or self.info is None:
            raise NerfcompError("There is no field yet: train one, or name a checkpoint with --ckpt_path.")
        return VolumeArtifact(field=self.field, info=self.info, qp=self.qps, rounded=self.qps is not None)

    def make_optimizer(self) -> Optimizer:
        """The grid at the full rate, the head at its own."""
        assert self.field is not None
        head = {id(parameter) for parameter in self.field.head.parameters()}
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = self.optimizer(parameter for parameter in parameters if id(parameter) not in head)
        rate = self.head_rate * optimizer.defaults["lr"]
        optimizer.add_param_group({"params": [p for p in parameters if id(p) in head], "lr": rate, "eps": 1e-8})
        return optimizer

    def step(self, batch: VolumeBatch) -> dict[str, Tensor]:
        """Named losses of one batch of points."""
        assert self.field is not None
        features = self.field.features(batch.x)
        parameters = [parameter for parameter in self.field.head.parameters() if parameter.requires_grad]
        loss, squares = sliced_loss(self.field.head, parameters, features, batch.values, batch.weights)
        return {"loss": loss, "volume_loss": loss, "squares": squares}

    def training_step(self, batch: VolumeBatch) -> dict[str, Tensor]:
        """One step, after which points go where the error is."""
        out = self.step(batch)
        self.trainer.datamodule.note_errors(batch, out["squares"])  # type: ignore[attr-defined]
        self.log_dict({key: value.detach() for key, value in out.items() if key != "squares"}, prog_bar=False)
        psnr = 10 * torch.log10(4 / out["loss"].detach().clamp(min=1e-12))
        self.log("psnr_step", psnr, prog_bar=True, logger=False)
        return out

    def validation_step(self, batch: VolumeSlab) -> None:
        """Measure some layers."""
        self._slabs += [measure_slab(self.trained, batch.start, batch.values)] if len(batch.values) else []

    def test_step(self, batch: VolumeSlab) -> None:
        """Measure some layers."""
        self.validation_step(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the error over the slabs of all ranks."""
        error = merged(gather_rows(self._slabs))
        self._slabs = []
        if error is not None:
            figures = {"psnr": error.psnr, "mse": error.mse, "l1": error.l1}
            self.log_dict({f"val/{key}": value for key, value in figures.items()}, rank_zero_only=False)

    def on_test_epoch_end(self) -> None:
        """Log the error of the whole volume and write ``results.json``."""
        error = merged(gather_rows(self._slabs))
        self._slabs = []
        if error is None or self.info is None or self.field is None:
            return
        weights = list(baked_copy(self.field).parameters())
        count, zeros = sum(w.numel() for w in weights), sum(int((w == 0).sum()) for w in weights)
        ratio = math.prod(self.info.shape) / max(count - zeros, 1)
        figures = {
            "psnr": error.psnr,
            "mse": error.mse,
            "rmse": math.sqrt(error.mse),
            "l1": error.l1,
            "compression_ratio": ratio,
            "zeroes": float(zeros),
            "compr_rmse": ratio / max(math.sqrt(error.mse), 1e-12),
        }
        self.log_dict(figures, rank_zero_only=False)
        folder = Path(self.trainer.log_dir or self.trainer.default_root_dir)  # all processes must ask
        if self.trainer.is_global_zero:
            largest = {"largest_error": error.largest * 0.5 * (self.info.high - self.info.low)}
            write_json(folder / "results.json", figures | largest)
            logger.info("The whole volume: PSNR %.3f dB (%s)", error.psnr, folder / "results.json")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Describe the field, so that the weights can be used without this run's configuration."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[DESCRIPTION_KEY] = self.trained.describe()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the field and its QPs from the checkpoint."""
        super().on_load_checkpoint(checkpoint)
        known = of_kind(rebuild(checkpoint[DESCRIPTION_KEY]), VolumeArtifact, "A volume's training goes on from")
        self.qps = known.qp
        if self.field is None or self.field.arguments != known.field.arguments:
            self.field = known.field.train()
        self.take_hooks(checkpoint, self.field)
