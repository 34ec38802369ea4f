"""Volumes as cameras see them: against the integral along a ray, and against where a camera projects a voxel."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.shown_volume import shown_volume
from nerfcomp.artifacts.volume_info import Axes, VolumeInfo
from nerfcomp.fields.lattice_cloud import LatticeCloud
from nerfcomp.geometry.rays import Rays


def scene_of(values: np.ndarray, **more: object) -> RadianceFieldArtifact:
    """A scene of stored values, decoded at whole voxels."""
    x, y, z = values.shape
    low, high = float(values.min()), float(values.max())
    info = VolumeInfo((x, y, z), "float32", low, high)._replace(**more)  # type: ignore[arg-type]

    def decode(axes: Axes) -> np.ndarray:
        found: np.ndarray = values[np.ix_(*(np.rint(axis).astype(int) for axis in axes))]
        return found

    return shown_volume(info, decode)


def ray(origin: tuple[float, float, float], direction: tuple[float, float, float]) -> Rays:
    line, one = torch.tensor([direction]), torch.ones(1)
    return Rays(torch.tensor([origin]), line, 3.0 * one, 7.0 * one, line)


def test_absorption_is_the_integral_along_the_ray() -> None:
    """Of exp(-density): an even block of 1 in a volume that is mostly -1."""
    values = np.full((65, 65, 65), -1.0, np.float32)
    values[:, 16:49, 16:49] = 1.0  # half of the width along y and z
    shown = scene_of(values)
    assert isinstance(shown.field, LatticeCloud)
    strength = shown.field.strength
    assert strength == pytest.approx(
        1.5 / (2 * (33 / 65) ** 2), rel=1e-4
    )  # mean optical depth of 1.5 over a width of 2
    with shown.evaluating():
        through = shown.render(ray((5.0, 0.0, 0.0), (-1.0, 0.0, 0.0)))
        past = shown.render(ray((5.0, 0.9, 0.0), (-1.0, 0.0, 0.0)))
    assert float(through.opacity[0]) == pytest.approx(1 - math.exp(-2 * strength), abs=0.01)
    assert float(past.opacity[0]) < 1e-3
    assert torch.equal(past.rgb, torch.ones(1, 3))


def blob(center: tuple[int, int, int], shape: tuple[int, int, int]) -> np.ndarray:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    found: np.ndarray = np.exp(-np.square(index - np.array(center)).sum(-1) / 4.0).astype(np.float32)
    return found


def speck(center: tuple[int, int, int], shape: tuple[int, int, int]) -> np.ndarray:
    found = np.zeros(shape, np.float32)
    found[center] = 1.0
    return found


def projected(pose: Tensor, point: Tensor, focal: float, middle: float) -> tuple[float, float]:
    """Column and row of a point: the axes of the camera are right, up and back."""
    right, up, back = pose[:, :3].t() @ (point - pose[:, 3])
    return float(middle - focal * right / back), float(middle + focal * up / back)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 2.0, 0.5)])
def test_a_bright_voxel_is_where_the_camera_projects_it(spacing: tuple[float, float, float]) -> None:
    shape, center = (40, 30, 20), (34, 6, 15)
    shown = scene_of(speck(center, shape), spacing=spacing)
    widths = [(n - 1) * step for n, step in zip(shape, spacing)]
    point = torch.tensor([(2 * c * step - width) / max(widths) for c, step, width in zip(center, spacing, widths)])
    scale = 8
    camera = shown.scene.camera
    small = camera._replace(
        c2w=camera.c2w[:1],
        intrinsics=camera.intrinsics[:1] / scale,
        distortion=camera.distortion[:1],
        height=64,
        width=64,
    )
    with shown.evaluating():
        opacity = shown.draw(small).opacity.reshape(64, 64).double()
    rows, columns = torch.meshgrid(torch.arange(64.0) + 0.5, torch.arange(64.0) + 0.5, indexing="ij")
    found = [float((part * opacity).sum() / opacity.sum()) for part in (columns, rows)]
    column, row = projected(small.c2w[0], point, 700 / scale, 32.0)
    assert found == pytest.approx([column, row], abs=0.6)


def test_normals_point_to_where_values_fall() -> None:
    shown = scene_of(blob((16, 16, 16), (33, 33, 33)))
    with shown.evaluating():
        seen = shown.render(ray((5.0, 0.1, 0.0), (-1.0, 0.0, 0.0)))
    assert seen.normals is not None
    assert float(seen.normals[0, 0]) > 0.5 * float(seen.opacity[0])


@pytest.mark.parametrize("shape", [(9, 9, 9), (1, 7, 5), (1, 1, 2)])
def test_even_and_flat_volumes_are_drawn(shape: tuple[int, int, int]) -> None:
    shown = scene_of(np.ones(shape, np.float32))
    with shown.evaluating():
        seen = shown.render(ray((5.0, 0.0, 0.0), (-1.0, 0.0, 0.0)))
    assert bool(torch.isfinite(seen.rgb).all())
