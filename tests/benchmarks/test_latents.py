"""Latents of trained features: what they draw, and which energy they keep."""

import pytest
import torch

from benchmarks.latents import components, with_latents
from nerfcomp.fields import NGPField


@pytest.fixture
def field() -> NGPField:
    torch.manual_seed(0)
    field = NGPField(levels=3, features=2, log2_table_size=8, base_resolution=4, finest_resolution=16).eval()
    with torch.no_grad():
        for table in field.grid.tables:
            table.normal_(0.0, 0.3)
    return field


def drawn(field: NGPField) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(64, 3, generator=generator) * 2 - 1
    d = torch.nn.functional.normalize(torch.randn(64, 3, generator=generator), dim=1)
    with torch.no_grad():
        shade = field.shade(x, d, torch.full((64,), 0.1))
    return torch.cat([shade.alpha.unsqueeze(1), shade.rgb], dim=1)


def test_as_many_latents_as_features_draw_the_same(field: NGPField) -> None:
    turned, shares = with_latents(field, {}, 2)
    assert shares == pytest.approx([1.0] * 3)
    assert not torch.allclose(turned.grid.tables[0], field.grid.tables[0], atol=0.01)
    assert torch.allclose(drawn(turned), drawn(field), atol=1e-5)


def test_features_that_lie_on_a_line_need_one_latent(field: NGPField) -> None:
    with torch.no_grad():
        for table in field.grid.tables:
            table[:, 1] = -2 * table[:, 0]
    single, shares = with_latents(field, {}, 1)
    assert shares == pytest.approx([1.0] * 3)
    assert single.grid.tables[0].shape == (len(field.grid.tables[0]), 1)
    assert torch.allclose(drawn(single), drawn(field), atol=1e-5)


def test_the_best_latent_is_that_of_the_singular_value_decomposition() -> None:
    generator = torch.Generator().manual_seed(2)
    table, columns = torch.randn(50, 2, generator=generator), torch.randn(64, 2, generator=generator)
    latents, matrix, share = components(table, columns, 1)
    u, s, v = torch.linalg.svd(table @ columns.t())
    assert torch.allclose(latents @ matrix.t(), s[0] * u[:, :1] @ v[:1], atol=1e-4)
    assert share == pytest.approx(float(s[0] ** 2 / (s**2).sum()), rel=1e-5)
    assert float(latents.square().mean()) == pytest.approx(float(table.square().mean()), rel=1e-5)


def test_rows_that_nothing_reads_become_zero(field: NGPField) -> None:
    rows = torch.zeros(len(field.grid.tables[1]), dtype=torch.bool)
    rows[:3] = True
    out, _ = with_latents(field, {"grid.levels.1.weight": rows}, 2)
    assert bool((out.grid.tables[1][3:] == 0).all()) and bool((out.grid.tables[1][:3] != 0).any())
