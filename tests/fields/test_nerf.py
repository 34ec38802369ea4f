"""The vanilla NeRF against an independent one; its names are nerf-pytorch's."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from nerfcomp.descriptions import Description
from nerfcomp.errors import ContainerError
from nerfcomp.fields import NeRFField, VanillaNeRF, build_field, density_to_alpha, describe_field
from nerfcomp.fields.nerf import padded_length
from tests.nerf_reference import network

# shapes that a checkpoint of nerf-pytorch has: 64 + 128 samples, view directions
SHAPES = {
    **{f"pts_linears.{layer}.weight": (256, 63 if layer == 0 else 256) for layer in range(8)},
    "pts_linears.5.weight": (256, 319),
    **{f"pts_linears.{layer}.bias": (256,) for layer in range(8)},
    "views_linears.0.weight": (128, 283),
    "views_linears.0.bias": (128,),
    "feature_linear.weight": (256, 256),
    "feature_linear.bias": (256,),
    "alpha_linear.weight": (1, 256),
    "alpha_linear.bias": (1,),
    "rgb_linear.weight": (3, 128),
    "rgb_linear.bias": (3,),
}


def points(count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    x, d = torch.randn(count, 3), torch.nn.functional.normalize(torch.randn(count, 3), dim=1)
    return x.double(), d.double()


def test_parameters_are_those_of_nerf_pytorch() -> None:
    assert {name: tuple(p.shape) for name, p in VanillaNeRF().named_parameters()} == SHAPES
    names = [name for name, _ in NeRFField().named_parameters()]
    assert names == [f"{part}.{name}" for part in ("model", "model_fine") for name in order()]


def order() -> list[str]:
    return [name for name, _ in VanillaNeRF().named_parameters()]


@pytest.mark.parametrize("arguments", [{}, {"use_viewdirs": False}, {"depth": 3, "width": 16, "skips": [0]}])
def test_outputs_are_those_of_the_reference(arguments: dict[str, Any]) -> None:
    torch.manual_seed(3)
    net, (x, d) = VanillaNeRF(**arguments).double(), points()
    expected = network(net.state_dict(), x.numpy(), d.numpy(), skip=arguments.get("skips", [4])[0])
    with torch.no_grad():
        raw = net(x, d)
        assert torch.equal(net.raw_density(x), raw.density)
    np.testing.assert_allclose(raw.rgb.numpy(), expected[:, :3], atol=1e-12)
    np.testing.assert_allclose(raw.density.numpy(), expected[:, 3], atol=1e-12)


def test_density_and_shade_are_the_fine_network() -> None:
    field, (x, d) = NeRFField(depth=2, width=8).double(), points()
    dt = torch.full((len(x),), 0.1).double()
    raw, coarse = field.networks[1](x, d), field.networks[0](x, d)
    assert torch.equal(field.density(x), raw.density.relu())
    dt = torch.rand(len(x))
    assert torch.equal(field.coarse_peak_alpha(x, dt), density_to_alpha(coarse.density.relu(), dt))
    assert torch.allclose(field.shade(x, d, dt).alpha, 1 - torch.exp(-raw.density.relu() * dt))
    assert torch.equal(field.coarse_shade(x, d, dt).rgb, torch.sigmoid(coarse.rgb))


def test_gradients() -> None:
    field, (x, d) = NeRFField(depth=3, width=4, skips=[1], position_frequencies=2).double(), points(5)
    weight = field.model.pts_linears[2].weight
    assert isinstance(weight, torch.Tensor)

    def loss(value: torch.Tensor) -> torch.Tensor:
        state = {"pts_linears.2.weight": value}
        return torch.func.functional_call(field.model, state, (x, d)).rgb  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(loss, (weight,))


def test_noise_only_while_training() -> None:
    field, (x, d) = NeRFField(depth=2, width=8, density_noise=1.0), points()
    dt = torch.ones(len(x))
    x, d = x.float(), d.float()
    assert not torch.equal(field.shade(x, d, dt).alpha, field.shade(x, d, dt).alpha)
    field.eval()
    assert torch.equal(field.shade(x, d, dt).alpha, field.shade(x, d, dt).alpha)


def test_half_precision_is_close_and_comes_back_as_float() -> None:
    field, (x, d) = NeRFField(depth=3, width=32, precision="bfloat16"), points()
    exact = NeRFField(depth=3, width=32)
    exact.load_state_dict(field.state_dict())
    dt = torch.full((len(x),), 0.5)
    a, b = (f.shade(x.float(), d.float(), dt) for f in (field, exact))
    assert a.rgb.dtype == a.alpha.dtype == torch.float32
    assert 0 < (a.rgb - b.rgb).abs().max() < 0.02 and (a.alpha - b.alpha).abs().max() < 0.02


def test_a_fresh_field_is_a_thin_fog() -> None:
    """A network without density anywhere would never learn."""
    for seed in range(5):
        torch.manual_seed(seed)
        density = NeRFField().density(torch.rand(500, 3) * 2 - 1)
        assert (density > 0).float().mean() > 0.9 and density.max() < 2


def test_one_network_alone() -> None:
    field, (x, _) = NeRFField(depth=2, width=8, fine=False).double(), points()
    dt = torch.rand(len(x))
    assert field.model_fine is None and torch.equal(field.peak_alpha(x, dt), field.coarse_peak_alpha(x, dt))
    assert {name.split(".")[0] for name, _ in field.named_parameters()} == {"model"}


@pytest.mark.parametrize("count", [0, 1, 300])
def test_any_number_of_samples(count: int) -> None:
    field, (x, d) = NeRFField(depth=2, width=8).double(), points(300)
    part = field.shade(x[:count], d[:count], torch.ones(count).double())
    whole = field.shade(x, d, torch.ones(300).double())
    assert part.rgb.shape == (count, 3)
    assert torch.allclose(part.rgb, whole.rgb[:count]) and torch.allclose(part.alpha, whole.alpha[:count])


def test_padded_lengths_are_few_and_little_longer() -> None:
    lengths = [padded_length(n) for n in range(1, 20000)]
    assert len(set(lengths)) < 30
    assert all(n <= length <= max(256, 1.26 * n) for n, length in enumerate(lengths, 1))


def test_description_rebuilds() -> None:
    field = NeRFField(depth=3, width=8, skips=(1,), fine_width=12, use_viewdirs=False)
    described = json.loads(json.dumps(describe_field(field)._asdict()))
    twin = build_field(Description.from_json(described), [NeRFField])
    twin.load_state_dict(field.state_dict())
    assert twin.arguments == field.arguments


@pytest.mark.parametrize(
    "wrong",
    [
        {"depth": 0},
        {"width": 10**6},
        {"skips": [7]},
        {"skips": [-1]},
        {"skips": ["1"]},
        {"skips": 3},
        {"position_frequencies": 99},
        {"precision": "float8"},
        {"fine_depth": 10**9},
        {"fine_width": "8"},
    ],
)
def test_descriptions_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ContainerError):
        build_field(Description("nerfcomp.fields.NeRFField", wrong), [NeRFField])
