"""The tinycudann twin: its packing and wiring with a stand-in everywhere, the real thing where it can be imported."""

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nerfcomp.errors import MissingExtraError
from nerfcomp.fields import NGPField, describe_field
from nerfcomp.fields.tcnn import import_tinycudann, pack_parameters
from nerfcomp.kernels.hash_grid import grid_geometry, hash_encode
from nerfcomp.readers.ngp_pl import pack_ngp_pl, unpack_ngp_pl

SMALL: dict[str, Any] = {"levels": 8, "log2_table_size": 8, "base_resolution": 4, "finest_resolution": 40}


class StandInNetwork(nn.Module):
    """A network that reads one flat vector, as tinycudann's do."""

    def __init__(self, inputs: int, outputs: int, network: dict[str, Any], rest: int = 0) -> None:
        super().__init__()
        width, layers = network["n_neurons"], network["n_hidden_layers"]
        self.outputs = outputs
        self.shapes = [(width, inputs), *[(width, width)] * (layers - 1), (outputs + -outputs % 16, width)]
        self.params = nn.Parameter(torch.zeros(sum(a * b for a, b in self.shapes) + rest))

    def forward(self, x: Tensor) -> Tensor:
        vector: Tensor = self.params
        for number, shape in enumerate(self.shapes):
            x = x @ vector[: shape[0] * shape[1]].view(shape).t()
            x = x.relu() if number < len(self.shapes) - 1 else x
            vector = vector[shape[0] * shape[1] :]
        return x[:, : self.outputs].half()


class StandInPair(nn.Module):
    def __init__(self, inputs: int, outputs: int, grid: dict[str, Any], network: dict[str, Any]) -> None:
        super().__init__()
        levels, self.features = grid["n_levels"], grid["n_features_per_level"]
        finest = grid["base_resolution"] * grid["per_level_scale"] ** (levels - 1)
        self.geometry = grid_geometry(levels, grid["log2_hashmap_size"], grid["base_resolution"], finest)
        rest = self.features * sum(self.geometry.entries)
        self.network = StandInNetwork(levels * self.features, outputs, network)
        self.params = nn.Parameter(torch.zeros(self.network.params.numel() + rest))

    def forward(self, x: Tensor) -> Tensor:
        matrices, tables = self.params.split([self.network.params.numel(), sum(self.geometry.entries) * self.features])
        rows = [entries * self.features for entries in self.geometry.entries]
        encoded = hash_encode(x, [t.view(-1, self.features) for t in tables.split(rows)], self.geometry, "torch")
        out: Tensor = torch.func.functional_call(self.network, {"params": matrices}, (encoded,))
        return out


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("tinycudann")
    module.Network, module.NetworkWithInputEncoding = StandInNetwork, StandInPair  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tinycudann", module)


@pytest.mark.usefixtures("stand_in")
def test_backend_computes_the_field_and_its_gradients() -> None:
    fields = [NGPField(**SMALL, backend=backend) for backend in ("torch", "tcnn")]
    for table in fields[0].grid.tables:
        nn.init.normal_(table)
    fields[1].load_state_dict(fields[0].state_dict())
    x, d, dt = torch.rand(30, 3) * 3 - 1.5, nn.functional.normalize(torch.randn(30, 3), dim=1), torch.rand(30)
    grads = []
    for field in fields:
        shade = field.shade(x, d, dt)
        grads.append(torch.autograd.grad(shade.rgb.sum() + shade.alpha.sum(), list(field.parameters())))
        torch.testing.assert_close(shade.rgb, fields[0].shade(x, d, dt).rgb, atol=5e-3, rtol=2e-3)
        torch.testing.assert_close(field.density(x), fields[0].density(x), atol=5e-3, rtol=1e-2)
    for one, two in zip(*grads):
        torch.testing.assert_close(two, one, atol=1e-2 * one.abs().max().item(), rtol=1e-2)


@pytest.mark.usefixtures("stand_in")
def test_weights_do_not_know_the_backend() -> None:
    ours, theirs = (NGPField(**SMALL, backend=backend) for backend in ("torch", "tcnn"))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert describe_field(ours) == describe_field(theirs)


@pytest.mark.usefixtures("stand_in")
def test_other_rounding_is_named() -> None:
    field = NGPField(levels=16, log2_table_size=19, rounding="float64", backend="tcnn")
    with pytest.raises(ValueError, match="Choose the other `rounding`"):
        field.density(torch.rand(2, 3))


@pytest.mark.parametrize("wrong", [{"levels": 7}, {"hidden_width": 48}, {"rgb_hidden_layers": 0}, {"sh_degree": 3}])
def test_shapes_without_kernels_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="backend 'tcnn' cannot run"):
        NGPField(**{**SMALL, **wrong}, backend="tcnn")


def test_vector_is_that_of_ngp_pl_checkpoints() -> None:
    generator = torch.Generator().manual_seed(0)
    state = {
        "model.xyz_min": torch.full((1, 3), -0.5),
        "model.xyz_max": torch.full((1, 3), 0.5),
        "model.density_bitfield": torch.zeros(128**3 // 8, dtype=torch.uint8),
        "model.xyz_encoder.params": torch.rand(11_448_112, generator=generator),
        "model.rgb_net.params": torch.rand(7168, generator=generator),
    }
    parts = unpack_ngp_pl(state)
    assert torch.equal(pack_parameters(parts.density_matrices, parts.tables), state["model.xyz_encoder.params"])
    assert torch.equal(pack_parameters(parts.rgb_matrices), pack_ngp_pl(parts)["model.rgb_net.params"])


def test_absence_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tinycudann", None)
    with pytest.raises(MissingExtraError, match="pip install --no-build-isolation 'git"):
        import_tinycudann()


def test_real_tinycudann_agrees() -> None:
    try:
        import_tinycudann()
    except MissingExtraError as error:
        pytest.skip(str(error))
    fields = [NGPField(**SMALL, backend=backend).cuda() for backend in ("torch", "tcnn")]
    for table in fields[0].grid.tables:
        nn.init.normal_(table, std=0.1)
    fields[1].load_state_dict(fields[0].state_dict())
    x, d = torch.rand(256, 3) * 3 - 1.5, nn.functional.normalize(torch.randn(256, 3), dim=1)
    ours, theirs = (field.shade(x.cuda(), d.cuda(), torch.full((256,), 0.1).cuda()) for field in fields)
    torch.testing.assert_close(theirs.rgb, ours.rgb, atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(theirs.alpha, ours.alpha, atol=1e-2, rtol=1e-2)
