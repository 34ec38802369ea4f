"""Training runs, ``runs/<name>/version_<n>``, and the checkpoint that stands for one: by path, folder or name."""

import logging
import os
import re
from contextlib import suppress
from pathlib import Path

from nerfcomp.errors import CheckpointError

RUNS = Path("runs")
LAST = Path("checkpoints") / "last.ckpt"
FINISHED = "finished"  # a file beside the last checkpoint of a run whose training is over
LATEST = "latest"  # a link beside the runs to the one that has finished last
CHOICES = ("last", "best")  # of the checkpoints of a run
_SUFFIXES = (".ckpt", ".nfc", ".tar", ".pt", ".pth")
logger = logging.getLogger(__name__)


def find_checkpoint(path: str | Path, runs: str | Path = RUNS) -> Path:
    """Find the checkpoint that a path or the name of a run stands for; the log says which version was taken.

    Args:
        path: A file; the folder of a run, finished or not (``runs/ngp_lego/version_2``); the folder of all runs of one
            name, of which the last finished version counts, or the last with a checkpoint where none has finished; or
            the name alone (``ngp_lego``), of which only finished versions count; ``latest`` is the run that has
            finished last.
        runs: Folder of all runs.

    Returns:
        The file; what is neither a folder nor the name of a run, as it is.

    Raises:
        CheckpointError: A folder without a checkpoint; no run of this name has finished.
    """
    path = Path(path)
    if _is_name(path) and ((Path(runs) / path).is_dir() or not path.exists()):
        named = Path(runs) / path
        return named / LAST if (named / LAST).is_file() else _last_finished(named)
    if not path.is_dir():
        return path
    if (path / LAST).is_file():
        return path / LAST
    begun = _versions(path)
    if not begun:
        raise CheckpointError(
            f"{path} is a folder, but none of a run: it has no {LAST}, nor has any version_<n> inside. "
            "Name the checkpoint itself, or the folder that train.py wrote."
        )
    return _last_finished(path) if any(map(is_finished, begun)) else begun[0] / LAST


def chosen_checkpoint(choice: str, folder: Path | None) -> Path:
    """Find the last or the best checkpoint of the newest version of a run that has one, finished or not.

    Args:
        choice: ``last``, or ``best`` on validation views.
        folder: Folder of all versions of the run; none where a configuration names no run.

    Raises:
        CheckpointError: There is none.
    """
    if folder is None:
        raise CheckpointError(f"--ckpt_path {choice} needs a RunLogger, which names the run. Name the file itself.")
    numbers = sorted((int(path.name[8:]) for path in folder.glob("version_*") if path.name[8:].isdigit()), reverse=True)
    for number in numbers:
        found = list((folder / f"version_{number}" / "checkpoints").glob(f"{choice}*.ckpt"))
        if found:
            return max(found, key=lambda path: path.stat().st_mtime)
    advice = "" if choice == "last" else " configs/parts/best.yaml keeps one from the beginning of a run."
    raise CheckpointError(f"No version of {folder} has a checkpoint called {choice!r}.{advice} Leave --ckpt_path out.")


def is_there(path: str | Path) -> bool:
    """Whether `find_checkpoint` finds a file."""
    try:
        return find_checkpoint(path).is_file()
    except CheckpointError:
        return False


def is_finished(run: Path) -> bool:
    """Whether the training of a run is over."""
    return (run / LAST).with_name(FINISHED).is_file()


def mark_finished(last: Path, finished: bool = True) -> None:
    """Note whether the training that writes the checkpoint ``last`` is over."""
    if finished:
        last.with_name(FINISHED).touch()
        _link(last.resolve().parent.parent)
    else:
        last.with_name(FINISHED).unlink(missing_ok=True)


def _link(run: Path) -> None:
    """Let ``latest`` beside all runs point at this one, unless something else has this name."""
    link = run.parent.parent / LATEST
    if re.fullmatch(r"version_\d+", run.name) is None or (link.exists() and not link.is_symlink()):
        return
    temporary = link.with_name(f".{LATEST}-{os.getpid()}")
    with suppress(OSError):  # not every disk has links, and nothing depends on this one
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(run.relative_to(link.parent))
        temporary.replace(link)


def _is_name(path: Path) -> bool:
    return os.sep not in str(path) and path.suffix not in _SUFFIXES and path.name not in ("", "..")


def _versions(folder: Path) -> list[Path]:
    """Versions of a run that have a checkpoint, the newest first."""
    numbered = [(re.fullmatch(r"version_(\d+)", path.name), path) for path in folder.glob("version_*")]
    ordered = sorted(((int(match[1]), path) for match, path in numbered if match), reverse=True)
    return [path for _, path in ordered if (path / LAST).is_file()]


def _last_finished(folder: Path) -> Path:
    """Last checkpoint of the newest finished version of a run."""
    begun = _versions(folder)
    for version in begun:
        if is_finished(version):
            rest = "" if version == begun[0] else f" ({begun[0].name} has not finished)"
            logger.info("%s: taking %s%s", folder.name, version / LAST, rest)
            return version / LAST
    if begun:
        raise CheckpointError(
            f"No run {folder.name!r} has finished. Resume {begun[0]}, or name that folder to take it as it stands."
        )
    others = sorted(path.name for path in folder.parent.glob("*") if any(map(is_finished, _versions(path))))
    raise CheckpointError(
        f"There is no checkpoint {folder.name!r}, and no run of this name in {folder.parent}{os.sep}; finished there: "
        f"{', '.join(others) or 'none'}. Train one with `python train.py fit` or mend the path."
    )
