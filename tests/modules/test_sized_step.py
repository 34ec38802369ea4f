"""A training step on a GPU: the losses of the reference, and a host that never waits for the device."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Callback
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nerfcomp.datamodules import RayDataModule
from nerfcomp.datamodules.loaders import RandomRayLoader, scene_on
from nerfcomp.fields import NGPField
from nerfcomp.kernels import backends
from nerfcomp.kernels.backends import Chosen, prefer_backend, triton_installed
from nerfcomp.modules import RadianceFieldModule
from nerfcomp.optim import GridAdam
from nerfcomp.readers import ProceduralReader
from nerfcomp.readers.scene import Scene
from nerfcomp.rendering import OccupancySampler
from tests.kernels.twins import TRITON
from tests.modules.tiny_fields import quiet_fit

needs_triton = pytest.mark.skipif(
    not triton_installed(), reason="Triton is not installed (pip install 'nerfcomp[triton]')"
)


def default_like() -> tuple[RadianceFieldModule, RayDataModule]:
    """Module and scene of configs/default.yaml, fewer levels, steps and rays."""
    torch.manual_seed(0)
    field = NGPField(levels=2, log2_table_size=12, finest_resolution=32)
    sampler = OccupancySampler(resolution=32, n_steps=16, cells_per_update=4096, coarse_until=10)
    module = RadianceFieldModule(field, sampler, lambda p: GridAdam(p, lr=1e-2), max_samples=2048)
    reader = ProceduralReader(image_size=24, n_train=4, n_val=1, n_test=1, supersampling=1)
    return module, RayDataModule(reader, batch_size=512, steps_per_epoch=20)


class Losses(Callback):
    """Keep what every step said."""

    def __init__(self) -> None:
        self.kept: list[tuple[float, float]] = []

    def on_train_batch_end(self, *arguments: Any) -> None:
        outputs = arguments[2]
        self.kept.append((float(outputs["loss"]), float(outputs["rays"])))


def losses(backend: Chosen, folder: Path) -> list[tuple[float, float]]:
    """Loss and number of rays of twenty steps."""
    module, data = default_like()
    callback = Losses()
    with prefer_backend(backend):
        quiet_fit(module, data, folder, 20, callbacks=[callback])
    return callback.kept


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", [TRITON])
def test_twenty_steps_have_the_losses_of_the_reference(backend: Chosen, tmp_path: Path) -> None:
    ours, theirs = losses(backend, tmp_path), losses("torch", tmp_path)
    assert len(ours) == 20
    assert [rays for _, rays in ours] == [rays for _, rays in theirs]
    assert theirs[-1][0] < 0.7 * theirs[0][0]
    for (one, _), (other, _) in zip(ours, theirs):
        assert abs(one - other) <= 1e-3 * other


class NoWaiting(TorchDispatchMode):
    """Fails where the host would wait for the device.

    The device is torch's meta device, which knows shapes and no values: a question for a value, or for a shape that
    follows from values, raises by itself. What is left are copies from the host that do not go on in the background.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = 0
        self.sending = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        self.calls += any(isinstance(value, torch.Tensor) and value.is_meta for value in args)
        if func.__name__.split(".")[0] in ("_to_copy", "copy_") and not self.sending:
            tensors = [value for value in args if isinstance(value, torch.Tensor)]
            places = {tensor.device.type for tensor in tensors} | {torch.device(options.get("device") or "meta").type}
            small = all(tensor.ndim == 0 for tensor in tensors if not tensor.is_meta)
            assert len(places) == 1 or small or "device" not in options, "a copy that the host waits for"
        return func(*args, **options)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> NoWaiting:
    """The meta device counts as a GPU; kernels are not started on it."""
    mode = NoWaiting()

    def fits(twin: str, tensors: Sequence[Tensor], dtypes: Sequence[torch.dtype]) -> bool:
        return twin == "triton" and all(t.is_meta and t.dtype in dtypes for t in tensors)

    def sent(tensor: Tensor, device: torch.device) -> Tensor:
        mode.sending = True
        copy = tensor.to(device)
        mode.sending = False
        return copy

    monkeypatch.setattr(backends, "_fits", fits)
    for name in ("hash_grid", "march", "composite", "mlp", "adam", "refresh"):
        monkeypatch.setattr(f"nerfcomp.kernels.{name}.triton_kernel.launch", lambda *_, **__: None)
    for user in ("rendering.occupancy", "modules.radiance_field", "modules.processes", "datamodules.loaders"):
        monkeypatch.setattr(f"nerfcomp.{user}.sent", sent)
    monkeypatch.setattr("nerfcomp.kernels.hash_grid.triton_kernel._addresses", lambda tables: [0] * len(tables))
    return mode


def trainer(step: int) -> Any:
    """What a step asks of Lightning's trainer."""
    profiler = SimpleNamespace(profile=lambda name: nullcontext())
    return SimpleNamespace(world_size=1, global_rank=0, global_step=step, profiler=profiler)


def on_device(module: RadianceFieldModule, scene: Scene) -> RandomRayLoader:
    """Everything of a run moved to the device, after what is asked once: the box and the cells that may be occupied."""
    device, sampler = torch.device("meta"), module.sampler
    assert isinstance(sampler, OccupancySampler)
    grid = sampler.grid
    module.sampler.prepare(scene.aabb, scene.camera, False, scene.images[..., 3])
    box, alive = grid.box, (grid.density >= 0).nonzero()[:, 1].to(device)
    loader = RandomRayLoader(scene, 256, 100, lambda: 0, torch.ones(3))
    module.to(device)
    grid._box, grid._alive = (grid.aabb, grid.aabb._version, box), (grid.density, alive)
    loader.scene, loader.background = scene_on(scene, device), torch.ones(3, device=device)
    return loader


@needs_triton
@pytest.mark.parametrize("step", [32, 320], ids=["warm-up", "later"])
def test_the_host_never_waits(no_waiting: NoWaiting, step: int) -> None:
    """Draw rays, refresh the occupancy, one step forward and backward, the optimizer."""
    module, data = default_like()
    loader = on_device(module, data.split("train"))
    module._trainer = trainer(step)
    optimizer = GridAdam(module.parameters())
    module.log_dict = module.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    for number in (step, step + 1):  # the first one fills what is kept
        with no_waiting if number > step else nullcontext():
            module.trainer.global_step = step  # type: ignore[misc]
            outputs = module.training_step(loader.draw(number))
            module.on_before_backward(outputs["loss"])
            outputs["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()
    assert set(outputs) >= {"loss", "rgb", "psnr", "rays", "samples_per_ray"}
    assert all(value.is_meta for value in outputs.values())
    assert no_waiting.calls > 200


@needs_triton
def test_waiting_is_noticed(no_waiting: NoWaiting) -> None:
    """The step of a CPU asks for numbers of samples."""
    module, data = default_like()
    loader = on_device(module, data.split("train"))
    module.sized = False
    module._trainer = trainer(320)
    with no_waiting, pytest.raises((RuntimeError, NotImplementedError, AssertionError), match="meta|waits"):
        module.training_step(loader.draw(0))
    with no_waiting, pytest.raises(AssertionError, match="waits for"):
        torch.ones(3).to("meta")
