import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compress import main
from nerfcomp.artifacts.kinds import rebuild
from nerfcomp.artifacts.nfc import encode_artifact, read_nfc, uniform_allocation, write_nfc
from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.artifacts.volume_info import VolumeInfo
from nerfcomp.codec import read_container, to_bytes
from nerfcomp.errors import ContainerError, NerfcompError
from nerfcomp.fields import HashVolume, LatentGridVolume, VolumeField, WaveletVolume
from nerfcomp.geometry.lattice import lattice_positions

INFO = VolumeInfo((7, 5, 4), "uint8", 3.0, 230.0, (1.0, 0.5, 2.0), (0.0, -1.0, 3.0), "density")


def trained(field: VolumeField | None = None) -> VolumeArtifact:
    torch.manual_seed(0)
    if field is None:
        field = HashVolume(levels=2, log2_table_size=8, base_resolution=3, finest_resolution=6, hidden_width=8)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.normal_(0, 0.7)
    return VolumeArtifact(field=field.eval(), info=INFO)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    artifact = trained()
    write_nfc(encode_artifact(artifact, uniform_allocation(artifact, -24)), tmp_path / "v.nfc")
    return tmp_path / "v.nfc"


def expected(artifact: VolumeArtifact, index: np.ndarray) -> np.ndarray:
    """Values at voxel coordinates (M, 3), one field call, rounded by hand."""
    with torch.no_grad():
        out = artifact.field(lattice_positions(torch.from_numpy(index), INFO.shape)).numpy().astype(np.float64)
    values: np.ndarray = np.rint((np.clip(out, -1, 1) + 1) / 2 * 227 + 3).astype(np.uint8)
    return values


