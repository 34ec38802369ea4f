"""Files that version 0.1.0 wrote before models had kinds are still read, and show what they showed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nerfcomp.artifacts.reading import read_scene_artifact
from nerfcomp.compression import named_scales
from nerfcomp.geometry.cameras import select_views

FOLDER = Path(__file__).parent.parent / "expected" / "artifacts"
NAMES = [f"{name}.{kind}" for name in ("ngp", "nerf", "light", "tuned") for kind in ("ckpt", "nfc")]


@pytest.mark.parametrize("name", NAMES)
def test_earlier_file_shows_the_same_picture(name: str) -> None:
    with np.load(FOLDER / "pictures.npz") as pictures:
        expected = torch.from_numpy(pictures[name])
    trained = read_scene_artifact(FOLDER / name)
    with trained.evaluating():
        rgb = trained.draw(select_views(trained.scene.camera, [0])).rgb
    assert expected.std() > 0.01
    torch.testing.assert_close(rgb, expected, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_scales_of_an_earlier_checkpoint_are_kept() -> None:
    trained = read_scene_artifact(FOLDER / "tuned.ckpt")
    assert len(named_scales(trained.field)) == 14 and trained.qp is not None
