"""Volumes as files of other programs: ``.vti`` of VTK and ParaView, ``.nrrd``, ``.npy``; written slab by slab."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from nerfcomp.errors import VolumeError
from nerfcomp.files import atomic_write
from nerfcomp.readers.volume import Volume, npy_memmap, stored_slabs

_SLAB_BYTES = 1 << 26
_VTK_TYPES = {"i": "Int", "u": "UInt", "f": "Float"}
_NRRD_TYPES = {"f4": "float", "f8": "double"}


def write_vti(path: Path, volume: Volume, others: Mapping[str, NDArray[Any]] | None = None) -> None:
    """Write image data of VTK, which ParaView opens: values at points, in the appended raw encoding.

    Args:
        path: The ``.vti``.
        volume: Values, name, spacing and origin.
        others: Further values of the same shape by name, such as true values or errors.

    Raises:
        VolumeError: A shape differs.
    """
    arrays = {volume.name: volume.values, **(others or {})}
    wrong = [name for name, values in arrays.items() if values.shape != volume.values.shape]
    if wrong:
        raise VolumeError(f"{path}: {wrong[0]!r} has shape {arrays[wrong[0]].shape}, not {volume.values.shape}.")
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        file.write(_vti_head(volume, arrays).encode())
        for values in arrays.values():
            dtype = _vtk_dtype(values)
            file.write(np.uint64(values.size * dtype.itemsize).astype("<u8").tobytes())
            _write_x_fastest(file, values, dtype)
        file.write(b"\n  </AppendedData>\n</VTKFile>\n")


def write_nrrd(path: Path, volume: Volume) -> None:
    """Write a NRRD with raw values; float16 becomes float32, which NRRD has."""
    dtype = _vtk_dtype(volume.values)
    kind = _NRRD_TYPES.get(dtype.str[1:]) or dtype.newbyteorder("=").name
    steps = " ".join(
        f"({','.join(repr(step) if i == axis else '0' for i in range(3))})" for axis, step in enumerate(volume.spacing)
    )
    lines = [
        "NRRD0004",
        f"type: {kind}",
        "dimension: 3",
        "space dimension: 3",
        f"sizes: {' '.join(map(str, volume.values.shape))}",
        f"space directions: {steps}",
        f"space origin: ({','.join(map(repr, volume.origin))})",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: raw",
        f"content: {' '.join(volume.name.split())}",
    ]
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        file.write(("\n".join(lines) + "\n\n").encode())
        _write_x_fastest(file, volume.values, dtype)


def write_npy(path: Path, volume: Volume) -> None:
    """Write an array of numpy in the stored type; spacing and origin have no place in it."""
    with atomic_write(path) as temporary:
        values = npy_memmap(temporary, volume.values.shape, volume.values.dtype)
        for part in stored_slabs(volume.values):
            values[part] = volume.values[part]
        values.flush()


WRITERS: dict[str, Callable[[Path, Volume], None]] = {".vti": write_vti, ".nrrd": write_nrrd, ".npy": write_npy}


def write_volume(path: Path, volume: Volume) -> None:
    """Write a volume in the format that the end of the name tells.

    Raises:
        VolumeError: There is no such format.

    >>> write_volume(Path("a.png"), Volume(np.zeros((2, 2, 2))))
    Traceback (most recent call last):
    ...
    nerfcomp.errors.VolumeError: a.png is none of the volumes that are written: .vti, .nrrd, .npy.
    """
    if path.suffix not in WRITERS:
        raise VolumeError(f"{path} is none of the volumes that are written: {', '.join(WRITERS)}.")
    WRITERS[path.suffix](path, volume)


def _vtk_dtype(values: NDArray[Any]) -> np.dtype[Any]:
    """Little-endian type in a file; neither VTK nor NRRD has float16."""
    dtype = np.dtype(np.float32) if values.dtype == np.float16 else values.dtype
    return dtype.newbyteorder("<")


def _vti_head(volume: Volume, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Everything before the first value."""
    extent = " ".join(f"0 {size - 1}" for size in volume.values.shape)
    lines = [
        '<?xml version="1.0"?>',
        '<VTKFile type="ImageData" version="1.0" byte_order="LittleEndian" header_type="UInt64">',
        f'  <ImageData WholeExtent="{extent}" Origin="{_numbers(volume.origin)}" Spacing="{_numbers(volume.spacing)}">',
        f'    <Piece Extent="{extent}">',
        f"      <PointData Scalars={quoteattr(volume.name)}>",
    ]
    offset = 0
    for name, values in arrays.items():
        dtype = _vtk_dtype(values)
        kind = f"{_VTK_TYPES[dtype.kind]}{8 * dtype.itemsize}"
        lines.append(f'        <DataArray type="{kind}" Name={quoteattr(name)} format="appended" offset="{offset}"/>')
        offset += 8 + values.size * dtype.itemsize
    lines += ["      </PointData>", "    </Piece>", "  </ImageData>", '  <AppendedData encoding="raw">', "   _"]
    return "\n".join(lines)


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(map(repr, values))


def _write_x_fastest(file: IO[bytes], values: NDArray[Any], dtype: np.dtype[Any]) -> None:
    """Write values slab by slab across z."""
    for part in _z_slabs(values):
        file.write(np.ascontiguousarray(values[:, :, part].transpose(), dtype).data)


def _z_slabs(values: NDArray[Any]) -> Iterator[slice]:
    thickness = max(1, _SLAB_BYTES // (values.itemsize * values.shape[0] * values.shape[1]))
    return (slice(start, start + thickness) for start in range(0, values.shape[2], thickness))
