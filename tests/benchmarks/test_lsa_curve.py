"""Curves of one folder are those of one checkpoint, its views and one set of settings."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from benchmarks.lsa_curve import claim_out
from nerfcomp.errors import NerfcompError
from tests.readers.builders import write_blender


def test_points_of_other_settings_are_refused(tmp_path: Path) -> None:
    values: dict[str, Any] = {"ckpt": tmp_path / "a.tar", "root": write_blender(tmp_path / "scene", 8, 8)}
    values |= {"out": tmp_path / "out", "dataset_type": "blender", "epochs": 1, "n_iters": 2, "learning_rate": 1e-3}
    values |= {"downscale": 1, "test_stride": 1}
    values["ckpt"].write_bytes(b"weights")
    (tmp_path / "b.tar").write_bytes(b"others")

    def claim(**changes: Any) -> None:
        claim_out(argparse.Namespace(**{**values, **changes}))

    claim()
    claim(test_stride=2)  # nothing has been measured yet
    (tmp_path / "out" / "fp32.csv").write_text("name\n")
    claim(test_stride=2)
    for changes, name in (({}, "ours, views"), ({"ckpt": tmp_path / "b.tar", "test_stride": 2}, "differs: checkpoint")):
        with pytest.raises(NerfcompError, match=name):
            claim(**changes)
    with pytest.raises(NerfcompError, match="differs: old, ours"):
        claim(test_stride=2, n_iters=3)
