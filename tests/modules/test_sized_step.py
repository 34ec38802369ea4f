"""A training step in buffers of fixed size, as on a GPU: the losses of the step that asks for numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback
from torch import Tensor

from nerfcomp.datamodules import RayDataModule
from nerfcomp.fields import HashSurfaceField, NeRFField, NGPField
from nerfcomp.geometry.rays import Rays
from nerfcomp.kernels.backends import Chosen, prefer_backend
from nerfcomp.modules import RadianceFieldModule, SurfaceModule, VanillaNeRFModule
from nerfcomp.optim import GridAdam
from nerfcomp.readers import ProceduralReader
from nerfcomp.rendering import HierarchicalSampler, OccupancySampler, Samples
from tests.kernels.twins import TRITON
from tests.modules.tiny_fields import quiet_fit

STEPS = 4


def default_like() -> tuple[RadianceFieldModule, RayDataModule]:
    """Module and scene of configs/default.yaml, fewer levels, steps and rays."""
    torch.manual_seed(0)
    field = NGPField(levels=2, log2_table_size=12, finest_resolution=32)
    sampler = OccupancySampler(resolution=32, n_steps=8, cells_per_update=4096, update_every=2, coarse_until=2)
    module = RadianceFieldModule(field, sampler, lambda p: GridAdam(p, lr=1e-2), max_samples=2048)
    reader = ProceduralReader(image_size=24, n_train=4, n_val=1, n_test=1, supersampling=1)
    return module, RayDataModule(reader, batch_size=512, steps_per_epoch=STEPS)


class Losses(Callback):
    """Keep what every step said."""

    def __init__(self) -> None:
        self.kept: list[tuple[float, float]] = []

    def on_train_batch_end(self, *arguments: Any) -> None:
        outputs = arguments[2]
        self.kept.append((float(outputs["loss"]), float(outputs["rays"])))


def losses(backend: Chosen, folder: Path) -> list[tuple[float, float]]:
    """Loss and number of rays of some steps, the occupancy refreshed twice."""
    module, data = default_like()
    callback = Losses()
    with prefer_backend(backend):
        quiet_fit(module, data, folder, STEPS, callbacks=[callback])
    return callback.kept


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", [TRITON])
def test_steps_have_the_losses_of_the_reference(backend: Chosen, tmp_path: Path) -> None:
    ours, theirs = losses(backend, tmp_path), losses("torch", tmp_path)
    assert len(ours) == STEPS
    assert [rays for _, rays in ours] == [rays for _, rays in theirs]
    assert theirs[-1][0] < 0.95 * theirs[0][0]
    for (one, _), (other, _) in zip(ours, theirs):
        assert abs(one - other) <= 1e-3 * other


SMALL_SCENE = ProceduralReader(image_size=16, n_train=3, n_val=1, n_test=1, supersampling=1)


def sampler() -> OccupancySampler:
    return OccupancySampler(resolution=16, n_steps=64, warmup_steps=32, update_every=4)


def radiance_field() -> RadianceFieldModule:
    field = NGPField(levels=3, log2_table_size=9, finest_resolution=32, hidden_width=16)
    return RadianceFieldModule(field, sampler(), max_samples=1024, distortion_weight=1e-2)


def surface() -> RadianceFieldModule:
    field = HashSurfaceField(levels=4, log2_table_size=11, base_resolution=8, finest_resolution=64, hidden_width=32)
    return SurfaceModule(field, sampler(), max_samples=1024, uniform_points=32, curvature_weight=1e-4, hull_steps=5)


def vanilla() -> RadianceFieldModule:
    field = NeRFField(depth=3, width=32, skips=[1], position_frequencies=4, direction_frequencies=2)
    return VanillaNeRFModule(field, HierarchicalSampler(16, 16, resolution=16), sampler(), max_samples=1024)


class IntoBuffers(OccupancySampler):
    """Marches into buffers on a CPU, too."""

    def march_into(self, rays: Rays, jitter: Tensor, capacity: int) -> Samples | None:
        """March with room for so many samples."""
        with torch.no_grad():
            return self._march(rays, jitter, self.max_samples, self.reach, capacity)


@pytest.mark.slow
@pytest.mark.parametrize("make", [radiance_field, surface, vanilla])
def test_every_stage_has_the_losses_of_the_step_that_asks(
    make: Callable[[], RadianceFieldModule], tmp_path: Path
) -> None:
    found: list[list[dict[str, float]]] = []
    for sized in (True, False):
        torch.manual_seed(0)
        module, rows = make(), list[dict[str, float]]()
        for part in module.modules():
            if sized and isinstance(part, OccupancySampler):
                part.__class__ = IntoBuffers
        step = module.step

        def note(batch: Any, step: Any = step, rows: Any = rows) -> dict[str, Tensor]:
            out: dict[str, Tensor] = step(batch)
            rows.append({name: float(value.detach()) for name, value in out.items()})
            return out

        module.step = note  # type: ignore[method-assign]
        quiet_fit(module, RayDataModule(SMALL_SCENE, batch_size=256, steps_per_epoch=10), tmp_path, 10)
        found.append(rows)
    ours, theirs = found
    assert len(ours) == 10 and any(row["rays"] < 256 for row in theirs)
    for one, other in zip(ours, theirs):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
