"""``compress.py int8`` on a scene of 16x16 pixels: from a checkpoint to the table."""

import csv
import json
from pathlib import Path
from typing import Any

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
        start = tmp_path / "pair.ckpt"
        int8(start, reader, out, tmp_path / "trained.ckpt", control=start, batches=1, stride=2)
        info(out / "calibrated.nfc")
    assert "integers" in caplog.text and "int8:" in caplog.text
    rows = list(csv.DictReader((out / "int8.csv").open()))
    assert [row["stage"] for row in rows] == ["fp32", "fp32, control", "int8, calibrated", "int8, trained"]
    assert rows[0]["psnr"] == rows.pop(1)["psnr"]  # no step was made
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
    assert Image.open(out / "int8.png").size == (4 * 8, 2 * 8)
    decoded = of_scene(read_nfc(out / "calibrated.nfc"), "test")
    mean = mean_result(evaluate_views(decoded, reader.read("test")))
    assert mean.psnr == pytest.approx(float(rows[1]["psnr"]), abs=1.0)


@pytest.mark.slow
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


@pytest.mark.slow
def test_what_cannot_be_compared_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    write_blender(ProceduralReader(image_size=8, n_train=2, n_val=1, n_test=1, supersampling=1), tmp_path / "scene")
    reader = BlenderReader(tmp_path / "scene", near=2.0, far=6.0)
    train = reader.read("train")
    paths = []
    for width in (16, 8):
        field, sampler = NeRFField(width=width).eval(), HierarchicalSampler(8, 8, resolution=8).eval()
        field.set_aabb(train.aabb)
        sampler.prepare(train.aabb)
        pair = RadianceFieldArtifact(field=field, sampler=sampler, scene=SceneInfo.from_scene(train))
        hooked_pair = calibrated(pair, [FakeQuantization()], 1, prepared=True)
        for kind, trained in (("plain", pair), ("hooked", hooked_pair)):
            paths.append(tmp_path / f"{kind}{width}.ckpt")
            write_checkpoint(trained, paths[-1])
    plain, hooked, narrow, narrow_hooked = paths
    cases: list[tuple[dict[str, Any], str]] = [
        ({"bits": 9}, "2 to 8 bits"),
        ({"weights": ["nothing.*"]}, "No weight matches"),
        ({"batches": 0}, "At least 1 batch"),
        ({"views": 0}, "and 1 view are needed, got 8 and 0"),
        ({"rest_qp": 200}, "is 200; give an integer"),
        ({"trained": tmp_path / "absent.ckpt"}, "There is no checkpoint"),
        ({"trained": plain}, "was not trained for integers, no weight of it is quantized"),
        ({"trained": narrow_hooked}, "is of another network.*shape"),
        ({"control": hooked}, "a control is trained with --model.hooks null"),
        ({"control": narrow}, "is of another network.*shape"),
    ]
    for given, message in cases:
        with pytest.raises(ValueError, match=message):
            int8(plain, reader, tmp_path / "out", **given)
        assert not (tmp_path / "out").exists()
