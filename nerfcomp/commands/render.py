"""Films and stills of a model, from its file alone."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.reading import read_shown_artifact
from nerfcomp.callbacks.media import Map, Picture, mean_depth, write_mp4
from nerfcomp.callbacks.shards import Frame, FrameStore, discard
from nerfcomp.callbacks.video import Film
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.identity import field_identity, fingerprint
from nerfcomp.evaluation.report import write_json
from nerfcomp.files import atomic_write, new_file, refuse_overwrite
from nerfcomp.geometry.cameras import resized, scaled, select_views
from nerfcomp.readers.camera_path import CameraPath, read_camera_path, write_camera_path
from nerfcomp.readers.video_paths import PathKind, along, film_poses

logger = logging.getLogger("compress")

_LARGEST_UINT16 = 65535
_UNFINISHED = ".unfinished-"


def render(
    input: Path,
    out: Path,
    path: str = "auto",
    views: list[int] | None = None,
    n_frames: int = 120,
    fps: float | None = None,
    scale: float = 1.0,
    size: tuple[int, int] | None = None,
    depth: bool = False,
    opacity: bool = False,
    background: tuple[float, float, float] | None = None,
    trust: bool = False,
    force: bool = False,
) -> None:
    """Render a film (.mp4) or stills (a folder) of a .nfc file or checkpoint along a path, from the file alone.

    A run that was stopped goes on with the frames it has.

    Args:
        input: The .nfc file, a checkpoint, or the folder of a run.
        out: A film if its name ends in .mp4, else a folder for pictures: 0000.png, ... and path.json, which `path`
            takes again.
        path: turntable, spiral, along (past the known views), auto (what these have covered), or a camera_path.json of
            nerfstudio's viewer, in the space of the scene.
        views: Known views to draw instead, counted from 0.
        n_frames: Frames of a path.
        fps: Frames per second; 30, or what the file of the path says, when absent.
        scale: Size relative to the scene's images, or to that of the path.
        size: Width and height in pixels instead; the vertical field of view stays.
        depth: Also write the distance to what is seen: a coloured film, or pictures of 16 bits with metres (units of
            the scene) per step in depth.json.
        opacity: Also write how much is seen: a film, or pictures of 16 bits.
        background: Colour behind the scene, three numbers from 0 to 1; the scene's own when absent.
        trust: Run the native decoder, where it is chosen, without its protective child process.
        force: Overwrite a film.
    """
    film = checked_output(out, depth, opacity, force)
    trained = read_shown_artifact(input, trust)
    shown = chosen_views(trained, path, views, n_frames)
    camera = scaled(shown.camera, scale) if size is None else resized(shown.camera, *size)
    color = checked_color(background)
    key = fingerprint([*camera[:3]], field_identity(trained), camera.height, camera.width, background)
    frames = Film(trained, color, camera, FrameStore(out.parent / f".{out.stem}-{key}"))
    with trained.evaluating():
        frames.render_share(0, 1)
        if film:
            write_films(frames, out, fps or shown.fps, depth, opacity, force)
        else:
            mark = begin_stills(out, key)
            write_stills(frames, out, depth, opacity)
            write_camera_path(out / "path.json", camera, fps or shown.fps)
            mark.unlink()
    discard(frames.store.folder)
    logger.info("%d frames of %d x %d pixels: %s", len(camera.c2w), camera.width, camera.height, out)


def checked_output(out: Path, depth: bool, opacity: bool, force: bool) -> bool:
    """Say whether films are asked for, after a look at what stands there already.

    Raises:
        NerfcompError: Something would be overwritten.
    """
    film = out.suffix.lower() == ".mp4"
    if not film and _taken(out) and not any(out.glob(f"{_UNFINISHED}*")):
        raise NerfcompError(f"{out} holds pictures already, or is a file. Choose another --out.")
    kinds = [kind for kind, wanted in (("depth", depth), ("opacity", opacity)) if wanted]
    for target in [out, *(named(out, kind) for kind in kinds)] if film else []:
        refuse_overwrite(target, force)
    return film


def begin_stills(out: Path, key: str) -> Path:
    """Make the folder and mark it as unfinished by this command; a run that was stopped goes on with its own folder.

    Returns:
        The mark, to be removed at the end.

    Raises:
        NerfcompError: Pictures there are those of another command.
    """
    mark = out / f"{_UNFINISHED}{key}"
    if _taken(out) and not mark.exists():
        raise NerfcompError(f"{out} holds pictures of something else already. Choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    mark.touch()
    return mark


def _taken(out: Path) -> bool:
    return out.exists() and (not out.is_dir() or any(out.glob("[0-9]*.png")))


def checked_color(background: tuple[float, float, float] | None) -> Tensor | None:
    """The colour as a tensor.

    Raises:
        NerfcompError: A number is out of range.
    """
    if background is not None and not all(0 <= value <= 1 for value in background):
        raise NerfcompError(f"background is {background}; its three numbers lie from 0 to 1.")
    return None if background is None else torch.tensor(background)


def chosen_views(trained: SceneArtifact, path: str, views: list[int] | None, n_frames: int) -> CameraPath:
    """Cameras of what is asked for.

    Raises:
        NerfcompError: There is no such path or view.
    """
    known = trained.scene.camera
    if views is not None:
        if not views or not all(0 <= view < len(known.c2w) for view in views):
            raise NerfcompError(f"views {views}: the file knows {len(known.c2w)} views, counted from 0.")
        return CameraPath(select_views(known, views), 30.0)
    if path.endswith(".json"):
        return read_camera_path(Path(path))
    kinds = {kind: kind for kind in get_args(PathKind)}
    if path not in kinds:
        raise NerfcompError(f"There is no path {path!r}; choose {', '.join(kinds)}, or a camera_path.json.")
    if n_frames < 1:
        raise NerfcompError(f"n_frames is {n_frames}; a path needs at least one frame.")
    center = torch.tensor(trained.scene.aabb).mean(0)
    return CameraPath(along(known, film_poses(known.c2w, center, kinds[path], n_frames)), 30.0)


def named(out: Path, kind: str) -> Path:
    """Name of a film beside another."""
    return out.with_name(f"{out.stem}_{kind}{out.suffix}")


def write_films(film: Film, out: Path, fps: float, depth: bool, opacity: bool, force: bool) -> None:
    """Write the films that are asked for."""
    rate = max(1, round(fps))
    pictures: list[tuple[Path, Iterator[Picture]]] = [(out, (frame.rgb for frame in film.frames()))]
    if depth:
        pictures.append((named(out, "depth"), film.depth_pictures()))
    if opacity:
        pictures.append((named(out, "opacity"), (grey(frame) for frame in film.frames())))
    for target, frames in pictures:
        with new_file(target, force) as temporary:
            write_mp4(temporary, frames, rate)


def grey(frame: Frame) -> Picture:
    """Opacity as levels of grey."""
    levels: Picture = (frame.opacity.astype("float32").clip(0, 1) * 255).round().astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=2)


def write_stills(film: Film, out: Path, depth: bool, opacity: bool) -> None:
    """Write a picture of each frame, and of its depth and opacity in 16 bits."""
    farthest = max((float(distance(frame).max()) for frame in film.frames()), default=0.0) if depth else 0.0
    step = max(farthest, 1e-6) / _LARGEST_UINT16
    out.mkdir(parents=True, exist_ok=True)
    if depth:
        write_json(out / "depth.json", {"units_per_step": step, "nothing": 0})
    for index, frame in enumerate(film.frames()):
        save(out / f"{index:04d}.png", frame.rgb)
        if depth:
            save(out / f"{index:04d}_depth.png", (distance(frame) / step).round().astype(np.uint16))
        if opacity:
            levels = frame.opacity.astype("float32").clip(0, 1) * _LARGEST_UINT16
            save(out / f"{index:04d}_opacity.png", levels.round().astype(np.uint16))


def distance(frame: Frame) -> Map:
    """Distance to what is seen, (H, W) float32; 0 where less than half of the light ends."""
    found: Map = mean_depth(frame.depth.astype("float32"), frame.opacity.astype("float32"))
    return np.where(frame.opacity > 0.5, found, 0.0).astype("float32")


def save(path: Path, picture: "np.ndarray[tuple[int, ...], np.dtype[np.uint8 | np.uint16]]") -> None:
    """Write a PNG of 8 or 16 bits."""
    with atomic_write(path) as temporary:
        Image.fromarray(picture).save(temporary)
