import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfcomp.errors import SceneError
from nerfcomp.geometry.paths import spherical_path
from nerfcomp.readers.pseudo import Manifest, PseudoFolder, PseudoReader


def manifest(views: int = 5) -> Manifest:
    poses = spherical_path(views, 4.0, 0.5).flatten(1).tolist()
    box = [[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]
    lens = [0.0, 0.0, 0.0, 0.0]
    return Manifest({"file": "a"}, 2, 4, 6, [5.0, 5.5, 3.0, 2.0], lens, 2.0, 6.0, False, box, [1.0, 1.0, 1.0], poses)


def pictures(first: int, count: int) -> list[np.ndarray]:
    return [np.random.default_rng(view).integers(0, 256, (4, 6, 3), np.uint8) for view in range(first, first + count)]


@pytest.fixture
def folder(tmp_path: Path) -> PseudoFolder:
    folder = PseudoFolder(tmp_path / "views")
    folder.begin(manifest())
    for shard in range(manifest().n_shards):
        views = manifest().views(shard)
        folder.write_shard(shard, views[0], pictures(views[0], len(views)))
    assert folder.finish(manifest())
    return folder


def test_views_come_back(folder: PseudoFolder) -> None:
    content = folder.open()
    assert content == manifest() and content.n_shards == 3 and list(content.views(2)) == [4]
    folder.check()
    for view in range(5):
        assert np.array_equal(folder.picture(content, view).numpy(), pictures(view, 1)[0])
    assert torch.equal(content.camera.c2w, spherical_path(5, 4.0, 0.5))
    assert content.camera.intrinsics[3].tolist() == [5.0, 5.5, 3.0, 2.0]


def test_bytes_depend_on_the_pictures_alone(folder: PseudoFolder, tmp_path: Path) -> None:
    other = PseudoFolder(tmp_path / "other")
    other.begin(manifest())
    for shard in (2, 0, 1):
        views = manifest().views(shard)
        assert not other.finish(manifest())
        (other.root / f".shard_{shard:05d}-left.zip").write_bytes(b"of a killed process")
        other.write_shard(shard, views[0], pictures(views[0], len(views)))
    assert other.finish(manifest())
    names = sorted(path.name for path in other.root.iterdir())
    assert names == ["hashes.json", "manifest.json", *(f"shard_0000{shard}.zip" for shard in range(3))]
    assert all((folder.root / name).read_bytes() == (other.root / name).read_bytes() for name in names)


def test_another_set_is_not_mixed_in(folder: PseudoFolder) -> None:
    folder.begin(manifest())
    with pytest.raises(SceneError, match="Choose another folder"):
        folder.begin(manifest(6))


def test_missing_and_damaged_shards_are_named(folder: PseudoFolder) -> None:
    shard = folder.shard(1)
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-40])
    for call in (folder.check, lambda: folder.picture(manifest(), 2)):
        with pytest.raises(SceneError, match="shard_00001.zip"):
            call()
    shard.unlink()
    assert folder.missing(manifest()) == [1]
    with pytest.raises(SceneError, match="shard_00001.zip"):
        folder.picture(manifest(), 3)
    wide = manifest()._replace(width=7)
    with pytest.raises(SceneError, match="view_000000"):
        folder.picture(wide, 0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "another"),
        ("height", 0),
        ("width", 2.5),
        ("views_per_shard", -1),
        ("poses", []),
        ("poses", [[1.0] * 11]),
        ("intrinsics", [0.0, 1.0, 1.0, 1.0]),
        ("near", float("nan")),
        ("aabb", [[0.0, 0.0, 0.0]]),
        ("ndc", 1),
        ("distortion", "none"),
        ("surplus", 1),
    ],
)
def test_damaged_manifest_is_refused(folder: PseudoFolder, key: str, value: Any) -> None:
    path = folder.root / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, key: value}))
    with pytest.raises(SceneError, match="not a manifest"):
        folder.open()


def test_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="train.py predict"):
        PseudoFolder(tmp_path).open()
    with pytest.raises(SceneError, match="not complete"):
        PseudoFolder(tmp_path).check()


def test_reader_holds_the_last_views_out(folder: PseudoFolder) -> None:
    reader = PseudoReader(folder.root, val_views=2)
    train, test, val = reader.read("train"), reader.read("test"), reader.read("val")
    assert train.names == ("view_000000.png",)
    assert test.names == ("view_000001.png", "view_000002.png")
    assert val.names == ("view_000003.png", "view_000004.png") and not val.has_alpha
    assert np.array_equal(val.images[0, ..., :3].numpy(), pictures(3, 1)[0]) and (val.images[..., 3] == 255).all()
    assert torch.equal(val.camera.c2w, spherical_path(5, 4.0, 0.5)[3:]) and reader.path("auto", 3).c2w.shape[0] == 3
    with pytest.raises(SceneError, match="none left to train on"):
        PseudoReader(folder.root, val_views=3).read("train")
    with pytest.raises(ValueError, match="val_views"):
        PseudoReader(folder.root, val_views=0)
