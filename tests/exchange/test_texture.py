"""Pictures around meshes, looked up by trimesh and compared with the field."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.artifacts.surface import SurfaceArtifact
from nerfcomp.commands.program import main
from nerfcomp.errors import MissingExtraError, NerfcompError
from nerfcomp.exchange import texture
from nerfcomp.fields import HashSurfaceField
from nerfcomp.geometry.meshes import Mesh, sampled
from nerfcomp.rendering import OccupancySampler
from nerfcomp.rendering.level_set import LevelSet, extract_mesh
from tests.tiny import TinyReader

pytest.importorskip("xatlas")
trimesh: Any = pytest.importorskip("trimesh")


def stripes(points: NDArray[np.float64], normals: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A colour that changes several times within a triangle of a coarse mesh."""
    return (127.5 + 120 * np.sin(14 * points)).round().astype(np.uint8)


def ball(cells: int) -> Mesh:
    """A sphere of radius 0.5."""
    box = torch.tensor([[-1.0] * 3, [1.0] * 3])
    return extract_mesh(LevelSet(lambda x: 0.5 - torch.linalg.vector_norm(x, dim=1), 0.0, 1.0), box, cells)


def looked_up(shown: Any, count: int = 4000) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points of a mesh that trimesh has read, and the colours that trimesh finds in its picture there."""
    mesh = Mesh(np.asarray(shown.vertices, np.float64), np.asarray(shown.faces, np.int64))
    points, face = sampled(mesh, count)
    weights = trimesh.triangles.points_to_barycentric(mesh.vertices[mesh.faces[face]], points)
    uv = np.einsum("nc,ncd->nd", weights, np.asarray(shown.visual.uv)[mesh.faces[face]])
    material = shown.visual.material
    image = getattr(material, "baseColorTexture", None) or material.image
    return points, trimesh.visual.color.uv_to_interpolated_color(uv, image)[:, :3].astype(np.int64)


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_a_texture_shows_what_lies_within_triangles(tmp_path: Path, suffix: str) -> None:
    mesh = ball(12)
    atlas = texture.unwrapped(mesh, 256)
    picture = texture.baked(mesh, atlas, stripes)
    there = mesh._replace(vertices=3 * mesh.vertices + 7)
    texture.write_textured(there, atlas, picture, tmp_path / f"ball{suffix}")
    shown = trimesh.load(tmp_path / f"ball{suffix}", force="mesh", process=False)
    assert len(shown.faces) == len(mesh.faces)
    points, found = looked_up(shown)
    error = np.abs(found - stripes((points - 7) / 3, points).astype(int))
    assert np.median(error) <= 3 and np.percentile(error, 98) < 20
    vertices = (points[:, None] - there.vertices[None]) ** 2
    nearest = stripes(mesh.vertices, mesh.vertices)[vertices.sum(2).argmin(1)]
    assert np.abs(nearest - stripes((points - 7) / 3, points).astype(int)).mean() > 4 * error.mean()


def test_large_meshes_are_unwrapped_in_parts() -> None:
    mesh = ball(48)
    assert len(mesh.faces) > 3000
    atlas = texture.unwrapped(mesh, 256)
    triangles = mesh.vertices[atlas.rows[atlas.faces]]
    assert len(triangles) == len(mesh.faces)
    np.testing.assert_allclose(
        np.sort(triangles.mean(1), axis=0), np.sort(mesh.vertices[mesh.faces].mean(1), axis=0), atol=1e-12
    )
    assert 0 <= atlas.uv.min() and atlas.uv.max() <= 1


def test_the_command_bakes_the_colours_of_the_field(tmp_path: Path) -> None:
    torch.manual_seed(0)
    field, scene = HashSurfaceField(levels=2, log2_table_size=8), TinyReader(size=40).read("train")
    field.set_aabb(scene.aabb)
    sampler = OccupancySampler(resolution=16)
    sampler.prepare(scene.aabb)
    info = SceneInfo.from_scene(scene)._replace(to_world=(2.0, 0, 0, 1.0, 0, 2.0, 0, 0, 0, 0, 2.0, 0, 0, 0, 0, 1.0))
    trained = SurfaceArtifact(field=field.eval(), sampler=sampler, scene=info)
    write_checkpoint(trained, tmp_path / "ball.ckpt")
    out = tmp_path / "ball.obj"
    command = ["mesh", str(tmp_path / "ball.ckpt"), "--out", str(out), "--resolution", "16"]
    main([*command, "--texture", "128"])
    points, found = looked_up(trimesh.load(out, force="mesh", process=False), 500)
    x = torch.from_numpy((points - [1, 0, 0]) / 2).float()
    with torch.no_grad():
        wanted = field.shade(x, -field.shade(x, x, x[:, 0]).normals, torch.full((500,), 0.001)).rgb
    assert np.abs(found - 255 * wanted.numpy()).mean() < 3
    (tmp_path / "ball.obj").unlink()
    with pytest.raises(NerfcompError, match="ball.mtl exists already"):
        main([*command, "--texture", "128"])
    with pytest.raises(NerfcompError, match=".glb and .obj; .* colours of vertices alone"):
        main([*command[:3], str(tmp_path / "ball.ply"), "--texture", "128"])
    with pytest.raises(NerfcompError, match="64 to 8192"):
        main([*command, "--texture", "3"])


def test_without_xatlas_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xatlas", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'nerfcomp\[texture\]'"):
        texture.load_xatlas()
