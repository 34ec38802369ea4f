"""The host never waits for a GPU in a training step, of whatever is trained."""

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch

from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.datamodules import RayDataModule, ViewDataModule, VolumeDataModule
from nerfcomp.datamodules.loaders import RandomRayLoader, scene_on
from nerfcomp.fields import HashSurfaceField, HashVolume, LightField, NeRFField, NeuSField, NGPField, SurfaceField
from nerfcomp.kernels.backends import triton_installed
from nerfcomp.modules import LightFieldModule, RadianceFieldModule, SurfaceModule, VanillaNeRFModule, VolumeModule
from nerfcomp.modules.base import FieldModule
from nerfcomp.optim import GridAdam
from nerfcomp.readers import ProceduralReader, ProceduralVolume
from nerfcomp.readers.scene import Scene
from nerfcomp.rendering import HierarchicalSampler, OccupancySampler
from tests.modules import fake_device
from tests.modules.fake_device import DEVICE, NoWaiting

pytestmark = pytest.mark.skipif(
    not triton_installed(), reason="Triton is not installed (pip install 'nerfcomp[triton]')"
)
READER = ProceduralReader(image_size=24, n_train=4, n_val=1, n_test=1, supersampling=1)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> NoWaiting:
    return fake_device.pretend(monkeypatch)


class Stage(NamedTuple):
    """A module on the device, the batches it gets there, and its optimizer."""

    module: FieldModule
    batch: Callable[[int], Any]
    optimizer: torch.optim.Optimizer
    figures: frozenset[str] = frozenset({"loss", "psnr", "rays"})
    operations: int = 200  # at least, of a step
    data: Any = None  # what the step tells its errors


def scene_of(**changes: Any) -> Scene:
    return RayDataModule(READER).split("train")._replace(**changes)


def ray_stage(module: RadianceFieldModule, scene: Scene, optimizer: type[torch.optim.Optimizer]) -> Stage:
    """A stage that trains on rays, which are made on the device."""
    module.show_views(scene)
    loader = RandomRayLoader(scene, 256, 100, lambda: 0, torch.ones(3))
    fake_device.move(module)
    loader.scene, loader.background = scene_on(scene, DEVICE), torch.ones(3, device=DEVICE)
    return Stage(module, loader.draw, optimizer(module.parameters()))  # type: ignore[call-arg]


def sampler() -> OccupancySampler:
    return OccupancySampler(resolution=32, n_steps=16, cells_per_update=4096, coarse_until=10)


def radiance_field() -> Stage:
    field = NGPField(levels=2, log2_table_size=12, finest_resolution=32)
    return ray_stage(RadianceFieldModule(field, sampler(), max_samples=2048), scene_of(), GridAdam)


def forward_facing() -> Stage:
    field = NGPField(levels=2, log2_table_size=12, finest_resolution=32)
    module = RadianceFieldModule(field, sampler(), max_samples=2048, distortion_weight=1e-3)
    return ray_stage(module, scene_of(ndc=True, near=0.0, far=1.0), GridAdam)


def distorting_lens() -> Stage:
    scene = scene_of()
    scene.camera.distortion[:, 0] = torch.linspace(0.01, 0.02, len(scene.camera.c2w))
    module = RadianceFieldModule(NGPField(levels=1, log2_table_size=12, finest_resolution=16), sampler())
    return ray_stage(module, scene, GridAdam)


def vanilla(training_sampler: OccupancySampler | None) -> Stage:
    field = NeRFField(depth=3, width=24, skips=[1], position_frequencies=3, direction_frequencies=2, density_noise=1.0)
    module = VanillaNeRFModule(field, HierarchicalSampler(12, 12, resolution=8), training_sampler, max_samples=512)
    return ray_stage(module, scene_of(), torch.optim.Adam)


def surface(field: SurfaceField) -> Stage:
    module = SurfaceModule(field, sampler(), max_samples=512, curvature_weight=1e-3, uniform_points=16, level_steps=5)
    return ray_stage(module, scene_of(), GridAdam)


