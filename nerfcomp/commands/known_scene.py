"""The scene that a run was trained on, from the ``config.yaml`` in its folder."""

import inspect
import logging
from pathlib import Path
from typing import Any

import yaml

from nerfcomp import readers
from nerfcomp.errors import NerfcompError
from nerfcomp.readers import SceneReader

CONFIG = "config.yaml"
_DEEPEST = 2  # folders between a file of a run and the run's own
logger = logging.getLogger("compress")


def scene_of(file: Path, reader: SceneReader | None) -> SceneReader:
    """The reader that is given, else that of the run to which a file belongs.

    Args:
        file: A checkpoint, or a ``.nfc`` file that training has exported.
        reader: What the command line says.

    Raises:
        NerfcompError: Neither says which scene it is.
    """
    found = reader or run_reader(file)
    if found is None:
        raise NerfcompError(
            f"{file} does not say which scene it shows. Name one with --reader and its options, such as --reader "
            "BlenderReader --reader.root FOLDER; a volume is compared with its truth, --volume FILE."
        )
    return found


def run_reader(file: Path) -> SceneReader | None:
    """The reader with which the run of a file was trained, or nothing where no run's configuration lies above the file.

    Args:
        file: See `scene_of`.

    Raises:
        NerfcompError: The configuration names a reader that there is not, or arguments that it does not take.
    """
    for folder in list(file.resolve().parents)[: _DEEPEST + 1]:
        if (folder / CONFIG).is_file():
            described = _described(folder / CONFIG)
            return None if described is None else _built(described, folder / CONFIG)
    return None


def _described(config: Path) -> dict[str, Any] | None:
    """What a configuration says of its reader."""
    try:
        content = yaml.safe_load(config.read_text())
        data = content["data"]
        found = data.get("init_args", data)["reader"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return None
    return {"class_path": found} if isinstance(found, str) else found if isinstance(found, dict) else None


def _built(described: dict[str, Any], config: Path) -> SceneReader:
    """Build a reader of this package."""
    name = str(described.get("class_path")).rpartition(".")[2]
    cls = getattr(readers, name, None) if name in readers.__all__ else None
    arguments = described.get("init_args") or {}
    if not (isinstance(cls, type) and issubclass(cls, SceneReader) and isinstance(arguments, dict)):
        raise NerfcompError(f"{config} names {name!r}, which is no reader of scenes here. Name one with --reader.")
    unknown = [key for key in arguments if key not in inspect.signature(cls).parameters]
    if unknown:
        raise NerfcompError(f"{config} gives {name} {unknown[0]!r}, which it does not take. Give --reader.")
    logger.info("The scene of %s: %s %s", config, name, arguments.get("root", ""))
    return cls(**arguments)
