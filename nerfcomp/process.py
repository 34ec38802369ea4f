"""What a program tells OpenMP, the C library and loggers as it starts; importing nerfcomp tells them nothing.

And how a process ends that worked together with others, or for another.
"""

import atexit
import ctypes
import logging
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_LARGEST_KEPT = 2**25  # the most glibc allows


class _Ending:
    """How this process ends: with a status and no more, or as Python does."""

    status: int | None = None


_ending = _Ending()


def prepare_process() -> None:
    """Set this process up for training and rendering: the first call of a program, before torch is loaded.

    OpenMP threads that wait go to sleep, unless OMP_WAIT_POLICY says otherwise: spinning ones starve every other
    process on the machine. OpenMP reads this once, when torch loads it. The allocator keeps large blocks. jsonargparse
    keeps to itself what it has to say to authors of programs.
    """
    atexit.register(_end)  # the first to be registered is called last
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    keep_large_blocks()


def keep_large_blocks() -> bool:
    """Let glibc serve blocks up to 32 MiB from memory it keeps, instead of asking the kernel for fresh pages each time.

    A training step frees and asks again for some ten tensors of megabytes; with fresh pages each of them is faulted in
    and zeroed every time, which made a step of small networks a fifth slower.

    Returns:
        Whether the C library took the advice; other libraries than glibc do not.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)) and bool(mallopt(_TRIM_THRESHOLD, 16 * _LARGEST_KEPT))


def show_messages(handler: logging.Handler | None = None) -> None:
    """Show what this package says while it works, and warnings of all others.

    Args:
        handler: Where to; the standard error stream unless given.
    """
    logging.basicConfig(format="%(message)s", handlers=[handler or logging.StreamHandler()])
    for name in ("nerfcomp", "compress"):
        logging.getLogger(name).setLevel(logging.INFO)


def in_group() -> bool:
    """Whether this process belongs to a group that exchanges tensors, be it of one; torch is not loaded for this."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_available() and bool(distributed.is_initialized())


@contextmanager
def ends_without_finalization() -> Iterator[None]:
    """Let a prepared process that belongs to a group behind its work end after all exit functions, with its own status.

    Python's finalization is left out. Threads of gloo may be late to drop tensors of the last exchange, and must ask
    Python for it; one that asks during the finalization is ended inside C++, and the process aborts with all its work
    done (pytorch issue 190489). A process without a group ends as always.
    """
    status = 1
    try:
        yield
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        raise
    finally:
        if in_group():
            _ending.status = status


def _end() -> None:
    """The last of the exit functions, but for one that was registered before: that of loggers."""
    if _ending.status is not None:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_ending.status)


def end_with_parent() -> None:
    """End this process, started by multiprocessing, as soon as the one that started it has gone.

    A program that is killed cannot end its children: they would go on working, and writing, for nobody.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()
