"""Geometry of the hash grid: counts and offsets that others have published."""

import itertools

import pytest

from nerfcomp.kernels.hash_grid import grid_geometry


class TestGeometry:
    @pytest.mark.parametrize(
        ("finest", "rounding", "floats"),
        [  # parameter counts of tiny-cuda-nn (hash tables only): both counts occur in reports for the first two
            (512, "float32", 10_526_448 - 3072),
            (512, "float64", 10_495_120 - 3072),
            (1024, "float32", 11_445_040),
            (1024, "float64", 11_420_064),
            (2048, "float32", 12_196_240),
            (2048, "float64", 12_196_240),
            (8192, "float32", 13_074_912),
            (8192, "float64", 13_074_912),
        ],
    )
    def test_counts(self, finest: int, rounding: str, floats: int) -> None:
        assert 2 * sum(grid_geometry(16, 19, 16, finest, rounding).entries) == floats  # type: ignore[arg-type]

    def test_resolutions_differ_at_powers_of_two(self) -> None:
        common = [16, 22, 28, 37, 49, 65, 85, 112, 148, 195, 257, 338, 446, 589, 777, 1025]
        assert list(grid_geometry().resolutions) == common
        exact = [r - 1 if r in (65, 257, 1025) else r for r in common]
        assert list(grid_geometry(rounding="float64").resolutions) == exact

    def test_offsets_of_ngp_pl(self) -> None:
        entries = grid_geometry().entries
        offsets = [0, *itertools.accumulate(entries)][:8]
        assert offsets == [0, 4096, 14744, 36696, 87352, 205008, 479640, 479640 + 2**19]

    def test_one_level(self) -> None:
        assert grid_geometry(levels=1, base_resolution=7, finest_resolution=99).resolutions == (7,)

    @pytest.mark.parametrize(
        "arguments", [{"levels": 0}, {"log2_table_size": 2}, {"log2_table_size": 31}, {"base_resolution": 0}]
    )
    def test_impossible(self, arguments: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="is impossible"):
            grid_geometry(**arguments)  # type: ignore[arg-type]

    def test_finest_below_base(self) -> None:
        with pytest.raises(ValueError, match="resolutions 16 to 8"):
            grid_geometry(finest_resolution=8)

    def test_unknown_rounding(self) -> None:
        with pytest.raises(ValueError, match="'float16', allowed are"):
            grid_geometry(rounding="float16")  # type: ignore[arg-type]
