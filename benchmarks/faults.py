"""Stop every command at random moments, let it go on, and compare with a run that nothing disturbed.

    python -m benchmarks.faults [--count 200] [--seed 0] [--seconds 1200] [--only fit,lsa]

A case takes one of the commands and one of the faults: ``KILL``, ``INT`` (Ctrl-C) and ``TERM`` at a moment of its run,
or ``full``, a disk (tmpfs, which root may mount; otherwise a limit on the size of files) that has too little space from
the start and is given enough afterwards. Then the command is started again, as its user would: with ``--ckpt_path`` or
``--resume`` where there is a run, from the start where there is none. Commands run in forked processes of one program
that has loaded everything, as loading takes longer than they do.

Faults of the program are counted in capitals and make the status 1: HALF, a file under its final name that cannot be
read; TRACEBACK, after anything but a kill; STATUS, an exit status that does not say what happened; STUCK, a second
start that fails; DIFFERENT, another product than that of the undisturbed run; LEFT, files that it has not. Writes
runs/benchmarks/faults_<seed>.json.
"""

import argparse
import contextlib
import faulthandler
import json
import logging
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")  # outlives a fork
from nerfcomp.process import prepare_process, show_messages

prepare_process()  # before torch is loaded
import torch
from tqdm import tqdm

from benchmarks.fault_commands import Command, prepare, same
from nerfcomp.codec import read_container
from nerfcomp.commands import program, train_program
from nerfcomp.commands.ending import sentences
from nerfcomp.errors import NerfcompError

log = logging.getLogger("nerfcomp.faults")
FAULTS = {"KILL": (-9,), "INT": (0, 130), "TERM": (143, -15, 0), "full": (0, 1)}
LONGEST = 120.0
_VARIES = re.compile(r"tfevents|config_\d+\.yaml$")  # a resumed run may write its own settings beside the first ones
_IGNORED = re.compile(r"Exception ignored in:.*\nTraceback")  # what Python says where nothing can be raised


class Undisturbed(NamedTuple):
    """A run that nothing disturbed: its folder, its files, its seconds."""

    folder: Path
    names: set[str]
    seconds: float


def start(command: Command, folder: Path, most: int | None = None) -> int | None:
    """Fork a process that runs a command in a folder; None where all is done."""
    words = command.words(folder)
    if words is None:
        return None
    folder.with_suffix(".log").touch()
    child = os.fork()
    if child:
        return child
    status = 70
    with contextlib.suppress(BaseException):
        os.chdir(folder)
        with open(folder.with_suffix(".log"), "ab", buffering=0) as sink:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
        faulthandler.dump_traceback_later(0.9 * LONGEST)
        tqdm.set_lock(threading.RLock())  # its own is shared with forks, and one that is killed may hold it
        if most is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        status = _run(command, words)
    os._exit(status)


