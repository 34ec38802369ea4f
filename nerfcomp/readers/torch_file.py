"""Files that `torch.save` wrote elsewhere: tensors and plain values, nothing else, and never more than expected."""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

from nerfcomp.errors import CheckpointError

_DAMAGED = (  # what torch and the standard library say of damaged files
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    struct.error,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    OSError,
    AttributeError,
    TypeError,
    AssertionError,
    OverflowError,
)


def load_torch_file(path: Path, kind: str, most_bytes: int, advice: str) -> Any:
    """Read a file of tensors and plain values, on the CPU; files older than torch 1.6 too.

    Args:
        path: The file.
        kind: What it should be, in words for messages: "ngp_pl checkpoint".
        most_bytes: What such a file unpacks to at most.
        advice: Last sentence of the message about a file that cannot be read.

    Returns:
        What was saved.

    Raises:
        CheckpointError: The file is missing, damaged, too large, or holds anything else than tensors and plain values.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no {kind} at {path}.")
    try:
        size = _unpacked_bytes(path)
        if size <= most_bytes:
            return torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGED as error:
        raise CheckpointError(
            f"{path} is not a torch file of tensors and plain values alone ({type(error).__name__}). {advice}"
        ) from error
    raise CheckpointError(f"{path} unpacks to {size:,} bytes; any {kind} has at most {most_bytes:,}.")


def save_torch_file(content: Any, path: Path) -> None:
    """Write what `torch.load` reads; what the disk says against it is said, not what torch makes of it.

    Raises:
        OSError: The disk is full, or the file cannot be written.
    """
    with open(path, "wb") as sink:
        try:
            torch.save(content, sink)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def _unpacked_bytes(path: Path) -> int:
    if not zipfile.is_zipfile(path):
        return path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist())
