import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from lightning import Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from nerfcomp.callbacks import ImageLogger, RunLogger
from nerfcomp.geometry.rays import RayBatch
from tests.tiny import TinyModule, TinyView, tiny_data

MakeTrainer = Callable[..., Trainer]


class Returning(TinyModule):
    """Hands its views to the callbacks."""

    def validation_step(self, batch: RayBatch) -> dict[str, TinyView]:  # type: ignore[override]
        return {"rendered": self.render_image(batch.rays, batch.background)}


def logged(root: Path) -> EventAccumulator:
    events = EventAccumulator(str(root / "runs" / "tiny" / "version_0"), size_guidance={"images": 0})
    events.Reload()
    return events


def test_the_same_views_are_logged_at_every_validation(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    logger = RunLogger("tiny", str(tmp_path / "runs"))
    trainer = make_trainer(max_steps=4, val_check_interval=2, callbacks=[ImageLogger(n_views=2)], logger=logger)
    trainer.fit(TinyModule(), datamodule=tiny_data(steps_per_epoch=4))
    events = logged(tmp_path)
    assert events.Tags()["images"] == ["views/val_0.png", "views/val_1.png"]
    images = events.Images("views/val_1.png")
    assert [image.step for image in images] == [2, 4]
    picture = iio.imread(io.BytesIO(images[-1].encoded_image_string))
    assert picture.shape == (2 * 16 + 8 * 15, 4 * 120 + 2 * 18, 3)  # pixels enlarged, words above, two bars
    assert (picture[:16] < 255).any() and (picture[16:32] < 255).any()
    data = tiny_data()
    data.setup("fit")
    truth = list(data.val_dataloader())[1].rgb.reshape(8, 8, 3)
    assert np.abs(picture[32::15, :120:15] / 255 - truth.numpy()).max() < 1 / 255


@pytest.mark.parametrize(("module", "views"), [(TinyModule(), 5 + 3), (Returning(), 5)])
def test_views_that_the_module_returns_are_not_rendered_again(
    make_trainer: MakeTrainer, tmp_path: Path, module: TinyModule, views: int
) -> None:
    logger = RunLogger("tiny", str(tmp_path / "runs"))
    trainer = make_trainer(max_steps=1, num_sanity_val_steps=0, callbacks=[ImageLogger(n_views=3)], logger=logger)
    trainer.fit(module, datamodule=tiny_data(steps_per_epoch=1))
    assert module.rendered_views == views
    assert len(logged(tmp_path).Tags()["images"]) == 3


def test_no_logger_no_pictures_no_trouble(make_trainer: MakeTrainer) -> None:
    module = TinyModule()
    make_trainer(max_steps=1, num_sanity_val_steps=0, callbacks=[ImageLogger()]).fit(
        module, datamodule=tiny_data(steps_per_epoch=1)
    )
    assert module.rendered_views == 5


def test_parts_stand_side_by_side_and_errors_have_a_fixed_scale() -> None:
    truth = torch.full((6, 3), 0.5)
    render = truth.clone()
    render[0] += 0.2
    render[1] += 0.1
    view = TinyView(render, torch.tensor([2.0, 4.0, 0, 0, 0, 0]), torch.tensor([1.0, 1.0, 0, 0, 0, 0]))
    batch = RayBatch(None, truth, truth, 2, 3, "view.png")  # type: ignore[arg-type]
    picture = ImageLogger(error_max=0.2).compose(view, batch)
    assert picture.shape == (2, 12, 3)
    assert picture[0, 0].tolist() == [128] * 3 and picture[0, 3].tolist() == [178] * 3
    bright, middle, dark = picture[0, 6:9].astype(int).sum(-1)
    assert bright > middle > dark
    assert picture[1, 9].tolist() == [255] * 3
    assert ImageLogger(max_height=1).compose(view, batch).shape == (1, 8, 3)


def test_normals_are_shown_where_they_are_known() -> None:
    class Surface(NamedTuple):
        rgb: torch.Tensor
        depth: torch.Tensor
        opacity: torch.Tensor
        normals: torch.Tensor

    data = tiny_data()
    data.setup("fit")
    batch = list(data.val_dataloader())[0]
    opacity = torch.ones(64)
    opacity[:8] = 0.0
    normals = torch.zeros(64, 3)
    normals[:, 2] = 0.3
    picture = ImageLogger().compose(Surface(batch.rgb, opacity, opacity, normals), batch)
    assert picture.shape == (8, 40, 3)
    assert (picture[0, 32:] == 255).all() and (picture[1:, 32:] == [128, 128, 255]).all()
