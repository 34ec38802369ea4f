"""Structured slimming: a smaller dense light field, made of the channels of a larger one that its pictures feel most.

Notation: a *unit* is what can be taken out: an inner channel of a residual block, or a channel of a tail stage (its
transposed convolution, its blocks and what reads it). Taking out a channel leaves its mean behind in the next bias, so
what is lost is ``da = a - mean(a)``. To first order the picture's mean squared error grows by ``mean_y (J da)^2``; one
random sign vector ``v`` per view estimates it from ``g = J^T v`` as the sum of ``(g da)^2`` over positions, which
hardly share pixels (Molchanov et al., "Importance estimation for neural network pruning", CVPR 2019, but with the
whole picture in place of the loss).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nerfcomp.errors import NerfcompError
from nerfcomp.fields import LightField
from nerfcomp.fields.light_field import Residual, Stage
from nerfcomp.pipeline.trained import TrainedField
from nerfcomp.rays import camera_on
from nerfcomp.readers.posed import select_views

_READ_WITHIN = " within"
_MACS_PER_VALUE = 256  # what writing, activating and reading one value takes beside multiplying, on two CPU cores


class Unit(NamedTuple):
    """Channels of one place.

    Attributes:
        importance: (C,) growth of the picture's mean squared error without each channel.
        mean: (C,) mean value.
        cost: Of one channel, in multiplications per picture.
    """

    importance: Tensor
    mean: Tensor
    cost: float


def slim(trained: TrainedField, keep: float, views: int = 4, multiple: int = 8, seed: int = 0) -> TrainedField:
    """Make a smaller dense light field.

    Args:
        trained: A light field with its scene.
        keep: Share of the removable cost that stays, in (0, 1).
        views: Known poses to measure importance from.
        multiple: Channels stay in groups of this size where there are as many, which vector units like.
        seed: Of the estimator.

    Returns:
        A light field with explicit widths, and the scene. It needs fine-tuning.

    Raises:
        NerfcompError: Not a light field.
        ValueError: A number out of range.
    """
    field = trained.field
    if not isinstance(field, LightField):
        raise NerfcompError(f"Only light fields are slimmed; this is a {type(field).__name__}.")
    if not 0 < keep < 1 or views < 1 or multiple < 1:
        raise ValueError(f"keep in (0, 1), views and multiple >= 1 are needed, got {keep}, {views} and {multiple}.")
    units = measure_units(trained, views, seed)
    kept = choose_channels(units, keep, multiple)
    smaller = without_channels(field, units, kept)
    return trained._replace(field=smaller, qp=None)


def named_units(field: LightField) -> dict[str, nn.Module]:
    """Modules whose output channels can be taken out: by name, ``conv2`` of a block standing for its inner channels."""
    found: dict[str, nn.Module] = {}
    for name, module in field.named_modules():
        if isinstance(module, Residual):
            found[f"{name}.conv2"] = module.conv2
    return found | {name: field.get_submodule(name) for name in stage_readers(field)}


def stage_readers(field: LightField) -> dict[str, str]:
    """Layers that read what stages of the tail make, by stage; a last stage that makes the colours has none."""
    stages = [f"tail.{index}" for index in range(len(field.tail))]
    readers = [f"{stage}.up" for stage in stages[1:]] + ["rgb"] * field.arguments["rgb_layer"]
    return dict(zip(stages, readers))


def measure_units(trained: TrainedField, views: int, seed: int) -> dict[str, Unit]:
    """Measure importance, mean and cost of all units from known poses of the scene."""
    field = trained.field
    assert isinstance(field, LightField)
    values: dict[str, Tensor] = {}
    handles = []
    for name, module in named_units(field).items():
        if isinstance(module, Stage):  # its channels are read by its blocks and by what follows
            handles.append(module.up.register_forward_hook(_keep_output(values, f"{name}{_READ_WITHIN}")))
            handles.append(module.register_forward_hook(_keep_output(values, name)))
        else:
            handles.append(module.register_forward_pre_hook(_keep_input(values, name)))
    generator = torch.Generator().manual_seed(seed)
    training = field.training
    field.eval()
    sums: dict[str, list[Tensor]] = {}
    scene = trained.scene
    for turn in range(views):
        view = select_views(scene.camera, [turn * len(scene.poses) // views])
        picture = field.draw(camera_on(view, trained.device), scene.bounds)
        signs = torch.randint(0, 2, picture.shape, generator=generator).to(picture) * 2 - 1
        gradients = torch.autograd.grad((signs * picture).sum(), list(values.values()))
        for (name, value), gradient in zip(values.items(), gradients):
            mean = value.detach().mean((0, 1, 2))
            loss = (gradient * (value.detach() - mean)).square().sum((0, 1, 2)) / picture.numel()
            unit = sums.setdefault(name.removesuffix(_READ_WITHIN), [torch.zeros_like(mean), torch.zeros_like(mean)])
            unit[0] += loss / views
            unit[1] += 0 if name.endswith(_READ_WITHIN) else mean / views
    for handle in handles:
        handle.remove()
    field.train(training)
    costs = unit_costs(field, {name: value[0, ..., 0].numel() for name, value in values.items()})
    return {name: Unit(loss, mean, costs[name]) for name, (loss, mean) in sums.items()}


def _keep_output(values: dict[str, Tensor], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        values[name] = output

    return hook


def _keep_input(values: dict[str, Tensor], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values[name] = inputs[0]

    return hook


def unit_costs(field: LightField, positions: dict[str, int]) -> dict[str, float]:
    """Cost of one channel of every unit.

    Args:
        field: The light field.
        positions: Pixels at which each unit computes.

    Returns:
        Multiplications per picture, with an allowance for moving values.
    """
    costs: dict[str, float] = {}
    for name, module in field.named_modules():
        if isinstance(module, Residual):
            costs[f"{name}.conv2"] = positions[f"{name}.conv2"] * (2 * module.conv2.out_channels + _MACS_PER_VALUE)
    for name, reading in stage_readers(field).items():
        stage, reader = field.get_submodule(name), field.get_submodule(reading)
        assert isinstance(stage, Stage) and isinstance(reader, nn.Conv2d | nn.ConvTranspose2d)
        inner = sum(2 * block.conv1.out_channels + _MACS_PER_VALUE for block in _blocks(stage))
        up = stage.up.in_channels * stage.up.kernel_size[0] ** 2 / stage.up.stride[0] ** 2
        read = reader.out_channels * reader.kernel_size[0] ** 2
        costs[name] = positions[name] * (up + inner + read + _MACS_PER_VALUE)
    return costs


def _blocks(stage: Stage) -> list[Residual]:
    return [block for block in stage.blocks if isinstance(block, Residual)]


def choose_channels(units: dict[str, Unit], keep: float, multiple: int) -> dict[str, Tensor]:
    """Keep the channels that matter most for what they cost.

    Args:
        units: All units.
        keep: Share of their cost that stays.
        multiple: Group size that the number of channels of each unit is rounded to.

    Returns:
        Sorted indices of the channels that stay, at least one group of each unit.
    """
    worth = torch.cat([unit.importance / unit.cost for unit in units.values()])
    cost = torch.cat([torch.full_like(unit.importance, unit.cost) for unit in units.values()])
    order = worth.argsort(descending=True)
    within = cost[order].cumsum(0) <= keep * cost.sum()
    chosen = torch.zeros_like(within)
    chosen[order[within]] = True
    kept = {}
    for (name, unit), part in zip(units.items(), chosen.split([len(unit.importance) for unit in units.values()])):
        channels = len(part)
        count = max(multiple, round(int(part.sum()) / multiple) * multiple)
        kept[name] = unit.importance.argsort(descending=True)[: min(count, channels)].sort().values
    return kept


@torch.no_grad()
def without_channels(field: LightField, units: dict[str, Unit], kept: dict[str, Tensor]) -> LightField:
    """Copy the weights of the channels that stay into a light field of their widths.

    Args:
        field: The light field.
        units: Means of the channels that go.
        kept: Indices of the channels that stay, by unit.

    Returns:
        The smaller light field.
    """
    inner = [len(indices) for name, indices in kept.items() if name.endswith(".conv2")]
    readers = stage_readers(field)
    widths = [len(kept[name]) for name in readers] + field.arguments["tail_widths"][len(readers) :]
    arguments = {**field.arguments, "inner_widths": inner, "tail_widths": widths}
    state = dict(field.state_dict())
    for name, module in field.named_modules():
        if isinstance(module, Residual):
            _cut_inner(state, name, kept[f"{name}.conv2"], units[f"{name}.conv2"].mean)
    for name, reader in readers.items():
        _cut_stage(state, name, kept[name])
        axis = 0 if reader.endswith(".up") else 1
        state[f"{reader}.weight"] = state[f"{reader}.weight"].index_select(axis, kept[name])
    smaller = LightField(**arguments).to(field.aabb.device)
    smaller.load_state_dict(state)
    return smaller.train(field.training)


def _cut_inner(state: dict[str, Tensor], block: str, kept: Tensor, mean: Tensor) -> None:
    """Take inner channels out of a block; their means go into the bias behind."""
    weight = state[f"{block}.conv2.weight"]
    gone = torch.ones_like(mean, dtype=torch.bool).index_fill(0, kept, False)
    state[f"{block}.conv2.bias"] = state[f"{block}.conv2.bias"] + weight[:, gone, 0, 0] @ mean[gone]
    state[f"{block}.conv2.weight"] = weight.index_select(1, kept)
    for key in [key for key in state if key.startswith((f"{block}.conv1.", f"{block}.norm1."))]:
        state[key] = _rows(state[key], kept)


def _cut_stage(state: dict[str, Tensor], stage: str, kept: Tensor) -> None:
    """Take channels out of a stage."""
    for key in [key for key in state if key.startswith(f"{stage}.")]:
        layer = key.rpartition(".")[0].rpartition(".")[2]
        if layer in ("up", "conv1") and key.endswith("weight"):
            state[key] = state[key].index_select(1, kept)
        elif layer in ("up", "conv2", "norm2"):
            state[key] = _rows(state[key], kept)


def _rows(value: Tensor, kept: Tensor) -> Tensor:
    """Rows of a tensor; counters have none."""
    return value.index_select(0, kept) if value.dim() else value
