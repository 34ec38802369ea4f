"""Hooks on weights: what they change, what they leave, how they come off."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from nerfcomp.codec import decode_nnc, encode_nnc
from nerfcomp.compression import LocalScaling, bake, detach, named_scales, plain_parameters
from nerfcomp.fields import NGPField


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Sequential(nn.Linear(5, 3, bias=False)), nn.LayerNorm(3))


def test_untrained_scales_change_nothing() -> None:
    plain = network()
    hooked = copy.deepcopy(plain)
    assert LocalScaling().attach(hooked) == ["0.weight", "2.0.weight"]
    x = torch.randn(7, 4)
    assert torch.equal(hooked(x), plain(x))


def test_rows_are_scaled() -> None:
    layer = nn.Linear(3, 2, bias=False)
    LocalScaling().attach(layer)
    with torch.no_grad():
        named_scales(layer)["weight"].copy_(torch.tensor([[2.0], [-1.0]]))
    original = plain_parameters(layer)["weight"]
    assert torch.equal(layer.weight[0], 2 * original[0]) and torch.equal(layer.weight[1], -original[1])


def test_names_are_those_without_hooks() -> None:
    plain, hooked = network(), network()
    LocalScaling().attach(hooked)
    assert list(plain_parameters(hooked)) == list(plain_parameters(plain)) == [n for n, _ in plain.named_parameters()]


@pytest.mark.parametrize("remove", [bake, detach])
def test_hooks_come_off(remove: object) -> None:
    plain = network()
    hooked = copy.deepcopy(plain)
    LocalScaling().attach(hooked)
    with torch.no_grad():
        for scale in named_scales(hooked).values():
            scale.uniform_(0.5, 2.0)
    x = torch.randn(7, 4)
    scaled = hooked(x)
    assert callable(remove)
    remove(hooked)
    assert named_scales(hooked) == {} and hooked.state_dict().keys() == plain.state_dict().keys()
    assert list(hooked.state_dict()) == list(plain.state_dict())
    assert torch.equal(hooked(x), scaled if remove is bake else plain(x))
    hooked(x).sum().backward()
    assert all(parameter.grad is not None for parameter in hooked[0].parameters())
    assert not torch.equal(scaled, plain(x))


def test_copies_keep_their_hooks() -> None:
    hooked = network()
    LocalScaling().attach(hooked)
    x, twin = torch.randn(7, 4), copy.deepcopy(hooked)
    before = hooked(x)
    bake(twin)
    assert torch.equal(hooked(x), before) and torch.equal(twin(x), before) and len(named_scales(hooked)) == 2


def test_gradients_of_scales_are_those_of_a_slow_reference() -> None:
    layer = nn.Linear(3, 2).double()
    LocalScaling().attach(layer)
    layer.double()
    scale, weight = named_scales(layer)["weight"], plain_parameters(layer)["weight"].detach()
    x = torch.randn(5, 3, dtype=torch.float64)
    layer(x).square().sum().backward()
    y = layer(x).detach()
    expected = [(2 * y[:, row] * (x @ weight[row])).sum().item() for row in range(2)]
    assert scale.grad is not None and scale.grad.flatten().tolist() == pytest.approx(expected)


def test_every_linear_layer_of_a_field_is_hooked_and_nothing_else() -> None:
    field = NGPField(levels=2, log2_table_size=6, finest_resolution=32, hidden_width=16)
    names = LocalScaling().attach(field)
    assert names == [name for name in plain_parameters(field) if "mlp" in name]
    x = torch.rand(9, 3)
    assert torch.isfinite(field.shade(x, torch.nn.functional.normalize(x), torch.full((9,), 0.1)).rgb).all()


def test_decoders_fold_what_training_computed_with() -> None:
    layer = nn.Linear(6, 4)
    LocalScaling().attach(layer)
    with torch.no_grad():
        named_scales(layer)["weight"].uniform_(0.9, 1.1)
    tensors = {name: value.detach().numpy() for name, value in plain_parameters(layer).items()}
    tensors["weight_scaling"] = named_scales(layer)["weight"].detach().flatten().numpy()
    stream = encode_nnc(tensors, {"weight": -28, "bias": -44, "weight_scaling": -48})
    separate = decode_nnc(encode_nnc({f"a.{n}": v for n, v in tensors.items() if n != "weight"}, -48))
    with torch.no_grad():
        weight = decode_nnc(encode_nnc({"weight": tensors["weight"]}, -28))["weight"]
        plain_parameters(layer)["weight"].copy_(torch.from_numpy(weight))
        named_scales(layer)["weight"].copy_(torch.from_numpy(separate["a.weight_scaling"])[:, None])
    np.testing.assert_array_equal(decode_nnc(stream)["weight"], layer.weight.detach().numpy())


def test_a_module_without_linear_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="no linear layer"):
        LocalScaling().attach(nn.LayerNorm(3))