def test_files_give_back_the_whole_volume_a_region_and_another_resolution(file: Path) -> None:
    decoded = read_nfc(file, trust=True)
    assert isinstance(decoded, VolumeArtifact) and decoded.info == INFO
    index = np.stack(np.meshgrid(*(np.arange(n) for n in INFO.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    whole = decoded.values()
    assert whole.dtype == np.uint8 and whole.shape == INFO.shape
    assert whole.min() >= 3 and whole.max() <= 230
    np.testing.assert_array_equal(whole.reshape(-1), expected(decoded, index.astype(float)))
    part = decoded.values(INFO.axes((slice(2, 5), slice(0, 5), slice(3, 4))))
    np.testing.assert_array_equal(part, whole[2:5, :, 3:4])
    fine = decoded.values(INFO.axes(resolution=(13, 9, 7)))
    np.testing.assert_array_equal(fine[::2, ::2, ::2], whole)
    np.testing.assert_array_equal(fine[1, 0, 0], expected(decoded, np.array([[0.5, 0, 0]]))[0])


def test_slabs_are_small_and_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = trained()
    whole = artifact.values()
    monkeypatch.setattr("nerfcomp.artifacts.volume._TILE", 9)
    slabs = list(artifact.slabs())
    assert [len(slab) for slab in slabs] == [1] * 7
    assert np.abs(np.concatenate(slabs).astype(int) - whole).max() <= 1  # sums in another order may round otherwise


def test_the_command_decodes_to_npy(file: Path, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.npy", tmp_path / "part.npy"
    main(["decode", str(file), "--out", str(whole)])
    main(["decode", str(file), "--out", str(part), "--region", "[1, 3, 0, 5, 0, 4]", "--resolution", "[3, 5, 4]"])
    values = np.load(whole)
    np.testing.assert_array_equal(values, read_nfc(file, trust=True).values())  # type: ignore[attr-defined]
    np.testing.assert_array_equal(np.load(part)[::2], values[1:3])


def test_the_command_measures_against_the_truth(file: Path, tmp_path: Path) -> None:
    decoded = read_nfc(file, trust=True).values()  # type: ignore[attr-defined]
    truth = np.where(decoded > 100, decoded - 4, decoded + 4).astype(np.uint8)
    np.save(tmp_path / "truth.npy", truth)
    main(["evaluate", str(file), "--volume", str(tmp_path / "truth.npy"), "--out", str(tmp_path / "found")])
    found = json.loads((tmp_path / "found" / "results.json").read_text())
    span = float(truth.max()) - float(truth.min())
    assert found["psnr"] == pytest.approx(20 * np.log10(span / 4)) and found["largest"] == found["mean"] == 4
    assert found["bytes"] == file.stat().st_size and found["ratio_float32"] == 4 * found["ratio_stored"]
    np.save(tmp_path / "other.npy", truth[:-1])
    for option in (["--volume", str(tmp_path / "other.npy")], []):
        with pytest.raises(NerfcompError, match="voxels|--volume"):
            main(["evaluate", str(file), *option])


@pytest.mark.parametrize("option", [["--region", "[0, 9, 0, 5, 0, 4]"], ["--resolution", "[1, 2]"]])
def test_impossible_regions_are_refused(file: Path, tmp_path: Path, option: list[str]) -> None:
    with pytest.raises(NerfcompError, match="egion"):
        main(["decode", str(file), "--out", str(tmp_path / "x.npy"), *option])
    assert not (tmp_path / "x.npy").exists()


def test_a_latent_grid_goes_through_a_file(tmp_path: Path) -> None:
    artifact = trained(LatentGridVolume(features=2, size=5, hidden_width=8, hidden_layers=1))
    write_nfc(encode_artifact(artifact, uniform_allocation(artifact, -40)), tmp_path / "v.nfc")
    decoded = read_nfc(tmp_path / "v.nfc", trust=True)
    x = torch.rand(30, 3)
    with torch.no_grad():
        torch.testing.assert_close(decoded.field(x), artifact.field(x), atol=0.05, rtol=0.05)


def test_sensitivities_are_squared_derivatives() -> None:
    artifact = trained()
    found = artifact.sensitivity(batches=2, points=64)
    assert set(found) == {name for name, _ in artifact.field.named_parameters()}
    last = max(name for name in found if name.startswith("head.layers.") and name.endswith("bias"))
    assert found[last].item() == pytest.approx(1.0, rel=1.0)  # values are it plus something


BROKEN: list[tuple[str, Any, str]] = [
    ("shape", [7, 5], "three numbers"),
    ("shape", [2**24, 2**24, 4], "voxels; at most"),
    ("shape", [7, 5, 0], "impossible"),
    ("shape", [2**31 - 1, 5, 4], "along an axis"),
    ("shape", [7.5, 5, 4], "three numbers"),
    ("dtype", "object", "allowed are uint8"),
    ("dtype", ["uint8"], "allowed are uint8"),
    ("low", 300.0, "no range"),
    ("high", 300.0, "do not fit into uint8"),
    ("low", "a", "could not convert"),
    ("spacing", [0.0, 1.0, 1.0], "positive"),
    ("origin", [0.0, None, 1.0], "three numbers"),
    ("name", "n" * 300, "characters"),
]


@pytest.mark.parametrize(("key", "value", "message"), BROKEN)
def test_hostile_headers_are_refused_by_a_sentence(file: Path, key: str, value: Any, message: str) -> None:
    header = json.loads(json.dumps(read_container(file).header))
    header["volume"][key] = value
    with pytest.raises(ContainerError, match=message):
        rebuild(header)


def test_files_of_other_tensors_and_damaged_ones_are_refused(file: Path, tmp_path: Path) -> None:
    container = read_container(file)
    header = json.loads(json.dumps(container.header))
    header["field"]["init_args"]["levels"] = 3
    other = tmp_path / "other.nfc"
    other.write_bytes(to_bytes(container._replace(header=header)))
    with pytest.raises(ContainerError, match="do not fit its HashVolume"):
        read_nfc(other)
    data = bytearray(file.read_bytes())
    for at in range(20, len(data), 97):
        broken = tmp_path / "broken.nfc"
        broken.write_bytes(bytes(data[:at]) + bytes([data[at] ^ 4]) + bytes(data[at + 1 :]))
        with pytest.raises(ContainerError):
            read_container(broken)


def test_signed_wide_and_floating_types_come_back() -> None:
    for dtype, low, high in (("int16", -7.0, 9.0), ("uint64", 0.0, 2.0**64 - 1), ("float32", -2.0, 5.0)):
        info = VolumeInfo((1, 1, 3), dtype, low, min(high, float(np.iinfo(dtype).max) if "int" in dtype else high))
        values = info.physical(np.array([-1.0, 0.0, 1.0], np.float32))
        assert values.dtype == dtype and float(values[0]) == low
        assert float(values[2]) == pytest.approx(high)
        np.testing.assert_allclose(info.normalised(values), [-1, 0, 1], atol=0.2)
    assert VolumeInfo((1, 1, 1), "float32", 2.0, 2.0).normalised(np.array([2.0])).tolist() == [0.0]


def test_wavelets_of_another_lattice_are_refused() -> None:
    described = VolumeArtifact(
        field=WaveletVolume((4, 3, 2), 1.0), info=VolumeInfo((4, 3, 2), "uint8", 0.0, 9.0)
    ).describe()
    described["volume"] = {**described["volume"], "shape": [4, 3, 3]}
    with pytest.raises(ContainerError, match="a field of"):
        rebuild(described)
