"""What can be taken out of a light field, and what its pictures would lose: see `nerfcomp.rate_control.slimming`."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.fields import LightField
from nerfcomp.fields.residual import Residual, Stage
from nerfcomp.geometry.cameras import camera_on, select_views

_READ_WITHIN = " within"
_MACS_PER_VALUE = 256  # what writing, activating and reading one value takes beside multiplying, on two CPU cores


class Unit(NamedTuple):
    """Channels of one place.

    Attributes:
        importance: (C,) growth of the picture's mean squared error without each channel.
        means: (C,) mean values that each layer which reads the channels sees, by the layer's name.
        macs: Multiplications of one channel per picture.
    """

    importance: Tensor
    means: dict[str, Tensor]
    macs: float

    @property
    def carried(self) -> bool:
        """Whether a transposed convolution reads the channels: a carrier then takes the place of those that go."""
        return any(layer.endswith(".up") for layer in self.means)


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


def unit_readers(field: LightField) -> dict[str, list[str]]:
    """Names of the layers that read the channels of each unit."""
    after, readers = stage_readers(field), {}
    for name, module in named_units(field).items():
        blocks = range(len(module.blocks)) if isinstance(module, Stage) else ()
        readers[name] = [f"{name}.blocks.{index}.conv1" for index in blocks] + [after.get(name, name)]
    return readers


def measure_units(trained: LightFieldArtifact, views: int, seed: int) -> dict[str, Unit]:
    """Measure importance, means and multiplications of all units from known poses of the scene."""
    field, scene = trained.field, trained.scene
    scene.warn_of_one_pose()
    readers = unit_readers(field)
    values: dict[str, Tensor] = {}
    means: dict[str, Tensor] = {}
    losses: dict[str, Tensor] = {}
    handles = _watch(field, values, means)
    generator = torch.Generator().manual_seed(seed)
    training = field.training
    field.eval()
    for index in range(views):
        view = select_views(scene.camera, [index * len(scene.poses) // views])
        picture = field.draw(camera_on(view, trained.device), scene.bounds)
        signs = torch.randint(0, 2, picture.shape, generator=generator).to(picture) * 2 - 1
        gradients = torch.autograd.grad((signs * picture).sum(), list(values.values()))
        for (name, value), gradient in zip(values.items(), gradients):
            deviation = value.detach() - value.detach().mean((0, 1, 2))
            loss = (gradient * deviation).square().sum((0, 1, 2)) / (picture.numel() * views)
            unit = name.removesuffix(_READ_WITHIN)
            losses[unit] = losses[unit] + loss if unit in losses else loss
    for handle in handles:
        handle.remove()
    field.train(training)
    macs = unit_macs(field, {name: value[0, ..., 0].numel() for name, value in values.items()})
    return {
        name: Unit(loss, {layer: means[layer] / views for layer in readers[name]}, macs[name])
        for name, loss in losses.items()
    }


def _watch(field: LightField, values: dict[str, Tensor], means: dict[str, Tensor]) -> list[RemovableHandle]:
    """Keep the values of all units as the field draws, and add up the means that their readers see."""
    handles = []
    for name, module in named_units(field).items():
        if isinstance(module, Stage):  # its channels are read by its blocks and by what follows
            handles.append(module.up.register_forward_hook(_keep_output(values, f"{name}{_READ_WITHIN}")))
            handles.append(module.register_forward_hook(_keep_output(values, name)))
        else:
            handles.append(module.register_forward_pre_hook(_keep_input(values, name)))
    for layer in {layer for layers in unit_readers(field).values() for layer in layers}:
        handles.append(field.get_submodule(layer).register_forward_pre_hook(_add_mean(means, layer)))
    return handles


def _keep_output(values: dict[str, Tensor], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        values[name] = output

    return hook


def _keep_input(values: dict[str, Tensor], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values[name] = inputs[0]

    return hook


def _add_mean(means: dict[str, Tensor], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        mean = inputs[0].detach().mean((0, 1, 2))
        means[name] = means[name] + mean if name in means else mean

    return hook


def unit_macs(field: LightField, positions: dict[str, int]) -> dict[str, float]:
    """Cost of one channel of every unit.

    Args:
        field: The light field.
        positions: Pixels at which each unit computes.

    Returns:
        Multiplications per picture, with an allowance for moving values.
    """
    macs: dict[str, float] = {}
    for name, module in field.named_modules():
        if isinstance(module, Residual):
            macs[f"{name}.conv2"] = positions[f"{name}.conv2"] * (2 * module.conv2.out_channels + _MACS_PER_VALUE)
    for name, reading in stage_readers(field).items():
        stage, reader = field.get_submodule(name), field.get_submodule(reading)
        assert isinstance(stage, Stage) and isinstance(reader, nn.Conv2d | nn.ConvTranspose2d)
        inner = sum(2 * block.conv1.out_channels + _MACS_PER_VALUE for block in _blocks(stage))
        up = stage.up.in_channels * stage.up.kernel_size[0] ** 2 / stage.up.stride[0] ** 2
        read = reader.out_channels * reader.kernel_size[0] ** 2
        macs[name] = positions[name] * (up + inner + read + _MACS_PER_VALUE)
    return macs


def _blocks(stage: Stage) -> list[Residual]:
    return [block for block in stage.blocks if isinstance(block, Residual)]
