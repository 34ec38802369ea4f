"""The command that measures meshes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfcomp.commands.program import main
from nerfcomp.errors import NerfcompError
from nerfcomp.exchange.mesh import write_mesh
from nerfcomp.geometry.meshes import Mesh, sampled
from nerfcomp.readers import ProceduralReader
from nerfcomp.readers.solid_distances import solid_distance
from nerfcomp.rendering.level_set import LevelSet, extract_mesh


def solids(inflated: float = 0.0) -> Mesh:
    box, shown = torch.tensor([[-1.1] * 3, [1.1] * 3]), ProceduralReader(image_size=8).solids
    return extract_mesh(LevelSet(lambda x: inflated - solid_distance(shown, x), 0.0), box, 96)


@pytest.mark.slow
def test_figures_of_a_mesh_that_is_too_large(tmp_path: Path) -> None:
    write_mesh(solids(0.03), tmp_path / "large.ply")
    write_mesh(solids(), tmp_path / "exact.ply")
    np.save(tmp_path / "points.npy", sampled(solids(), 3000)[0])
    main([
        "evaluate-mesh", str(tmp_path / "large.ply"), "--reader", "ProceduralReader", "--reader.image_size", "40",
        "--reader.n_train", "4", "--reader.n_test", "2", "--points", str(tmp_path / "points.npy"),
        "--mesh", str(tmp_path / "exact.ply"), "--samples", "20000", "--out", str(tmp_path / "figures.json"),
    ])  # fmt: skip
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["exact: accuracy"] == pytest.approx(0.03, abs=0.002)
    assert found["exact: chamfer in percent of the box"] == pytest.approx(1.5, abs=0.1)
    assert found["points: median"] == pytest.approx(0.03, abs=0.004) and found["points: accuracy"] > 0.02
    assert found["mesh: completeness"] == pytest.approx(0.03, abs=0.01)
    assert 0.8 < found["silhouettes: least IoU"] <= found["silhouettes: mean IoU"] < 0.97


def test_what_is_asked_for_must_make_sense(tmp_path: Path) -> None:
    write_mesh(Mesh(np.eye(3), np.array([[0, 1, 2]])), tmp_path / "one.ply")
    with pytest.raises(NerfcompError, match="against what"):
        main(["evaluate-mesh", str(tmp_path / "one.ply")])
    with pytest.raises(NerfcompError, match="protocol of DTU needs"):
        main(["evaluate-mesh", str(tmp_path / "one.ply"), "--points", "a.npy", "--dtu_mask", "b.mat"])
    np.save(tmp_path / "flat.npy", np.zeros(7))
    with pytest.raises(NerfcompError, match=r"\(N, 3\) finite"):
        main(["evaluate-mesh", str(tmp_path / "one.ply"), "--points", str(tmp_path / "flat.npy")])
    np.save(tmp_path / "points.npy", np.zeros((4, 3)))
    with pytest.raises(NerfcompError, match="needs --reader"):
        cloud = ["--points", str(tmp_path / "points.npy"), "--points_in_scene", "true"]
        main(["evaluate-mesh", str(tmp_path / "one.ply"), *cloud])
