"""Pictures of validation views in TensorBoard."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from nerfcomp.callbacks.captions import Part, captioned
from nerfcomp.callbacks.media import Picture, color_map, depth_picture, depth_range, normal_picture, to_map, to_picture
from nerfcomp.callbacks.views import View, drawable
from nerfcomp.geometry.rays import RayBatch
from nerfcomp.rendering.metrics import psnr


class ImageLogger(Callback):
    """Log validation views as truth | rendered | error | depth, side by side, and normals where the model knows them.

    Name and PSNR stand above, and a bar beside error and depth says what their colours mean.

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
        quality = psnr(view.rgb.float(), batch.rgb.to(view.rgb.device))
        picture = captioned(f"{batch.name}   PSNR {float(quality):.2f} dB", self.parts(view, batch))
        for board in boards:
            board.experiment.add_image(f"views/{batch.name}", picture, trainer.global_step, dataformats="HWC")

    def compose(self, view: View, batch: RayBatch) -> Picture:
        """(H, 4 W, 3) picture of a view and its truth; (H, 5 W, 3) with normals."""
        return np.concatenate([part.picture for part in self.parts(view, batch)], axis=1)

    def parts(self, view: View, batch: RayBatch) -> list[Part]:
        """Truth, rendering, error and depth of a view, and normals where they are known."""
        height, width = batch.height, batch.width
        error = (view.rgb.float().clamp(0, 1) - batch.rgb).abs().mean(-1) / self.error_max
        depth, opacity = to_map(view.depth, height, width), to_map(view.opacity, height, width)
        limits = depth_range(depth, opacity)
        words = "depth" if limits is None else f"depth {limits[1]:.3g} to {limits[0]:.3g} (bright)"
        parts = [
            Part(to_picture(batch.rgb, height, width), "truth"),
            Part(to_picture(torch.nan_to_num(view.rgb), height, width), "rendered"),
            Part(color_map(to_map(error, height, width), "inferno"), f"error 0 to {self.error_max:g}", "inferno"),
            Part(depth_picture(depth, opacity, limits), words, "viridis"),
        ]
        normals = getattr(view, "normals", None)
        if normals is not None:
            shown = normals.float().cpu().numpy().reshape(height, width, 3)
            parts.append(Part(normal_picture(shown, opacity), "normals x y z"))
        stride = -(-height // self.max_height)
        return [part._replace(picture=part.picture[::stride, ::stride]) for part in parts]
