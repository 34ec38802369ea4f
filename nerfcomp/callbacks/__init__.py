"""What happens at a time: pictures, videos, figures, checkpoints, the folder of a run."""

from nerfcomp.callbacks.bitstream import BitstreamExport
from nerfcomp.callbacks.checkpoint import AtomicCheckpointIO, RunCheckpoint, StepCheckpoint
from nerfcomp.callbacks.dynamic_noise import DynamicNoise
from nerfcomp.callbacks.images import ImageLogger
from nerfcomp.callbacks.learned_pruning import LearnedPruning
from nerfcomp.callbacks.progress import RunProgressBar
from nerfcomp.callbacks.pruning import PruningRounds
from nerfcomp.callbacks.pseudo import PseudoDataWriter
from nerfcomp.callbacks.quantization import FreezeRanges
from nerfcomp.callbacks.rate_control import RateControl
from nerfcomp.callbacks.rate_stage import RateStage
from nerfcomp.callbacks.record import ResultFile
from nerfcomp.callbacks.run_cli import RunCLI
from nerfcomp.callbacks.run_folder import RunFolder, RunLogger
from nerfcomp.callbacks.stage_times import StageTimes
from nerfcomp.callbacks.throughput import Throughput
from nerfcomp.callbacks.video import MovieRender, VideoRender
from nerfcomp.callbacks.view_render import ViewRender

__all__ = [
    "AtomicCheckpointIO",
    "BitstreamExport",
    "FreezeRanges",
    "DynamicNoise",
    "ImageLogger",
    "LearnedPruning",
    "MovieRender",
    "PruningRounds",
    "PseudoDataWriter",
    "RateControl",
    "RateStage",
    "ResultFile",
    "RunCLI",
    "RunCheckpoint",
    "RunFolder",
    "RunLogger",
    "RunProgressBar",
    "StageTimes",
    "StepCheckpoint",
    "Throughput",
    "VideoRender",
    "ViewRender",
]
