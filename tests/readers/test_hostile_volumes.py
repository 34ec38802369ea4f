"""Headers of volumes that lie: sizes that overflow, values of other files, streams that never end."""

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nerfcomp.errors import VolumeError
from nerfcomp.readers import VolumeHints, volume_reader

h5py = pytest.importorskip("h5py")
pytest.importorskip("nrrd")
SECRET = bytes(range(128))


def nrrd(*lines: str, values: bytes = SECRET, **changes: str) -> bytes:
    """A file of 4 x 4 x 8 bytes with changed, absent (``~``) or further lines of its header."""
    said = {"type": "uchar", "dimension": "3", "sizes": "4 4 8", "encoding": "raw", **changes}
    kept = [f"{name}: {value}" for name, value in said.items() if value != "~"]
    return "\n".join(["NRRD0004", *kept, *lines]).encode() + b"\n\n" + values


FORGED = {
    "honest": (nrrd(), None),
    "negative sizes": (nrrd(sizes="-4 -4 8"), "at least 2 voxels"),
    "one negative size": (nrrd(sizes="4 4 -8"), "at least 2 voxels"),
    "sizes beyond 64 bits": (nrrd(sizes="4 4 99999999999999999999999"), "at least 2 voxels"),
    "a product beyond 64 bits": (nrrd(sizes="4194304 4194304 4194304"), "bytes of values"),
    "sizes that are no numbers": (nrrd(sizes="4 nan 1e9"), "at least 2 voxels"),
    "no sizes": (nrrd(sizes="~"), "3 dimensions and 0 sizes"),
    "other dimensions": (nrrd(dimension="2"), "no header of NRRD|at least 2 voxels|dimension"),
    "a thousand dimensions": (nrrd(dimension="1000", sizes=" ".join(["2"] * 1000)), "has 1000 axes"),
    "too many bytes": (nrrd(values=SECRET + b"1"), "129 bytes of values"),
    "too few bytes": (nrrd(values=SECRET[1:]), "127 bytes of values"),
    "values of objects": (nrrd(type="block"), "of type 'block'"),
    "no type": (nrrd(type="~"), "of type None|no header"),
    "skipped bytes": (nrrd("byte skip: -1"), "skips lines or bytes"),
    "an absolute path": (nrrd("data file: /proc/self/environ", values=b""), "outside its folder"),
    "a path above": (nrrd("data file: ../secret", values=b""), "outside its folder"),
    "a link above": (nrrd("data file: link", values=b""), "outside its folder"),
    "a list of files": (nrrd("data file: LIST", values=b"../secret\n"), "There is no volume at"),
    "itself": (nrrd("data file: a.nrrd", values=b""), "bytes of values"),
    "a folder": (nrrd("data file: .", values=b""), "is no file|cannot be read"),
    "few spacings": (nrrd("spacings: 1 2"), "spacing|no header"),
    "spacings that are no numbers": (nrrd("spacings: a b c"), "no header of NRRD"),
    "an endless spacing": (nrrd("spacings: inf 1 1"), None),
    "a ragged frame": (nrrd("space dimension: 3", "space directions: (1,0,0) (0,1) (0,0,1)"), "spacing|no header"),
    "an origin that is no number": (
        nrrd("space dimension: 3", "space directions: (1,0,0) (0,1,0) (0,0,1)", "space origin: (nan,0,0)"),
        "origin",
    ),
    "a header without an end": (b"NRRD0004\n" + b"comment " * 2**18, "no header of NRRD"),
    "a line without an end": (b"NRRD0004\n#" + b"x" * 2**22, "of type None"),
    "a bomb": (nrrd(encoding="gzip", values=gzip.compress(bytes(2**24))), "129 bytes of values"),
    "another bomb": (nrrd(encoding="bzip2", values=bz2.compress(bytes(2**24))), "129 bytes of values"),
    "a bomb of terabytes": (
        nrrd(encoding="gzip", sizes="100000 100000 100000", values=gzip.compress(bytes(2**20))),
        "bytes of memory are free",
    ),
    "no stream": (nrrd(encoding="gzip"), "damaged or cut off"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_nrrd_is_refused_with_a_sentence(name: str, tmp_path: Path) -> None:
    content, sentence = FORGED[name]
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(SECRET)
    (folder / "link").symlink_to("../secret")
    (folder / "a.nrrd").write_bytes(content)
    if sentence is None:
        assert volume_reader(folder / "a.nrrd").read().values.tobytes("F") == SECRET
        return
    with pytest.raises(VolumeError, match=sentence) as caught:
        volume_reader(folder / "a.nrrd").read()
    assert len(str(caught.value)) < 1000


def test_values_beside_a_header_are_read(tmp_path: Path) -> None:
    (tmp_path / "values").mkdir()
    (tmp_path / "values" / "a.raw").write_bytes(SECRET)
    (tmp_path / "a.nhdr").write_bytes(nrrd("data file: values/a.raw", values=b""))
    assert volume_reader(tmp_path / "a.nhdr").read().values.tobytes("F") == SECRET


def external(path: Path, secret: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (4, 4, 8), "u1", external=[(str(secret), 0, 128)])


def virtual(path: Path, secret: Path) -> None:
    with h5py.File(secret.with_suffix(".h5"), "w") as file:
        file["b"] = np.arange(128, dtype="u1").reshape(4, 4, 8)
    layout = h5py.VirtualLayout((4, 4, 8), "u1")
    layout[:] = h5py.VirtualSource(str(secret.with_suffix(".h5")), "b", (4, 4, 8))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("a", layout)


def linked(path: Path, secret: Path) -> None:
    virtual(path, secret)
    with h5py.File(path, "w") as file:
        file["a"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "b")


def bomb(path: Path, secret: Path) -> None:
    with h5py.File(path, "w") as file:
        found = file.create_dataset("a", (2**20, 2**20, 64), "f8", chunks=(64, 64, 64), compression="gzip")
        found[:64, :64] = 1.0


def objects(path: Path, secret: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (4, 4, 8), h5py.string_dtype())


@pytest.mark.parametrize(
    ("forge", "sentence"),
    [
        (external, "in other files"),
        (virtual, "in other files"),
        (linked, "holds no dataset"),
        (bomb, "bytes of memory are free"),
        (objects, "holds no dataset"),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_a_forged_hdf5_is_refused_with_a_sentence(
    forge: Callable[[Path, Path], None], sentence: str, named: bool, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    forge(tmp_path / "a.h5", tmp_path / "secret")
    with pytest.raises(VolumeError, match=sentence):
        volume_reader(tmp_path / "a.h5", VolumeHints(dataset="a" if named else None)).read()


@pytest.mark.parametrize("cut", [8, 40, 97, 512, 1024, 2047])
def test_a_damaged_hdf5_is_refused_with_a_sentence(cut: int, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = np.arange(128, dtype="u1").reshape(4, 4, 8)
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[cut : cut + 64] = b"\xff" * 64
    (tmp_path / "a.h5").write_bytes(content[:-1])
    with pytest.raises(VolumeError, match="cannot be read as HDF5|bytes of values|holds no dataset"):
        volume_reader(tmp_path / "a.h5").read()


@pytest.mark.parametrize(
    ("shape", "offset", "sentence"),
    [
        ((-4, -4, 8), 0, "at least 2 voxels"),
        ((2**40, 2**40, 2**40), 0, "along an axis"),
        ((2**24, 2**24, 2**24), 0, "bytes of values"),
        ((4, 4, 8), -1, "must not be negative"),
        ((4, 4, 8), 1, "127 bytes of values"),
        ((4, 4, 8), 2**70, "bytes of values"),
        ((4, 4, 7), 0, "128 bytes of values"),
    ],
)
def test_forged_sizes_of_bare_values_are_refused(
    shape: tuple[int, int, int], offset: int, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "a.raw").write_bytes(SECRET)
    hints = VolumeHints(dtype="uint8", shape=shape, axes="zyx", offset=offset)
    with pytest.raises(VolumeError, match=sentence):
        volume_reader(tmp_path / "a.raw", hints).read()
