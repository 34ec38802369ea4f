"""``compress.py lsa``: a trained NeRF to a bitstream, tuned, and back to a checkpoint."""

import logging
import shutil
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.artifacts.checkpoint import read_checkpoint, write_checkpoint
from nerfcomp.artifacts.coded_tensors import SideQP
from nerfcomp.artifacts.kinds import of_kind, of_scene
from nerfcomp.artifacts.nfc import decode_artifact, fp32_bytes, read_nfc
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.runs import find_checkpoint
from nerfcomp.commands.lsa_files import (
    DatasetType,
    LSAOptions,
    StageResult,
    measured,
    read_options,
    run_name,
    stage_result,
    write_bitstreams,
    write_options,
    write_reconstructed,
    write_results,
)
from nerfcomp.commands.lsa_tuning import HELD_VIEWS, rays_per_process, scene_reader, tune
from nerfcomp.descriptions import require_between
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.report import format_table, mean_result
from nerfcomp.evaluation.views import evaluate_views, some_views
from nerfcomp.exchange.loading import load_start
from nerfcomp.exchange.nerf_pytorch import usual_distances
from nerfcomp.files import claim_folder
from nerfcomp.rate_control.allocator import Allocator
from nerfcomp.rate_control.targets import RateTarget, encode_for
from nerfcomp.rate_control.tuned_search import encode_within, qp_for_drop, quantized_copy, tuned_qp_for_bytes
from nerfcomp.readers import Scene
from nerfcomp.rendering import HierarchicalSampler

logger = logging.getLogger("compress")
_SEARCH_ITERATIONS = 300  # of tuning, before a QP is judged


def lsa(
    input: str | None = None,
    root: str | None = None,
    dataset_type: DatasetType = "blender",
    nickname: str = "nerf",
    out: Path = Path("runs"),
    qp: int = -20,
    lsa: bool = True,
    epochs: int = 2,
    n_iters: int = 1000,
    learning_rate: float = 1e-3,
    learning_rate_decay: float = 0.1,
    save_every: int | None = None,
    batch_size: int = 4096,
    uniform: bool = False,
    scale_qp: int = -48,
    bias_qp: int = -44,
    tune_biases: bool = True,
    target_bytes: int | None = None,
    max_psnr_drop: float | None = None,
    downscale: int | None = None,
    test_stride: int = 1,
    movie_frames: int = 40,
    movie_scale: float = 0.5,
    disparity: bool = False,
    processes: int = 1,
    resume: Path | None = None,
) -> None:
    """Compress a trained NeRF: quantize, tune scales (LSA), encode, decode, measure, write it back.

    Args:
        input: Checkpoint of nerf-pytorch (.tar), of nerf_pl or of ours, folder of a run, or a .nfc file.
        root: Folder of the scene.
        dataset_type: Format of the scene: ``blender`` (such as lego) or ``llff`` (such as fern).
        nickname: Part of the name of the run's folder.
        out: Where that folder is made.
        qp: Quality, like a video codec's QP: -10 makes small files, -40 good ones.
        lsa: Tune scales after quantization.
        epochs: Number of epochs of ``n_iters`` iterations.
        n_iters: Iterations of an epoch.
        learning_rate: First learning rate of the scales.
        learning_rate_decay: Factor of the learning rate from one epoch to the next; 0 for none.
        save_every: Iterations between intermediate models, films and pictures; only at the end when absent.
        batch_size: Most rays of an iteration.
        uniform: Give every weight the same QP instead of spreading it by what the pictures feel.
        scale_qp: QP of the scales.
        bias_qp: QP of the biases.
        tune_biases: Tune the biases, too.
        target_bytes: Search the finest quality whose file is at most this large, instead of taking ``qp``.
        max_psnr_drop: Search the coarsest quality that loses at most this many dB on views held back from tuning.
        downscale: Divide the images' width and height by this; 2 for blender, 8 for llff when absent.
        test_stride: Measure every n-th row and column of held-back and test views; 1 measures all of them.
        movie_frames: Frames of a film; 0 for no films.
        movie_scale: Size of films relative to the images.
        disparity: Write films of the disparity, too.
        processes: Processes of this machine that tune together; each draws its share of ``batch_size``.
        resume: Go on with the run in this folder; all other options are those that it was started with.
    """
    given = locals()
    show(open_run(given | {"ckpt": None if input is None else str(find_checkpoint(input))}))


def open_run(given: Mapping[str, Any]) -> "LSARun":
    """Make the folder of a new run, or open that of one to resume.

    Args:
        given: Arguments of `lsa` by name.

    Raises:
        NerfcompError: Something is missing or contradicts something else.
    """
    if given["resume"] is not None:
        return LSARun(given["resume"], read_options(given["resume"]))
    if given["root"] is None or given["ckpt"] is None:
        raise NerfcompError("Name the checkpoint, and the scene with --root; or a run with --resume.")
    require_between(1, epochs=given["epochs"], n_iters=given["n_iters"])
    if given["target_bytes"] is not None and given["max_psnr_drop"] is not None:
        raise NerfcompError("Give target_bytes or max_psnr_drop, not both.")
    options = LSAOptions(**{key: given[key] for key in LSAOptions._fields})
    rays_per_process(options)
    name, parent = run_name(options, datetime.now()), given["out"]
    run = LSARun(parent / name, options)
    number = claim_folder(parent, lambda number: f"{name}_{number}" if number else name)
    run.folder = parent / (f"{name}_{number}" if number else name)
    write_options(run.folder, options)
    return run


