"""The folders of training runs, ``runs/<name>/version_<n>``, and the checkpoint that stands for a run."""

import re
from pathlib import Path

from nerfcomp.errors import CheckpointError

LAST = Path("checkpoints") / "last.ckpt"


def find_checkpoint(path: str | Path) -> Path:
    """Find the checkpoint that a path stands for.

    Args:
        path: A file; the folder of a run; or the folder of all runs of one name, of which the last version that has a
            checkpoint counts.

    Returns:
        The file; what is no folder, as it is.

    Raises:
        CheckpointError: A folder without a checkpoint.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    runs = [path, *(folder for _, folder in sorted(_versions(path), reverse=True))]
    for run in runs:
        if (run / LAST).is_file():
            return run / LAST
    raise CheckpointError(
        f"{path} is a folder, but none of a run: it has no {LAST}, nor has any version_<n> inside. "
        "Name the checkpoint itself, or the folder that train.py wrote."
    )


def _versions(folder: Path) -> list[tuple[int, Path]]:
    numbered = ((re.fullmatch(r"version_(\d+)", path.name), path) for path in folder.iterdir())
    return [(int(match[1]), path) for match, path in numbered if match]
