"""Tuning what coarse quantization left: local scaling adaptation (LSA) of both networks at once."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from nerfcomp.artifacts.checkpoint import DESCRIPTION_KEY
from nerfcomp.artifacts.coded_tensors import SideQP, coded_tensors, side_qps
from nerfcomp.artifacts.kinds import of_kind, rebuild
from nerfcomp.artifacts.nfc import quantize_field
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.runs import is_there
from nerfcomp.compression import LocalScaling, WeightHook, named_scales, plain_parameters
from nerfcomp.errors import SettingsError
from nerfcomp.exchange.loading import load_start
from nerfcomp.fields import NeRFField
from nerfcomp.geometry.rays import RayBatch
from nerfcomp.modules.base import FieldModule, OptimizerFactory, SchedulerFactory
from nerfcomp.modules.radiance_field import RadianceFieldModule
from nerfcomp.modules.vanilla_nerf import VanillaNeRFModule
from nerfcomp.rate_control.allocator import Allocator
from nerfcomp.rendering import HierarchicalSampler, OccupancySampler


class LSAModule(VanillaNeRFModule):
    """Quantize a trained field, then tune one factor per output row of its linear layers, and its biases.

    Everything else is frozen. Any field with linear layers will do; field and sampler come from ``init_from``. A
    vanilla NeRF is tuned like it is trained, both networks at once (see `VanillaNeRFModule`), other fields by the error
    of their colours. Weights that ``init_from`` has quantized already stay as they are.

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
        nothing = cast(Any, None)
        super().__init__(
            nothing,
            cast(Any, sampler),
            training_sampler,
            optimizer,
            scheduler,
            max_samples,
            coarse_share,
            empty_points,
            empty_weight,
            empty_margin,
            init_from,
            [LocalScaling()] if hooks is None else hooks,
        )
        self.qp = qp
        self.uniform = uniform
        self.side = SideQP(scale_qp, bias_qp)
        self.tune_biases = tune_biases
        self.bias_rate = bias_rate
        self.qps: dict[str, int] | None = None

    def setup(self, stage: str) -> None:
        """Take the views from the datamodule and the field from ``init_from``; quantize it when tuning begins.

        A run that is resumed takes the field from its own checkpoint if ``init_from`` is gone.
        """
        self.resumed = False
        self._take_scene()
        if self.field is None:
            if self.init_from is None:
                raise SettingsError("LSA tunes a trained field: name its checkpoint with --model.init_from.")
            if is_there(self.init_from):
                self._start_from(self.init_from, stage == "fit")

    def _start_from(self, path: str, begins: bool) -> None:
        """Take the field from ``init_from``."""
        assert self.scene is not None
        start = load_start(path, self.data.scene, self.scene.background, self.sampler)
        self.follow(start.scene)
        self._take_field(start, begins)

    def _take_field(self, start: RadianceFieldArtifact, begins: bool) -> None:
        """Hook the weights, quantize them if tuning begins here, and freeze what is not tuned."""
        start = start.to(self.trainer.strategy.root_device)
        if not named_scales(start.field):
            for hook in self.hooks:
                hook.attach(start.field)
        if begins:
            start = self._quantized(start)
        self.field, self.sampler = cast(NeRFField, start.field.train()), cast(Any, start.sampler.train())
        self.qps = start.qp
        for name, parameter in plain_parameters(self.field).items():
            parameter.requires_grad_(self.tune_biases and parameter.dim() <= 1)

    def _quantized(self, start: RadianceFieldArtifact) -> RadianceFieldArtifact:
        """Quantize on rank zero; the others get its weights when they are wrapped, and its QPs here."""
        qps = start.qp
        if self.trainer.is_global_zero and qps is None:
            start.prepare()
            qps = quantize_field(start, Allocator(start, self.uniform, self.side).allocate(self.qp)).qp
        elif qps is not None:
            qps = side_qps(coded_tensors(start.field), self.side) | qps
        return start.replace(qp=self.trainer.strategy.broadcast(qps))

    @property
    def trained(self) -> RadianceFieldArtifact:
        """The field with its factors, and the QPs under which it is to be encoded."""
        return super().trained.replace(qp=self.qps)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the QPs over, and the field where there is none yet."""
        if self.field is None:
            known = of_kind(rebuild(checkpoint[DESCRIPTION_KEY]), RadianceFieldArtifact, "LSA goes on with")
            self._take_field(known, begins=False)
        super().on_load_checkpoint(checkpoint)
        self.qps = dict(checkpoint[DESCRIPTION_KEY]["qp"])

    def on_fit_start(self) -> None:
        """Begin as every stage does; the field is there."""
        FieldModule.on_fit_start(self)

    def make_optimizer(self) -> Optimizer:
        """Factors at the full rate, biases at their own."""
        if self.field is None and self.init_from is not None:
            self._start_from(self.init_from, begins=True)  # which says that the file is missing
        biases = {parameter for parameter in plain_parameters(self.field).values() if parameter.requires_grad}
        optimizer = self.optimizer(p for p in self.parameters() if p.requires_grad and p not in biases)
        if biases:
            rate = self.bias_rate * optimizer.defaults["lr"]
            optimizer.add_param_group({"params": [p for p in self.parameters() if p in biases], "lr": rate})
        return optimizer

    def on_train_start(self) -> None:
        """Find out where the quantized networks are empty; a resumed run knows."""
        if self.resumed:
            return
        self.trained.prepare()
        if self.training_sampler is None:
            return
        occupied = self.sampler.occupied[:1]
        if self.training_sampler.occupied.shape != occupied.shape:
            raise SettingsError(
                f"training_sampler needs one cascade of resolution {occupied.shape[-1]}, as the field's sampler has."
            )
        self.training_sampler.grid.set_aabb(self.field.aabb)
        self.training_sampler.set_occupied(occupied)

    def training_step(self, batch: RayBatch) -> dict[str, Tensor]:
        """One step; what is empty stays so."""
        out = self.step(batch)
        self.log_dict({f"train/{key}": value.detach() for key, value in out.items()}, prog_bar=False)
        self.log("psnr", out["psnr"], prog_bar=True, logger=False)
        return out

    def step(self, batch: RayBatch) -> dict[str, Tensor]:
        """Named losses of one batch of rays, with the figures that callbacks show."""
        return super().step(batch) if self.field.deep else RadianceFieldModule.step(self, batch)
