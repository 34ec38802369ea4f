"""Trained fields as a whole: rebuilt, rendered, measured, and carried by checkpoints and bitstreams."""

from pathlib import Path

from nerfcomp.pipeline.bitstream import (
    BitPlan,
    decode_trained,
    encode_trained,
    fp32_bytes,
    quantize_field,
    read_nfc,
    uniform_plan,
    write_nfc,
)
from nerfcomp.pipeline.checkpoint import DESCRIPTION_KEY, read_checkpoint, write_checkpoint
from nerfcomp.pipeline.evaluate import evaluate_views, render_view
from nerfcomp.pipeline.plan import field_sensitivity, plan_bits
from nerfcomp.pipeline.trained import SceneInfo, TrainedField, describe, rebuild

__all__ = [
    "DESCRIPTION_KEY",
    "BitPlan",
    "SceneInfo",
    "TrainedField",
    "decode_trained",
    "describe",
    "encode_trained",
    "evaluate_views",
    "field_sensitivity",
    "fp32_bytes",
    "plan_bits",
    "quantize_field",
    "read_checkpoint",
    "read_nfc",
    "read_trained",
    "rebuild",
    "render_view",
    "uniform_plan",
    "write_checkpoint",
    "write_nfc",
]


def read_trained(path: str | Path) -> TrainedField:
    """Read a trained field from a ``.nfc`` file or a checkpoint, whichever ``path`` is.

    Raises:
        ContainerError: A ``.nfc`` file that is missing, damaged or not allowed.
        CheckpointError: A checkpoint that is missing, damaged or of another kind.
    """
    return read_nfc(path) if Path(path).suffix == ".nfc" else read_checkpoint(path)
