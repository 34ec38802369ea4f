import lzma

import numpy as np
import pytest
from numpy.typing import NDArray

from nerfcomp.codec import Storage, TensorSpec, decode, encode
from nerfcomp.codec.container import Container, Section, from_bytes, to_bytes
from nerfcomp.codec.pyramid_coder import MAX_LEVEL, choose_levels, decode_pyramid, encode_pyramid
from nerfcomp.errors import ContainerError
from nerfcomp.kernels.lifting import analyse
from nerfcomp.readers import ProceduralVolume

SHAPES = [(1, 1, 1), (1, 2, 3), (24, 20, 17), (33, 40, 3), (8, 8, 300)]
FIELD = {"class_path": "nerfcomp.fields.WaveletVolume", "init_args": {}}


def coefficients(shape: tuple[int, int, int] = (32, 40, 24)) -> NDArray[np.float32]:
    return analyse(ProceduralVolume(shape, "float32", finest=6.0).read().values)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [0.3, 3.0, 1e5])
def test_levels_of_any_shape_and_size_come_back(shape: tuple[int, int, int], scale: float) -> None:
    levels = np.rint(np.random.default_rng(1).standard_cauchy(shape) * scale).clip(-MAX_LEVEL, MAX_LEVEL)
    code = encode_pyramid(levels.astype(np.int32))
    np.testing.assert_array_equal(decode_pyramid(code, shape), levels)
    assert code == encode_pyramid(levels.astype(np.int64))


def test_a_code_is_smaller_than_that_of_a_general_compressor() -> None:
    levels = np.rint(coefficients() / 0.05).astype(np.int32)
    assert len(encode_pyramid(levels)) < 0.75 * len(lzma.compress(levels.astype(np.int16).tobytes(), preset=9))


def test_nothing_costs_next_to_nothing() -> None:
    assert len(encode_pyramid(np.zeros((64, 64, 64), np.int32))) < 20


def test_chosen_levels_are_worth_their_bits() -> None:
    steps = coefficients() / np.float32(0.1)
    nearest, chosen = choose_levels(steps, 0.0), choose_levels(steps, 0.1)
    large = np.abs(steps) > 0.6
    np.testing.assert_array_equal(nearest[large], np.rint(steps[large] * (1 + 1e-6)).astype(np.int32)[large[large]])
    assert (np.abs(chosen) <= np.abs(nearest)).all()

    def cost(levels: NDArray[np.int32]) -> float:
        return float(((steps - levels) ** 2).sum()) + 0.1 * 8 * len(encode_pyramid(levels))

    assert cost(chosen) < cost(nearest)


@pytest.mark.parametrize("wrong", ["cut", "long", "empty"])
def test_codes_of_wrong_length_are_refused(wrong: str) -> None:
    levels = np.rint(coefficients() / 0.1).astype(np.int32)
    code = encode_pyramid(levels)
    damaged = {"cut": code[:-3], "long": code + b"\0", "empty": b""}[wrong]
    with pytest.raises(ValueError, match="code is too short|longer than its pyramid needs"):
        decode_pyramid(damaged, levels.shape)


def test_noise_is_decoded_or_refused_but_never_crashes() -> None:
    rng = np.random.default_rng(2)
    for length in (4, 60, 4000):
        code = rng.integers(0, 256, length).astype(np.uint8).tobytes()
        try:
            assert np.abs(decode_pyramid(code, (20, 20, 20))).max() < 2**26
        except ValueError as error:
            assert "pyramid" in str(error)


@pytest.mark.parametrize("shape", [(0, 1, 1), (4, 4), (2**10, 2**10, 2**8)])
def test_impossible_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot be coded"):
        decode_pyramid(bytes(8), shape)


def test_coefficients_far_beyond_a_step_are_refused() -> None:
    with pytest.raises(ValueError, match="Take larger steps"):
        choose_levels(np.full((1, 1, 1), 1e9, np.float32), 0.1)


def test_a_pyramid_is_a_section_of_a_file() -> None:
    levels = np.rint(coefficients() / 0.1).astype(np.int32)
    sections = encode({"levels": levels}, {"levels": Storage("levels", pyramid=True)})
    assert sections[0].kind == "pyramid" and sections[0].tensors == (TensorSpec("levels", "int32", levels.shape),)
    read = from_bytes(to_bytes(Container({"field": FIELD}, sections, compact=True)))
    assert read.compact
    np.testing.assert_array_equal(decode(read)["levels"], levels)
    short = Section("levels", "pyramid", sections[0].data[:9], sections[0].tensors)
    with pytest.raises(ContainerError, match="Section 'levels' cannot be decoded"):
        decode(Container({"field": FIELD}, (short,)))
    flat = Section("levels", "pyramid", b"", (TensorSpec("levels", "int32", (4, 4)),))
    with pytest.raises(ContainerError, match="three dimensions"):
        to_bytes(Container({"field": FIELD}, (flat,)))
