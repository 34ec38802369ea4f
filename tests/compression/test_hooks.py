"""Which weights hooks choose, several on one weight, and what of them bitstreams hold."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from nerfcomp.compression import (
    LocalScaling,
    Masking,
    WeightFunction,
    WeightHook,
    bake,
    carried_factors,
    chosen_weights,
    coded_weights,
    hold_masks,
    hooked_weights,
    named_masks,
    named_scales,
    needs_baking,
    plain_parameters,
)
from nerfcomp.fields.encodings import HashGrid


class Mixed(nn.Module):
    """A grid, a convolution, a normalisation and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.grid = HashGrid(2, 2, 5, 4, 8)
        self.conv = nn.Conv2d(2, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.rgb = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        features = self.grid(x)[:, :2].view(1, -1, 1, 2).permute(0, 3, 1, 2)
        out: Tensor = self.rgb(self.conv(features)[0, :, :, 0].t())
        return out


class Shift(WeightFunction):
    """Adds one trained number to a weight."""

    coding = "baked"

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(0.5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.by

    def hook(self, weights: list[str]) -> WeightHook:
        return Shifting(weights)


class Shifting(WeightHook):
    """A hook of somebody else."""

    def function(self, layer: nn.Module) -> WeightFunction:
        return Shift()


class Silent(WeightFunction):
    """Does not say how it is coded."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight


ALL = ["grid.levels.0.weight", "grid.levels.1.weight", "conv.weight", "rgb.weight"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (None, ALL),
        (["*.weight"], ALL),
        (["*", "!grid.*"], ALL[2:]),
        (["grid.levels.?.weight", "rgb.weight"], [*ALL[:2], ALL[3]]),
        (["*.weight", "!*.weight"], None),
        (["*.bias", "norm.*"], None),
    ],
)
def test_patterns_choose_linear_layers_convolutions_and_grid_levels(
    patterns: list[str] | None, expected: list[str] | None
) -> None:
    module = Mixed()
    if expected is None:
        with pytest.raises(ValueError, match="grid.levels.0.weight"):
            Shifting(patterns).attach(module)
        return
    plain, x = copy.deepcopy(module), torch.rand(5, 3)
    assert Shifting(patterns).attach(module) == expected == list(hooked_weights(module))
    assert list(plain_parameters(module)) == list(dict(plain.named_parameters()))
    with torch.no_grad():
        for name in expected:
            plain.get_parameter(name).add_(0.5)
    assert torch.equal(module(x), plain(x))
    module(x).sum().backward()
    assert all(plain_parameters(module)[name].grad is not None for name in expected if name != ALL[1])


def test_several_hooks_follow_each_other() -> None:
    layer = nn.Linear(3, 2)
    stored = layer.weight.detach().clone()
    Shifting().attach(layer)
    LocalScaling().attach(layer)
    with torch.no_grad():
        named_scales(layer)["weight"].copy_(torch.tensor([[2.0], [3.0]]))
    factors = torch.tensor([2.0, 3.0])
    assert torch.equal(layer.weight, factors[:, None] * (stored + 0.5))
    assert torch.equal(coded_weights(layer)["weight"], stored + 0.5)
    assert torch.equal(carried_factors(layer)["weight"], factors)
    bake(layer, keep_carried=True)
    assert torch.equal(plain_parameters(layer)["weight"], stored + 0.5) and not needs_baking(layer)
    assert torch.equal(layer.weight, factors[:, None] * (stored + 0.5)) and list(named_scales(layer)) == ["weight"]


def test_what_a_baked_hook_follows_is_baked_with_it() -> None:
    layer = nn.Linear(3, 2)
    LocalScaling().attach(layer)
    Shifting().attach(layer)
    with torch.no_grad():
        named_scales(layer)["weight"].fill_(2.0)
    assert carried_factors(layer) == {} and torch.equal(coded_weights(layer)["weight"], layer.weight)


def test_factors_of_several_hooks_are_multiplied() -> None:
    layer = nn.Linear(3, 2)
    LocalScaling().attach(layer)
    LocalScaling().attach(layer)
    with torch.no_grad():
        for function in hooked_weights(layer)["weight"]:
            function.row_factors().fill_(3.0)
    assert torch.equal(carried_factors(layer)["weight"], torch.full((2,), 9.0))


def test_nothing_is_dropped_silently() -> None:
    layer = nn.Linear(3, 2)
    parametrize.register_parametrization(layer, "weight", Silent())
    with pytest.raises(ValueError, match="Silent says neither that bitstreams carry it nor that it is baked"):
        coded_weights(layer)
    foreign = nn.utils.parametrizations.orthogonal(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="through a _Orthogonal"):
        coded_weights(foreign)
    with pytest.raises(ValueError, match="in parts"):
        coded_weights(parametrizations.weight_norm(nn.Linear(2, 2)))


def test_scales_belong_to_outputs() -> None:
    assert LocalScaling().attach(Mixed()) == ["conv.weight", "rgb.weight"]
    assert LocalScaling(["grid.*"]).attach(Mixed()) == ALL[:2]
    with pytest.raises(ValueError, match="are not its 5 outputs"):
        LocalScaling(["weight"]).attach(nn.ConvTranspose2d(2, 5, 2))


@pytest.mark.parametrize("weights", ["*.weight", [1], {"a": 1}])
def test_patterns_are_names(weights: object) -> None:
    with pytest.raises(ValueError, match="list of names"):
        Masking(weights)  # type: ignore[arg-type]


def test_masks_hold_whatever_the_optimizer_does() -> None:
    module = Mixed()
    masks = {name: torch.rand_like(value) > 0.5 for name, value in chosen_weights(module, ["*", "!rgb.*"]).items()}
    hold_masks(module, masks)
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0, weight_decay=0.1)
    module(torch.rand(64, 3)).square().sum().backward()
    for name, mask in masks.items():
        gradient = plain_parameters(module)[name].grad
        assert gradient is not None and bool((gradient[~mask] == 0).all())
    optimizer.step()
    twin = copy.deepcopy(module)
    bake(twin)
    for name, mask in masks.items():
        assert torch.equal(named_masks(module)[name], mask)
        assert bool((twin.get_parameter(name)[~mask] == 0).all()) and bool((twin.get_parameter(name)[mask] != 0).any())
    hold_masks(module, {"conv.weight": torch.zeros_like(masks["conv.weight"])})
    assert int(module.conv.weight.count_nonzero()) == 0 and len(hooked_weights(module)["conv.weight"]) == 1


def test_gradients_of_a_weight_arrive_where_they_did() -> None:
    """DistributedDataParallel waits at these nodes, and hooks may come after it."""

    def node(parameter: torch.Tensor) -> object:
        after = parameter.expand_as(parameter).grad_fn
        assert after is not None
        return after.next_functions[0][0]

    module = Mixed()
    nodes = {name: node(p) for name, p in plain_parameters(module).items()}
    Masking(["*"]).attach(module)
    LocalScaling().attach(module)
    for name, p in plain_parameters(module).items():
        assert node(p) is nodes[name], name
