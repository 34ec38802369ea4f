"""Training a student from a teacher's pictures, or from real ones."""

import copy
import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nerfcomp.artifacts.checkpoint import DESCRIPTION_KEY
from nerfcomp.artifacts.kinds import of_kind, rebuild
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.artifacts.runs import is_there
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.compression import WeightHook, freeze_ranges, hold_masks, plain_parameters, quantizers
from nerfcomp.descriptions import require_between
from nerfcomp.devices import sent
from nerfcomp.errors import NerfcompError
from nerfcomp.fields import LightField
from nerfcomp.geometry.rays import ViewBatch
from nerfcomp.modules.base import OptimizerFactory, SchedulerFactory
from nerfcomp.modules.evaluation import EvaluatedModule
from nerfcomp.rendering.losses import ssim_loss
from nerfcomp.rendering.metrics import psnr
from nerfcomp.rendering.occupied_box import occupied_box, resampled_occupancy

logger = logging.getLogger(__name__)
_STUDENT, _FIELD = "student.", "field."


class LightFieldModule(EvaluatedModule):
    """A light field trained on whole views with known colours.

    What is validated, tested, exported and kept in checkpoints as the field is the moving average of the weights that
    are trained.

    Args:
        field: The student; that of ``init_from`` when absent.
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the schedule from the optimizer and the total number of steps.
        ssim_weight: Weight of ``(1 - SSIM) / 2`` beside the mean squared error.
        average: Decay of the moving average per step, in [0, 1); lower in the first steps. 0 keeps no average: what is
            trained is what is shown, as `RateStage` needs it.
        jitter: Shift the points of a step at random along their rays.
        init_from: Checkpoint or ``.nfc`` file whose weights start this stage, with the hooks on them.
        hooks: What changes how the student computes with its weights, see `FieldModule`.
        occupied_from: Trained radiance field (checkpoint, run or ``.nfc`` file), such as the teacher, that says what is
            empty. The box of the student becomes the least one about all that is not, unless weights come from
            ``init_from``; rows of its grid that no position in an occupied cell reads are zero and stay it, so that
            they cost next to nothing in a file.
        occupied_margin: Cells beside what is occupied that are taken for it.

    Raises:
        ValueError: A number out of range.
    """

    def __init__(
        self,
        field: LightField | None = None,
        optimizer: OptimizerFactory = torch.optim.AdamW,
        scheduler: SchedulerFactory | None = None,
        ssim_weight: float = 0.0,
        average: float = 0.999,
        jitter: bool = False,
        init_from: str | None = None,
        hooks: list[WeightHook] | None = None,
        occupied_from: str | None = None,
        occupied_margin: int = 0,
    ) -> None:
        super().__init__(optimizer, scheduler, init_from, hooks)
        require_between(0, 16, occupied_margin=occupied_margin)
        if not 0 <= average < 1 or ssim_weight < 0:
            raise ValueError(f"average in [0, 1) and ssim_weight >= 0 are needed, got {average} and {ssim_weight}.")
        self.save_hyperparameters()
        self.ssim_weight = ssim_weight
        self.average = average
        self.jitter = jitter
        self.occupied_from = occupied_from
        self.occupied_margin = occupied_margin
        self.scene: SceneInfo | None = None
        self._started = False
        self.student: LightField | None = None
        self.field: LightField | None = None
        if field is not None:
            self.adopt(field)

    def adopt(self, field: LightField) -> None:
        """Train this light field from now on."""
        self.student = field
        self.field = copy.deepcopy(field).requires_grad_(False) if self.average else field

    def attach_hooks(self, *networks: nn.Module) -> None:
        """Attach this stage's hooks; those of the average follow the student's instead of being trained."""
        super().attach_hooks(*networks)
        self._freeze_average()

    def take_hooks(self, checkpoint: dict[str, Any], *networks: nn.Module) -> None:
        """Hook networks as those of a checkpoint are; those of the average follow."""
        super().take_hooks(checkpoint, *networks)
        self._freeze_average()

    def _freeze_average(self) -> None:
        """Train nothing of the average; processes would wait for its gradients."""
        assert self.field is not None
        if self.average:
            self.field.requires_grad_(False)

    def setup(self, stage: str) -> None:
        """Take the scene from the datamodule, or the weights from ``init_from``."""
        if stage != "fit":
            return
        self.resumed, self._started = False, self.init_from is None
        scene: SceneInfo = self.trainer.datamodule.info  # type: ignore[attr-defined]
        self.scene = scene
        if self.init_from is not None:
            if is_there(self.init_from):  # a resumed run takes everything from its own checkpoint
                self._start_from(self.init_from)
        elif self.student is not None and self.field is not None:
            self.student.set_aabb(torch.tensor(scene.aabb))
            self.field.set_aabb(torch.tensor(scene.aabb))
            self.attach_hooks(self.student, self.field)
            self._leave_out_empty()
        else:
            raise NerfcompError(
                "LightFieldModule needs a student: give model.init_args.field or model.init_args.init_from."
            )

    def _start_from(self, path: str) -> None:
        """Take over weights, box and bounds of an earlier stage, and its architecture unless there is one already."""
        start = of_kind(read_artifact(path), LightFieldArtifact, "A student starts from")
        if self.student is not None and self.student.arguments != start.field.arguments:
            raise NerfcompError(
                f"{path} holds a light field of other sizes than model.init_args.field. Leave the field out to take "
                "that of the checkpoint."
            )
        self.adopt(start.field.train())
        self._started = True
        assert self.scene is not None and self.student is not None and self.field is not None
        self.attach_hooks(self.student, self.field)
        keep = start.scene  # the encoding of a ray must stay what the weights were trained on
        self.scene = self.scene._replace(aabb=keep.aabb, near=keep.near, far=keep.far, ndc=keep.ndc)
        self._leave_out_empty()

    def _leave_out_empty(self) -> None:
        """Learn from the teacher what is empty, where it is there; a resumed run knows it."""
        if self.occupied_from is None or not is_there(self.occupied_from):
            return
        assert self.scene is not None and self.student is not None and self.field is not None
        teacher = of_kind(read_artifact(self.occupied_from), RadianceFieldArtifact, "What is empty comes from")
        teacher.prepare()
        teacher.to(torch.device("cpu"))
        box = occupied_box(teacher.sampler.occupied, teacher.field.aabb) if self.init_from is None else self.field.aabb
        for network in (self.student, self.field):
            network.set_aabb(box)
            keep_occupied(network, teacher, self.occupied_margin)
        least, greatest = ((x, y, z) for x, y, z in box.tolist())
        self.scene = self.scene._replace(aabb=(least, greatest))
        self._freeze_average()

    def make_optimizer(self) -> Optimizer:
        """One optimizer over the student, which must be there by now."""
        if self.init_from is not None and not (self._started or self.resumed):
            self._start_from(self.init_from)  # which says that the file is missing
        if self.occupied_from is not None and not (self.resumed or is_there(self.occupied_from)):
            read_artifact(self.occupied_from)  # which says so, too
        return super().make_optimizer()

    @property
    def trained(self) -> LightFieldArtifact:
        """The averaged student with all that drawing it needs."""
        if self.scene is None or self.field is None:
            raise NerfcompError("There is no student yet: name a checkpoint with --ckpt_path.")
        return LightFieldArtifact(field=self.field, scene=self.scene, qp=self.qps, rounded=self.rounded)

    def step(self, batch: ViewBatch) -> dict[str, Tensor]:
        """Named losses of a batch of views, with the figures that callbacks show."""
        assert self.student is not None and self.scene is not None, "set up by the trainer"
        truth = batch.rgb.float() / 255
        pictures = self.student.draw(batch.camera, self.scene.bounds, self._jitter()).float()
        error = nn.functional.mse_loss(pictures, truth)
        losses = {"mse": error}
        if self.ssim_weight > 0:
            losses["ssim"] = self.ssim_weight * ssim_loss(pictures.permute(0, 3, 1, 2), truth.permute(0, 3, 1, 2))
        figures = {
            "psnr": psnr(pictures.detach(), truth),
            "rays": torch.tensor(float(truth.numel() // 3)),
        }
        return {"loss": torch.stack(list(losses.values())).sum(), **losses, **figures}

    def _jitter(self) -> Tensor | None:
        """Places of the points in their parts of the rays, the same on every rank."""
        if not self.jitter:
            return None
        assert self.student is not None
        generator = torch.Generator().manual_seed(self.global_step)
        return sent(torch.rand(self.student.points_per_ray, generator=generator), self.device)

    def training_step(self, batch: ViewBatch) -> dict[str, Tensor]:
        """One step."""
        out = self.step(batch)
        self.log_dict({f"train/{key}": value.detach() for key, value in out.items() if key != "rays"}, prog_bar=False)
        self.log("psnr", out["psnr"], prog_bar=True, logger=False)
        return out

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then follow with the average, so that checkpoints of this step hold both."""
        super().optimizer_step(*args, **kwargs)
        self._follow(self.global_step + 1)

    @torch.no_grad()
    def _follow(self, steps: int) -> None:
        """Move the average towards the trained weights after so many steps."""
        assert self.student is not None and self.field is not None
        if not self.average:
            return
        decay = min(self.average, (1 + steps) / (10 + steps))
        pairs = zip(self.field.state_dict().values(), self.student.state_dict().values(), strict=True)
        floating = [(mine, theirs) for mine, theirs in pairs if mine.is_floating_point()]
        torch._foreach_lerp_([mine for mine, _ in floating], [theirs for _, theirs in floating], 1 - decay)

    def share_ranges(self) -> None:
        """Let the student learn with the ranges of its average, which follows it."""
        assert self.student is not None and self.field is not None
        theirs = quantizers(self.field)
        for name, quantizer in quantizers(self.student).items():
            quantizer.inputs.load_state_dict(theirs[name].inputs.state_dict())
        freeze_ranges(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take architecture and scene from the checkpoint, which may be one of `write_checkpoint` without a student."""
        super().on_load_checkpoint(checkpoint)
        trained = of_kind(rebuild(checkpoint[DESCRIPTION_KEY]), LightFieldArtifact, "A student goes on from")
        self.scene, self.qps, self.rounded = trained.scene, trained.qp, trained.rounded
        if self.student is None or self.student.arguments != trained.field.arguments:
            self.adopt(trained.field.train())
        assert self.student is not None and self.field is not None
        self.take_hooks(checkpoint, self.student, self.field)
        state = checkpoint["state_dict"]
        if not any(key.startswith(_STUDENT) for key in state):
            found = {key: value for key, value in state.items() if key.startswith(_FIELD)}
            state |= {_STUDENT + key.removeprefix(_FIELD): value for key, value in found.items()}


def keep_occupied(student: LightField, teacher: RadianceFieldArtifact, margin: int) -> None:
    """Set to zero, from now on, the rows of a student's grid that no occupied cell reads.

    Args:
        student: A light field of the same scene, in its own box; without a grid nothing changes.
        teacher: The field, whose sampler knows what is empty.
        margin: Cells beside those that are occupied.
    """
    if student.grid is None:
        return
    occupied = teacher.sampler.occupied
    cells = resampled_occupancy(occupied, teacher.field.aabb, student.aabb, occupied.shape[1], margin)
    rows = {f"grid.{name}": read for name, read in student.grid.read_rows(cells).items()}
    weights = plain_parameters(student)
    hold_masks(student, {name: read[:, None].expand_as(weights[name]).clone() for name, read in rows.items()})
