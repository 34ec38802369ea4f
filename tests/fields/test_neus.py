"""NeuS against its published networks, written out from the paper and the names of its checkpoints."""

import math

import pytest
import torch
from torch import Tensor

from nerfcomp.fields import NeuSField

SMALL = {"sdf_hidden_layers": 4, "hidden_width": 64, "skip": 2, "rgb_hidden_layers": 2}
State = dict[str, Tensor]


def weight(state: State, name: str) -> Tensor:
    direction = state[f"{name}.weight_v"]
    found: Tensor = state[f"{name}.weight_g"] * direction / torch.linalg.vector_norm(direction, dim=1, keepdim=True)
    return found


def waves(x: Tensor, octaves: int) -> Tensor:
    parts = [x]
    for octave in range(octaves):
        parts += [torch.sin(2**octave * x), torch.cos(2**octave * x)]
    return torch.cat(parts, 1)


def published_sdf(state: State, x: Tensor, layers: int, skip: int) -> Tensor:
    encoded = waves(x, 6)
    h = encoded
    for layer in range(layers + 1):
        if layer == skip:
            h = torch.cat([h, encoded], 1) / math.sqrt(2)
        h = h @ weight(state, f"sdf_network.lin{layer}").T + state[f"sdf_network.lin{layer}.bias"]
        if layer < layers:
            h = torch.where(h * 100 > 20, h, torch.log1p(torch.exp((100 * h).clamp(max=20))) / 100)
    return h


def published_color(state: State, x: Tensor, d: Tensor, gradients: Tensor, features: Tensor, layers: int) -> Tensor:
    h = torch.cat([x, waves(d, 4), gradients, features], 1)
    for layer in range(layers + 1):
        h = h @ weight(state, f"color_network.lin{layer}").T + state[f"color_network.lin{layer}.bias"]
        h = torch.relu(h) if layer < layers else 1 / (1 + torch.exp(-h))
    return h


def unit_field(**changes: object) -> NeuSField:
    field = NeuSField(**{**SMALL, **changes})  # type: ignore[arg-type]
    field.set_aabb(torch.tensor([[-1.0] * 3, [1.0] * 3]))
    return field


def test_the_published_sizes() -> None:
    field = NeuSField()
    assert sum(p.numel() for p in field.sdf_network.parameters()) == 529_076
    assert sum(p.numel() for p in field.color_network.parameters()) == 273_414
    assert float(field.inv_s.detach() * field.half_side) == pytest.approx(math.exp(3.0), rel=1e-5)


def test_it_begins_as_the_published_sphere() -> None:
    field = NeuSField()
    field.set_aabb(torch.tensor([[-1.0] * 3, [1.0] * 3]))
    x = torch.rand(4000, 3) * 2 - 1
    error = field.sdf(x) - (x.norm(dim=1) - 0.5)
    assert abs(float(error.mean())) < 0.15 and float(error.std()) < 0.2


def test_values_and_gradients_are_those_of_the_published_formulas() -> None:
    field = unit_field().double()
    state = {name: value.detach() for name, value in field.state_dict().items()}
    x = (torch.rand(20, 3, dtype=torch.float64) * 2 - 1).requires_grad_()
    d = torch.nn.functional.normalize(torch.randn(20, 3, dtype=torch.float64), dim=1)
    wanted = published_sdf(state, x, 4, 2)
    (gradients,) = torch.autograd.grad(wanted[:, 0].sum(), x)
    found = field.geometry(x.detach())
    torch.testing.assert_close(found.sdf, wanted[:, 0])
    torch.testing.assert_close(found.features, wanted[:, 1:])
    torch.testing.assert_close(found.gradients, gradients)
    color = published_color(state, x, d, gradients, wanted[:, 1:], 2)
    torch.testing.assert_close(field.color(x.detach(), d, found), color)


def test_other_boxes_scale_distances() -> None:
    field, other = unit_field(), unit_field()
    other.load_state_dict(field.state_dict())
    other.set_aabb(torch.tensor([[1.0, 1.0, 1.0], [7.0, 7.0, 7.0]]))
    x = torch.rand(10, 3) * 2 - 1
    torch.testing.assert_close(other.sdf(4 + 3 * x), 3 * field.sdf(x))
    there, here = other.geometry(4 + 3 * x), field.geometry(x)
    torch.testing.assert_close(there.gradients, here.gradients, atol=1e-4, rtol=1e-4)


def test_second_derivatives_reach_the_weights() -> None:
    field = unit_field(hidden_width=40).double()
    x = torch.rand(3, 3, dtype=torch.float64)
    v = field.sdf_network.lin0.weight_v  # type: ignore[union-attr]
    assert isinstance(v, Tensor)
    loss = ((field.geometry(x).gradients.norm(dim=1) - 1) ** 2).sum()
    (gradient,) = torch.autograd.grad(loss, v)
    direction = torch.randn_like(v)
    with torch.no_grad():
        ends = []
        for sign in (1, -1):
            v += sign * 1e-6 * direction
            ends.append(((field.geometry(x).gradients.norm(dim=1) - 1) ** 2).sum())
            v -= sign * 1e-6 * direction
    torch.testing.assert_close((gradient * direction).sum(), (ends[0] - ends[1]) / 2e-6, rtol=1e-4, atol=1e-6)


def test_gradients_exist_where_none_are_wanted() -> None:
    field = unit_field()
    with torch.no_grad():
        found = field.geometry(torch.rand(5, 3))
    assert not found.gradients.requires_grad and not found.sdf.requires_grad
    assert float(found.gradients.norm(dim=1).min()) > 0


def test_folded_weights_make_the_same_field() -> None:
    field = unit_field()
    plain = field.folded()
    x, d, dt = torch.rand(9, 3), torch.nn.functional.normalize(torch.randn(9, 3), dim=1), torch.full((9,), 0.01)
    for one, other in zip(plain.shade(x, d, dt)[:3], field.shade(x, d, dt)[:3]):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert plain.folded() is plain and "sdf_network.lin0.weight" in dict(plain.named_parameters())


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="skip must lie between 1 and 3"):
        unit_field(skip=4)
    with pytest.raises(ValueError, match="2 to 16 hidden layers"):
        unit_field(hidden_width=8)
