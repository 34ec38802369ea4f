"""Files that earlier versions wrote are read and draw what they drew then."""

import json
from pathlib import Path

import pytest
import torch

from nerfcomp.artifacts.reading import read_scene_artifact
from nerfcomp.geometry.cameras import select_views


@pytest.mark.parametrize("name", ["ngp.ckpt", "ngp.nfc", "nerf.ckpt", "nerf.nfc", "student.ckpt", "student.nfc"])
def test_files_of_an_earlier_version_draw_the_same(name: str, repository: Path) -> None:
    folder = repository / "tests" / "expected" / "artifacts" / "earlier"
    artifact = read_scene_artifact(folder / name)
    artifact.prepare()
    rgb = artifact.draw(select_views(artifact.scene.camera, [0])).rgb
    expected = torch.tensor(json.loads((folder / "colors.json").read_text())[name])
    assert rgb.shape == (64, 3) and (rgb[18:42:3] - expected).abs().max() < 1e-3
    assert len(artifact.scene.poses) == (1 if name.endswith(".nfc") else 3)
