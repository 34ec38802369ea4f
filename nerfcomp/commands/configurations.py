"""Configurations that include others: a method, a scene, what both share, each written once.

``include: [ngp.yaml, scenes/lego.yaml]`` at the top of a file, relative to it, stands for those files in this order,
with the file itself laid over them. Keys that end in ``+`` append to the lists of what lies below.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from nerfcomp.commands.train_program import CONFIGS
from nerfcomp.errors import SettingsError

INCLUDE = "include"
_OPTIONS = ("-c", "--config")
_DEEPEST = 8


def with_included(args: Sequence[str]) -> list[str]:
    """Replace every configuration that includes others by those and by what it says itself.

    Args:
        args: A command line; ``--config`` may be given several times, later ones are laid over earlier ones.

    Returns:
        A command line without includes; files that include nothing stay as they are.

    Raises:
        SettingsError: An included file is missing, includes itself, or ``include`` is no list of names.

    >>> with_included(["fit", "--trainer.max_steps", "3"])
    ['fit', '--trainer.max_steps', '3']
    """
    expanded, left = list[str](), list(args)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if name not in _OPTIONS or not (equals or left):
            expanded.append(word)
            continue
        for content in layers(shipped(Path(value if equals else left.pop(0)))):
            expanded += ["--config", content]
    return expanded


def shipped(path: Path) -> Path:
    """A configuration as it is named; where there is none, the one of this name that the package brings.

    >>> shipped(Path("configs/ngp/lego.yaml")).is_file()
    True
    """
    name = Path(*path.parts[1:]) if path.parts[:1] == (CONFIGS.name,) else path
    return CONFIGS / name if not path.exists() and not path.is_absolute() and (CONFIGS / name).is_file() else path


def layers(path: Path, depth: int = 0) -> Iterator[str]:
    """Configurations that a file stands for, from the lowest to the topmost: a path, or YAML text.

    Args:
        path: A configuration. What cannot be read is left to whoever parses the command line.
        depth: How many files include this one.

    Raises:
        SettingsError: As of `with_included`.
    """
    content = _read(path)
    if not isinstance(content, dict) or INCLUDE not in content:
        if depth and not path.is_file():
            raise SettingsError(f"There is no configuration {path} to include. Mend the name.")
        yield str(path)
        return
    names = content.pop(INCLUDE)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SettingsError(f"{path} includes {names!r}; give a list of files, relative to this one.")
    if depth == _DEEPEST:
        raise SettingsError(f"{path} is included through {depth} files; does one of them include itself?")
    for name in names:
        yield from layers(path.parent / name, depth + 1)
    if content:
        yield yaml.safe_dump(content, sort_keys=False)


def merged(path: Path) -> dict[str, Any]:
    """What a configuration says with all that it includes; for programs that look at settings before a run.

    Args:
        path: A configuration that can be read.

    Raises:
        SettingsError: As of `with_included`.
    """
    result: dict[str, Any] = {}
    for content in layers(path):
        text = Path(content).read_text() if "\n" not in content else content
        result = _over(result, yaml.safe_load(text))
    return result


def _over(below: Any, above: Any) -> Any:
    """Lay one value over another; another class brings its own arguments."""
    if isinstance(below, str) and isinstance(above, dict) and "init_args" in above:
        below = {"class_path": below}
    if (
        not isinstance(below, dict)
        or not isinstance(above, dict)
        or above.get("class_path", below.get("class_path")) != (below.get("class_path"))
    ):
        return above
    laid = dict(below)
    for key, value in above.items():
        name = key.removesuffix("+")
        laid[name] = [*laid.get(name, []), *value] if name != key else _over(laid.get(name), value)
    return laid


def _read(path: Path) -> Any:
    """What a file says, or nothing when it cannot be read as YAML."""
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return None
