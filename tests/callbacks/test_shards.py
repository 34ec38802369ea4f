from pathlib import Path

import numpy as np

from nerfcomp.callbacks.shards import Frame, FrameStore, discard


def frame(size: int = 4) -> Frame:
    grid = np.arange(size * size, dtype=np.float16).reshape(size, size)
    return Frame(np.full((size, size, 3), 7, np.uint8), grid, grid / 100)


def test_frame_comes_back(tmp_path: Path) -> None:
    store = FrameStore(tmp_path / "frames")
    store.save(3, frame())
    loaded = store.load(3, 4, 4)
    assert loaded is not None
    assert all(np.array_equal(one, other) for one, other in zip(loaded, frame(), strict=True))


def test_absent_damaged_and_misshapen_frames_are_none(tmp_path: Path) -> None:
    store = FrameStore(tmp_path)
    store.save(0, frame())
    whole = store.path(0).read_bytes()
    store.path(1).write_bytes(whole[: len(whole) // 2])
    store.path(2).write_bytes(b"")
    np.savez(store.path(3), rgb=frame().rgb)
    np.savez(store.path(4), rgb=np.array([object()]), depth=frame().depth, opacity=frame().opacity)
    for index in range(0, len(whole), 3):
        store.path(9).write_bytes(whole[:index] + bytes([whole[index] ^ 255]) + whole[index + 1 :])
        loaded = store.load(9, 4, 4)
        assert loaded is None or np.array_equal(loaded.rgb, frame().rgb)
    assert store.load(0, 4, 4) is not None
    assert store.load(0, 8, 8) is None
    assert [store.load(index, 4, 4) for index in (1, 2, 3, 4, 5)] == [None] * 5


def test_discard_removes_files_folders_and_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("folder", "file", "absent"):
        discard(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
