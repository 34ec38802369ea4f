import csv
import json
import os
import signal
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning import Callback
from tqdm import tqdm

from nerfcomp.artifacts.nfc import read_nfc
from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.commands import volume as command
from nerfcomp.commands import volume_choice
from nerfcomp.commands.program import main
from nerfcomp.commands.volume_choice import next_bytes
from nerfcomp.commands.volume_results import VolumeOptions
from nerfcomp.commands.volume_training import Training, train_volume
from nerfcomp.errors import NerfcompError, VolumeError
from nerfcomp.fields import HashVolume
from nerfcomp.rate_control import wavelets
from nerfcomp.readers import ProceduralVolume, VolumeHints, volume_reader

SHAPE = (24, 20, 17)


@pytest.fixture()
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.raw"
    values = ProceduralVolume(SHAPE, "uint8", shells=1, finest=4.0).read().values
    path.write_bytes(values.transpose().tobytes())
    return path


RAW = ["--dtype", "uint8", "--shape", "[24,20,17]", "--axes", "zyx", "--spacing", "[1,2,3]"]


@pytest.mark.slow
def test_a_file_within_its_bytes_with_true_figures(source: Path, tmp_path: Path) -> None:
    out, curve = tmp_path / "a.nfc", tmp_path / "curve.csv"
    words = [
        "volume",
        str(source),
        "--out",
        str(out),
        *RAW,
        "--target_bytes",
        "6000",
        "--steps",
        "40",
        "--method",
        "network",
    ]
    main([*words, "--curve", str(curve), "--vti", "true"])
    figures = json.loads((tmp_path / "a.run" / "results.json").read_text())
    decoded = read_nfc(out, trust=True)
    assert isinstance(decoded, VolumeArtifact) and decoded.info.spacing == (1.0, 2.0, 3.0)
    truth = np.fromfile(source, np.uint8).reshape(SHAPE[::-1]).transpose().astype(float)
    error = decoded.values().astype(float) - truth
    assert figures["psnr"] == pytest.approx(10 * np.log10(np.ptp(truth) ** 2 / np.mean(error**2)))
    assert figures["largest_error"] == np.abs(error).max()
    assert figures["bytes"] == out.stat().st_size <= 6000
    assert figures["float32_ratio"] == pytest.approx(4 * truth.size / out.stat().st_size)
    assert all((tmp_path / "a.run" / name).stat().st_size > 5000 for name in ("slices.png", "errors.png", "volume.vti"))
    with open(curve, newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["psnr"]) == figures["psnr"] and row["volume"] == "a"
    with pytest.raises(NerfcompError, match="exists already"):
        main(words)


