"""Modules that this program does not know, through the bytes of a file and back."""

import copy

import pytest
import torch
from torch import nn

from nerfcomp.artifacts.tensors import decode_tensors, encode_module
from nerfcomp.codec import from_bytes, step_size, to_bytes
from nerfcomp.errors import ContainerError

QP = -28


class Foreign(nn.Module):
    """What somebody else may have: convolutions, statistics, integers, a scalar, and names that mean something else."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.table = nn.Embedding(3000, 8)
        self.temperature = nn.Parameter(torch.tensor(0.7))
        self.weight = nn.Parameter(torch.randn(6, 5))
        self.weight_scaling = nn.Parameter(torch.full((6,), 3.0))
        self.register_buffer("order", torch.tensor([2, 0, 1]))


@pytest.fixture
def module() -> Foreign:
    made = Foreign()
    with torch.no_grad():
        made.features(torch.randn(2, 3, 8, 8))  # moves the statistics
    return made


def test_any_module_comes_back(module: Foreign) -> None:
    before = copy.deepcopy(module.state_dict())
    tensors = decode_tensors(from_bytes(to_bytes(encode_module(module, QP))))
    module.load_state_dict(tensors)
    parameters = dict(module.named_parameters())
    for name, value in before.items():
        assert tensors[name].shape == value.shape, name
        if name in parameters:
            assert (tensors[name] - value).abs().max() <= 2 * step_size(QP if value.dim() > 1 else -44), name
        else:
            assert torch.equal(tensors[name], value), name
    assert not torch.equal(tensors["table.weight"], before["table.weight"])  # it is quantized


def test_a_name_alone_is_no_local_scaling(module: Foreign) -> None:
    container = from_bytes(to_bytes(encode_module(module, QP)))
    small = next(section for section in container.sections if section.name == "small")
    names = [spec.name for spec in small.tensors]
    assert {"weight", "weight_scaling"} <= set(names)
    tensors = decode_tensors(container)
    assert (tensors["weight"] - module.weight).abs().max() <= 2 * step_size(QP)
    assert (tensors["weight_scaling"] - 3.0).abs().max() <= 2 * step_size(-44)


def test_halves_come_back_as_floats() -> None:
    layer = nn.Linear(4, 4).bfloat16()
    tensors = decode_tensors(encode_module(layer, -40))
    assert tensors["weight"].dtype == torch.float32
    layer.load_state_dict(tensors)


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (nn.ReLU(), "nothing to encode"),
        (nn.Linear(2, 2).double(), None),
        (nn.ParameterDict({"a": nn.Parameter(torch.zeros(0, 3))}), "empty"),
        (nn.ParameterDict({"a": nn.Parameter(torch.full((2, 2), float("nan")))}), "finite"),
        (nn.ParameterDict({"a b": nn.Parameter(torch.ones(2, 2))}), "cannot be coded"),
        (nn.ParameterDict({"a": nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))}), "complex64"),
    ],
)
def test_what_a_file_cannot_hold_is_refused(module: nn.Module, sentence: str | None) -> None:
    if sentence is None:
        assert decode_tensors(encode_module(module, -40))["weight"].dtype == torch.float32
        return
    with pytest.raises(ValueError, match=sentence):
        encode_module(module, QP)


def test_other_kinds_are_refused() -> None:
    container = encode_module(nn.Linear(2, 2), QP)
    with pytest.raises(ContainerError, match="of kind 'pictures'"):
        to_bytes(container._replace(header={"kind": "pictures"}))
