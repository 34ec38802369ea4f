from pathlib import Path

import numpy as np
import pytest

from nerfcomp.errors import VolumeError
from nerfcomp.exchange.volumes import write_volume, write_vti
from nerfcomp.readers import ProceduralVolume, Volume, volume_reader

TYPES = ["uint8", "int16", "uint32", "int64", "float16", "float32", "float64", ">f4", ">i2"]


def volume_of(dtype: str) -> Volume:
    values = ProceduralVolume((7, 6, 5), np.dtype(dtype).name).read().values.astype(dtype)
    return Volume(values, (0.5, 0.1, 3.0), (-1.0, 2.5, 1e-3), 'a "b" <c>')


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TYPES)
def test_vtk_reads_what_is_written(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vtk = pytest.importorskip("vtk")
    from vtkmodules.util.numpy_support import vtk_to_numpy

    monkeypatch.setattr("nerfcomp.exchange.volumes._SLAB_BYTES", 100)
    volume = volume_of(dtype)
    write_vti(tmp_path / "a.vti", volume, {"truth": 2 * volume.values})
    reader = vtk.vtkXMLImageDataReader()
    reader.SetFileName(str(tmp_path / "a.vti"))
    reader.Update()
    image = reader.GetOutput()
    assert image.GetDimensions() == (7, 6, 5)
    assert (image.GetSpacing(), image.GetOrigin()) == (volume.spacing, volume.origin)
    for name, expected in ((volume.name, volume.values), ("truth", 2 * volume.values)):
        array = vtk_to_numpy(image.GetPointData().GetArray(name))  # type: ignore[no-untyped-call]
        found = array.reshape(5, 6, 7).transpose()
        np.testing.assert_array_equal(found, expected)
        assert found.dtype.kind == expected.dtype.kind


@pytest.mark.parametrize("dtype", TYPES)
def test_nrrd_is_read_by_its_own_library(dtype: str, tmp_path: Path) -> None:
    nrrd = pytest.importorskip("nrrd")
    volume = volume_of(dtype)
    write_volume(tmp_path / "a.nrrd", volume)
    values, header = nrrd.read(str(tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(values, volume.values)
    np.testing.assert_array_equal(header["space directions"], np.diag(volume.spacing))
    again = volume_reader(tmp_path / "a.nrrd").read()
    assert (again.spacing, again.origin) == (volume.spacing, volume.origin)


@pytest.mark.parametrize("dtype", TYPES)
def test_npy_keeps_the_type(dtype: str, tmp_path: Path) -> None:
    volume = volume_of(dtype)
    write_volume(tmp_path / "a.npy", volume._replace(values=np.asfortranarray(volume.values)))
    found = np.load(tmp_path / "a.npy")
    np.testing.assert_array_equal(found, volume.values)
    assert found.dtype == volume.values.dtype


def test_shapes_must_agree(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="'truth' has shape"):
        write_vti(tmp_path / "a.vti", volume_of("uint8"), {"truth": np.zeros((2, 2, 2))})
