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

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_LARGEST_KEPT = 2**25  # the most glibc allows
_ends_at_once = threading.Event()


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


def end_without_finalization() -> None:
    """Let a prepared process end with status 0 behind all exit functions, without Python's finalization.

    For the last line of a process that exchanged tensors with others. Threads of gloo may be late to drop those of the
    last exchange, and must ask Python for it; one that asks during the finalization is ended inside C++, and the
    process aborts with all its work done (pytorch issue 190489).
    """
    _ends_at_once.set()


def _end() -> None:
    """The last of the exit functions, but for one that was registered before: that of loggers."""
    if _ends_at_once.is_set():
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


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
