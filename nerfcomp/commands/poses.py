"""Photographs in: poses by COLMAP, written as a ``transforms.json``."""

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.report import write_json
from nerfcomp.exchange.photographs import Placed, load_pycolmap, place, reasons
from nerfcomp.readers.colmap import model_frames
from nerfcomp.readers.colmap_files import read_model
from nerfcomp.readers.frames import Frames

logger = logging.getLogger("compress")
_FILMS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
_ENOUGH = 0.9  # share of the images below which a capture is worth a warning
_SHOWN = 10  # images without a pose that are named


def poses(input: Path, out: Path, frames: int = 120, single_camera: bool = True, force: bool = False) -> None:
    """Find the poses of photographs, or of the frames of a film, with COLMAP.

    Writes transforms.json, which ``TransformsReader`` reads, and COLMAP's models beside it, for ``COLMAPReader``.
    Frames of a film go to the folder images there.

    Args:
        input: Folder of images, or a film.
        out: Folder to write.
        frames: Frames taken from a film, evenly spread.
        single_camera: All images come from one camera with one focal length.
        force: Overwrite a transforms.json.
    """
    target = out / "transforms.json"
    if (target.exists() or (out / "sparse").exists()) and not force:
        raise NerfcompError(f"{out} holds poses already. Choose another --out, or add --force true.")
    load_pycolmap()  # before frames are taken
    images = input if input.suffix.lower() not in _FILMS else take_frames(input, out / "images", frames)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".poses-") as work:
        found = place(images, Path(work), single_camera)
        model = read_model(found.model)
        if not (out / "sparse").exists():
            os.replace(found.model.parent, out / "sparse")
    write_json(target, transforms(model_frames(model, images), images, out))
    tell(found, target)


def take_frames(film: Path, folder: Path, count: int) -> Path:
    """Write evenly spread frames of a film as pictures; returns their folder.

    Raises:
        NerfcompError: It cannot be read, has fewer frames than are needed, or the folder holds something.
    """
    import imageio.v3 as iio

    if folder.exists() and any(folder.iterdir()):
        raise NerfcompError(f"{folder} holds something already. Choose another --out.")
    try:
        total = sum(1 for _ in iio.imiter(film, plugin="pyav"))
        wanted = {index * total // count for index in range(count)}
        folder.mkdir(parents=True, exist_ok=True)
        for index, frame in enumerate(iio.imiter(film, plugin="pyav")):
            if index in wanted:
                iio.imwrite(folder / f"{index:05d}.png", frame)
    except (OSError, ValueError, RuntimeError) as error:
        raise NerfcompError(f"{film} cannot be read as a film ({error}). Convert it to MP4 first.") from error
    return folder


def transforms(frames: Frames, images: Path, out: Path) -> dict[str, Any]:
    """What a transforms file says of frames; lens and size in each, paths relative to the file."""
    where = Path(os.path.relpath(images, out))
    rows = []
    for entry, pose in zip(frames.entries, frames.c2w.tolist()):
        path = (where / entry["file_path"]).as_posix()
        rows.append({**entry, "file_path": path, "transform_matrix": [*pose, [0.0, 0.0, 0.0, 1.0]]})
    return {"frames": rows}


def tell(found: Placed, target: Path) -> None:
    """Say how many images have a pose, how well, and why others have none."""
    count, every = len(found.placed), len(found.images)
    logger.info(
        "%d of %d images placed, %s points, mean reprojection error %.2f pixels. Written to %s",
        *(count, every, f"{found.points:,}", found.error, target),
    )
    lines = reasons(found)
    for line in lines[:_SHOWN]:
        logger.info("  without a pose: %s", line)
    if len(lines) > _SHOWN:
        logger.info("  and %d more", len(lines) - _SHOWN)
    if found.others:
        logger.info("%d of them form models of their own, which nothing connects with this one.", found.others)
    if count < _ENOUGH * every:
        logger.warning("Few images were placed: take more that overlap by two thirds, sharp, around what matters.")
    logger.info("Next:\n  python train.py fit --config configs/ngp/capture.yaml --data.reader.root %s", target.parent)
