"""Poses of photographs, found by COLMAP through pycolmap, an optional package."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from nerfcomp.errors import SceneError
from nerfcomp.lazy import import_extra
from nerfcomp.readers.images import SUFFIXES

logger = logging.getLogger(__name__)
_FEW = 15  # matches below which two images say nothing of each other, COLMAP's own limit
_SEQUENTIAL = 150  # images from which neighbours only are compared, where names have an order


class Placed(NamedTuple):
    """What has become of a set of photographs.

    Attributes:
        model: Folder of the model that has placed most of them.
        images: Names of all of them.
        placed: Names of those that have a pose.
        error: Mean reprojection error, in pixels.
        points: Points that the model has found.
        others: Images in further models, which no image connects with the first.
        matches: For each image without a pose, the most matches it has with any other.
    """

    model: Path
    images: tuple[str, ...]
    placed: tuple[str, ...]
    error: float
    points: int
    others: int
    matches: dict[str, int]


def load_pycolmap() -> Any:
    """Import pycolmap.

    Raises:
        MissingExtraError: It is not installed.
    """
    missing = "Poses of photographs are found by pycolmap. Install it with `pip install 'nerfcomp[poses]'`, or "
    return import_extra("pycolmap", missing + "`pip install pycolmap`.")


def find_images(folder: Path) -> list[str]:
    """Names of the images in a folder.

    Raises:
        SceneError: There are fewer than three.
    """
    names = sorted(path.name for path in folder.glob("*") if path.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if len(names) < 3:
        raise SceneError(f"{folder} has {len(names)} images; poses need three at least, better fifty that overlap.")
    return names


def place(images: Path, work: Path, single_camera: bool = True) -> Placed:
    """Find poses of all images of a folder.

    Args:
        images: Folder with them.
        work: Empty folder for COLMAP's database and models (``sparse/0``, ...).
        single_camera: All were taken with one camera and one focal length.

    Raises:
        MissingExtraError: pycolmap is not installed.
        SceneError: There are too few images, or no two of them fit each other.
    """
    colmap, names = load_pycolmap(), find_images(images)
    colmap.logging.minloglevel = colmap.logging.Level.ERROR.value
    database, sparse = work / "database.db", work / "sparse"
    sparse.mkdir(parents=True)
    mode = colmap.CameraMode.SINGLE if single_camera else colmap.CameraMode.PER_IMAGE
    reading = colmap.ImageReaderOptions(camera_model="OPENCV")
    with tqdm(total=3 + len(names), desc="Features", leave=False) as bar:
        colmap.extract_features(database, images, names, mode, reading, device=colmap.Device.cpu)
        bar.update(1)
        bar.set_description("Matches")
        match = colmap.match_sequential if len(names) > _SEQUENTIAL else colmap.match_exhaustive
        match(database, device=colmap.Device.cpu)
        bar.update(1)
        bar.set_description("Poses")
        models = colmap.incremental_mapping(database, images, sparse, next_image_callback=bar.update)
    if not models:
        raise SceneError(
            f"COLMAP found no two images of {images} that fit each other. Take more that overlap by two thirds, "
            "sharp, with texture in sight."
        )
    return _summed_up(colmap, models, names, database, sparse)


def _summed_up(colmap: Any, models: dict[int, Any], names: Sequence[str], database: Path, sparse: Path) -> Placed:
    """Count what COLMAP has found; the largest of its models counts."""
    largest = max(models, key=lambda index: int(models[index].num_reg_images()))
    model = models[largest]
    placed = tuple(sorted(model.image(number).name for number in model.reg_image_ids()))
    missing = [name for name in names if name not in placed]
    others = sum(int(found.num_reg_images()) for index, found in models.items() if index != largest)
    error, points = float(model.compute_mean_reprojection_error()), int(model.num_points3D())
    matches = _most_matches(colmap, database, missing)
    return Placed(sparse / str(largest), tuple(names), placed, error, points, others, matches)


def _most_matches(colmap: Any, database: Path, names: Sequence[str]) -> dict[str, int]:
    """The most matches, verified by geometry, that each of some images has with any other."""
    most = dict.fromkeys(names, 0)
    with colmap.Database.open(os.fspath(database)) as opened:
        numbers = {image.image_id: image.name for image in opened.read_all_images()}
        for pair, count in zip(*opened.read_two_view_geometry_num_inliers(), strict=True):
            for name in (numbers[number] for number in colmap.pair_id_to_image_pair(pair)):
                if name in most:
                    most[name] = max(most[name], int(count))
    return most


def reasons(found: Placed) -> list[str]:
    """Say of each image without a pose why it has none."""
    lines = []
    for name, count in found.matches.items():
        why = f"at most {count} matches with another, {_FEW} are needed" if count < _FEW else "it fits no placed image"
        lines.append(f"{name}: {why}")
    return lines
