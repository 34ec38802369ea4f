import lzma
from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nerfcomp.codec.context_mixing import new_occupancy_model
from nerfcomp.codec.occupancy_coder import decode_occupancy, encode_occupancy
from tests.codec.samples import ball


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), *[st.integers(1, 11)] * 3),
    density=st.sampled_from([0.0, 0.02, 0.5, 0.97, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_round_trip(shape: tuple[int, ...], density: float, seed: int) -> None:
    grid = np.random.default_rng(seed).random(shape) < density
    code = encode_occupancy(grid)
    np.testing.assert_array_equal(decode_occupancy(code, shape), grid)
    assert encode_occupancy(grid) == code


@pytest.mark.parametrize("cells", [16, 64])
def test_surfaces_take_half_of_lzma(cells: int) -> None:
    grid = ball(cells)
    general = lzma.compress(np.packbits(grid).tobytes(), lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2}])
    assert len(encode_occupancy(grid)) < 0.6 * len(general)
    np.testing.assert_array_equal(decode_occupancy(encode_occupancy(grid), grid.shape), grid)


def test_noise_takes_little_more_than_its_entropy() -> None:
    grid = np.random.default_rng(0).random((1, 48, 48, 48)) < 0.05
    entropy = grid.size * (0.05 * np.log2(20) + 0.95 * np.log2(1 / 0.95)) / 8
    assert len(encode_occupancy(grid)) < 1.06 * entropy


@pytest.mark.slow
@pytest.mark.parametrize("filled", [False, True])
def test_uniform_grids_take_a_few_bytes(filled: bool) -> None:
    assert len(encode_occupancy(np.full((1, 128, 128, 128), filled))) < (8 if not filled else 300)


def test_cascades_learn_from_each_other() -> None:
    assert len(encode_occupancy(ball(32, cascades=4))) < 0.8 * 4 * len(encode_occupancy(ball(32)))


@pytest.mark.parametrize("cells", [1, 16])
def test_length_must_fit_exactly(cells: int) -> None:
    code = encode_occupancy(ball(cells))
    shape = (1, cells, cells, cells)
    for short in (b"", code[:3], code[:-1], code[: len(code) // 2]):
        with pytest.raises(ValueError, match="too short"):
            decode_occupancy(short, shape)
    for long in (code + b"\0", code + code):
        with pytest.raises(ValueError, match="longer"):
            decode_occupancy(long, shape)


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (0, 8, 8, 8), (1, 8, 0, 8), (65, 1, 1, 1), (1, 1, 1, 1025), (2, 512, 512, 512)]
)
def test_shapes_that_would_hang_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot be coded"):
        decode_occupancy(bytes(8), shape)
    with pytest.raises(ValueError, match="cannot be coded"):
        encode_occupancy(np.broadcast_to(np.array(False), shape))


def test_only_bool_grids_are_coded() -> None:
    with pytest.raises(ValueError, match="must be bool"):
        encode_occupancy(np.zeros((1, 2, 2, 2), np.uint8))


def test_logistic_tables_match_their_formulas() -> None:
    model = new_occupancy_model()
    for index in (0, 1000, 2048, 3000, 4095):
        expected = 65536 / (1 + exp((2048 - index) / 256))
        assert abs(int(model.squash[index]) - expected) <= max(1, 16 - expected)
    for probability in (100, 32768, 60000):
        stretched = int(model.stretch[probability >> 4])
        assert abs(int(model.squash[stretched + 2048]) - probability) < 160
    assert (np.diff(model.squash) >= 0).all() and (np.diff(model.stretch) >= 0).all()


def test_nearly_every_flip_changes_the_grid_and_none_breaks_the_decoder() -> None:
    grid = ball(16)
    code = bytearray(encode_occupancy(grid))
    for bit in range(0, 8 * len(code), 11):
        code[bit // 8] ^= 1 << bit % 8
        try:
            decoded = decode_occupancy(bytes(code), grid.shape)
        except ValueError:
            decoded = np.zeros(1)
        assert decoded.shape in (grid.shape, (1,))
        code[bit // 8] ^= 1 << bit % 8
