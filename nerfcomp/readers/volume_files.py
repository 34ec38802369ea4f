"""Reading a volume whose format the end of its name tells."""

from pathlib import Path
from typing import Any, NamedTuple

from nerfcomp.errors import VolumeError
from nerfcomp.readers.cvol import CvolVolume
from nerfcomp.readers.hdf5_volume import Hdf5Volume
from nerfcomp.readers.netcdf_volume import NetcdfVolume
from nerfcomp.readers.nifti_volume import NiftiVolume
from nerfcomp.readers.npy_volume import NpyVolume
from nerfcomp.readers.nrrd_volume import NrrdVolume
from nerfcomp.readers.raw_volume import RawVolume
from nerfcomp.readers.volume import VolumeReader
from nerfcomp.readers.volume_checks import Triple
from nerfcomp.readers.zarr_volume import ZarrVolume


class VolumeHints(NamedTuple):
    """What a file does not say of itself; each format takes those that it has room for.

    Attributes:
        dataset: Name of one volume among several.
        axes: Order of the axes, slowest first, as in ``zyx``.
        spacing: Distance of voxels along x, y and z.
        origin: Position of voxel (0, 0, 0).
        dtype: Type of bare values.
        shape: Sizes of bare values along x, y and z.
        byte_order: Of bare values, ``little`` or ``big``.
        offset: Bytes before the first bare value.
    """

    dataset: str | None = None
    axes: str | None = None
    spacing: Triple | None = None
    origin: Triple | None = None
    dtype: str | None = None
    shape: tuple[int, int, int] | None = None
    byte_order: str | None = None
    offset: int | None = None


class _Format(NamedTuple):
    """A reader, the hints it takes and those it needs."""

    reader: Any
    takes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


_RAW = _Format(
    RawVolume, ("dtype", "shape", "axes", "byte_order", "offset", "spacing", "origin"), ("dtype", "shape", "axes")
)
_HDF5 = _Format(Hdf5Volume, ("dataset", "axes", "spacing", "origin"))
_NETCDF = _Format(NetcdfVolume, ("dataset", "axes"))
FORMATS = {
    ".npy": _Format(NpyVolume, ("axes", "spacing", "origin")),
    ".cvol": _Format(CvolVolume, ("dataset",)),
    ".raw": _RAW,
    ".bin": _RAW,
    ".dat": _RAW,
    ".h5": _HDF5,
    ".hdf5": _HDF5,
    ".nrrd": _Format(NrrdVolume),
    ".nhdr": _Format(NrrdVolume),
    ".nii": _Format(NiftiVolume),
    ".nii.gz": _Format(NiftiVolume),
    ".nc": _NETCDF,
    ".nc4": _NETCDF,
    ".zarr": _Format(ZarrVolume, ("dataset", "axes", "spacing", "origin")),
}


def volume_reader(path: Path, hints: VolumeHints = VolumeHints()) -> VolumeReader:
    """Choose the reader for a file by the end of its name.

    Args:
        path: The file, or a ``.zarr`` folder.
        hints: What it does not say of itself.

    Raises:
        VolumeError: The format is not known, takes no such hint, or needs one that is absent.

    >>> type(volume_reader(Path("a.nii.gz"))).__name__
    'NiftiVolume'
    >>> volume_reader(Path("a.raw"), VolumeHints(dtype="uint8"))
    Traceback (most recent call last):
    ...
    nerfcomp.errors.VolumeError: a.raw does not say its shape, axes itself: pass --shape, --axes.
    """
    suffix = max((end for end in FORMATS if path.name.lower().endswith(end)), key=len, default=None)
    if suffix is None:
        raise VolumeError(f"{path} is none of the volumes that are read: {', '.join(FORMATS)}.")
    known = {name: value for name, value in hints._asdict().items() if value is not None}
    form = FORMATS[suffix]
    missing = [name for name in form.needs if name not in known]
    if missing:
        options = ", ".join(f"--{name}" for name in missing)
        raise VolumeError(f"{path} does not say its {', '.join(missing)} itself: pass {options}.")
    wrong = [f"--{name}" for name in known if name not in form.takes]
    if wrong:
        raise VolumeError(f"{path} says itself, or has no room for, what {', '.join(wrong)} would say; leave it out.")
    reader: VolumeReader = form.reader(path=path, **known)
    return reader
