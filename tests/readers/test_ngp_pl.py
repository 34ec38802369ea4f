"""ngp_pl checkpoints built here straight from their layout, number by number, and read back."""

import itertools
import math
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nerfcomp.errors import CheckpointError
from nerfcomp.fields.encodings import HashGrid
from nerfcomp.readers.ngp_pl import NgpPlCheckpoint, pack_ngp_pl, read_ngp_pl, unpack_ngp_pl, write_ngp_pl
from nerfcomp.rendering.bitfield import from_morton_bitfield

# lattice points along an axis, per level, as tiny-cuda-nn computes them for the three usual scales
LATTICES = {
    (0.5, "float32"): [16, 22, 28, 37, 49, 65, 85, 112, 148, 195, 257, 338, 446, 589, 777, 1025],
    (0.5, "float64"): [16, 22, 28, 37, 49, 64, 85, 112, 148, 195, 256, 338, 446, 589, 777, 1024],
    (1.0, "float32"): [16, 23, 31, 43, 59, 81, 112, 154, 213, 295, 407, 562, 777, 1073, 1483, 2048],
    (4.0, "float32"): [16, 25, 37, 56, 85, 128, 195, 295, 446, 676, 1024, 1553, 2353, 3566, 5405, 8192],
}
COUNTS = {
    (0.5, "float32"): 11_448_112,
    (0.5, "float64"): 11_423_136,
    (1.0, "float32"): 12_199_312,
    (4.0, "float32"): 13_077_984,
}
CASCADES = {0.5: 1, 1.0: 2, 4.0: 4}
CASES = [(*case, padding) for case in LATTICES for padding in (8, 16)]


