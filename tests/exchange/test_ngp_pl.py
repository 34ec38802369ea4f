"""ngp_pl's fields and ours compute the same, through files."""

from pathlib import Path

import pytest
import torch

from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.errors import CheckpointError
from nerfcomp.exchange.ngp_pl import BLENDER_RADIUS, export_file, from_ngp_pl, import_file, to_ngp_pl
from nerfcomp.fields import NGPField
from nerfcomp.geometry.rays import image_rays
from nerfcomp.kernels.march.bricks import fill_inner
from nerfcomp.readers.ngp_pl import NgpPlCheckpoint, read_ngp_pl
from nerfcomp.rendering.bitfield import from_morton_bitfield


def field_of(scale: float, seed: int = 0) -> RadianceFieldArtifact:
    """A random field with half of its cells occupied, in ngp_pl's architecture."""
    torch.manual_seed(seed)
    cascades = {0.5: 1, 1.0: 2}[scale]
    bits = torch.randint(256, (cascades * 128**3 // 8,), dtype=torch.uint8)
    weights = [p.detach() for p in NGPField(finest_resolution=round(2048 * scale), cascades=cascades).parameters()]
    parts = tuple(weights[:16]), tuple(weights[16:18]), tuple(weights[18:])
    return from_ngp_pl(NgpPlCheckpoint(*parts, "float32", scale, bits))


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_export_and_import_keep_every_weight(scale: float, tmp_path: Path) -> None:
    ours = field_of(scale)
    export_file(ours, tmp_path / "slim.ckpt")
    back = import_file(tmp_path / "slim.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(ours.field.parameters(), back.field.parameters()))
    assert torch.equal(ours.sampler.occupied, back.sampler.occupied)
    # cells that a finer cascade covers are never looked up in a coarser one, and ngp_pl stores the finer one's there
    stored = from_morton_bitfield(read_ngp_pl(tmp_path / "slim.ckpt").bitfield, len(ours.sampler.occupied), 128)
    assert torch.equal(fill_inner(ours.sampler.occupied), stored)
    half = scale * BLENDER_RADIUS / 1.5
    assert back.field.aabb[1].tolist() == pytest.approx([half] * 3)


def test_density_is_per_ngp_pl_unit() -> None:
    ours = field_of(1.0)
    x = torch.rand(50, 3) - 0.5
    assert isinstance(ours.field, NGPField)
    logits = ours.field.density_mlp(ours.field.grid((x + 1.0) / 2.0))[:, 0]
    world_per_unit = BLENDER_RADIUS / 1.5
    torch.testing.assert_close(ours.field.density(x * world_per_unit), logits.exp() / world_per_unit)


def test_an_imported_field_renders() -> None:
    ours = field_of(0.5)
    camera = ours.scene.camera._replace(height=4, width=4)
    rendered = ours.render(image_rays(camera, 0, ours.scene.near, ours.scene.far))
    assert rendered.rgb.shape == (16, 3) and bool(torch.isfinite(rendered.rgb).all())


def test_other_architectures_are_refused() -> None:
    ours = field_of(0.5)
    small = NGPField(log2_table_size=10)
    with pytest.raises(CheckpointError, match="log2_table_size"):
        to_ngp_pl(ours.replace(field=small))
