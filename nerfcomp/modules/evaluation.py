"""What stages that end in a picture share: whole views rendered, measured and averaged over all processes."""

import logging
from pathlib import Path
from typing import Any

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.checkpoint import DESCRIPTION_KEY
from nerfcomp.compression import WeightHook
from nerfcomp.evaluation.identity import own_results, scene_identity
from nerfcomp.evaluation.report import ViewResult, mean_result, write_csv, write_json
from nerfcomp.evaluation.views import render_view
from nerfcomp.geometry.rays import RayBatch
from nerfcomp.modules.base import FieldModule, OptimizerFactory, SchedulerFactory, gather_rows
from nerfcomp.readers.scene import Scene
from nerfcomp.rendering import Rendered

logger = logging.getLogger(__name__)


class EvaluatedModule(FieldModule):
    """A stage whose field is validated and tested on whole views.

    Args:
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the schedule from the optimizer and the total number of steps.
        init_from: Checkpoint or ``.nfc`` file that the weights start from.
        hooks: What changes how the field computes with its weights, see `FieldModule`.
    """

    def __init__(
        self,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None = None,
        init_from: str | None = None,
        hooks: list[WeightHook] | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler, init_from, hooks)
        self.views: list[ViewResult] = []
        self.validated_step = -1  # the step whose validation figures are known

    @property
    def trained(self) -> SceneArtifact:
        """The field with all that rendering it needs."""
        raise TypeError(f"{type(self).__name__} has no field to evaluate.")

    def prepare_tuning(self) -> None:
        """Get ready to tune a field that is quantized and prepared; called once, see `LSAModule`."""

    def meet(self, scene: Scene) -> None:
        """Learn from where training looks, where a step needs it; see `LSAModule`."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Describe the field, so that the weights can be used without this run's configuration."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[DESCRIPTION_KEY] = self.trained.describe()

    def _view_step(self, batch: RayBatch) -> dict[str, Rendered]:
        if batch.height == 0:  # another rank has one more view than this one
            return {}
        rendered, result = render_view(self.trained, batch)
        self.views.append(result)
        return {"rendered": rendered}

    def validation_step(self, batch: RayBatch) -> dict[str, Rendered]:
        """Render one validation view."""
        return self._view_step(batch)

    def test_step(self, batch: RayBatch) -> dict[str, Rendered]:
        """Render one test view."""
        return self._view_step(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the mean over the views of all ranks."""
        self.validated_step = self.global_step
        self._finish_views("val")

    def on_test_epoch_end(self) -> None:
        """Log the mean and write ``results.json`` and ``per_image.csv`` into the run's folder."""
        views = self._finish_views("test")
        folder = Path(self.trainer.log_dir or self.trainer.default_root_dir)  # all processes must ask
        if self.trainer.is_global_zero and views:
            mean = mean_result(views)
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            scene = scene_identity(data.split("test"))
            results, rows = own_results(folder, scene)
            write_json(results, {**mean._asdict(), "bytes": self._checkpoint_bytes(), "scene": scene})
            write_csv(rows, views)
            logger.info("%d test views: PSNR %.3f dB, SSIM %.4f (%s)", *mean[:3], results)

    def _finish_views(self, prefix: str) -> list[ViewResult]:
        views = gather_rows(self.views)
        self.views = []
        if views:
            mean = mean_result(views)
            figures = {"psnr": mean.psnr, "ssim": mean.ssim, "seconds_per_image": mean.seconds}
            self.log_dict({f"{prefix}/{key}": value for key, value in figures.items()}, rank_zero_only=False)
            if self.trainer.state.fn != "fit":  # Lightning would show them at step 0
                self.log("step", float(self.weights_step), rank_zero_only=False)
        return views

    def _checkpoint_bytes(self) -> int:
        return sum(p.numel() * p.element_size() for p in self.trained.field.parameters())
