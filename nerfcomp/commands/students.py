"""Smaller students."""

import logging
from pathlib import Path

from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.evaluation.complexity import frame_milliseconds
from nerfcomp.evaluation.report import format_table
from nerfcomp.files import new_file, refuse_overwrite
from nerfcomp.rate_control.slimming import slim as slim_trained

logger = logging.getLogger("compress")


def slim(input: Path, out: Path, keep: float = 0.5, multiple: int = 8, views: int = 4, force: bool = False) -> None:
    """Write a smaller dense student that draws faster, to be fine-tuned.

    That is a run of ``train.py fit`` that has the student as its ``init_from``.

    Args:
        input: Checkpoint or .nfc file of a student, or the folder of a run.
        out: Checkpoint to write.
        keep: Share of what drawing costs that stays: inner channels of the residual blocks and channels of the tail.
        multiple: Channels stay in groups of this size.
        views: Known poses to measure the importance of channels from.
        force: Overwrite ``out``.
    """
    refuse_overwrite(out, force)
    whole = of_kind(read_artifact(input), LightFieldArtifact, "Slimming takes")
    small = slim_trained(whole, keep, views, multiple)
    with new_file(out, force) as temporary:
        write_checkpoint(small, temporary)
    rows = []
    for name, trained in ((input, whole), (out, small)):
        parameters = sum(parameter.numel() for parameter in trained.field.parameters())
        mmacs = trained.multiplications().dense / 1e6
        rows.append([str(name), parameters, mmacs, frame_milliseconds(trained)])
    logger.info(format_table(["student", "parameters", "Mmacs", "ms per frame"], rows))
    logger.info("inner widths %s, tail %s", *(small.field.arguments[key] for key in ("inner_widths", "tail_widths")))
