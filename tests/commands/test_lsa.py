"""Whole runs of ``compress.py lsa`` on a scene of 16x16 pixels: what is in the folder, and going on after a stop."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer

import compress
from nerfcomp.artifacts.checkpoint import read_checkpoint, write_checkpoint
from nerfcomp.artifacts.kinds import of_scene
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.nfc import read_nfc
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.callbacks import ResultFile
from nerfcomp.commands.lsa import LSARun
from nerfcomp.commands.lsa_files import LSAOptions
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.report import mean_result
from nerfcomp.evaluation.result_file import read_record
from nerfcomp.evaluation.views import evaluate_views
from nerfcomp.exchange.nerf_pytorch import to_nerf_pytorch
from nerfcomp.fields import NeRFField, RadianceField
from nerfcomp.geometry.rays import RayBatch, Rays
from nerfcomp.modules import LSAModule
from nerfcomp.readers import BlenderReader, ProceduralReader
from nerfcomp.readers.blender_writer import write_blender
from nerfcomp.readers.nerf_pytorch import read_nerf_pytorch, write_nerf_pytorch
from nerfcomp.rendering import HierarchicalSampler
from tests.fields.test_light_field import shaken
from tests.readers import builders

pytestmark = pytest.mark.slow


class Workspace:
    """A scene and an untrained pair of networks."""

    def __init__(self, folder: Path) -> None:
        self.scene, self.ckpt = folder / "scene", folder / "pair.ckpt"
        write_blender(ProceduralReader(image_size=32, n_train=26, n_val=1, n_test=2, supersampling=1), self.scene)
        train = BlenderReader(self.scene, downscale=2, near=2.0, far=6.0).read("train")
        torch.manual_seed(0)
        field: RadianceField = NeRFField(depth=3, width=24, skips=[1], position_frequencies=3, direction_frequencies=2)
        field.set_aabb(train.aabb)
        sampler = HierarchicalSampler(8, 8, resolution=8)
        sampler.prepare(train.aabb)
        write_checkpoint(
            RadianceFieldArtifact(field=field, sampler=sampler, scene=SceneInfo.from_scene(train)), self.ckpt
        )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("lsa"))


@pytest.fixture
def run(workspace: Workspace, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> Callable[..., str]:
    def call(*args: object, **options: Any) -> str:
        defaults = {"ckpt": workspace.ckpt, "root": workspace.scene, "out": tmp_path, "n_iters": 3, "batch_size": 64}
        chosen = {**defaults, "movie_frames": 2, "uniform": "true", **options} if "--resume" not in args else options
        caplog.clear()
        with caplog.at_level(logging.INFO):
            named = [str(part) for key, value in chosen.items() for part in (f"--{key}", value)]
            compress.main(["lsa", *map(str, args), *named])
        return caplog.text

    return call


def the_folder(tmp_path: Path) -> Path:
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    return folder


def test_a_run_leaves_everything_behind(run: Callable[..., str], workspace: Workspace, tmp_path: Path) -> None:
    text = run(qp=-18, save_every=3, nickname="tiny", disparity="true")
    folder = the_folder(tmp_path)
    name = folder.name
    assert name[12:] == "_tiny_qp-18_e2_lr0p001_decay0p1_N3_blender" and name[:12].isdigit()
    nfc = folder / "bitstream" / f"{name}.nfc"
    assert {"before_tuning.nfc", f"{name}.nfc", f"{name}_small.nnc"} <= {p.name for p in nfc.parent.iterdir()}
    movies = {f"step{step}_{kind}.mp4" for step in (3, 6) for kind in ("rgb", "disp")}
    assert {path.name for path in (folder / "movies").iterdir()} == movies
    for step in (3, 6):
        assert [p.name for p in sorted((folder / f"testset_step{step}").iterdir())] == ["000.png", "001.png"]
    assert len(read_record(folder / "result.txt").psnr) == 6
    assert list(folder.glob("events.*"))
    assert len(read_checkpoint(folder / "reconstructed" / "ckpt_step3.pt").qp or {}) == 42

    results = json.loads((folder / "results.json").read_text())
    assert [row["stage"] for row in results["stages"]] == ["fp32", "quantized", "tuned"]
    assert results["stages"][2]["bytes"] == nfc.stat().st_size and "tuned" in text
    test = BlenderReader(workspace.scene, downscale=2, near=2.0, far=6.0).read("test")
    again = mean_result(evaluate_views(of_scene(read_nfc(nfc), "test"), test)).psnr
    assert results["stages"][2]["psnr"] == pytest.approx(again, abs=1e-9)


def test_written_checkpoints_hold_what_is_decoded(run: Callable[..., str], tmp_path: Path) -> None:
    run(qp=-18, movie_frames=0)
    folder = the_folder(tmp_path)
    decoded = dict(read_nfc(folder / "bitstream" / f"{folder.name}.nfc").field.named_parameters())
    stem = folder / "reconstructed" / f"{folder.name}_reconstructed"
    weights = torch.load(stem.with_suffix(".pt"), weights_only=True)
    assert weights.keys() == decoded.keys()
    assert all(torch.equal(weights[key], decoded[key]) for key in decoded)
    tar = read_nerf_pytorch(stem.with_suffix(".tar"))
    assert tar.fine is not None
    assert torch.equal(tar.fine["rgb_linear.weight"], decoded["model_fine.rgb_linear.weight"])
    assert torch.equal(tar.coarse["pts_linears.0.bias"], decoded["model.pts_linears.0.bias"])


def test_without_tuning(run: Callable[..., str], tmp_path: Path) -> None:
    run(qp=-18, lsa="false")
    folder = the_folder(tmp_path)
    stages = json.loads((folder / "results.json").read_text())["stages"]
    assert [row["stage"] for row in stages] == ["fp32", "quantized"]
    assert stages[1]["bytes"] == (folder / "bitstream" / f"{folder.name}.nfc").stat().st_size
    assert not (folder / "result.txt").exists()


def test_a_stopped_run_goes_on(
    run: Callable[..., str], workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: ResultFile, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == 4:
            raise RuntimeError("the plug was pulled")

    with monkeypatch.context() as patch:
        patch.setattr(ResultFile, "on_train_batch_start", stop)  # between two steps
        with pytest.raises(RuntimeError, match="plug"):
            run(ckpt=shutil.copy(workspace.ckpt, tmp_path / "moved.ckpt"), qp=-18, movie_frames=0)
    (tmp_path / "moved.ckpt").unlink()
    folder = the_folder(tmp_path)
    first = (folder / "evaluation" / "fp32.csv").stat().st_mtime_ns
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4
    run("--resume", folder)
    assert (folder / "evaluation" / "fp32.csv").stat().st_mtime_ns == first
    assert len(read_record(folder / "result.txt").psnr) >= 5
    run(ckpt=shutil.copy(workspace.ckpt, tmp_path / "moved.ckpt"), out=tmp_path / "else", qp=-18, movie_frames=0)
    undisturbed = the_folder(tmp_path / "else")
    files = [at / "bitstream" / f"{at.name}.nfc" for at in (folder, undisturbed)]
    assert files[0].read_bytes() == files[1].read_bytes()
    before = (folder / "results.json").read_text()
    run("--resume", folder)
    assert (folder / "results.json").read_text() == before


def test_a_limit_in_bytes_is_met(run: Callable[..., str], tmp_path: Path) -> None:
    run(target_bytes=8000, movie_frames=0, n_iters=1)
    folder = the_folder(tmp_path)
    size = (folder / "bitstream" / f"{folder.name}.nfc").stat().st_size
    assert 6000 < size <= 8000


def test_a_limit_in_db_is_met(run: Callable[..., str], tmp_path: Path) -> None:
    run(max_psnr_drop=0.5, movie_frames=0, n_iters=1, epochs=1)
    folder = the_folder(tmp_path)
    stages = json.loads((folder / "results.json").read_text())["stages"]
    assert stages[2]["drop"] < 2.0 and stages[2]["bytes"] < stages[0]["bytes"] / 2
    assert not (folder / "trial").exists()


def test_what_cannot_be_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(NerfcompError, match="--root"):
        compress.main(["lsa"])
    (tmp_path / "y.ckpt").touch()
    for name, count in (("epochs", -1), ("epochs", 0), ("n_iters", 0)):
        with pytest.raises(ValueError, match=f"{name} is {count}; it must be at least 1"):
            compress.main(["lsa", "--root", "x", "--ckpt", str(tmp_path / "y.ckpt"), f"--{name}={count}"])
    both = ["--target_bytes", "1", "--max_psnr_drop", "1"]
    with pytest.raises(NerfcompError, match="not both"):
        compress.main(["lsa", "--root", "x", "--ckpt", str(tmp_path / "y.ckpt"), *both])
    with pytest.raises(NerfcompError, match="not the folder of an LSA run"):
        compress.main(["lsa", "--resume", str(tmp_path)])
    (tmp_path / "options.json").write_text('{"qp": 1}')
    with pytest.raises(NerfcompError, match="cannot be continued"):
        compress.main(["lsa", "--resume", str(tmp_path)])


def test_light_fields_have_no_rays_to_tune_on(run: Callable[..., str], workspace: Workspace, tmp_path: Path) -> None:
    scene = SceneInfo.from_scene(BlenderReader(workspace.scene, downscale=2).read("train"))
    student = tmp_path / "student.ckpt"
    write_checkpoint(LightFieldArtifact(field=shaken(), scene=scene), student)
    with pytest.raises(NerfcompError, match="tunes a radiance field; this is a light field"):
        run(ckpt=student)


def options(ckpt: Path, root: Path) -> LSAOptions:
    values: dict[str, Any] = {
        **dict.fromkeys(LSAOptions._fields),
        "ckpt": str(ckpt),
        "root": str(root),
        "dataset_type": "blender",
    }
    return LSAOptions(**{**values, "downscale": 2, "test_stride": 1, "epochs": 1, "n_iters": 1})


def test_distances_and_rays_are_those_of_the_training(workspace: Workspace, tmp_path: Path) -> None:
    trained = of_scene(read_checkpoint(workspace.ckpt), "test")
    box = ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))
    own = trained.scene._replace(near=1.25, far=5.5, aabb=box).with_rays(pixel_centers=False)
    trained.field.set_aabb(torch.tensor(box))
    write_checkpoint(trained.replace(scene=own), tmp_path / "own.ckpt")
    found = LSARun(tmp_path / "run", options(tmp_path / "own.ckpt", workspace.scene)).original()
    assert (found.scene.near, found.scene.far, found.scene.aabb) == (1.25, 5.5, box)
    assert found.scene.intrinsics[2:] == (8.5, 8.5) and not found.scene.pixel_centers
    assert len(found.scene.poses) == 24


@pytest.mark.parametrize(("radius", "distances"), [(4.031, (2.0, 6.0)), (12.0, None)])
def test_distances_of_a_foreign_file_suit_the_cameras(
    radius: float, distances: tuple[float, float] | None, workspace: Workspace, tmp_path: Path
) -> None:
    tar = tmp_path / "a.tar"
    write_nerf_pytorch(tar, to_nerf_pytorch(read_checkpoint(workspace.ckpt))._replace(pixel_centers=False))
    builders.write_blender(tmp_path / "scene", radius=radius)
    found = LSARun(tmp_path / "run", options(tar, tmp_path / "scene")).original().scene
    reader = BlenderReader(tmp_path / "scene").read("train")
    assert (found.near, found.far) == (distances or (reader.near, reader.far))
    assert not found.pixel_centers and found.intrinsics[2:] == (2.5, 2.0)


def test_tuning_goes_along_the_rays_of_the_training(
    run: Callable[..., str], workspace: Workspace, tmp_path: Path
) -> None:
    trained = of_scene(read_checkpoint(workspace.ckpt), "test")
    own = trained.scene._replace(near=1.25, far=5.5).with_rays(pixel_centers=False)
    write_checkpoint(trained.replace(scene=own), tmp_path / "own.ckpt")
    seen: list[Rays] = []

    def note(self: LSAModule, batch: RayBatch) -> dict[str, torch.Tensor]:
        seen.append(batch.rays)
        return step(self, batch)

    step = LSAModule.training_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LSAModule, "training_step", note)
        run(ckpt=tmp_path / "own.ckpt", qp=-18, movie_frames=0, n_iters=1, epochs=1, out=tmp_path / "out")
    assert {(float(rays.near.min()), float(rays.far.max())) for rays in seen} == {(1.25, 5.5)}
    decoded = of_scene(read_nfc(next((tmp_path / "out").glob("*/bitstream/before_tuning.nfc"))), "test")
    assert decoded.scene.intrinsics == own.intrinsics and decoded.scene.pixel_centers is False


def test_plot_names_bad_entries_and_draws(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "result.txt"
    psnr = ", ".join("31.408a86" if index == 52 else f"{20 + index / 10}" for index in range(105))
    path.write_text(f"psnr : [{psnr}]\nloss : [{', '.join(['0.1'] * 105)}]\n")
    with caplog.at_level(logging.INFO):
        compress.main(["plot", str(path), "--average", "10", "--layout", "vertical"])
    assert "psnr: entry 52 is '31.408a86'" in caplog.text and "loss: 105 iterations, no anomalies" in caplog.text
    assert "last 5 iterations" in caplog.text and (tmp_path / "result.png").exists()


def test_bdrate_reads_sweeps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, factor in (("a", 1.0), ("b", 0.75)):
        rows = ["qp,bytes,ratio,psnr,ssim,views", "fp32,9999999,1,31,0.9,2"]
        rows += [f"{-30 + 4 * n},{int(factor * 400000 / 2**n)},9,{30 - n},0.9,2" for n in range(4)]
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n")
    with caplog.at_level(logging.INFO):
        compress.main(["bdrate", str(tmp_path / "a.csv"), str(tmp_path / "b.csv")])
    assert "BD-rate -25.00 % from 27.00 to 30.00 dB" in caplog.text
