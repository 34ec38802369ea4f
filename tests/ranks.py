"""Training runs in processes of their own, forked from one that has imported everything: imports take most of a start.

The first call starts that process, once per process of the tests. What it forks has the environment that Lightning
gives to the processes that it starts itself.
"""

import contextlib
import importlib
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import torch

import nerfcomp

REPOSITORY = Path(nerfcomp.__file__).resolve().parent.parent


class RunError(Exception):
    """A process did not end well; the message is what all of them said."""


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """What the process that forks is started with."""
    before = dict(os.environ)
    os.environ |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    yield
    os.environ.clear()
    os.environ |= before


def server() -> ForkServerContext:
    """The process that forks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preloaded"])
    with _environment():
        from multiprocessing.forkserver import ensure_running

        ensure_running()
    return context


def _work(program: str, arguments: list[str], folder: str, log: str, environment: dict[str, str]) -> None:
    """The child: a program's ``main`` in a session of its own."""
    os.setsid()
    os.environ |= environment
    os.chdir(folder)
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from lightning.fabric.utilities import rank_zero

    ranked: Any = rank_zero.rank_zero_only
    ranked.rank = int(environment.get("LOCAL_RANK", "0"))  # was settled when Lightning was imported
    torch.set_num_threads(1)
    module: Any = importlib.import_module(program)
    module.main(arguments)


def start(
    arguments: Sequence[str | Path], folder: Path, log: Path, rank: int = 0, port: int = 0, program: str = "train"
) -> ForkServerProcess:
    """Start one process, without waiting for it; ``port`` where there are several of them."""
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    words = [str(word) for word in arguments]
    process = server().Process(
        target=_work, args=(program, words, str(folder), str(log), environment if port else {}), daemon=True
    )
    process.start()
    return process


def call(work: Callable[..., None], everyone: Sequence[tuple[Any, ...]]) -> None:
    """Call a function in processes that run together, with the arguments of each of them.

    Raises:
        RunError: One of them did not end well; what it said stands on the screen.
    """
    started = [server().Process(target=work, args=arguments, daemon=True) for arguments in everyone]
    for process in started:
        process.start()
    for process in started:
        process.join(280)
    ended = [process.exitcode for process in started]
    for process in started:
        process.kill()
    if any(code != 0 for code in ended):
        raise RunError(f"The processes ended with {ended}.")


def free_port() -> int:
    """A port that several processes may meet at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def stop(process: ForkServerProcess) -> None:
    """``kill -9`` for a process and the processes that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()


def run(arguments: Sequence[str | Path], folder: Path, processes: int, program: str = "train") -> list[Path]:
    """Run a program in one or several processes that train together.

    Args:
        arguments: Its command line; the configuration names as many devices.
        folder: Working directory; what each process says is in ``log<rank>.txt``.
        processes: How many.
        program: Module with a ``main``.

    Returns:
        The logs.

    Raises:
        RunError: One of them did not end well.
    """
    port = free_port() if processes > 1 else 0
    logs = [folder / f"log{rank}.txt" for rank in range(processes)]
    started = [start(arguments, folder, log, rank, port, program) for rank, log in enumerate(logs)]
    for process in started:
        process.join(280)
    failed = [process for process in started if process.exitcode != 0]
    for process in started:
        stop(process)
    if failed:
        raise RunError("\n".join(log.read_text() for log in logs))
    return logs


def dumped(arguments: Sequence[str | Path], folder: Path, processes: int) -> list[dict[str, Any]]:
    """`run` for configurations with a `RankDump` into ``folder``: what each process saw."""
    run(arguments, folder, processes)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(processes)]
