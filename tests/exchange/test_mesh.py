"""Meshes of fields whose surface is known, and of files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.commands.mesh import normal_pictures, turntable
from nerfcomp.commands.program import main
from nerfcomp.errors import NerfcompError
from nerfcomp.exchange.mesh import MeshOptions, field_mesh, masked, read_mesh, write_mesh
from nerfcomp.fields import RadianceField
from nerfcomp.fields.base import Shade
from nerfcomp.rendering import OccupancySampler
from tests.tiny import TinyReader


class Ball(RadianceField):
    """Density 100 inside of radius 0.5, falling to 0 at 0.6; red where x is above 0, else blue, seen from outside."""

    def density(self, x: Tensor) -> Tensor:
        found: Tensor = (100 * (6 - 10 * torch.linalg.vector_norm(x, dim=1))).clamp(0, 100)
        return found

    def shade(self, x: Tensor, d: Tensor, dt: Tensor) -> Shade:
        right, outside = x[:, 0] > 0, (d * x).sum(1) < 0
        return Shade(self.alpha(x, d, dt), torch.stack([right & outside, ~outside, ~right & outside], 1).float())


@pytest.fixture
def ball() -> RadianceFieldArtifact:
    scene = TinyReader(size=40).read("train")
    field, sampler = Ball(), OccupancySampler(resolution=16)
    field.set_aabb(scene.aabb)
    sampler.prepare(scene.aabb)
    return RadianceFieldArtifact(field=field, sampler=sampler, scene=SceneInfo.from_scene(scene))


def test_a_density_is_cut_at_the_chosen_level(ball: RadianceFieldArtifact) -> None:
    mesh = field_mesh(ball, MeshOptions(32, level=50.0))
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.55, atol=2e-3)
    default = field_mesh(ball, MeshOptions(32))
    level = 100 * np.log(2) / 2  # half of the light is left of a hundredth of the box
    np.testing.assert_allclose(np.linalg.norm(default.vertices, axis=1), 0.6 - level / 1000, atol=3e-3)
    with pytest.raises(NerfcompError, match="no surface at 200"):
        field_mesh(ball, MeshOptions(32, level=200.0))


def test_colours_are_those_seen_from_outside(ball: RadianceFieldArtifact) -> None:
    mesh = field_mesh(ball, MeshOptions(24, level=50.0))
    assert mesh.colors is not None
    assert (mesh.colors[mesh.vertices[:, 0] > 0.01] == [255, 0, 0]).all()
    assert (mesh.colors[mesh.vertices[:, 0] < -0.01] == [0, 0, 255]).all()


def test_where_the_occupancy_is_empty_nothing_is_made(ball: RadianceFieldArtifact) -> None:
    occupied = torch.ones(1, 16, 16, 16, dtype=torch.bool)
    occupied[0, :8] = False
    ball.sampler.set_occupied(occupied)
    mesh = field_mesh(ball, MeshOptions(64, level=50.0))
    assert -0.26 < mesh.vertices[:, 0].min() < 0.0


def test_lengths_are_those_of_the_world(ball: RadianceFieldArtifact) -> None:
    to_world = (10.0, 0.0, 0.0, 1.0, 0.0, 10.0, 0.0, 2.0, 0.0, 0.0, 10.0, 3.0, 0.0, 0.0, 0.0, 1.0)
    there = ball.replace(scene=ball.scene._replace(to_world=to_world))
    mesh = field_mesh(there, MeshOptions(32, level=50.0))
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices - [1, 2, 3], axis=1), 5.5, atol=0.02)
    here = field_mesh(there, MeshOptions(32, level=50.0, world=False))
    np.testing.assert_allclose(np.linalg.norm(here.vertices, axis=1), 0.55, atol=2e-3)


def test_masks_cut_away_what_they_show_to_be_empty(ball: RadianceFieldArtifact) -> None:
    scene = TinyReader(size=40).read("train")
    mesh = field_mesh(ball, MeshOptions(32, level=50.0))
    assert len(masked(mesh, scene).faces) == len(mesh.faces)
    images = scene.images.clone()
    images[0, :, 20:, 3] = 0
    cut = masked(mesh, scene._replace(images=images), margin=0)
    right = torch.from_numpy(cut.vertices).float() @ scene.camera.c2w[0, :, 0]
    assert 0.35 < len(cut.faces) / len(mesh.faces) < 0.65 and float(right.max()) < 0.05


@pytest.mark.parametrize("suffix", [".glb", ".ply", ".obj"])
def test_files_give_the_mesh_back(ball: RadianceFieldArtifact, tmp_path: Path, suffix: str) -> None:
    mesh = field_mesh(ball, MeshOptions(16, level=50.0))
    write_mesh(mesh, tmp_path / f"ball{suffix}")
    back = read_mesh(tmp_path / f"ball{suffix}")
    np.testing.assert_allclose(back.vertices, mesh.vertices, atol=1e-5)
    assert np.array_equal(back.faces, mesh.faces)
    assert back.colors is not None and mesh.colors is not None
    np.testing.assert_allclose(back.colors.astype(int), mesh.colors, atol=1)


def test_the_command_reads_any_file(repository: Path, tmp_path: Path) -> None:
    source = repository / "tests" / "expected" / "artifacts" / "ngp.nfc"
    out = tmp_path / "ngp.ply"
    main(["mesh", str(source), "--out", str(out), "--resolution", "16", "--level", "0.2", "--parts", "all"])
    assert len(read_mesh(out).faces) > 0
    with pytest.raises(NerfcompError, match="exists already"):
        main(["mesh", str(source), "--out", str(out)])
    with pytest.raises(NerfcompError, match="none of them"):
        main(["mesh", str(source), "--out", str(tmp_path / "a.stl"), "--resolution", "16", "--level", "0.2"])


@pytest.mark.slow
def test_a_film_shows_the_mesh_beside_the_field(ball: RadianceFieldArtifact) -> None:
    scene = ball.scene.scaled(0.5)
    mesh = field_mesh(ball, MeshOptions(24, level=50.0))
    camera = turntable(ball.replace(scene=scene), 3)
    pictures = list(normal_pictures(ball, mesh, camera))
    assert len(pictures) == 3 and all(picture.shape == (20, 40, 3) for picture in pictures)
    for picture in pictures:
        mesh_side, field_side = ((picture[:, half : half + 20] != 255).any(-1) for half in (0, 20))
        assert mesh_side.sum() > 20 and (mesh_side & field_side).sum() > 0.7 * mesh_side.sum()
