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


ENDING = """
import atexit, sys, types
from nerfcomp.process import ends_without_finalization, prepare_process
prepare_process()
class Last:
    def __del__(self):
        sys.stdout.write("finalized ")
last = Last()
atexit.register(sys.stdout.write, "exit function ")
sys.modules["torch.distributed"] = types.SimpleNamespace(is_available=lambda: True, is_initialized=lambda: %s)
with ends_without_finalization():
    sys.stdout.write("work ")
    %s
"""

MEMBER = """
import os, sys
from nerfcomp.process import ends_without_finalization, prepare_process
prepare_process()
import torch
import torch.distributed as dist
rank, cores = int(sys.argv[2]), sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, {cores[rank % len(cores)]})
dist.init_process_group("gloo", "file://" + sys.argv[1], rank=rank, world_size=2)
print(rank)
sys.setswitchinterval(100)  # threads have to ask for their turn, as where many processes share a core
with ends_without_finalization():
    for _ in range(60):
        dist.all_reduce(torch.ones(1000))
"""


def work_for_a_parent(connection: Any) -> None:
    """Say which process this is, then go on working."""
    end_with_parent()
    connection.send(os.getpid())
    time.sleep(60)


def run_python(code: str) -> "subprocess.CompletedProcess[str]":
    """Run a program in a fresh process."""
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def python(code: str) -> str:
    """What a fresh process says to a program."""
    ended = run_python(code)
    ended.check_returncode()
    return ended.stdout.strip()


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


@pytest.mark.parametrize(
    ("last_word", "status", "on_screen"),
    [
        ("pass", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(143)", 143, ""),
        ("sys.exit('Error: no')", 1, "Error: no"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
    ],
)
@pytest.mark.parametrize(("grouped", "end"), [(False, " finalized "), (True, " ")])
def test_a_process_ends_behind_its_exit_functions(
    grouped: bool, end: str, last_word: str, status: int, on_screen: str
) -> None:
    ended = run_python(ENDING % (grouped, last_word))
    assert (ended.returncode, ended.stdout) == (status, "work exit function" + end)
    assert ended.stderr.strip().endswith(on_screen) and bool(ended.stderr) == bool(on_screen)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="puts threads on one core")
@pytest.mark.parametrize("attempt", range(3))
def test_processes_that_exchanged_tensors_end_well(attempt: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEMBER, str(tmp_path / "meet")]
    environment = {**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    members = [
        subprocess.Popen([*command, str(rank)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    said = [member.communicate(timeout=120) for member in members]
    assert [member.returncode for member in members] == [0, 0], said
    assert [out.decode().strip() for out, _ in said] == ["0", "1"]
