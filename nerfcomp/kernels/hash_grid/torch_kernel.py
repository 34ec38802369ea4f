"""Hash-grid encoding in plain torch: the reference that every faster twin is compared with.

Notation: `cell` is the integer lattice point below a position, `fraction` the position inside that cell, a *corner* one
of the eight lattice points around it; bit ``axis`` of a corner's number says whether it lies at ``cell + 1`` along that
axis.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

PRIMES = (1, 2654435761, 805459861)


def corner_indices(cell: Tensor, resolution: int, entries: int) -> Tensor:
    """Return the table rows of the eight corners of each cell, as tiny-cuda-nn numbers them.

    A level whose lattice fits its table is stored densely (x fastest); a larger one is hashed by Eq. 4 of Müller et
    al., "Instant Neural Graphics Primitives" (2022). Both wrap around at the end of the table.

    Args:
        cell: (M, 3) int64, at least 0.
        resolution: Lattice points along one axis.
        entries: Rows of the level's table; a power of two if it is hashed.

    Returns:
        (M, 8) int64 in [0, entries).

    >>> corner_indices(torch.tensor([[1, 2, 3]]), resolution=16, entries=4096).tolist()
    [[801, 802, 817, 818, 1057, 1058, 1073, 1074]]
    """
    corners, axes = torch.arange(8, device=cell.device), torch.arange(3, device=cell.device)
    bits = torch.bitwise_right_shift(corners.unsqueeze(1), axes) & 1
    x, y, z = (cell.unsqueeze(1) + bits).unbind(-1)
    if entries < resolution**3:
        return ((x * PRIMES[0]) ^ (y * PRIMES[1]) ^ (z * PRIMES[2])) & (entries - 1)
    return (x + y * resolution + z * resolution**2) % entries


def encode_level(x: Tensor, table: Tensor, scale: float, resolution: int) -> Tensor:
    """Interpolate one level trilinearly at ``pos = scale * x + 0.5``.

    Args:
        x: (M, 3) in [0, 1].
        table: (T, F) feature rows.
        scale: Lattice spacings across the unit cube.
        resolution: Lattice points along one axis.

    Returns:
        (M, F)

    >>> encode_level(torch.tensor([[0.0, 0.0, 0.5]]), torch.arange(8.0).unsqueeze(1), scale=1.0, resolution=2)
    tensor([[5.5000]])
    """
    position = x * scale + 0.5
    cell = position.detach().floor()
    fraction = position - cell
    rows = table[corner_indices(cell.long(), resolution, table.shape[0])]
    weight_x, weight_y, weight_z = torch.stack([1 - fraction, fraction]).unbind(-1)
    weights = (weight_z[:, None, None] * weight_y[None, :, None] * weight_x[None, None, :]).flatten(0, 2)
    return torch.einsum("cm,mcf->mf", weights, rows)


def hash_encode_torch(
    x: Tensor, tables: list[Tensor], scales: tuple[float, ...], resolutions: tuple[int, ...]
) -> Tensor:
    """Encode points with every level and put the features side by side, level by level.

    Args:
        x: (M, 3); coordinates outside [0, 1] are clamped to it.
        tables: L tensors (T_l, F).
        scales: Lattice spacings of each level.
        resolutions: Lattice points along one axis of each level.

    Returns:
        (M, L * F)

    >>> table = torch.arange(8.0).unsqueeze(1)
    >>> hash_encode_torch(torch.tensor([[0.0, 0.0, 0.5]]), [table, 2 * table], (1.0, 1.0), (2, 2)).tolist()
    [[5.5, 11.0]]
    """
    x = x.clamp(0.0, 1.0)
    levels = zip(tables, scales, resolutions, strict=True)
    return torch.cat([encode_level(x, table, scale, resolution) for table, scale, resolution in levels], dim=-1)


def reference_gradients(
    x: Tensor,
    tables: list[Tensor],
    scales: tuple[float, ...],
    resolutions: tuple[int, ...],
    grad: Tensor,
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Gradients of positions and tables that can be differentiated again.

    Args:
        x: (M, 3); coordinates outside [0, 1] are clamped to it.
        tables: L tensors (T_l, F).
        scales: Lattice spacings of each level.
        resolutions: Lattice points along one axis of each level.
        grad: (M, L * F) gradient of the features.
        wanted: Of which of positions and tables.

    Returns:
        1 + L gradients, none where not wanted.
    """
    inputs = [tensor for tensor, want in zip((x, *tables), wanted) if want]
    features = hash_encode_torch(x, tables, scales, resolutions)
    found = iter(torch.autograd.grad(features, inputs, grad, create_graph=True))
    return [next(found) if want else None for want in wanted]
