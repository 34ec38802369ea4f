"""What the datamodules of students read of the real scene."""

import pytest

from nerfcomp.datamodules.views import TeacherDataModule
from tests.tiny import TinyReader, UnvalidatedReader


@pytest.mark.parametrize(("reader", "split", "views"), [(TinyReader(), "val", 5), (UnvalidatedReader(), "train", 0)])
def test_only_validation_views_are_read_for_training(reader: TinyReader, split: str, views: int) -> None:
    data = TeacherDataModule("teacher.ckpt", reader)
    data.setup("fit")
    assert data.scene.split == split and data.background.tolist() == [1.0] * 3
    assert len(list(data.val_dataloader())) == views
