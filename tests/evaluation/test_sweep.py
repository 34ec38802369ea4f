"""A sweep goes on with its own points only."""

from pathlib import Path

import pytest
import torch

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.sweep import SweepPoint, run_sweep
from nerfcomp.evaluation.views import thinned
from nerfcomp.readers.scene import Scene
from tests.teacher import tiny_teacher
from tests.tiny import TinyReader


def swept(folder: Path, trained: SceneArtifact, scene: Scene, uniform: bool = True) -> list[SweepPoint]:
    return run_sweep(trained, scene, folder, [], uniform)


def test_rows_of_the_same_field_and_views_are_kept(tmp_path: Path) -> None:
    first = swept(tmp_path, tiny_teacher(), TinyReader().read("test"))
    written = (tmp_path / "sweep.csv").stat().st_mtime_ns
    assert swept(tmp_path, tiny_teacher(), TinyReader().read("test")) == first
    assert (tmp_path / "sweep.csv").stat().st_mtime_ns == written


def test_rows_of_anything_else_are_refused(tmp_path: Path) -> None:
    trained, scene = tiny_teacher(), TinyReader().read("test")
    swept(tmp_path, trained, scene)
    other = tiny_teacher()
    with torch.no_grad():
        next(other.field.parameters())[0, 0] += 1e-3
    with pytest.raises(NerfcompError, match="what differs: checkpoint"):
        swept(tmp_path, other, scene)
    for views in (TinyReader().read("train"), thinned(scene, 2), scene._replace(near=1.0)):
        with pytest.raises(NerfcompError, match="what differs: views"):
            swept(tmp_path, trained, views)
    with pytest.raises(NerfcompError, match="what differs: uniform"):
        swept(tmp_path, trained, scene, uniform=False)
    (tmp_path / "sweep.json").unlink()
    with pytest.raises(NerfcompError, match="do not say what they were measured on"):
        swept(tmp_path, trained, scene)
