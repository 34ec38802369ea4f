"""What programs tell OpenMP and the C library, and what importing nerfcomp leaves alone."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nerfcomp.process import end_with_parent

REPORT = """
import ctypes, os, sys
calls = []
class Library:
    def mallopt(self, *args):
        calls.append(args)
        return 1
ctypes.CDLL = lambda name: Library()
before = dict(os.environ)
%s
print({k: v for k, v in os.environ.items() if before.get(k) != v}, len(calls), "torch" in sys.modules)
"""


MAPPED = """
import ctypes
from nerfcomp.process import keep_large_blocks
class Figures(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", *map(str, range(6)))]
library = ctypes.CDLL(None)
library.mallinfo2.restype, library.malloc.restype, library.malloc.argtypes = Figures, ctypes.c_void_p, [ctypes.c_size_t]
before = library.mallinfo2().hblks
%s
library.malloc(2**24)
print(library.mallinfo2().hblks - before)
"""


STARTER = """
import multiprocessing, sys, time
sys.path[:] = {path!r}
from tests.test_process import work_for_a_parent
context = multiprocessing.get_context("spawn")
ours, theirs = context.Pipe()
process = context.Process(target=work_for_a_parent, args=(theirs,), daemon=True)
process.start()
print(ours.recv(), flush=True)
time.sleep(60)
"""


def work_for_a_parent(connection: Any) -> None:
    """Say which process this is, then go on working."""
    end_with_parent()
    connection.send(os.getpid())
    time.sleep(60)


def python(code: str) -> str:
    """What a fresh process says to a program."""
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def told(statement: str) -> str:
    """What a process has changed after a statement: variables, calls of mallopt, and whether torch is there."""
    return python(REPORT % statement)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="asks glibc 2.33 or later")
@pytest.mark.parametrize(("advice", "mapped"), [("", "1"), ("keep_large_blocks()", "0")])
def test_large_blocks_come_from_kept_memory(advice: str, mapped: str) -> None:
    """Blocks that glibc maps from the kernel, and gives back to it, are counted in its own figures."""
    assert python(MAPPED % advice) == mapped


def test_importing_nerfcomp_changes_nothing() -> None:
    assert told("import nerfcomp") == "{} 0 False"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="speaks to glibc")
def test_programs_prepare_their_process() -> None:
    changed = told("from nerfcomp.process import prepare_process; prepare_process()")
    assert changed == "{'OMP_WAIT_POLICY': 'PASSIVE', 'JSONARGPARSE_DEPRECATION_WARNINGS': 'off'} 2 False"


def test_what_the_user_says_wins() -> None:
    statement = "from nerfcomp.process import prepare_process; os.environ['OMP_WAIT_POLICY'] = 'ACTIVE'; "
    assert "'OMP_WAIT_POLICY': 'ACTIVE'" in told(statement + "prepare_process()")


def test_programs_show_what_this_package_says_and_no_chatter_of_libraries() -> None:
    said = python(
        "import logging, sys\n"
        "from nerfcomp.process import show_messages\n"
        "show_messages(logging.StreamHandler(sys.stdout))\n"
        "for name in ('nerfcomp.files', 'compress', 'fontTools.subset', 'root'):\n"
        "    logging.getLogger(name).info(name)\n"
        "logging.getLogger('PIL').warning('PIL')\n"
    )
    assert said.split() == ["nerfcomp.files", "compress", "PIL"]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_children_of_a_killed_program_end() -> None:
    code = STARTER.format(path=sys.path)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = Path("/proc") / parent.stdout.readline().strip() / "cmdline"
        assert child.read_bytes()
        parent.kill()
        for _ in range(100):
            if not child.exists() or not child.read_bytes():  # gone, or waiting for whoever adopted it
                return
            time.sleep(0.1)
    os.kill(int(child.parent.name), signal.SIGKILL)
    pytest.fail("the child works on")
