"""Every format: a file that its own library wrote comes back, and what cannot be read is refused in a sentence."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nerfcomp.errors import VolumeError
from nerfcomp.readers import ProceduralVolume, VolumeHints, volume_reader

STEPS, START = (0.5, 2.0, 3.0), (1.0, -2.0, 7.5)
nrrd = pytest.importorskip("nrrd")
nibabel = pytest.importorskip("nibabel")
h5py = pytest.importorskip("h5py")
netcdf = pytest.importorskip("netCDF4")
zarr = pytest.importorskip("zarr")


@pytest.fixture(scope="module")
def truth() -> NDArray[Any]:
    return ProceduralVolume((9, 7, 5), "int16", shells=1).read().values


def write_npy(path: Path, values: NDArray[Any]) -> VolumeHints:
    np.save(path, np.asfortranarray(values))
    return VolumeHints(spacing=STEPS, origin=START)


def write_raw(path: Path, values: NDArray[Any]) -> VolumeHints:
    path.write_bytes(b"head" + values.transpose().astype(">i2").tobytes())
    return VolumeHints(
        dtype="int16", shape=(9, 7, 5), axes="zyx", byte_order="big", offset=4, spacing=STEPS, origin=START
    )


def write_hdf5(path: Path, values: NDArray[Any]) -> VolumeHints:
    with h5py.File(path, "w") as file:
        file.create_dataset("a/pressure", data=values.transpose()[None])
        file["time"] = np.arange(4)
    return VolumeHints(axes="zyx", spacing=STEPS, origin=START)


def write_packed_hdf5(path: Path, values: NDArray[Any]) -> VolumeHints:
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=values, compression="gzip")
        file.create_dataset("b", data=2 * values)
    return VolumeHints(dataset="/a", spacing=STEPS, origin=START)


def write_nrrd(path: Path, values: NDArray[Any], encoding: str = "raw") -> VolumeHints:
    header = {"encoding": encoding, "space dimension": 3, "space directions": np.diag(STEPS), "space origin": START}
    nrrd.write(str(path), values, header)
    return VolumeHints()


def write_packed_nrrd(path: Path, values: NDArray[Any]) -> VolumeHints:
    return write_nrrd(path, values, "gzip")


def write_nifti(path: Path, values: NDArray[Any]) -> VolumeHints:
    affine = np.diag([*STEPS, 1.0])
    affine[:3, 3] = START
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return VolumeHints()


def write_netcdf(path: Path, values: NDArray[Any]) -> VolumeHints:
    with netcdf.Dataset(path, "w") as file:
        for axis, size, step, start in zip("xyz", values.shape, STEPS, START, strict=True):
            file.createDimension(axis, size)
            file.createVariable(axis, "f8", (axis,))[:] = start + step * np.arange(size)
        file.createVariable("density", values.dtype, ("z", "y", "x"))[:] = values.transpose()
    return VolumeHints()


def write_zarr(path: Path, values: NDArray[Any]) -> VolumeHints:
    zarr.create_array(str(path), data=values.transpose(), dimension_names=["z", "y", "x"])
    return VolumeHints(spacing=STEPS, origin=START)


@pytest.mark.parametrize(
    ("name", "write", "mapped"),
    [
        ("a.npy", write_npy, True),
        ("a.raw", write_raw, True),
        ("a.h5", write_hdf5, True),
        ("b.hdf5", write_packed_hdf5, False),
        ("a.nrrd", write_nrrd, True),
        ("b.nrrd", write_packed_nrrd, False),
        ("a.nii", write_nifti, True),
        ("a.nii.gz", write_nifti, False),
        ("a.nc", write_netcdf, False),
        ("a.zarr", write_zarr, False),
    ],
)
def test_what_other_libraries_write_comes_back(
    name: str, write: Callable[[Path, NDArray[Any]], VolumeHints], mapped: bool, truth: NDArray[Any], tmp_path: Path
) -> None:
    path = tmp_path / name
    volume = volume_reader(path, write(path, truth)).read()
    np.testing.assert_array_equal(volume.values, truth)
    assert volume.values.dtype.kind == "i" and volume.values.dtype.itemsize == 2
    assert (volume.spacing, volume.origin) == (STEPS, START)
    assert _is_mapped(volume.values) == mapped


def _is_mapped(values: Any) -> bool:
    while values is not None and not isinstance(values, np.memmap):
        values = getattr(values, "base", None)
    return values is not None


def _nrrd_text(sizes: str, encoding: str = "raw") -> bytes:
    lines = ["NRRD0004", "type: short", "dimension: 3", f"sizes: {sizes}", f"encoding: {encoding}", "endian: little"]
    return ("\n".join(lines) + "\n\n").encode()


def _huge_npy() -> bytes:
    file = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 1 << 40, 4)}
    np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
    return file.getvalue() + bytes(64)


def _nifti_of(size: int) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape((size, size, size))
    header.set_data_offset(352)
    return bytes(header.binaryblock) + bytes(100)


HOSTILE = {
    "huge.npy": (_huge_npy(), r"72 bytes|64 bytes of values where"),
    "no.npy": (b"no numpy", "is no .npy file"),
    "huge.nrrd": (_nrrd_text("1000000 1000000 1000000") + bytes(8), "8 bytes of values where"),
    "bomb.nrrd": (_nrrd_text("4 4 4", "gzip") + gzip.compress(bytes(1 << 22)), "129 bytes of values"),
    "cut.nrrd": (_nrrd_text("4 4 4", "gzip") + gzip.compress(bytes(128))[:-12], "damaged or cut off"),
    "text.nrrd": (_nrrd_text("4 4 4", "ascii") + b"1 2 3", "encoded as 'ascii'"),
    "no.nrrd": (b"NRRD0009 nonsense\n", "has no header of NRRD|no header"),
    "huge.nii": (_nifti_of(32000), "is cut off"),
    "huge.nii.gz": (gzip.compress(_nifti_of(32000)), "bytes of memory are free|is cut off"),
    "no.h5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "cannot be read as HDF5"),
    "no.nc": (b"\x89HDF nonsense", "cannot be read as NetCDF"),
    "a.png": (b"", "is none of the volumes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_lying_files_are_refused_before_memory_is_taken(name: str, tmp_path: Path) -> None:
    content, sentence = HOSTILE[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VolumeError, match=sentence) as caught:
        volume_reader(tmp_path / name).read()
    assert name in str(caught.value)


def test_hdf5_of_terabytes_without_values(tmp_path: Path) -> None:
    for name, shape in (("never.h5", (64, 64, 64)), ("huge.h5", (1 << 20, 1 << 20, 1 << 10))):
        with h5py.File(tmp_path / name, "w") as file:
            found = file.create_dataset("a", shape, "f4", chunks=(64, 64, 64))
            if name == "huge.h5":
                found[0, 0, 0] = 1.0
        with pytest.raises(VolumeError, match="ever written|bytes of memory are free"):
            volume_reader(tmp_path / name).read()


def test_zarr_of_terabytes_without_values(tmp_path: Path) -> None:
    zarr.create_array(str(tmp_path / "a.zarr"), shape=(1 << 20, 1 << 20, 1 << 10), chunks=(64, 64, 64), dtype="f4")
    with pytest.raises(VolumeError, match="bytes of memory are free"):
        volume_reader(tmp_path / "a.zarr").read()


def test_several_datasets_are_named(tmp_path: Path) -> None:
    write_packed_hdf5(tmp_path / "a.h5", np.arange(64).reshape(4, 4, 4))
    with pytest.raises(VolumeError, match=r"a\.h5 holds several among its datasets; name one with --dataset: a, b"):
        volume_reader(tmp_path / "a.h5").read()
    with pytest.raises(VolumeError, match="no 'c'"):
        volume_reader(tmp_path / "a.h5", VolumeHints(dataset="c")).read()


def test_axes_of_other_names_must_be_said(tmp_path: Path) -> None:
    with netcdf.Dataset(tmp_path / "a.nc", "w") as file:
        for axis in ("level", "lat", "lon"):
            file.createDimension(axis, 4)
        variable = file.createVariable("t", "f4", ("level", "lat", "lon"), fill_value=-1.0)
        variable[:] = np.arange(64.0).reshape(4, 4, 4)
    with pytest.raises(VolumeError, match="level, lat, lon.*--axes"):
        volume_reader(tmp_path / "a.nc").read()
    assert volume_reader(tmp_path / "a.nc", VolumeHints(axes="zyx")).read().values[1, 2, 3] == 3 * 16 + 2 * 4 + 1
    with netcdf.Dataset(tmp_path / "a.nc", "a") as file:
        file["t"][0, 0, :2] = -1.0
    with pytest.raises(VolumeError, match="2 missing values"):
        volume_reader(tmp_path / "a.nc", VolumeHints(axes="zyx")).read()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.full((4, 4, 4), 7.0), "All voxels of .*hold 7"),
        (np.where(np.arange(64).reshape(4, 4, 4) == 21, np.nan, 0.0), r"nan at voxel \(1, 1, 1\)"),
        (np.arange(16.0).reshape(4, 4), "4 x 4; a volume needs three axes"),
        (np.arange(16.0).reshape(4, 4, 1), "4 x 4 x 1; a volume needs three axes"),
        (np.zeros((2, 3, 4, 5)), "Cut one scalar volume out"),
        (np.zeros((4, 4, 4), complex), "holds complex128"),
        (np.zeros((4, 4, 4), bool), "holds bool"),
        (np.zeros((4, 4, 4), "f4,f4"), "holds .*one a voxel"),
    ],
)
def test_what_no_network_can_learn(values: NDArray[Any], sentence: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(VolumeError, match=sentence) as caught:
        volume_reader(tmp_path / "a.npy").read()
    assert "a.npy" in str(caught.value)


@pytest.mark.parametrize(
    ("hints", "sentence"),
    [
        (VolumeHints(), "--dtype, --shape, --axes"),
        (VolumeHints(dtype="int16", shape=(4, 4, 4), axes="xyz"), "byte_order"),
        (VolumeHints(dtype="uint8", shape=(4, 4, 4), axes="xyz"), "128 bytes of values where 4 x 4 x 4"),
        (VolumeHints(dtype="uint8", shape=(8, 4, 4), axes="xyy"), "once each"),
        (VolumeHints(dtype="voxel", shape=(8, 4, 4), axes="xyz"), "no type of numbers"),
        (VolumeHints(dtype="uint8", shape=(8, 4, 4), axes="xyz", spacing=(1.0, 0.0, 1.0)), "positive"),
        (VolumeHints(dtype="uint8", shape=(8, 4, 4), axes="xyz", dataset="a"), "--dataset"),
    ],
)
def test_nothing_of_bare_values_is_guessed(hints: VolumeHints, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(range(128)))
    with pytest.raises(VolumeError, match=sentence):
        volume_reader(tmp_path / "a.raw", hints).read()


def test_scaled_nifti_has_its_units(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.eye(4))
    image.header.set_slope_inter(0.5, 3.0)
    nibabel.save(image, tmp_path / "a.nii")
    values = volume_reader(tmp_path / "a.nii").read().values
    np.testing.assert_allclose(values, 0.5 * np.arange(64).reshape(4, 4, 4) + 3.0)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="There is no volume at"):
        volume_reader(tmp_path / "a.npy").read()
