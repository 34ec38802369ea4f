import threading
from pathlib import Path

import pytest

from nerfcomp.errors import NerfcompError
from nerfcomp.files import atomic_write, claim_folder, new_file


def test_a_failed_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_of_two_writers_the_first_to_end_keeps_the_name(tmp_path: Path) -> None:
    path = tmp_path / "out.nfc"
    with pytest.raises(NerfcompError, match="in the meantime"), new_file(path, force=False) as late:
        late.write_text("late")
        with new_file(path, force=False) as early:
            early.write_text("early")
    assert path.read_text() == "early"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(NerfcompError, match="exists already"), new_file(path, force=False):
        pass
    with new_file(path, force=True) as temporary:
        temporary.write_text("forced")
    assert path.read_text() == "forced"


def test_only_regular_files_are_overwritten(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(NerfcompError, match="no regular file"), new_file(tmp_path / "folder", force=True):
        pass


def test_folders_are_claimed_once(tmp_path: Path) -> None:
    start, claimed = threading.Barrier(8), list[int]()

    def claim() -> None:
        start.wait()
        claimed.append(claim_folder(tmp_path / "runs", "version_{}".format))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == list(range(8))
    assert claim_folder(tmp_path / "runs", "version_{}".format, first=20) == 20
