"""Films of the scene, at chosen steps and at the end of training."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

from nerfcomp.callbacks.media import Picture, depth_picture, depth_range, disparity, to_map, to_picture, write_mp4
from nerfcomp.callbacks.shards import Frame, FrameStore, discard
from nerfcomp.callbacks.views import Drawable, drawable
from nerfcomp.evaluation.identity import fingerprint
from nerfcomp.geometry.cameras import Camera, scaled, select_views
from nerfcomp.readers.video_paths import PathKind

logger = logging.getLogger(__name__)


class VideoRender(Callback):
    """Write ``videos/step<n>_rgb.mp4`` and ``_depth.mp4`` into the folder of the run.

    Processes share the frames. Frames are kept on disk until the film is written: a run that is killed and resumed
    reuses those of the very same weights. A full disk costs the film, not the training.

    Args:
        every_n_steps: Also render every so many optimizer steps; only at the end when absent.
        at_end: Render after the last step.
        n_frames: Frames of a film.
        kind: Camera path: ``turntable`` around the scene, ``spiral`` up around it or in front of it, ``along`` past the
            views, ``auto`` what views have covered.
        fps: Frames per second.
        scale: Size relative to the scene's images.
        depth: Write a film of the depth, too.

    Raises:
        ValueError: If a number is out of range.
    """

    folder_name = "videos"
    step_format = "step{:07d}"
    depth_name = "depth"

    def __init__(
        self,
        every_n_steps: int | None = None,
        at_end: bool = True,
        n_frames: int = 120,
        kind: PathKind = "auto",
        fps: int = 30,
        scale: float = 1.0,
        depth: bool = True,
    ) -> None:
        if min(1 if every_n_steps is None else every_n_steps, n_frames, fps) < 1 or not scale > 0:
            raise ValueError(
                f"VideoRender needs every_n_steps, n_frames and fps of at least 1 and a scale above 0, got "
                f"{every_n_steps}, {n_frames}, {fps} and {scale}."
            )
        self.every_n_steps = every_n_steps
        self.at_end = at_end
        self.n_frames = n_frames
        self.kind = kind
        self.fps = fps
        self.scale = scale
        self.depth = depth

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Render when it is time."""
        step = trainer.global_step  # stays 0 while gradients are accumulated for the first step
        if self.every_n_steps and step and step % self.every_n_steps == 0:
            self.run(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Render the end of the run."""
        if self.at_end:
            self.run(trainer, pl_module)

    def run(self, trainer: Trainer, module: LightningModule) -> None:
        """Render the film of the current step unless it exists; all processes must call."""
        data = getattr(trainer, "datamodule", None)
        if getattr(trainer, "fast_dev_run", False) or data is None:
            return
        trained = drawable(module)
        if trained is None:
            return
        folder = Path(trainer.log_dir or trainer.default_root_dir) / self.folder_name
        stem = self.step_format.format(trainer.global_step)
        if trainer.strategy.broadcast((folder / f"{stem}_rgb.mp4").exists()):
            return
        camera = scaled(data.path_cameras(self.kind, self.n_frames), self.scale)
        key = fingerprint([*module.state_dict().values(), *camera[:3]], camera.height, camera.width)
        store = FrameStore(folder / f".{stem}-{trainer.strategy.broadcast(key)}")
        film = Film(trained, data.background, camera, store)
        with trained.evaluating():
            film.render_share(trainer.global_rank, trainer.world_size)
            trainer.strategy.barrier("video")
            if trainer.is_global_zero:
                self._write(film, folder, stem)

    def _write(self, film: "Film", folder: Path, stem: str) -> None:
        """Turn frames into films and delete the frames, and what killed runs left of this film."""
        try:
            if self.depth:
                write_mp4(folder / f"{stem}_{self.depth_name}.mp4", self.depth_pictures(film), self.fps)
            # last, because the film of colours tells a resumed run that all is done
            write_mp4(folder / f"{stem}_rgb.mp4", (frame.rgb for frame in film.frames()), self.fps)
        except OSError as error:
            logger.warning("The video of %s was not written: %s. Training goes on.", stem, error)
        for leftover in folder.glob(f".{stem}[-_]*"):
            discard(leftover)

    def depth_pictures(self, film: "Film") -> Iterator[Picture]:
        """What the film of the depth shows."""
        return film.depth_pictures()


class MovieRender(VideoRender):
    """Films under the names that nerf-pytorch gives them: ``movies/step<n>_rgb.mp4`` and ``movies/step<n>_disp.mp4``.

    The second one shows disparity, 1 / distance, as grey levels from nothing (black) to the nearest (white).
    """

    folder_name = "movies"
    step_format = "step{}"
    depth_name = "disp"

    def depth_pictures(self, film: "Film") -> Iterator[Picture]:
        """Grey disparity with one scale for the whole film."""
        most = max((float(disparity(frame.depth, frame.opacity).max()) for frame in film.frames()), default=1.0)
        for frame in film.frames():
            grey = (disparity(frame.depth, frame.opacity) * (255 / max(most, 1e-6))).round().astype("uint8")
            yield np.repeat(grey[..., None], 3, axis=2)


class Film:
    """Frames of one film, rendered where there is none on disk.

    Args:
        trained: What is shown.
        background: (3,) colour behind it; its own when absent.
        camera: A view for each frame.
        store: Where frames are kept until the film is done.
    """

    def __init__(self, trained: Drawable, background: torch.Tensor | None, camera: Camera, store: FrameStore) -> None:
        self.trained = trained
        self.background = background
        self.camera = camera
        self.store = store

    def render_share(self, rank: int, world_size: int) -> None:
        """Render every ``world_size``-th frame to disk, beginning with ``rank``, unless it is there."""
        share = range(rank, len(self.camera.c2w), world_size)
        missing = [index for index in share if self._load(index) is None]
        if len(missing) < len(share):
            logger.info("Reusing %d of %d frames of an interrupted run.", len(share) - len(missing), len(share))
        pace = 1.0 if sys.stderr.isatty() else 30.0
        try:
            for index in tqdm(missing, "Video", leave=False, disable=rank > 0, mininterval=pace):
                self.store.save(index, self.render(index))
        except OSError as error:
            logger.warning("Frames are not kept, because the disk refuses: %s", error)
            discard(self.store.folder)  # what they take may be what the checkpoint needs

    def render(self, index: int) -> Frame:
        """Render one frame."""
        camera = self.camera
        view = self.trained.draw(select_views(camera, [index]), self.background)
        size = (camera.height, camera.width)
        return Frame(
            to_picture(torch.nan_to_num(view.rgb), *size),
            to_map(view.depth, *size).astype("float16"),
            to_map(view.opacity, *size).astype("float16"),
        )

    def frames(self) -> Iterator[Frame]:
        """All frames in order; renders those that another process kept where this one cannot see them."""
        for index in range(len(self.camera.c2w)):
            yield self._load(index) or self.render(index)

    def depth_pictures(self) -> Iterator[Picture]:
        """Coloured depth with one scale for the whole film."""
        ranges = [limits for frame in self.frames() if (limits := depth_range(frame.depth, frame.opacity)) is not None]
        limits = (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None
        for frame in self.frames():
            yield depth_picture(frame.depth, frame.opacity, limits)

    def _load(self, index: int) -> Frame | None:
        return self.store.load(index, self.camera.height, self.camera.width)
