"""A volume whose wavelet coefficients learn to be dropped: listed in YAML, in one process and in two."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import train
from nerfcomp.artifacts.nfc import read_nfc, write_nfc
from nerfcomp.compression import baked_copy, coded_weights, pruning_functions
from nerfcomp.rate_control.targets import RateTarget, encode_for
from tests.modules.volume_config import CONFIG, settings
from tests.ranks import dumped

FIELD = """class_path: LatentGridVolume
      init_args: {features: 4, size: 8, wavelet: haar, hidden_width: 8, hidden_layers: 1}"""
HASH = """class_path: HashVolume
      init_args: {levels: 3, log2_table_size: 9, base_resolution: 4, finest_resolution: 16, hidden_width: 16}"""
RATE = "{class_path: RateControl, init_args: {target_bytes: 3000, control: 0.5, freeze: 0.8}}"
CALLBACKS = "LearnedPruning\n    - DynamicNoise"
HOOK = {"weights": ["grid.*"], "channel_axis": 0, "momentum": 0.3, "threshold": 0.2, "drop_weight": 1e-2}


def arguments(folder: Path, devices: int, batch: int) -> list[str]:
    folder.mkdir()
    text = CONFIG % settings(folder, steps=45, batch=batch, devices=devices)
    assert HASH in text and RATE in text
    (folder / "config.yaml").write_text(text.replace(HASH, FIELD).replace(RATE, CALLBACKS))
    hooks = json.dumps([{"class_path": "Smallify", "init_args": HOOK}])
    return ["fit", "--config", str(folder / "config.yaml"), f"--model.init_args.hooks={hooks}"]


@pytest.mark.slow
def test_files_hold_exact_zeros_and_no_mask(tmp_path: Path) -> None:
    model: Any = train.main(arguments(tmp_path / "one", 1, 256)).model
    functions = pruning_functions(model.field)
    assert len(functions) == 4 and all(bool(function.settled) for function in functions.values())
    zeros = {name: weight == 0 for name, weight in coded_weights(model.field).items()}
    dropped, total = sum(int(zero.sum()) for zero in zeros.values()), sum(zero.numel() for zero in zeros.values())
    assert 0.02 < dropped / total < 0.98
    assert all(torch.equal(zero.all(0), zero.any(0)) for zero in zeros.values())  # channels share a decision
    artifact = model.trained
    write_nfc(encode_for(artifact.for_coding(), RateTarget(-32)), tmp_path / "v.nfc")
    decoded: Any = read_nfc(tmp_path / "v.nfc", trust=True)
    names = dict(decoded.field.named_parameters())
    assert names.keys() == dict(baked_copy(model.field).named_parameters()).keys()
    assert all(bool((names[name][zero] == 0).all()) for name, zero in zeros.items())
    difference = np.abs(decoded.values().astype(float) - artifact.values().astype(float))
    assert difference.mean() < 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["binary_mask", "smallify", "dropout", "dynamic_dropout"])
def test_shipped_configurations_start_and_settle(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--trainer.max_steps=6", "--model.field.size=6", "--data.batch_size=256", "--data.reader.shape=[16,16,16]"]
    config = str(Path(train.__file__).parent / "configs" / "volume" / f"{name}.yaml")
    model: Any = train.main(["fit", "--config", config, *small, "--trainer.accelerator=cpu"]).model
    functions = pruning_functions(model.field)
    assert functions and all(bool(function.settled) for function in functions.values())
    assert all(name.startswith("grid.bands.") for name in functions)
    assert list(tmp_path.rglob(f"volume_{name}/**/last.ckpt"))


@pytest.mark.slow
def test_two_processes_drop_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "two"
    first, second = (rank["state"] for rank in dumped(arguments(folder, 2, 128), folder, 2))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    masks = [first[name] for name in first if name.endswith(".keep")]
    assert len(masks) == 4 and all(bool(first[name]) for name in first if name.endswith(".settled"))
    assert any(bool((~mask).any()) for mask in masks)
