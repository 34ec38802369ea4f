"""Tuning what coarse quantization left: local scaling adaptation (LSA) of a whole field at once."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.checkpoint import DESCRIPTION_KEY
from nerfcomp.artifacts.coded_tensors import SideQP, coded_tensors, side_qps
from nerfcomp.artifacts.kinds import of_scene, rebuild
from nerfcomp.artifacts.nfc import quantize_field
from nerfcomp.artifacts.runs import is_there
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.compression import LocalScaling, WeightHook, named_scales, plain_parameters
from nerfcomp.errors import SettingsError
from nerfcomp.exchange.loading import load_start
from nerfcomp.modules.base import OptimizerFactory, SchedulerFactory
from nerfcomp.modules.evaluation import EvaluatedModule
from nerfcomp.modules.tuning import StepSettings, tuning_stage
from nerfcomp.rate_control.allocator import Allocator
from nerfcomp.rendering import HierarchicalSampler, OccupancySampler

_STAGE = "tuning."  # left out of checkpoints, which are those of the field's own stage


class LSAModule(EvaluatedModule):
    """Quantize a trained field, then tune one factor per output row of its layers, and its biases.

    Everything else is frozen. Any field of a scene will do; it comes from ``init_from`` with its sampler. What a step
    is, its kind decides (`tuning_stage`): a vanilla NeRF is tuned like it is trained, both networks at once, a light
    field on whole views or patches, other fields by the error of their colours. Weights that ``init_from`` has
    quantized already stay as they are.

    Attributes:
        tuning: The stage of the field's kind that says what a step is, once there is a field.

    Args:
        init_from: Checkpoint, ``.tar`` of nerf-pytorch or ``.nfc`` file to compress.
        qp: Quality, as in ``compress.py encode``.
        uniform: Give every weight this QP instead of spreading it by what the pictures feel.
        scale_qp: QP of the factors.
        bias_qp: QP of the biases.
        tune_biases: Tune the biases, too.
        bias_rate: Learning rate of the biases, relative to that of the factors.
        hooks: What is tuned; `LocalScaling` when absent.
        sampler: For files of nerf-pytorch, which say nothing of it: number and spacing of samples.
        training_sampler: For a vanilla NeRF: places the samples of tuning, as in its training. What is empty it takes
            from the networks.
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the schedule from the optimizer and the total number of steps.
        max_samples: Most samples per step; for a vanilla NeRF only with ``training_sampler``.
        coarse_share: See `VanillaNeRFModule`.
        empty_points: Likewise.
        empty_weight: Likewise.
        empty_margin: Likewise.
    """

    def __init__(
        self,
        init_from: str | None,
        qp: int = -20,
        uniform: bool = False,
        scale_qp: int = -48,
        bias_qp: int = -44,
        tune_biases: bool = True,
        bias_rate: float = 0.3,
        hooks: list[WeightHook] | None = None,
        sampler: HierarchicalSampler | None = None,
        training_sampler: OccupancySampler | None = None,
        optimizer: OptimizerFactory = torch.optim.Adam,
        scheduler: SchedulerFactory | None = None,
        max_samples: int = 2**13,
        coarse_share: float = 0.25,
        empty_points: int = 512,
        empty_weight: float = 0.01,
        empty_margin: float = 1.0,
    ) -> None:
        super().__init__(optimizer, scheduler, init_from, [LocalScaling()] if hooks is None else hooks)
        self.save_hyperparameters(ignore=["sampler", "training_sampler"])
        self.qp = qp
        self.uniform = uniform
        self.side = SideQP(scale_qp, bias_qp)
        self.tune_biases = tune_biases
        self.bias_rate = bias_rate
        self.foreign_sampler = (sampler,)  # in a tuple, as it is no part of this module
        self.settings = StepSettings(
            training_sampler, max_samples, coarse_share, empty_points, empty_weight, empty_margin
        )
        self.qps: dict[str, int] | None = None
        self.tuning: Any = None

    @property
    def field(self) -> nn.Module:
        """The field that is tuned."""
        return self.trained.field

    @property
    def trained(self) -> SceneArtifact:
        """The field with its factors, and the QPs under which it is to be encoded."""
        if self.tuning is None:
            raise SettingsError("LSA tunes a trained field: name its checkpoint with --model.init_from.")
        found: SceneArtifact = self.tuning.trained
        return found.replace(qp=self.qps)

    def setup(self, stage: str) -> None:
        """Take the views from the datamodule and the field from ``init_from``; quantize it when tuning begins.

        A run that is resumed takes the field from its own checkpoint if ``init_from`` is gone.
        """
        self.resumed = False
        if self.tuning is None:
            if self.init_from is None:
                raise SettingsError("LSA tunes a trained field: name its checkpoint with --model.init_from.")
            if is_there(self.init_from):
                self._start_from(self.init_from, stage == "fit")

    def _start_from(self, path: str, begins: bool) -> None:
        """Take the field from ``init_from``, and let the views follow it."""
        red, green, blue = self._data.background.tolist()
        start = load_start(path, self._data.scene, (red, green, blue), *self.foreign_sampler)
        self._data.follow(start.scene)
        self._take(start, begins)

    def _take(self, start: SceneArtifact, begins: bool) -> None:
        """Hook the weights, quantize them if tuning begins here, and freeze what is not tuned."""
        start = start.to(self.trainer.strategy.root_device)
        if not named_scales(start.field):
            start = start.for_coding()
            for hook in self.hooks:
                hook.attach(start.field)
        if begins:
            start = self._quantized(start)
        self.qps = start.qp
        for name, parameter in plain_parameters(start.field).items():
            parameter.requires_grad_(self.tune_biases and parameter.dim() <= 1)
        self.tuning = tuning_stage(start, self.settings).train()
        self.tuning.trainer, self.tuning.watch = self.trainer, self.watch

    def _quantized(self, start: SceneArtifact) -> SceneArtifact:
        """Quantize on rank zero; the others get its weights when they are wrapped, and its QPs here."""
        qps = start.qp
        if self.trainer.is_global_zero and qps is None:
            start.prepare()
            qps = quantize_field(start, Allocator(start, self.uniform, self.side).allocate(self.qp)).qp
        elif qps is not None:
            qps = side_qps(coded_tensors(start.field), self.side) | qps
        return start.replace(qp=self.trainer.strategy.broadcast(qps))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name the weights as the field's own stage does."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["state_dict"] = {key.removeprefix(_STAGE): value for key, value in checkpoint["state_dict"].items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over QPs, box and distances, and the field where there is none yet."""
        super().on_load_checkpoint(checkpoint)
        if self.tuning is None:
            self._take(of_scene(rebuild(checkpoint[DESCRIPTION_KEY]), "LSA goes on with"), begins=False)
        known = SceneInfo.from_json(checkpoint[DESCRIPTION_KEY]["scene"])
        self._data.follow(known)
        self.qps = dict(checkpoint[DESCRIPTION_KEY]["qp"])
        checkpoint["state_dict"] = {f"{_STAGE}{key}": value for key, value in checkpoint["state_dict"].items()}

    def make_optimizer(self) -> Optimizer:
        """Factors at the full rate, biases at their own."""
        if self.tuning is None and self.init_from is not None:
            self._start_from(self.init_from, begins=True)  # which says that the file is missing
        biases = {parameter for parameter in plain_parameters(self.field).values() if parameter.requires_grad}
        optimizer = self.optimizer(p for p in self.parameters() if p.requires_grad and p not in biases)
        if biases:
            rate = self.bias_rate * optimizer.defaults["lr"]
            optimizer.add_param_group({"params": [p for p in self.parameters() if p in biases], "lr": rate})
        return optimizer

    def on_train_start(self) -> None:
        """Find out where the quantized field is empty; a resumed run knows."""
        self.tuning.meet(self._data.scene)
        if not self.resumed:
            self.trained.prepare()
            self.tuning.prepare_tuning()

    def on_validation_epoch_start(self) -> None:
        """Find out what is empty, so that pictures take seconds."""
        self.trained.prepare()

    def on_test_epoch_start(self) -> None:
        """Likewise."""
        self.trained.prepare()

    def step(self, batch: Any) -> dict[str, Tensor]:
        """Named losses of one batch, with the figures that callbacks show."""
        found: dict[str, Tensor] = self.tuning.step(batch)
        return found

    def training_step(self, batch: Any) -> dict[str, Tensor]:
        """One step; what is empty stays so."""
        out = self.step(batch)
        self.log_dict({f"train/{key}": value.detach() for key, value in out.items()}, prog_bar=False)
        self.log("psnr", out["psnr"], prog_bar=True, logger=False)
        return out

    @property
    def _data(self) -> Any:
        """The datamodule."""
        return self.trainer.datamodule  # type: ignore[attr-defined]
