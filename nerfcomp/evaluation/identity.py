"""What rows on disk were measured on, so that a measurement that goes on never takes over those of another one."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.report import write_json
from nerfcomp.readers.scene import Scene


def fingerprint(tensors: Iterable[Tensor], *words: object) -> str:
    """Short name of the exact content of tensors and of how words print: other weights, another name.

    >>> fingerprint([torch.zeros(2)], "a") == fingerprint([torch.zeros(2)], "a")
    True
    >>> fingerprint([torch.zeros(2)], "a") == fingerprint([torch.ones(2)], "a")
    False
    """
    digest = hashlib.blake2b(repr(words).encode(), digest_size=8)
    for tensor in tensors:
        value = tensor.detach().cpu()
        array = np.ascontiguousarray((value.float() if value.dtype == torch.bfloat16 else value).numpy())
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def field_identity(trained: Artifact) -> str:
    """Name of a field's weights, of what it calls empty, and of all that is described of it."""
    tensors = [value for module in trained.modules().values() for value in module.state_dict().values()]
    return fingerprint(tensors, json.dumps(trained.describe(), sort_keys=True))


def scene_identity(scene: Scene) -> str:
    """Name of a scene's views: pixels, cameras, distances."""
    return fingerprint([scene.images, *scene.camera[:3], scene.aabb], scene.names, scene.near, scene.far, scene.ndc)


def claim_rows(path: Path, identity: Mapping[str, Any], rows: Sequence[Path]) -> None:
    """Note what rows are measured on, before the first of them is; or find that they go on with the same.

    Args:
        path: JSON file beside the rows that says what they were measured on.
        identity: JSON values by what a person would call them.
        rows: Files that may hold rows already.

    Raises:
        NerfcompError: There are rows of something else.
    """
    known = json.loads(path.read_text()) if path.is_file() else None
    if known == identity:
        return
    there = [row for row in rows if row.exists()]
    if there:
        of = "that do not say what they were measured on"
        if known is not None:
            other = sorted(key for key in {*known, *identity} if known.get(key) != identity.get(key))
            of = f"of another measurement; what differs: {', '.join(other)}"
        raise NerfcompError(f"{there[0]} holds rows {of}. Choose another folder with --out, or remove that file.")
    write_json(path, dict(identity))


def own_results(folder: Path, scene: str) -> tuple[Path, Path]:
    """Where results of a scene go: ``results.json`` and ``per_image.csv``, with a number where others have these names.

    Args:
        folder: Of a run.
        scene: Identity of the scene, which stands in its results under ``scene``.
    """
    for number in itertools.count(1):
        suffix = "" if number == 1 else f"_{number}"
        results = folder / f"results{suffix}.json"
        if not results.exists() or json.loads(results.read_text()).get("scene") == scene:
            break
    return results, folder / f"per_image{suffix}.csv"
