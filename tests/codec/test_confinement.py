"""What the decoding child cannot do any more, tried in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from nerfcomp.codec import confinement

PLACE = Path(confinement.__file__)
ATTEMPTS = {
    "read a file": "open('/etc/passwd')",
    "write a file": "open(sys.argv[2] + '/written', 'w')",
    "remove a file": "os.unlink(sys.argv[2] + '/there')",
    "open a socket": "socket.socket()",
    "start a process": "os.fork()",
    "run a program": "os.execv('/bin/true', ['true'])",
    "signal its parent": "os.kill(os.getppid(), 0)",
    "read its parent": "os.open(f'/proc/{os.getppid()}/mem', os.O_RDONLY)",
    "use what was open": "os.write(secret, b'x')",
}
SCRIPT = """
import importlib.util, os, socket, sys
sys.path.insert(0, sys.argv[1])
import confinement
{before}
parent = os.getppid()
secret = os.dup(1)
print(*confinement.confine())
try:
    {attempt}
    print("done")
except OSError as error:
    print("refused", error.errno)
"""


def attempt(what: str, folder: Path, before: str = "pass") -> list[str]:
    script = folder / "attempt.py"
    script.write_text(SCRIPT.format(attempt=what, before=before))
    (folder / "there").touch()
    command = [sys.executable, "-S", str(script), str(PLACE.parent), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel of Linux confines")
@pytest.mark.parametrize("what", ATTEMPTS)
def test_a_confined_process_can_do_nothing_but_compute(what: str, tmp_path: Path) -> None:
    held, answer = attempt(ATTEMPTS[what], tmp_path)
    if "calls" not in held and what != "use what was open":
        pytest.skip("this kernel refuses to confine")
    assert answer.startswith("refused")
    assert (tmp_path / "there").exists() and not (tmp_path / "written").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel of Linux confines")
@pytest.mark.parametrize("what", ["read a file", "write a file", "remove a file", "signal its parent"])
def test_paths_are_refused_without_a_filter_of_calls(what: str, tmp_path: Path) -> None:
    held, answer = attempt(ATTEMPTS[what], tmp_path, "confinement._refuse_calls = lambda _: False")
    assert "calls" not in held
    if "paths" not in held:
        pytest.skip("this kernel has no Landlock")
    assert answer.startswith("refused")
    assert (tmp_path / "there").exists() and not (tmp_path / "written").exists()


def test_it_can_still_compute_and_write_what_is_open(tmp_path: Path) -> None:
    assert attempt("len(bytearray(2**24)); os.write(1, b'')", tmp_path)[-1] == "done"


def test_other_kernels_and_machines_go_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "abacus")

    class Library:
        def prctl(self, *_: object) -> int:
            return 0

        def syscall(self, *_: object) -> int:
            return -1

    assert not confinement._refuse_paths(Library())  # type: ignore[arg-type]
    assert not confinement._refuse_calls(Library())  # type: ignore[arg-type]
