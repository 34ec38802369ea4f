"""Files of tensors on a disk that has no room for them."""

import errno
from pathlib import Path

import pytest
import torch

from nerfcomp.readers.torch_file import load_torch_file, save_torch_file


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_full_disk_is_called_so() -> None:
    with pytest.raises(OSError) as full:
        save_torch_file({"weight": torch.zeros(100_000)}, Path("/dev/full"))
    assert full.value.errno == errno.ENOSPC


def test_what_is_written_is_read(tmp_path: Path) -> None:
    save_torch_file({"weight": torch.arange(3)}, tmp_path / "a.ckpt")
    assert load_torch_file(tmp_path / "a.ckpt", "checkpoint", 10_000, "")["weight"].tolist() == [0, 1, 2]