def _run(command: Command, words: list[str]) -> int:
    """Run as the program does; its exit status."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with sentences():
            (train_program if command.program == "train" else program).main(words)
    except SystemExit as stop:
        if isinstance(stop.code, str):
            os.write(2, f"{stop.code}\n".encode())
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        logging.exception("Traceback")
        return 1
    return 0


def wait(child: int) -> int:
    """Exit status, or minus the number of the signal; a process that takes too long is killed."""
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 99


@contextlib.contextmanager
def small_disk(folder: Path, most: int) -> "contextlib.Iterator[bool]":  # type: ignore[name-defined]
    """Mount a disk of so many bytes on a folder; yields whether that was allowed."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={most}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def files(folder: Path) -> set[str]:
    """Names of all files, without what differs from run to run."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {_plain(name) for name in found if not _VARIES.search(name)}


def _plain(name: str) -> str:
    """A name without the time that a run of LSA bears."""
    return "/".join("RUN" + part[12:] if part[:12].isdigit() else part for part in name.split("/"))


def broken(folder: Path) -> list[str]:
    """Files under their final names that cannot be read."""
    found = []
    for path in folder.rglob("[!.]*"):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        try:
            if path.suffix == ".nfc":
                read_container(path)
            elif path.suffix in (".ckpt", ".pt"):
                torch.load(path, weights_only=True)
            elif path.suffix == ".json":
                json.loads(path.read_text())
        except (NerfcompError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile):
            found.append(path.name)
    return found


def different(command: Command, folder: Path, intact: Undisturbed) -> list[str]:
    """Products that are not those of the undisturbed run."""
    pairs = [
        {
            _plain(p.relative_to(at).as_posix()): p
            for at_ in [at]
            for pattern in command.products
            for p in at_.glob(pattern)
        }
        for at in (folder, intact.folder)
    ]
    ours, theirs = pairs
    if not theirs or ours.keys() < theirs.keys():
        return sorted(theirs.keys() - ours.keys()) or ["nothing"]
    return [name for name in theirs if not same(ours[name], theirs[name])]


def disturb(command: Command, folder: Path, fault: str, intact: Undisturbed, rng: random.Random) -> str:
    """One case; what came of it."""
    if fault == "full":
        sizes = [path.stat().st_size for path in intact.folder.rglob("*") if path.is_file()]
        status = _on_full_disk(command, folder, rng.random() * 1.1 * sum(sizes), max(sizes))
    else:
        child = start(command, folder)
        assert child is not None
        time.sleep(rng.random() * 1.05 * intact.seconds)
        os.kill(child, getattr(signal, f"SIG{fault}"))
        status = wait(child)
    said = folder.with_suffix(".log").read_text(errors="replace")
    if fault != "KILL" and "Traceback" in _IGNORED.sub("", said):
        return "TRACEBACK"
    if status not in (*FAULTS[fault], 0):
        return f"STATUS {status}"
    if halves := broken(folder):
        return f"HALF {halves}"
    child = start(command, folder)
    if child is not None and (again := wait(child)):
        return f"STUCK {again}"
    if others := different(command, folder, intact):
        return f"DIFFERENT {others}"
    left = {name for name in files(folder) - intact.names if fault != "KILL" or "/." not in f"/{name}"}
    return f"LEFT {sorted(left)}" if left else "went on alike" if child is not None and status else "had ended"


def _on_full_disk(command: Command, folder: Path, most: float, largest: int) -> int:
    """Run on a disk that is too small, then put what is there on a large one."""
    with small_disk(folder, 4096 * (int(most) // 4096 + 1)) as mounted:
        child = start(command, folder, None if mounted else int(min(most, largest)))
        assert child is not None
        status = wait(child)
        kept = Path(tempfile.mkdtemp(dir=folder.parent))
        shutil.copytree(folder, kept, dirs_exist_ok=True)
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    shutil.rmtree(kept)
    return status


def main() -> None:
    """Run all cases, log a table, write it; fail if anything but answers came."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1200.0)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tqdm.monitor_interval = 0  # a thread that a fork might stop while it holds a lock
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        root, begin = Path(name), time.monotonic()
        commands = prepare(root)
        commands = {key: commands[key] for key in (options.only.split(",") if options.only else commands)}
        intact = {key: undisturbed(key, command, root) for key, command in commands.items()}
        for case in range(options.seed, options.seed + options.count):
            rng = random.Random(case)
            key, fault = list(commands)[case % len(commands)], rng.choice(list(FAULTS))
            folder = root / f"case{case}"
            folder.mkdir()
            what = disturb(commands[key], folder, fault, intact[key], rng)
            counts[f"{key} {fault}: {what}"] += 1
            if what[0].isupper():
                log.info(
                    "case %d: %s %s: %s\n%s", case, key, fault, what, folder.with_suffix(".log").read_text()[-2500:]
                )
            shutil.rmtree(folder)
            if time.monotonic() - begin > options.seconds:
                break
    faults = {what: count for what, count in counts.items() if what.split(": ")[1][0].isupper()}
    for what, count in sorted(counts.items()):
        log.info("%4d  %s", count, what)
    path = Path(f"runs/benchmarks/faults_{options.seed}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cases": sum(counts.values()), "counts": counts}, indent=2))
    log.info("%d cases, %d faults", sum(counts.values()), sum(faults.values()))
    if faults:
        sys.exit(1)


def undisturbed(name: str, command: Command, root: Path) -> Undisturbed:
    """Run a command twice without disturbing it: here, to load all that it loads, and apart, to be compared with."""
    (root / f"{name}0").mkdir()
    before = os.getcwd(), signal.getsignal(signal.SIGINT)
    os.chdir(root / f"{name}0")
    status = _run(command, command.words(Path(".")) or [])
    os.chdir(before[0])
    signal.signal(signal.SIGINT, before[1])
    folder, begin = root / f"{name}1", time.monotonic()
    folder.mkdir()
    child = start(command, folder)
    assert child is not None
    status = status or wait(child)
    said = folder.with_suffix(".log").read_text()
    if status:
        raise RuntimeError(f"{name} fails undisturbed: {said[-2000:]}")
    found = Undisturbed(folder, files(folder), time.monotonic() - begin)
    log.info("%s: %.1f s, %d files", name, found.seconds, len(found.names))
    if others := different(command, root / f"{name}0", found):
        log.info("%s makes others each time: %s", name, others)
    return found


if __name__ == "__main__":
    show_messages()
    main()
