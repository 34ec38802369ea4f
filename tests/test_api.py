"""The Python functions of the package, as the README shows them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import nerfcomp
from nerfcomp.errors import ContainerError

GOLDEN = Path("tests") / "expected" / "artifacts" / "ngp.nfc"


def example(readme: str) -> str:
    """The Python lines of the README."""
    return readme.partition("```python\n")[2].partition("```")[0]


def test_lines_of_the_readme(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(repository / GOLDEN, tmp_path / "lego.nfc")
    monkeypatch.chdir(tmp_path)
    lines = example((repository / "README.md").read_text())
    assert len([line for line in lines.splitlines() if line]) <= 10
    found: dict[str, Any] = {}
    exec(compile(lines, "README.md", "exec"), found)
    view, traced, camera = found["view"], found["traced"], found["camera"]
    assert isinstance(camera, nerfcomp.Camera)
    pixels = camera.height * camera.width
    assert view.rgb.shape == (pixels, 3) and view.depth.shape == view.opacity.shape == (pixels,)
    summed = torch.zeros(pixels).index_add(0, traced.samples.ray_indices, traced.weights)
    assert torch.allclose(summed, traced.opacity, atol=1e-5)
    depth = torch.zeros(pixels).index_add(0, traced.samples.ray_indices, traced.weights * traced.samples.t)
    assert torch.allclose(depth, view.depth, atol=2e-3) and float(view.depth.max()) > 0.1
    assert torch.allclose(traced.rgb, view.rgb, atol=2e-3)


@pytest.mark.slow
def test_encoding_what_was_loaded_keeps_its_pictures(repository: Path, tmp_path: Path) -> None:
    first = nerfcomp.load(repository / GOLDEN)
    (tmp_path / "again.nfc").write_bytes(nerfcomp.encode(first, qp=-40))
    again = nerfcomp.load(tmp_path / "again.nfc")
    camera = nerfcomp.select_views(first.scene.camera, [0])  # type: ignore[attr-defined]
    rgb, expected = again.draw(camera).rgb, first.draw(camera).rgb  # type: ignore[attr-defined]
    assert (rgb - expected).abs().max() < 0.02
    tensors = nerfcomp.decode((tmp_path / "again.nfc").read_bytes())
    assert torch.equal(tensors["grid.levels.0.weight"], again.field.state_dict()["grid.levels.0.weight"])


def test_a_file_of_tensors_opens_as_no_model(tmp_path: Path) -> None:
    (tmp_path / "net.nfc").write_bytes(nerfcomp.encode(nn.Linear(2, 2)))
    with pytest.raises(ContainerError, match="nerfcomp.decode"):
        nerfcomp.load(tmp_path / "net.nfc")
