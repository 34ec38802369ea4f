"""A teacher's views through the front door: the same bytes however the work was shared and interrupted."""

import signal
import time
from pathlib import Path

import pytest
from lightning import Callback, LightningModule, Trainer

import train
from nerfcomp.artifacts.reading import read_scene_artifact
from nerfcomp.callbacks import PseudoDataWriter
from nerfcomp.errors import NerfcompError, SceneError
from nerfcomp.geometry.cameras import select_views
from nerfcomp.readers.pseudo import PseudoFolder
from tests import ranks
from tests.teacher import write_predict_config
from tests.tiny import TinyModule

pytestmark = pytest.mark.slow

WRITER = "[{class_path: PseudoDataWriter, init_args: {folder: %s, views_per_shard: 2, part: %d, parts: %d}}]"


def predict(config: Path, folder: Path, part: int = 0, parts: int = 1) -> None:
    train.main(["predict", "--config", str(config), "--trainer.callbacks", WRITER % (folder, part, parts)])


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pseudo")
    return write_predict_config(folder, folder / "alone")


@pytest.fixture(scope="module")
def alone(config: Path) -> Path:
    train.main(["predict", "--config", str(config)])
    return config.parent / "alone"


def test_views_are_what_the_teacher_renders(alone: Path, config: Path) -> None:
    folder = PseudoFolder(alone)
    folder.check()
    manifest = folder.open()
    teacher = read_scene_artifact(config.parent / "teacher.ckpt")
    assert len(manifest.poses) == 7 and manifest.teacher["file"] == "teacher.ckpt"
    rendered = teacher.draw(select_views(manifest.camera, [4])).rgb
    picture = folder.picture(manifest, 4).reshape(-1, 3)
    assert (rendered * 255 - picture).abs().max() <= 0.5 + 1e-3
    assert picture.float().std() > 5


def test_two_shares_make_the_same_bytes(alone: Path, config: Path, tmp_path: Path) -> None:
    predict(config, tmp_path / "views", part=1, parts=2)
    assert sorted(content(tmp_path / "views")) == ["manifest.json", "shard_00001.zip", "shard_00003.zip"]
    predict(config, tmp_path / "views", part=0, parts=2)
    assert content(tmp_path / "views") == content(alone)


def test_killed_process_goes_on(alone: Path, config: Path, tmp_path: Path) -> None:
    views, log = tmp_path / "views", tmp_path / "log.txt"
    command = ["predict", "--config", str(config), "--trainer.callbacks", WRITER % (views, 0, 1)]
    command += ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.init_args.n_views=400"]
    port = ranks.free_port()
    processes = [ranks.start(command, tmp_path, log, rank, port) for rank in range(2)]
    try:
        deadline = time.monotonic() + 200
        while len(list(views.glob("shard_*.zip"))) < 4:
            ended = any(process.exitcode is not None for process in processes)
            assert not ended and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.01)
    finally:
        for process in processes:
            ranks.stop(process)
    made = content(views)
    assert "shard_00000.zip" in made or "shard_00001.zip" in made  # either process may be ahead
    assert len(made) < 200
    shared = [f"shard_{shard:05d}.zip" for shard in range(3)]  # whole shards of the first seven views
    expected = content(alone)
    assert all(made[name] == expected[name] for name in shared if name in made)
    with pytest.raises(SceneError, match="Choose another folder"):
        predict(config, views)


class Terminate(Callback):
    """Tells the process to stop after its third view."""

    def on_predict_batch_end(self, trainer: Trainer, module: LightningModule, *arguments: object) -> None:
        if arguments[2] == 2:
            signal.raise_signal(signal.SIGTERM)


def test_a_run_that_is_told_to_stop_stops_and_goes_on(alone: Path, config: Path, tmp_path: Path) -> None:
    views = tmp_path / "views"
    callbacks = (WRITER % (views, 0, 1))[:-1] + ", tests.callbacks.test_pseudo.Terminate]"
    with pytest.raises(SystemExit) as stopped:
        train.main(["predict", "--config", str(config), "--trainer.callbacks", callbacks])
    assert stopped.value.code == 128 + signal.SIGTERM
    assert sorted(content(views)) == ["manifest.json", "shard_00000.zip"]
    predict(config, views)
    assert content(views) == content(alone)


def test_finished_shards_are_left_alone(alone: Path, config: Path, tmp_path: Path) -> None:
    predict(config, tmp_path / "views")
    kept = (tmp_path / "views" / "shard_00000.zip").stat().st_mtime_ns
    (tmp_path / "views" / "shard_00002.zip").unlink()
    predict(config, tmp_path / "views")
    assert content(tmp_path / "views") == content(alone)
    assert (tmp_path / "views" / "shard_00000.zip").stat().st_mtime_ns == kept


def test_writer_belongs_to_predict(tmp_path: Path) -> None:
    with pytest.raises(NerfcompError, match="train.py predict"):
        PseudoDataWriter(str(tmp_path)).setup(Trainer(logger=False), TinyModule(), "fit")
    with pytest.raises(ValueError, match="part 2 of 2"):
        PseudoDataWriter(str(tmp_path), part=2, parts=2)
