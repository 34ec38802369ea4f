"""What a teacher hands on: pictures through the centres of pixels, whatever its own rays were."""

from pathlib import Path

import torch

from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.datamodules.teacher import PoseDataModule, TeacherViews
from nerfcomp.geometry.rays import image_rays
from nerfcomp.readers.scene import through_corners
from tests.teacher import tiny_teacher


def corner_teacher(folder: Path) -> Path:
    trained = tiny_teacher()
    write_checkpoint(trained.replace(scene=trained.scene.with_rays(pixel_centers=False)), folder / "teacher.ckpt")
    return folder / "teacher.ckpt"


def test_students_get_usual_cameras_and_the_pictures_of_the_teachers_rays(tmp_path: Path) -> None:
    source, known = TeacherViews(str(corner_teacher(tmp_path))), tiny_teacher()
    camera, rgb = source.render(3)
    assert torch.equal(camera.intrinsics, known.scene.camera.intrinsics[:1])
    expected = (known.draw(through_corners(camera)).rgb.clamp(0, 1) * 255).round().byte().view(rgb.shape)
    assert torch.equal(rgb, expected)


def test_views_to_predict_are_seen_along_the_teachers_rays(tmp_path: Path) -> None:
    data = PoseDataModule(str(corner_teacher(tmp_path)), n_views=2)
    batch = list(data.predict_dataloader())[1]
    assert torch.equal(data.cameras.intrinsics[0], tiny_teacher().scene.camera.intrinsics[0])
    expected = image_rays(through_corners(data.cameras), 1, data.trained.scene.near, data.trained.scene.far)
    assert torch.equal(batch.rays.directions, expected.directions)
