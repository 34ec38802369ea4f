"""Which field suits a volume and the bytes that it may take."""

import math
from collections.abc import Sequence

from nerfcomp.fields.volume import HashVolume

_ENTRIES_PER_BYTE = 0.73  # of the largest table: two features each, of which a coder keeps about one in three
_FINEST, _COARSEST = 2.0, 25.0  # voxels between lattice points


def suited_field(shape: Sequence[int], target_bytes: int) -> HashVolume:
    """Make the field that a volume of this shape is trained as.

    Six levels from 25 voxels per lattice spacing to 2. Tables grow with the bytes: larger ones cost bits that the
    target does not leave, smaller ones collide.

    Args:
        shape: Voxels along x, y and z.
        target_bytes: What the whole file is to take.

    >>> suited_field((256, 256, 256), 89838).arguments["log2_table_size"]
    16
    """
    size = max(shape)
    log2_table_size = max(8, min(22, round(math.log2(max(target_bytes * _ENTRIES_PER_BYTE, 1)))))
    base = max(2, round(size / _COARSEST) + 1)
    return HashVolume(
        levels=6,
        features=2,
        log2_table_size=log2_table_size,
        base_resolution=base,
        finest_resolution=max(base, round(size / _FINEST)),
        hidden_width=32,
        hidden_layers=2,
    )
