"""The tinycudann twin: its packing and wiring with a stand-in everywhere, the real thing where it can be imported."""

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nerfcomp.errors import MissingExtraError
from nerfcomp.fields import NGPField
from nerfcomp.fields.tcnn import TcnnTwin, import_tinycudann, pack_parameters
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


def weights(field: NGPField) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Density matrices, colour matrices and tables."""
    density, rgb = ([layer.weight for layer in mlp.layers] for mlp in (field.density_mlp, field.rgb_mlp))
    tables = [level.weight for level in field.grid.levels]
    return density, rgb, tables  # type: ignore[return-value]


@pytest.mark.usefixtures("stand_in")
def test_twin_computes_the_field_and_its_gradients() -> None:
    field = NGPField(**SMALL, backend="torch")
    for table in field.grid.parameters():
        nn.init.normal_(table)
    twin = TcnnTwin(field.arguments)
    density, rgb, tables = weights(field)
    x, inputs = torch.rand(30, 3), torch.rand(30, 32)
    ours, theirs = field.density_mlp(field.grid(x)), twin.geometry(x, density, tables)
    torch.testing.assert_close(theirs, ours, atol=5e-3, rtol=2e-3)
    torch.testing.assert_close(twin.rgb(inputs, rgb), field.rgb_mlp(inputs), atol=5e-3, rtol=2e-3)
    ours_grad = torch.autograd.grad(ours.sum(), [*density, *tables])
    theirs_grad = torch.autograd.grad(theirs.sum(), [*density, *tables])
    for one, two in zip(ours_grad, theirs_grad):
        torch.testing.assert_close(two, one, atol=5e-3, rtol=2e-3)


@pytest.mark.usefixtures("stand_in")
def test_other_rounding_is_named() -> None:
    field = NGPField(levels=16, log2_table_size=19, rounding="float64", backend="torch")
    density, _, tables = weights(field)
    with pytest.raises(ValueError, match="Choose the other `rounding`"):
        TcnnTwin(field.arguments).geometry(torch.rand(2, 3), density, tables)


@pytest.mark.parametrize("wrong", [{"levels": 7}, {"hidden_width": 48}, {"rgb_hidden_layers": 0}, {"sh_degree": 3}])
def test_shapes_without_kernels_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="backend 'tcnn' cannot run"):
        TcnnTwin(NGPField(**{**SMALL, **wrong}).arguments)


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
    field = NGPField(**SMALL, backend="torch").cuda()
    for table in field.grid.parameters():
        nn.init.normal_(table, std=0.1)
    density, rgb, tables = weights(field)
    twin = TcnnTwin(field.arguments)
    x, inputs = torch.rand(256, 3, device="cuda"), torch.rand(256, 32, device="cuda")
    torch.testing.assert_close(
        twin.geometry(x, density, tables), field.density_mlp(field.grid(x)), atol=1e-2, rtol=1e-2
    )
    torch.testing.assert_close(twin.rgb(inputs, rgb), field.rgb_mlp(inputs), atol=1e-2, rtol=1e-2)
