"""How programs end: what a user can mend in a sentence, a bug with its traceback, a signal with its status."""

import linecache
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from nerfcomp.errors import NerfcompError, said

_SAYS_SENTENCES = ("/nerfcomp/", "/torch/optim/", "/lightning/")  # where a raised ValueError is meant for the user
_PARSER = "/jsonargparse/"
_MEANT = ("ValueError", "MisconfigurationException", "SettingsError")


@contextmanager
def sentences() -> Iterator[None]:
    """End the process as a program ends, whatever happens inside.

    Raises:
        SystemExit: With a sentence for what a user can mend, status 130 after Ctrl-C, 143 after SIGTERM.
    """
    before, hook = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _raised_where_nothing_can_be
    try:
        yield
    except KeyboardInterrupt:
        _stopped()
    except SystemExit as stop:
        if type(stop).__name__ == "SIGTERMException":  # of Lightning, which says 0
            sys.exit(128 + signal.SIGTERM)
        if stop.code == 1 and isinstance(stop.__context__, KeyboardInterrupt):  # of Lightning again
            _stopped()
        raise
    except Exception as error:
        cause = _behind_the_parser(error)
        if not is_sentence(cause):
            raise
        sys.exit(f"Error: {said(cause)}")
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.unraisablehook = hook


def is_sentence(error: Exception) -> bool:
    """Whether an error was raised to be read by a user: ours, those of the disk, and checks of arguments.

    A `ValueError` counts where the package itself raises it. One that comes out of a library in the middle of a
    computation is a bug, and keeps its traceback.
    """
    if isinstance(error, NerfcompError | OSError):
        return True
    if type(error).__name__ not in _MEANT:
        return False
    last = traceback.extract_tb(error.__traceback__)[-1]
    line = linecache.getline(last.filename, last.lineno or 0).lstrip()
    return line.startswith("raise ") and any(place in Path(last.filename).as_posix() for place in _SAYS_SENTENCES)


def _behind_the_parser(error: Exception) -> Exception:
    """What a constructor raised; jsonargparse wraps it in a description of all types that it tried."""
    while isinstance(cause := error.__cause__, Exception) and _PARSER in _raised_in(error):
        error = cause
    return error


def _raised_in(error: Exception) -> str:
    """The file that raised an error."""
    frames = traceback.extract_tb(error.__traceback__)
    return Path(frames[-1].filename).as_posix() if frames else ""


def _stopped() -> NoReturn:
    """End as after Ctrl-C."""
    sys.stderr.write("Stopped; nothing half-written is left.\n")
    sys.exit(128 + signal.SIGINT)


def _terminate(number: int, frame: object) -> NoReturn:
    """End as if interrupted, so that temporary files are removed."""
    raise SystemExit(128 + number)


def _raised_where_nothing_can_be(ignored: "sys.UnraisableHookArgs") -> None:
    """Send a signal again that came in a ``__del__`` or a callback of C, where Python drops what is raised."""
    number = {KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM}.get(ignored.exc_type)
    if number is None:
        sys.__unraisablehook__(ignored)
        return
    again = threading.Timer(0.05, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