def make_state(scale: float, rounding: str, padding: int = 16) -> dict[str, Any]:
    """Slim checkpoint whose parameters are their own positions in the vector (exact in float32)."""
    box = torch.full((1, 3), scale)
    return {
        "model.center": torch.zeros(1, 3),
        "model.xyz_min": -box,
        "model.xyz_max": box.clone(),
        "model.half_size": box.clone(),
        "model.density_bitfield": torch.zeros(CASCADES[scale] * 128**3 // 8, dtype=torch.uint8),
        "model.xyz_encoder.params": torch.arange(float(COUNTS[scale, rounding])),
        "model.dir_encoder.params": torch.zeros(0),
        "model.rgb_net.params": torch.arange(float(64 * 32 + 64 * 64 + padding * 64)),
    }


@pytest.fixture(scope="module")
def small_state() -> dict[str, Any]:
    return make_state(0.5, "float32")


@pytest.mark.parametrize(("scale", "rounding", "padding"), CASES)
def test_every_number_lands_where_it_belongs(scale: float, rounding: str, padding: int) -> None:
    checkpoint = unpack_ngp_pl(make_state(scale, rounding, padding))
    assert (checkpoint.scale, checkpoint.rounding, checkpoint.cascades) == (scale, rounding, CASCADES[scale])
    first, second = checkpoint.density_matrices
    assert first[1, 0] == 32  # row 1 follows the 32 columns of row 0
    assert second[3, 5] == 64 * 32 + 3 * 64 + 5
    offset = 3072
    for table, lattice in zip(checkpoint.tables, LATTICES[scale, rounding], strict=True):
        entries = min(math.ceil(lattice**3 / 8) * 8, 2**19)
        assert table.shape == (entries, 2)
        assert table[0].tolist() == [offset, offset + 1]
        assert table[-1].tolist() == [offset + 2 * entries - 2, offset + 2 * entries - 1]
        offset += 2 * entries
    rgb = checkpoint.rgb_matrices
    assert [tuple(matrix.shape) for matrix in rgb] == [(64, 32), (64, 64), (3, 64)]
    assert rgb[1][2, 7] == 2048 + 2 * 64 + 7
    assert rgb[2][2, 63] == 2048 + 4096 + 2 * 64 + 63


def slow_level(flat: Tensor, offset: int, entries: int, lattice: int, scale: float, x: list[float]) -> list[float]:
    """One level of tiny-cuda-nn's grid, read from the flat vector with Python's integers."""
    position = [scale * value + 0.5 for value in x]
    out = [0.0, 0.0]
    for bits in itertools.product((0, 1), repeat=3):
        cell = [int(p) + bit for p, bit in zip(position, bits)]
        weight = math.prod(p - int(p) if bit else 1 - p + int(p) for p, bit in zip(position, bits))
        if lattice**3 <= entries:
            index = cell[0] + cell[1] * lattice + cell[2] * lattice * lattice
        else:
            index = cell[0] ^ (cell[1] * 2654435761 & 0xFFFFFFFF) ^ (cell[2] * 805459861 & 0xFFFFFFFF)
        for feature in range(2):
            out[feature] += weight * flat[3072 + (offset + index % entries) * 2 + feature].item()
    return out


@pytest.mark.parametrize(("scale", "rounding"), LATTICES)
def test_grid_reads_features_like_tiny_cuda_nn(scale: float, rounding: str) -> None:
    state = make_state(scale, rounding)
    flat = torch.randn(COUNTS[scale, rounding])
    checkpoint = unpack_ngp_pl({**state, "model.xyz_encoder.params": flat})
    grid = HashGrid(finest_resolution=2048 * scale, rounding=checkpoint.rounding, backend="torch")
    grid.load_state_dict({f"levels.{level}.weight": table for level, table in enumerate(checkpoint.tables)})
    x = torch.rand(3, 3)
    features = grid(x)
    growth = math.log2(2048 * scale / 16) / 15
    offset = 0
    for level, lattice in enumerate(LATTICES[scale, rounding]):
        entries = min(math.ceil(lattice**3 / 8) * 8, 2**19)
        for point, ours in zip(x.tolist(), features[:, 2 * level : 2 * level + 2].tolist()):
            expected = slow_level(flat, offset, entries, lattice, 16 * 2 ** (level * growth) - 1, point)
            assert ours == pytest.approx(expected, abs=2e-2)  # float32 positions on 8192 lattice points
        offset += entries


def test_occupancy_bits(small_state: dict[str, Any]) -> None:
    x, y, z = 5, 64, 127  # 0000101, 1000000, 1111111
    morton = sum((x >> b & 1) << 3 * b | (y >> b & 1) << 3 * b + 1 | (z >> b & 1) << 3 * b + 2 for b in range(7))
    bits = torch.zeros(128**3 // 8, dtype=torch.uint8)
    bits[morton // 8] = 1 << morton % 8
    checkpoint = unpack_ngp_pl({**small_state, "model.density_bitfield": bits})
    occupied = from_morton_bitfield(checkpoint.bitfield, checkpoint.cascades, 128)
    assert occupied.nonzero().tolist() == [[0, x, y, z]]


@pytest.mark.slow
@pytest.mark.parametrize("padding", [8, 16])
def test_file_comes_back_bit_by_bit(tmp_path: Path, padding: Any) -> None:
    state = make_state(0.5, "float64", padding)
    state["model.rgb_net.params"][64 * 32 + 64 * 64 + 3 * 64 :] = 0.0  # padding is written as zeros
    torch.save(state, tmp_path / "theirs.ckpt")
    write_ngp_pl(tmp_path / "ours.ckpt", read_ngp_pl(tmp_path / "theirs.ckpt"), padding)
    ours = torch.load(tmp_path / "ours.ckpt", weights_only=True)
    assert list(ours) == list(state)
    assert all(torch.equal(ours[key], state[key]) and ours[key].dtype == state[key].dtype for key in state)


def test_default_is_the_common_variant(small_state: dict[str, Any]) -> None:
    packed = pack_ngp_pl(unpack_ngp_pl(small_state))
    assert packed["model.xyz_encoder.params"].numel() == 11_448_112
    assert packed["model.rgb_net.params"].numel() == 7168


def test_full_checkpoints_are_read_too(small_state: dict[str, Any]) -> None:
    full = {
        **small_state,
        "directions": torch.zeros(10, 3),
        "model.density_grid": torch.zeros(1, 128**3),
        "model.grid_coords": torch.zeros(128**3, 3, dtype=torch.int32),
        "val_lpips.net.weight": torch.zeros(3),
    }
    checkpoint = unpack_ngp_pl({"epoch": 29, "state_dict": full, "hparams": {"scale": 0.5}})
    assert torch.equal(checkpoint.tables[3], unpack_ngp_pl(small_state).tables[3])


def test_bare_model_and_half_precision(small_state: dict[str, Any]) -> None:
    bare = {key.removeprefix("model."): value for key, value in small_state.items()}
    bare["rgb_net.params"] = bare["rgb_net.params"].clamp(max=2048).half()
    assert unpack_ngp_pl(bare).rgb_matrices[0].dtype == torch.float32


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"xyz_encoder.params": None}, r"no 'model.xyz_encoder.params'"),
    ({"density_bitfield": None}, r"no 'model.density_bitfield'"),
    ({"xyz_min": None}, r"no 'model.xyz_min'"),
    ({"rgb_net.params": "text"}, "is no plain tensor"),
    (
        {"xyz_encoder.params": torch.zeros(11_448_111)},
        r"11,448,111 encoder parameters, but scale 0.5 has 11,423,136 or",
    ),
    ({"xyz_encoder.params": torch.zeros(12_199_312)}, "trained at another scale"),
    ({"rgb_net.params": torch.zeros(7000)}, "7,000 parameters in its colour network; ngp_pl's has 7,168"),
    ({"rgb_net.params": torch.full((7168,), math.nan)}, "holds NaN"),
    ({"rgb_net.params": torch.zeros(1).expand(7168)}, "repeated memory"),
    ({"rgb_net.params": torch.zeros(7168, dtype=torch.int64)}, "must be a vector of floats"),
    ({"rgb_net.params": torch.zeros(7168, 1)}, "must be a vector of floats"),
    ({"density_bitfield": torch.zeros(2 * 262144, dtype=torch.uint8)}, "scale 0.5 has 1 cascades"),
    ({"density_bitfield": torch.zeros(262144)}, "numbers of torch.float32"),
    ({"xyz_max": torch.ones(1, 3)}, "cube around the origin"),
    ({"xyz_max": torch.ones(1, 2)}, "two corners"),
    ({"xyz_min": -torch.ones(1, 3) * 3, "xyz_max": torch.ones(1, 3) * 3}, "scale is 3.0; only 0.5, 1, 2"),
    ({"xyz_min": -torch.ones(1, 3) * math.inf, "xyz_max": torch.ones(1, 3) * math.inf}, "scale is inf"),
    ({"tonemapper_net_0.params": torch.zeros(3)}, "HDR model"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_damage_is_named(small_state: dict[str, Any], change: dict[str, Any], message: str) -> None:
    state = {**small_state, **{f"model.{key}": value for key, value in change.items()}}
    state = {key: value for key, value in state.items() if value is not None}
    with pytest.raises(CheckpointError, match=message):
        unpack_ngp_pl(state)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no ngp_pl checkpoint"):
        read_ngp_pl(tmp_path / "absent.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(CheckpointError, match="not a torch file"):
        read_ngp_pl(tmp_path / "text.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(CheckpointError, match="holds a list"):
        read_ngp_pl(tmp_path / "list.ckpt")
    torch.save({"state_dict": {}, "model": torch.nn.Linear(1, 1)}, tmp_path / "code.ckpt")
    with pytest.raises(CheckpointError, match="not a torch file of tensors and plain values alone"):
        read_ngp_pl(tmp_path / "code.ckpt")


def test_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nerfcomp.readers.ngp_pl._MOST_BYTES", 99_999)
    with zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(100_000))
    assert (tmp_path / "bomb.ckpt").stat().st_size < 1000
    with pytest.raises(CheckpointError, match="unpacks to 100,000 bytes"):
        read_ngp_pl(tmp_path / "bomb.ckpt")


def test_other_architectures_cannot_be_written(small_state: dict[str, Any]) -> None:
    checkpoint = unpack_ngp_pl(small_state)
    wrong: list[NgpPlCheckpoint] = [
        checkpoint._replace(tables=checkpoint.tables[:8]),
        checkpoint._replace(rounding="float64"),
        checkpoint._replace(rgb_matrices=checkpoint.rgb_matrices[:2]),
        checkpoint._replace(bitfield=checkpoint.bitfield[:5]),
        checkpoint._replace(scale=0.25),
    ]
    for parts in wrong:
        with pytest.raises(CheckpointError):
            pack_ngp_pl(parts)
    with pytest.raises(CheckpointError, match="8 or 16 rows, not to 4"):
        pack_ngp_pl(checkpoint, 4)  # type: ignore[arg-type]
