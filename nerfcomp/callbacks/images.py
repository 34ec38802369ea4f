"""Pictures of validation views in TensorBoard."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from nerfcomp.callbacks.media import Picture, color_map, depth_picture, depth_range, normal_picture, to_map, to_picture
from nerfcomp.callbacks.views import View, drawable
from nerfcomp.geometry.rays import RayBatch


class ImageLogger(Callback):
    """Log validation views as truth | render | error | depth, side by side, and normals where the model knows them.

    A validation step that returns ``{"rendered": ...}`` (with rgb, depth and opacity) is not rendered again. With
    several processes the views are the first ones of rank zero.

    Args:
        n_views: Number of views, the same ones at every validation.
        error_max: Mean absolute error of a pixel that gets the brightest colour; fixed, so that steps can be compared.
        max_height: Taller pictures are thinned out to at most this many rows.
    """

    def __init__(self, n_views: int = 4, error_max: float = 0.2, max_height: int = 400) -> None:
        self.n_views = n_views
        self.error_max = error_max
        self.max_height = max_height

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: RayBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log one view."""
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        wanted = batch_idx < self.n_views and batch.height > 0 and not trainer.sanity_checking
        if not (wanted and boards and trainer.is_global_zero):
            return
        view = outputs.get("rendered") if isinstance(outputs, Mapping) else None
        trained = drawable(pl_module)
        if view is None and trained is not None:
            with trained.evaluating():
                view = trained.draw_batch(batch)
        if view is None:
            return
        picture = self.compose(view, batch)
        for board in boards:
            board.experiment.add_image(f"views/{batch.name}", picture, trainer.global_step, dataformats="HWC")

    def compose(self, view: View, batch: RayBatch) -> Picture:
        """(H, 4 W, 3) picture of a view and its truth; (H, 5 W, 3) with normals."""
        height, width = batch.height, batch.width
        error = (view.rgb.float().clamp(0, 1) - batch.rgb).abs().mean(-1) / self.error_max
        depth, opacity = to_map(view.depth, height, width), to_map(view.opacity, height, width)
        parts = [
            to_picture(batch.rgb, height, width),
            to_picture(torch.nan_to_num(view.rgb), height, width),
            color_map(to_map(error, height, width), "inferno"),
            depth_picture(depth, opacity, depth_range(depth, opacity)),
        ]
        normals = getattr(view, "normals", None)
        if normals is not None:
            parts.append(normal_picture(normals.float().cpu().numpy().reshape(height, width, 3), opacity))
        stride = -(-height // self.max_height)
        return np.concatenate([part[::stride, ::stride] for part in parts], axis=1)
