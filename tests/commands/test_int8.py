"""``compress.py int8`` on a scene of 16x16 pixels: from a checkpoint to the table."""

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.artifacts.integers import calibrated, to_integers
from nerfcomp.artifacts.kinds import of_scene
from nerfcomp.artifacts.nfc import read_nfc
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.commands.info import info
from nerfcomp.commands.int8 import int8, read_original
from nerfcomp.compression import FakeQuantization
from nerfcomp.evaluation.report import mean_result
from nerfcomp.evaluation.views import evaluate_views
from nerfcomp.exchange.nerf_pytorch import export_nerf
from nerfcomp.fields import NeRFField
from nerfcomp.readers import BlenderReader, ProceduralReader
from nerfcomp.readers.blender_writer import write_blender
from nerfcomp.rendering import HierarchicalSampler

STAGES = ("calibrated", "trained")


@pytest.mark.slow
def test_table_of_a_nerf(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_blender(ProceduralReader(image_size=16, n_train=4, n_val=1, n_test=2, supersampling=1), tmp_path / "scene")
    reader = BlenderReader(tmp_path / "scene", near=2.0, far=6.0)
    torch.manual_seed(0)
    train = reader.read("train")
    field = NeRFField(width=128)
    field.set_aabb(train.aabb)
    sampler = HierarchicalSampler(16, 16, resolution=16)
    sampler.prepare(train.aabb)
    pair = RadianceFieldArtifact(field=field.eval(), sampler=sampler.eval(), scene=SceneInfo.from_scene(train))
    write_checkpoint(pair, tmp_path / "pair.ckpt")
    write_checkpoint(calibrated(pair, [FakeQuantization(bits=4)], 1), tmp_path / "trained.ckpt")
    out = tmp_path / "out"
    with caplog.at_level("INFO"):
        int8(tmp_path / "pair.ckpt", reader, out, tmp_path / "trained.ckpt", batches=1, stride=2)
        info(out / "calibrated.nfc")
    assert "integers" in caplog.text and "int8:" in caplog.text
    rows = list(csv.DictReader((out / "int8.csv").open()))
    assert [row["stage"] for row in rows] == ["fp32", "int8, calibrated", "int8, trained"]
    assert all(int(row["plain_bytes"]) == (out / f"{row['stage'][6:]}_plain.nfc").stat().st_size for row in rows[1:])
    assert all(int(row["coded_bytes"]) == (out / f"{row['stage'][6:]}.nfc").stat().st_size for row in rows[1:])
    assert float(rows[2]["coded_ratio"]) > float(rows[1]["plain_ratio"]) > 3.6
    assert 1 < float(rows[2]["entropy"]) < 4  # of 4 bits
    layers = [read_nfc(out / f"{stage}.nfc").field.get_submodule("model.rgb_linear") for stage in STAGES]
    assert [int(layer.state_dict()["weight"].abs().max()) for layer in layers] == [
        7,
        7,
    ]  # both have the bits that were trained
    assert json.loads((out / "int8.json").read_text())["processor"]
    assert Image.open(out / "int8.png").size == (3 * 8, 2 * 8)
    decoded = of_scene(read_nfc(out / "calibrated.nfc"), "test")
    mean = mean_result(evaluate_views(decoded, reader.read("test")))
    assert mean.psnr == pytest.approx(float(rows[1]["psnr"]), abs=1.0)


def test_a_file_of_nerf_pytorch_has_the_integers_of_the_checkpoint(tmp_path: Path) -> None:
    write_blender(ProceduralReader(image_size=8, n_train=2, n_val=1, n_test=1, supersampling=1), tmp_path / "scene")
    reader = BlenderReader(tmp_path / "scene", near=2.0, far=6.0, pixel_centers=False)
    torch.manual_seed(0)
    train = reader.read("train")
    field, sampler = NeRFField(width=16).eval(), HierarchicalSampler(8, 8, resolution=8).eval()
    field.set_aabb(train.aabb)
    sampler.prepare(train.aabb)
    pair = RadianceFieldArtifact(field=field, sampler=sampler, scene=SceneInfo.from_scene(train))
    export_nerf(pair, tmp_path / "000100.tar")
    write_checkpoint(pair, tmp_path / "pair.ckpt")
    found = []
    for name in ("000100.tar", "pair.ckpt"):
        original = read_original(tmp_path / name, reader).replace(sampler=sampler)
        found.append(to_integers(calibrated(original, [FakeQuantization()], 1, prepared=True)).field.state_dict())
    assert found[0].keys() == found[1].keys() and found[0]["model.pts_linears.0.weight"].dtype == torch.int8
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
