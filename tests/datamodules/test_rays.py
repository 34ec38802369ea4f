from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from lightning import Trainer

from nerfcomp.datamodules.rays import RayDataModule, spread_views
from nerfcomp.readers.scene import Scene, Split
from tests.tiny import TinyModule, TinyReader, UnvalidatedReader, tiny_data


def trainer(root: Path, **options: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        devices=1,
        default_root_dir=root,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    )


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"steps_per_epoch": -1}, {"val_views": 0}])
def test_sizes_must_be_positive(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        RayDataModule(TinyReader(), **options)


@pytest.mark.parametrize(("stage", "splits"), [("fit", ["train", "val"]), ("validate", ["val"]), ("test", ["test"])])
def test_setup_reads_what_the_stage_needs_once(stage: str, splits: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    read = TinyReader.read

    def counted(reader: TinyReader, split: Split) -> Scene:
        reads.append(split)
        return read(reader, split)

    monkeypatch.setattr(TinyReader, "read", counted)
    data = tiny_data()
    data.setup(stage)
    data.setup(stage)
    assert data.scene.split == splits[0]
    assert reads == splits


def test_without_validation_views_nothing_validates(tmp_path: Path) -> None:
    data, module = RayDataModule(UnvalidatedReader(), batch_size=16, steps_per_epoch=2), TinyModule()
    trainer(tmp_path, max_steps=4).fit(module, datamodule=data)
    assert not module.scores and not list(data.val_dataloader())


@pytest.mark.parametrize(
    ("background", "opaque", "expected"),
    [("white", False, 1.0), ("random", False, 1.0), ("black", False, 0.0), ("white", True, 0.0), ("random", True, 0.0)],
)
def test_background_of_whole_images(
    background: Literal["white", "black", "random"], opaque: bool, expected: float
) -> None:
    data = RayDataModule(TinyReader(opaque), background=background)
    data.setup("fit")
    assert data.background.tolist() == [expected] * 3
    assert set(next(iter(data.val_dataloader())).background.flatten().tolist()) == {expected}


def test_random_background_reaches_training_only() -> None:
    data = RayDataModule(TinyReader(), batch_size=32, background="random")
    data.setup("fit")
    assert len(set(next(iter(data.train_dataloader())).background.flatten().tolist())) > 32


def test_validation_views_are_spread_and_test_views_are_all() -> None:
    data = RayDataModule(TinyReader(), val_views=2)
    data.setup("fit")
    data.setup("test")
    assert [batch.name for batch in data.val_dataloader()] == ["val_0.png", "val_2.png"]
    assert len(data.test_dataloader()) == 3


def test_spread_views_keeps_images_cameras_and_names_together() -> None:
    scene = TinyReader().read("val")
    kept = spread_views(scene, 3)
    for row, name in enumerate(kept.names):
        view = scene.names.index(name)
        assert torch.equal(kept.images[row], scene.images[view])
        assert torch.equal(kept.camera.c2w[row], scene.camera.c2w[view])
    assert spread_views(scene, 5) is scene


def test_path_cameras_come_from_the_reader() -> None:
    assert tiny_data().path_cameras("turntable", 7).c2w.shape == (7, 3, 4)


def test_module_sees_consecutive_steps_across_epochs(tmp_path: Path) -> None:
    data, module = tiny_data(steps_per_epoch=4), TinyModule(keep_batches=True)
    trainer(tmp_path, max_steps=10).fit(module, datamodule=data)
    loader = data.train_dataloader()
    assert len(module.seen) == 10
    for step, (_, seen) in enumerate(module.seen):
        batch = loader.draw(step)
        assert torch.equal(seen, torch.cat([batch.rays.directions, batch.rgb], -1))


def test_accumulated_gradients_do_not_repeat_batches(tmp_path: Path) -> None:
    data, module = tiny_data(steps_per_epoch=6), TinyModule(keep_batches=True)
    trainer(tmp_path, max_steps=4, accumulate_grad_batches=3).fit(module, datamodule=data)
    assert [step for step, _ in module.seen] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert len({tuple(seen.flatten().tolist()) for _, seen in module.seen}) == 12


@pytest.mark.parametrize("stop", [3, 4, 5, 8])
def test_resumed_run_draws_and_learns_as_if_undisturbed(tmp_path: Path, stop: int) -> None:
    """Stops within, at the end of and after the first epoch of four steps."""
    straight = TinyModule(keep_batches=True)
    trainer(tmp_path, max_steps=10).fit(straight, datamodule=tiny_data(steps_per_epoch=4))

    stopped = trainer(tmp_path, max_steps=stop)
    stopped.fit(TinyModule(), datamodule=tiny_data(steps_per_epoch=4))
    stopped.save_checkpoint(tmp_path / "stopped.ckpt")
    resumed, end = TinyModule(keep_batches=True), trainer(tmp_path, max_steps=10)
    end.fit(resumed, datamodule=tiny_data(steps_per_epoch=4), ckpt_path=tmp_path / "stopped.ckpt")

    assert end.global_step == 10
    assert [step for step, _ in resumed.seen] == list(range(stop, 10))
    for (_, one), (_, other) in zip(straight.seen[stop:], resumed.seen, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(straight.linear.weight, resumed.linear.weight)


def test_evaluation_sees_every_view_once(tmp_path: Path) -> None:
    module = TinyModule()
    trainer(tmp_path).test(module, datamodule=tiny_data(), verbose=False)
    assert [name for name, _ in module.scores] == ["test_0.png", "test_1.png", "test_2.png"]
