"""A device without values: torch's meta device in the place of a GPU, for tests of who waits for it."""

from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nerfcomp.kernels import backends
from nerfcomp.rendering.occupancy import OccupancyGrid

KERNELS = ("hash_grid", "march", "composite", "mlp", "adam", "refresh")
SENDERS = (
    "rendering.occupancy",
    "modules.radiance_field",
    "modules.vanilla_nerf",
    "modules.light_field",
    "modules.processes",
    "datamodules.base",
    "datamodules.loaders",
    "datamodules.volume",
    "datamodules.volume_loader",
)
DEVICE = torch.device("meta")


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


def pretend(monkeypatch: pytest.MonkeyPatch) -> NoWaiting:
    """Let the meta device count as a GPU, on which no kernel is started."""
    mode = NoWaiting()

    def fits(twin: str, tensors: Sequence[Tensor], dtypes: Sequence[torch.dtype]) -> bool:
        return twin == "triton" and all(t.is_meta and t.dtype in dtypes for t in tensors)

    def sent(tensor: Tensor, device: torch.device) -> Tensor:
        mode.sending = True
        copy = tensor.to(device)
        mode.sending = False
        return copy

    monkeypatch.setattr(backends, "_fits", fits)
    autocast = torch.autocast

    def casting(device_type: str, *arguments: Any, **options: Any) -> Any:
        return nullcontext() if device_type == "meta" else autocast(device_type, *arguments, **options)

    monkeypatch.setattr(torch, "autocast", casting)
    for name in KERNELS:
        monkeypatch.setattr(f"nerfcomp.kernels.{name}.triton_kernel.launch", lambda *_, **__: None)
    for user in SENDERS:
        monkeypatch.setattr(f"nerfcomp.{user}.sent", sent)
    monkeypatch.setattr("nerfcomp.kernels.hash_grid.triton_kernel._addresses", lambda tables: [0] * len(tables))
    return mode


def trainer(step: int, data: Any = None) -> Any:
    """What a step asks of Lightning's trainer."""
    profiler = SimpleNamespace(profile=lambda name: nullcontext())
    return SimpleNamespace(world_size=1, global_rank=0, global_step=step, profiler=profiler, datamodule=data)


def move(module: torch.nn.Module) -> None:
    """Move a module, after what is asked once: the boxes of grids and the cells that may be occupied."""
    grids = [part for part in module.modules() if isinstance(part, OccupancyGrid)]
    known = [(grid.box, (grid.density.view(-1) >= 0).nonzero().squeeze(1)) for grid in grids]
    module.to(DEVICE)
    for grid, (box, alive) in zip(grids, known):
        grid._box, grid._alive = (grid.aabb, grid.aabb._version, box), (grid.density, alive.to(DEVICE))