def show(run: "LSARun") -> None:
    """Run, then show the table at the end."""
    table = [[row.stage, row.psnr, row.drop, row.ssim, row.bytes, row.ratio] for row in run.run()]
    logger.info(format_table(["stage", "psnr", "drop", "ssim", "bytes", "ratio"], table))
    logger.info("%d test views, rendered from decoded files. Written to %s", len(run.test.names), run.folder)


class LSARun:
    """One run; a step whose result is there already is left out.

    Args:
        folder: Of the run.
        options: What was asked for.
    """

    def __init__(self, folder: Path, options: LSAOptions) -> None:
        torch.manual_seed(0)
        self.folder = folder
        self.options = options
        self.reader = scene_reader(options)
        self.test = self.reader.read("test")
        self.side = SideQP(options.scale_qp, options.bias_qp)
        self.steps = options.epochs * options.n_iters if options.lsa else 0

    def run(self) -> list[StageResult]:
        """Do what is not done yet; returns the table at the end. The checkpoint is read until it is quantized."""
        name, start = self.folder.name, self.folder / "checkpoints" / "quantized.ckpt"
        fp32 = measured(self.folder, "fp32", self.original, self.test)
        if not start.exists():
            write_checkpoint(self.quantize(self.original()), start)
        size = fp32_bytes(read_checkpoint(start))
        rows = [stage_result("fp32", fp32, fp32, size, size)]
        path = self.folder / "bitstream" / ("before_tuning.nfc" if self.steps else f"{name}.nfc")
        if not path.exists():
            self.encode(read_checkpoint(start), path)
        mean = measured(self.folder, "quantized", partial(read_nfc, path), self.test)
        rows.append(stage_result("quantized", mean, fp32, size, path.stat().st_size))
        if self.steps:
            path = self.folder / "bitstream" / f"{name}.nfc"
            if not path.exists():
                self.encode(self.tune(start), path)
            pictures = self.folder / f"testset_step{self.steps}"
            mean = measured(self.folder, "tuned", partial(read_nfc, path), self.test, pictures)
            rows.append(stage_result("tuned", mean, fp32, size, path.stat().st_size))
        write_reconstructed(read_nfc(path), self.folder, name)
        write_results(self.folder, self.options, rows, {"test_views": len(self.test.names)})
        return rows

    def original(self) -> RadianceFieldArtifact:
        """The field to compress, sampled between its own distances; as nerf-pytorch does if its file does not say."""
        forward = self.options.dataset_type == "llff"
        sampler = HierarchicalSampler(64, 64 if forward else 128, cascades=1 if forward else 2)
        train = usual_distances(self.reader.read("train"))
        white = 1.0 if train.has_alpha else 0.0
        start = load_start(self.options.ckpt, train, (white, white, white), sampler)
        return of_kind(start, RadianceFieldArtifact, "LSA here tunes")

    def quantize(self, original: RadianceFieldArtifact) -> RadianceFieldArtifact:
        """Choose QPs and give every weight the value that a decoder will see."""
        original.prepare()
        allocator, options = Allocator(original, self.options.uniform, self.side), self.options
        qp = options.qp
        if options.target_bytes is not None:
            qp = tuned_qp_for_bytes(original, allocator, options.target_bytes, tuned=self.steps > 0)
        elif options.max_psnr_drop is not None:
            held = some_views(self.reader.read("val"), HELD_VIEWS)
            best = mean_result(evaluate_views(original, held, "held-back views")).psnr
            qp = qp_for_drop(lambda q: best - self.trial(original, allocator, q, held), options.max_psnr_drop)
        logger.info("Quantizing at QP %d", qp)
        return quantized_copy(original, allocator.allocate(qp))

    def trial(self, original: RadianceFieldArtifact, allocator: Allocator, qp: int, held: Scene) -> float:
        """PSNR on held-back views of the decoded file after a little tuning at ``qp``."""
        folder = self.folder / "trial"
        shutil.rmtree(folder, ignore_errors=True)
        start, steps = folder / "start.ckpt", min(_SEARCH_ITERATIONS, self.steps)
        write_checkpoint(quantized_copy(original, allocator.allocate(qp)), start)
        trained = tune(self.options, start, folder, steps, shown=False) if steps else read_checkpoint(start)
        shutil.rmtree(folder)
        decoded = of_scene(decode_artifact(encode_for(trained, RateTarget()), trust=True), "Views show")
        found = mean_result(evaluate_views(decoded, held, f"QP {qp}")).psnr
        logger.info("QP %d: %.3f dB on held-back views after some tuning", qp, found)
        return found

    def tune(self, start: Path) -> RadianceFieldArtifact:
        """Tune with everything that a person wants to see of it, going on where an earlier session stopped."""
        return tune(self.options, start, self.folder, self.steps, shown=True)

    def encode(self, trained: Artifact, path: Path) -> None:
        """Write a quantized field and its bare streams."""
        provenance = {"source": Path(self.options.ckpt).name, "qp": self.options.qp}
        write_bitstreams(encode_within(trained, self.options.target_bytes, provenance), path)
