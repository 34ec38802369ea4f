"""Writing files so that a killed process never leaves half a file under its final name."""

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nerfcomp.errors import NerfcompError


def refuse_overwrite(path: Path, force: bool) -> None:
    """Stop before anything a user made is lost.

    Raises:
        NerfcompError: The file exists and ``force`` was not given, or it is no regular file.
    """
    if path.exists() and not path.is_file():
        raise NerfcompError(f"{path} is no regular file, so it is not overwritten. Choose another --out.")
    if path.exists() and not force:
        raise NerfcompError(f"{path} exists already. Choose another --out, or add --force true to overwrite it.")


def refuse_input(out: Path, source: Path) -> None:
    """Stop before a command replaces what it reads.

    Raises:
        NerfcompError: Both are the same file.
    """
    if out.exists() and source.exists() and out.samefile(source):
        raise NerfcompError(f"{out} is what is read, so it is not overwritten, --force or not. Choose another --out.")


@contextmanager
def new_file(path: Path, force: bool) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path`` when the block ends, the result of a command's ``--out``.

    Of two programs that write the same ``path`` at the same time without ``force``, the first to end keeps it.

    Args:
        path: Final name.
        force: Overwrite a regular file.

    Yields:
        As `atomic_write`.

    Raises:
        NerfcompError: The file exists, before or after the block; it is no regular file.
    """
    refuse_overwrite(path, force)
    try:
        with atomic_write(path, overwrite=force) as temporary:
            yield temporary
    except FileExistsError as error:
        if error.filename != str(path):
            raise
        raise NerfcompError(
            f"Another program has written {path} in the meantime; its file stays and this result is dropped. "
            "Choose another --out."
        ) from error


def claim_folder(parent: Path, name: Callable[[int], str], first: int = 0) -> int:
    """Make the first folder that nobody has made yet; of programs started together each gets its own.

    Args:
        parent: Where; made when missing.
        name: Name of the folder from its number.
        first: Number to begin with.

    Returns:
        Number of the folder.

    Raises:
        OSError: ``parent`` cannot be written.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(first):
        with suppress(FileExistsError):
            (parent / name(number)).mkdir()
            break
    return number


@contextmanager
def atomic_write(path: str | Path, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block ends without an error.

    Args:
        path: Final name. Its folder is made when missing.
        overwrite: Replace a file that is there by then.

    Yields:
        A path in the same folder with the same suffix, so that writers that look at suffixes work.

    Raises:
        OSError: The folder cannot be written; `FileExistsError` if not ``overwrite`` and ``path`` is there by then.
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
        if not overwrite:
            os.close(os.open(str(path), os.O_CREAT | os.O_EXCL))  # refuses a name that is taken
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
