"""What a training run has left behind: settings, curves, pictures, final figures."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerfcomp.artifacts.runs import find_checkpoint
from nerfcomp.callbacks.run_folder import flattened
from nerfcomp.errors import NerfcompError

_ABSENT = "-"


class RunRecord(NamedTuple):
    """One run.

    Attributes:
        folder: Where it lies.
        settings: Path of every setting, dots between its parts, to its value.
        curves: Name of a figure to (K, 2) step and value.
        pictures: Name of a picture to the PNG of its last step.
        results: Final figures: those of the test, and the last of every curve.
    """

    folder: Path
    settings: dict[str, Any]
    curves: dict[str, NDArray[np.float64]]
    pictures: dict[str, bytes]
    results: dict[str, float]


def read_run(path: Path) -> RunRecord:
    """Read a run.

    Args:
        path: Its folder, or what `find_checkpoint` finds it by.

    Raises:
        NerfcompError: There is no such run, or it has no TensorBoard files.
    """
    folder = path if list(path.glob("events.out.tfevents.*")) else find_checkpoint(path).parent.parent
    if not list(folder.glob("events.out.tfevents.*")):
        raise NerfcompError(f"{folder} has no TensorBoard files (events.out.tfevents.*): is it the folder of a run?")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore

    events = EventAccumulator(str(folder), size_guidance={"images": 1, "scalars": 0})
    events.Reload()
    curves = {
        name: np.array([(entry.step, entry.value) for entry in events.Scalars(name)], np.float64)
        for name in events.Tags()["scalars"]
    }
    pictures = {name: events.Images(name)[-1].encoded_image_string for name in events.Tags()["images"]}
    results = {name: float(curve[-1, 1]) for name, curve in curves.items()}
    return RunRecord(folder, _settings(folder), curves, pictures, results | _results(folder))


def differing(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Names and values of the settings that two runs do not share.

    >>> differing({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": None})
    [('b', '2', '3'), ('c', '-', 'None')]
    """
    names = sorted(name for name in first.keys() | second.keys() if first.get(name, ...) != second.get(name, ...))
    return [(name, str(first.get(name, _ABSENT)), str(second.get(name, _ABSENT))) for name in names]


def _settings(folder: Path) -> dict[str, Any]:
    import yaml

    path = folder / "config.yaml"
    if not path.is_file():
        return {}
    try:
        return flattened(yaml.safe_load(path.read_text()))
    except yaml.YAMLError as error:
        raise NerfcompError(f"{path} is no YAML file that can be read ({error}).") from error


def _results(folder: Path) -> dict[str, float]:
    path = folder / "results.json"
    if not path.is_file():
        return {}
    found = json.loads(path.read_text())
    return {f"results.json: {name}": float(value) for name, value in found.items() if isinstance(value, (int, float))}
