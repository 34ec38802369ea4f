"""Writing files so that a killed process never leaves half a file under its final name."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nerfcomp.errors import NerfcompError


def refuse_overwrite(path: Path, force: bool) -> None:
    """Stop before anything a user made is lost.

    Raises:
        NerfcompError: The file exists and ``force`` was not given.
    """
    if path.exists() and not force:
        raise NerfcompError(f"{path} exists already. Choose another --out, or add --force true to overwrite it.")


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block ends without an error.

    Args:
        path: Final name. Its folder is made when missing.

    Yields:
        A path in the same folder with the same suffix, so that writers that look at suffixes work.

    Raises:
        OSError: The folder cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
