import json
import logging
from pathlib import Path

import pytest
import torch

from nerfcomp.readers.__main__ import main
from nerfcomp.readers.blender import BlenderReader
from nerfcomp.readers.blender_writer import write_blender, write_blender_split
from nerfcomp.readers.procedural import ProceduralReader
from nerfcomp.readers.scene import Scene, Split

SPLITS: tuple[Split, ...] = ("train", "val", "test")


@pytest.fixture(scope="module")
def reader() -> ProceduralReader:
    return ProceduralReader(image_size=12, n_train=3, n_val=1, n_test=2)


@pytest.fixture(scope="module")
def scene(reader: ProceduralReader) -> Scene:
    return reader.read("val")


def test_blender_reader_reads_the_same_scene(reader: ProceduralReader, tmp_path: Path) -> None:
    write_blender(reader, tmp_path / "solids")
    again = BlenderReader(tmp_path / "solids", half_side=1.0)
    for split in SPLITS:
        written, read = reader.read(split), again.read(split)
        assert torch.equal(read.images, written.images) and read.names == written.names
        assert torch.allclose(read.camera.c2w, written.camera.c2w, atol=1e-6)
        assert torch.allclose(read.camera.intrinsics, written.camera.intrinsics, rtol=1e-6)
        assert torch.equal(read.aabb, written.aabb) and read.has_alpha
        assert read.near == pytest.approx(written.near) and read.far == pytest.approx(written.far)


def test_nothing_else_is_written(reader: ProceduralReader, tmp_path: Path) -> None:
    transforms = write_blender(reader, tmp_path)
    assert transforms == tuple(tmp_path / f"transforms_{split}.json" for split in SPLITS)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    images = {f"{split}/r_{view}.png" for split, n in (("train", 3), ("val", 1), ("test", 2)) for view in range(n)}
    assert files == images | {path.name for path in transforms}


def test_poses_are_written_without_loss(scene: Scene, tmp_path: Path) -> None:
    content = json.loads(write_blender_split(scene, tmp_path).read_text())
    matrix = torch.tensor(content["frames"][0]["transform_matrix"], dtype=torch.float64)
    assert torch.equal(matrix[:3].float(), scene.camera.c2w[0])
    assert matrix[3].tolist() == [0, 0, 0, 1]
    assert content["camera_angle_x"] == pytest.approx(0.6911112, abs=1e-6)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("distortion", [0.1, 0.0, 0.0, 0.0]),
        ("intrinsics", [0.0, 1.0, 0.0, 0.0]),
        ("intrinsics", [0.0, 0.0, 2.0, 0.0]),
    ],
    ids=["distorted", "two focal lengths", "off centre"],
)
def test_other_cameras_are_refused(scene: Scene, tmp_path: Path, field: str, change: list[float]) -> None:
    camera = scene.camera._replace(**{field: getattr(scene.camera, field) + torch.tensor(change)})
    with pytest.raises(ValueError, match="centred pinhole"):
        write_blender_split(scene._replace(camera=camera), tmp_path)
    assert not list(tmp_path.iterdir())


def test_ndc_is_refused(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NDC"):
        write_blender_split(scene._replace(ndc=True), tmp_path)


def test_command_writes_and_reports(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        main([str(tmp_path), "--image_size", "8", "--n_train", "2", "--n_val", "1", "--n_test", "1"])
    assert BlenderReader(tmp_path).read("train").images.shape == (2, 8, 8, 4)
    assert "wrote 2 views" in caplog.text


def test_command_explains_bad_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path), "--radius", "1"])
    assert ended.value.code == 2 and "at least 1.8" in capsys.readouterr().err