def student() -> Stage:
    field = LightField(4, 2, 16, 2, factors=(2, 2), kernels=(4, 4), tail_widths=(8, 8), tail_blocks=(1, 1))
    module, data = LightFieldModule(field, ssim_weight=0.1, jitter=True), ViewDataModule(READER, batch_size=1, patch=12)
    module.scene = SceneInfo.from_scene(data.split("train"))
    data._step_counter = lambda: lambda: 0  # type: ignore[method-assign]
    loader: Any = data.train_dataloader()
    module.to(DEVICE)
    return Stage(
        module,
        lambda step: data.transfer_batch_to_device(loader.batch(step), DEVICE, 0),
        torch.optim.AdamW(module.parameters()),
    )


def volume() -> Stage:
    data = VolumeDataModule(ProceduralVolume(shape=(24, 20, 16)), batch_size=512)
    loop = SimpleNamespace(total_batch_idx=0)
    data.trainer = SimpleNamespace(fit_loop=loop, global_rank=0, world_size=1)  # type: ignore[assignment]
    module, loader = VolumeModule(HashVolume(2, 9, 4, 16, 16)), data.train_dataloader()
    module.info = data.info
    module.to(DEVICE)
    return Stage(
        module,
        lambda step: data.transfer_batch_to_device(loader.draw(step), DEVICE, 0),
        torch.optim.Adam(module.parameters()),
        frozenset({"loss", "squares"}),
        60,
        data,
    )


STAGES: dict[str, Callable[[], Stage]] = {
    "radiance-field": radiance_field,
    "ndc": forward_facing,
    "lens": distorting_lens,
    "vanilla": lambda: vanilla(None),
    "vanilla-marched": lambda: vanilla(sampler()),
    "surface": lambda: surface(HashSurfaceField(4, log2_table_size=11, finest_resolution=64, hidden_width=32)),
    "neus": lambda: surface(NeuSField(sdf_hidden_layers=3, hidden_width=40, skip=2, rgb_hidden_layers=1)),
    "student": student,
    "volume": volume,
}


def train_step(stage: Stage, step: int) -> dict[str, torch.Tensor]:
    """One step, forward and backward, and the optimizer."""
    module: Any = stage.module
    outputs: dict[str, torch.Tensor] = module.training_step(stage.batch(step))
    module.on_before_backward(outputs["loss"])
    outputs["loss"].backward()
    stage.optimizer.step()
    stage.optimizer.zero_grad()
    if isinstance(module, LightFieldModule):
        module._follow(step)
    return outputs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "step"), [("radiance-field", 32), *((name, 320) for name in STAGES)], ids=["warm-up", *STAGES]
)
def test_the_host_never_waits(name: str, step: int, no_waiting: NoWaiting) -> None:
    """Draw a batch, refresh the occupancy, one step forward and backward, the optimizer."""
    torch.manual_seed(0)
    stage = STAGES[name]()
    stage.module._trainer = fake_device.trainer(step, stage.data)
    stage.module.log_dict = stage.module.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    for number in (step, step + 1):  # the first one fills what is kept
        with no_waiting if number > step else nullcontext():
            outputs = train_step(stage, number)
    assert set(outputs) >= stage.figures
    assert all(outputs[name].is_meta for name in stage.figures - {"rays"})
    assert no_waiting.calls > stage.operations


def test_waiting_is_noticed(no_waiting: NoWaiting) -> None:
    """The step of a CPU asks for numbers of samples."""
    stage = radiance_field()
    stage.module.sized = False  # type: ignore[assignment]
    stage.module._trainer = fake_device.trainer(320)
    with no_waiting, pytest.raises((RuntimeError, NotImplementedError, AssertionError), match="meta|waits"):
        train_step(stage, 0)
    with no_waiting, pytest.raises(AssertionError, match="waits for"):
        torch.ones(3).to("meta")
