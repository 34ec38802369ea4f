"""A few hundred damaged files; benchmarks/corruption.py tries a thousand and prints a table."""

from collections.abc import Callable

import numpy as np
import pytest

from nerfcomp.codec import Container, decode, from_bytes, to_bytes
from nerfcomp.errors import ContainerError
from tests.codec.samples import container, damaged_files, rehashed_streams, scaled_container

KINDS = pytest.mark.parametrize("make", [container, scaled_container])


@KINDS
def test_damage_is_refused_by_the_hash(make: Callable[[], Container]) -> None:
    data = to_bytes(make())
    for corruption in damaged_files(data, 200, seed=0):
        if corruption.data != data:
            with pytest.raises(ContainerError):
                from_bytes(corruption.data)


@KINDS
def test_damage_behind_a_valid_hash_is_refused_or_gives_whole_tensors(make: Callable[[], Container]) -> None:
    original = decode(make())
    for corruption in rehashed_streams(to_bytes(make()), 12, seed=0):
        try:
            decoded = decode(from_bytes(corruption.data))
        except ContainerError:
            continue
        assert corruption.kind.startswith("bit flip"), corruption.kind
        assert {name: value.shape for name, value in decoded.items()} == {n: v.shape for n, v in original.items()}
        assert all(np.isfinite(value).all() for value in decoded.values())