class Interrupt(Callback):
    """Ctrl-C in the middle of a run."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 6:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
def test_ctrl_c_keeps_a_file_and_resuming_ends_like_an_undisturbed_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = VolumeOptions(
        source,
        target_bytes=6000,
        method="network",
        steps=12,
        dtype="uint8",
        shape=SHAPE,
        axes="zyx",
        spacing=(1.0, 2.0, 3.0),
    )
    whole = command.compress_volume(options, tmp_path / "whole.nfc")
    with monkeypatch.context() as patch:
        patch.setattr(command, "RunProgressBar", Interrupt)
        early = command.compress_volume(options, tmp_path / "cut.nfc")
    assert early["stopped"] and early["psnr"] < whole["psnr"] and (tmp_path / "cut.nfc").exists()
    assert (tmp_path / "cut.run" / command.LAST).exists()
    later = command.compress_volume(options, tmp_path / "cut.nfc", resume=True)
    assert not (tmp_path / "cut.run" / command.LAST).exists()  # there is nothing to go on with
    assert later["psnr"] == pytest.approx(whole["psnr"], abs=1e-6) and not later["stopped"]


@pytest.mark.slow
def test_wavelets_meet_a_psnr_with_the_smallest_file_and_train_nothing(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.nfc"
    main(["volume", str(source), "--out", str(out), *RAW, "--min_psnr", "38"])
    figures = json.loads((tmp_path / "a.run" / "results.json").read_text())
    truth = np.fromfile(source, np.uint8).reshape(SHAPE[::-1]).transpose().astype(float)
    decoded = read_nfc(out, trust=True)
    assert isinstance(decoded, VolumeArtifact)
    error = decoded.values().astype(float) - truth
    psnr = 10 * np.log10(np.ptp(truth) ** 2 / np.mean(error**2))
    assert psnr == pytest.approx(figures["psnr"]) and 38 <= psnr < 38.2
    assert (
        figures["method"] in volume_choice.TRANSFORMS
        and figures["steps"] == 0
        and figures["bytes"] == out.stat().st_size
    )


@pytest.mark.slow
def test_a_network_far_behind_is_not_trained_to_its_end(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume_choice, "_LEAST_TRIAL", 10)
    options = VolumeOptions(source, target_bytes=2500, steps=60, dtype="uint8", shape=SHAPE, axes="zyx")
    found = command.compress_volume(options, tmp_path / "a.nfc")
    assert found["method"] in volume_choice.TRANSFORMS and found["steps"] == 0
    assert 2300 < found["bytes"] <= 2500


@pytest.mark.slow
def test_the_better_of_both_stays(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_choice, "_HOPE", 1000.0)
    monkeypatch.setattr(volume_choice, "_LEAST_TRIAL", 10)
    options = VolumeOptions(source, target_bytes=2500, steps=20, dtype="uint8", shape=SHAPE, axes="zyx")
    both = command.compress_volume(options, tmp_path / "both.nfc")
    given = volume_reader(source, VolumeHints(dtype="uint8", shape=SHAPE, axes="zyx")).read()
    others = volume_choice.transformed(given, options)
    trained = train_volume(given, Training(2500, 20))
    assert others is not None and both["steps"] == 20
    assert both["psnr"] == pytest.approx(max(others.psnr, volume_choice.psnr_of(given, trained)), abs=1e-6)


@pytest.mark.slow
def test_ctrl_c_between_transforms_keeps_the_first(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(wavelets, "differences", interrupted)
    monkeypatch.setattr(volume_choice, "tqdm", partial(tqdm, mininterval=0))
    options = VolumeOptions(source, target_bytes=2500, dtype="uint8", shape=SHAPE, axes="zyx")
    found = command.compress_volume(options, tmp_path / "a.nfc")
    assert (found["method"], found["stopped"], found["steps"]) == ("wavelets", True, 0)
    assert 2300 < found["bytes"] <= 2500
    shown = capsys.readouterr().err
    assert "wavelets" in shown and "/20 [" in shown and "% of what is allowed" in shown


def test_targets_that_contradict_each_other(source: Path, tmp_path: Path) -> None:
    words = ["volume", str(source), "--out", str(tmp_path / "a.nfc"), *RAW]
    with pytest.raises(VolumeError, match="target_ratio and min_psnr"):
        main([*words, "--target_ratio", "100", "--min_psnr", "30"])
    with pytest.raises(VolumeError, match="must be above 1"):
        main([*words, "--target_ratio", "0.5"])
    with pytest.raises(VolumeError, match="no method 'dct'; take one of auto, transform, network"):
        main([*words, "--method", "dct"])
    with pytest.raises(VolumeError, match="no run to resume"):
        main([*words, "--resume", "true"])


def test_bytes_follow_the_curve() -> None:
    first = next_bytes([(np.log(1e4), 30.0)], 37.0, 10**9)
    assert first == pytest.approx(1e4 * np.e, rel=1e-3)
    second = next_bytes([(np.log(1e4), 30.0), (np.log(2e4), 34.0)], 38.0, 10**9)
    assert second == pytest.approx(4e4, rel=1e-3)
    assert next_bytes([(np.log(1e4), 30.0)], 90.0, 50_000) == 50_000


def test_a_network_that_is_named_trains_without_chatter() -> None:
    field = HashVolume(levels=2, log2_table_size=8, base_resolution=4, finest_resolution=8, hidden_width=8)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        train_volume(ProceduralVolume((12, 12, 12), "uint8").read(), Training(3000, 3, field=field))
    assert not [str(warning.message) for warning in said if "nn.Module" in str(warning.message)]
