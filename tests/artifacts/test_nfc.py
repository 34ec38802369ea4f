"""Files of a field whose occupancy tells which rows of its tables are read."""

from typing import Any

import pytest
import torch

from nerfcomp.artifacts.nfc import decode_artifact, encode_artifact, quantize_field, uniform_allocation
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.codec import Container, unwrap
from nerfcomp.compression import plain_parameters
from nerfcomp.errors import ContainerError
from nerfcomp.fields import NGPField
from nerfcomp.rendering import OccupancySampler
from tests.modules.tiny_fields import data


def ball(share: float = 0.4, cascades: int = 1) -> RadianceFieldArtifact:
    """An untrained NGP, of which a ball is occupied in every cascade."""
    torch.manual_seed(0)
    scene = data().split("train")
    field = NGPField(levels=3, log2_table_size=12, finest_resolution=32, hidden_width=16, cascades=cascades)
    sampler = OccupancySampler(resolution=16, n_steps=64, cascades=cascades)
    field.set_aabb(scene.aabb)
    sampler.prepare(scene.aabb)
    with torch.no_grad():
        for table in field.grid.parameters():
            table.normal_(0.0, 2.0)
    axis = torch.linspace(-1.0, 1.0, 16)
    distance = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)
    sampler.set_occupied((distance < share).expand(cascades, -1, -1, -1))
    return RadianceFieldArtifact(field=field.eval(), sampler=sampler.eval(), scene=SceneInfo.from_scene(scene))


def whole(trained: RadianceFieldArtifact, patch: pytest.MonkeyPatch) -> Container:
    """The file with all rows."""
    with patch.context() as inner:
        inner.setattr(RadianceFieldArtifact, "read_rows", lambda self: {})
        return encode_artifact(trained, uniform_allocation(trained, -36))


def shapes(container: Container) -> dict[str, tuple[int, ...]]:
    return {spec.name: spec.shape for section in container.sections for spec in section.tensors}


def test_rows_that_no_sample_reads_are_not_in_the_file_and_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = ball()
    full, short = whole(trained, monkeypatch), encode_artifact(trained, uniform_allocation(trained, -36))
    assert len(short.to_bytes()) < 0.4 * len(full.to_bytes())
    again = decode_artifact(short)
    rays = trained.random_rays(300, torch.Generator().manual_seed(0))
    picture, decoded = trained.render(rays).rgb, again.render(rays).rgb  # type: ignore[attr-defined]
    assert float(picture.std()) > 0.02
    torch.testing.assert_close(decoded, picture, atol=2e-3, rtol=0)
    torch.testing.assert_close(decoded, decode_artifact(full).render(rays).rgb, atol=2e-3, rtol=0)  # type: ignore


def test_files_that_call_covered_cells_occupied_are_still_read() -> None:
    trained = ball(0.3, cascades=2)
    covered = trained.sampler.occupied[1, 4:12, 4:12, 4:12]
    assert bool(covered.any())
    again = decode_artifact(encode_artifact(trained, uniform_allocation(trained, -36)))
    assert torch.equal(again.sampler.occupied, trained.sampler.occupied)  # type: ignore[attr-defined]
    assert {name: int(rows.sum()) for name, rows in again.read_rows().items()} == {
        name: int(rows.sum()) for name, rows in trained.read_rows().items()
    }
    rays = trained.random_rays(300, torch.Generator().manual_seed(0))
    torch.testing.assert_close(again.render(rays).rgb, trained.render(rays).rgb, atol=4e-3, rtol=0)  # type: ignore


def test_no_picture_depends_on_the_rows_that_are_left_out() -> None:
    trained = ball()
    rays = trained.random_rays(300, torch.Generator().manual_seed(0))
    before, weights = trained.render(rays).rgb, plain_parameters(trained.field)
    with torch.no_grad():
        for name, rows in trained.read_rows().items():
            weights[name][~rows] = 7.0
    assert torch.equal(trained.render(rays).rgb, before)
    with torch.no_grad():
        for name, rows in trained.read_rows().items():
            weights[name][rows] = 7.0
    assert not torch.equal(trained.render(rays).rgb, before)


def test_a_field_in_memory_gets_the_values_of_the_decoder() -> None:
    trained = quantize_field(ball(), uniform_allocation(ball(), -20))
    again = decode_artifact(encode_artifact(trained, uniform_allocation(trained, -20)))
    decoded = plain_parameters(again.field)
    for name, value in plain_parameters(trained.field).items():
        assert torch.equal(decoded[name], value), name
    assert 0.0 < float((decoded["grid.levels.2.weight"] == 0).double().mean()) < 1.0


def test_streams_hold_the_rows_that_are_read_one_after_another() -> None:
    trained = ball()
    container = encode_artifact(trained, uniform_allocation(trained, -20))
    rows = trained.read_rows()["grid.levels.2.weight"]
    assert shapes(container)["grid.levels.2.weight"] == (int(rows.sum()), 2) and "small" in unwrap(container)


def test_earlier_files_with_all_rows_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = ball()
    container = whole(trained, monkeypatch)
    assert shapes(container)["grid.levels.2.weight"] == (4096, 2)
    assert bool(plain_parameters(decode_artifact(container).field)["grid.levels.2.weight"].all(dim=1).any())


def edited(container: Container, **changes: Any) -> Container:
    return container._replace(header={**container.header, **changes})


def test_files_with_other_rows_are_refused() -> None:
    less, more = ball(0.3), ball(0.6)
    small, large = (encode_artifact(some, uniform_allocation(some, -20)) for some in (less, more))
    swapped = tuple(
        other if section.name == "occupancy" else section for section, other in zip(small.sections, large.sections)
    )
    with pytest.raises(ContainerError, match="do not fit its NGPField: grid.levels"):
        decode_artifact(small._replace(sections=swapped))
    with pytest.raises(ContainerError, match="do not fit"):
        decode_artifact(edited(small, read_rows=False))
    with pytest.raises(ContainerError, match="do not fit"):
        decode_artifact(edited(small, read_rows="yes"))
