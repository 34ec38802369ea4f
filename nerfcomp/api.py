"""The package in three functions: open what was trained, encode a module, decode a file."""

from pathlib import Path

import torch
from torch import Tensor, nn

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.artifacts.tensors import decode_tensors, encode_module
from nerfcomp.codec import from_bytes, to_bytes
from nerfcomp.limits import MOST_ELEMENTS
from nerfcomp.rate_control.targets import RateTarget, encode_for


def load(path: str | Path, trust: bool = False, max_elements: int = MOST_ELEMENTS) -> Artifact:
    """Open a trained model, ready to draw.

    Args:
        path: A ``.nfc`` file, a checkpoint, the folder of a run, or the name of a finished one.
        trust: Run the native decoder, where it is chosen, in this process instead of a limited child.
        max_elements: Most numbers that a ``.nfc`` file decodes to.

    Returns:
        The model; one of a scene has ``draw(camera)``, ``scene`` and ``field``.

    Raises:
        ContainerError: A ``.nfc`` file that is missing, damaged or not allowed, or that holds tensors alone.
        CheckpointError: A checkpoint that is missing, damaged or of another kind.
    """
    trained = read_artifact(path, trust, max_elements)
    with torch.no_grad():
        trained.prepare()
    return trained


def encode(model: Artifact | nn.Module, qp: int = -24) -> bytes:
    """Encode a trained model, or any module, as the bytes of a ``.nfc`` file.

    Args:
        model: What `load` opens is coded with bits where its pictures feel them; of any other module, all parameters
            with two dimensions or more have the same QP, and buffers are exact.
        qp: Lower is finer: four less halve the step.

    Returns:
        The file; the same bytes for the same weights.

    Raises:
        ValueError: A tensor cannot be coded, such as one with values that are not finite.

    >>> layer = nn.Linear(2, 2)
    >>> layer.load_state_dict(decode(encode(layer, qp=-40)))
    <All keys matched successfully>
    """
    container = encode_module(model, qp) if isinstance(model, nn.Module) else encode_for(model, RateTarget(qp))
    return to_bytes(container)


def decode(data: bytes, trust: bool = False, max_elements: int = MOST_ELEMENTS) -> dict[str, Tensor]:
    """Decode the tensors of a ``.nfc`` file, of whatever kind it is.

    Args:
        data: The whole file.
        trust: Run the native decoder, where it is chosen, in this process instead of a limited child.
        max_elements: Most numbers that come out.

    Returns:
        Tensors by name, as ``load_state_dict`` takes them; quantized ones are float32.

    Raises:
        ContainerError: The file is damaged or not allowed.
    """
    return decode_tensors(from_bytes(data, max_elements=max_elements), trust)
