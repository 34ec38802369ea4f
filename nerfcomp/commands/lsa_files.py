"""The files of one run that quantizes, tunes and encodes a trained NeRF: ``compress.py lsa``.

Everything a run has found out stands in its folder, so that a run that was stopped goes on where it was::

    options.json               what was asked for
    checkpoints/               quantized.ckpt, and last.ckpt of the tuning
    evaluation/                PSNR and SSIM of every test view: fp32, quantized, tuned
    bitstream/                 <run>.nfc, its bare streams <run>_<section>.nnc; before_tuning.nfc
    reconstructed/             <run>_reconstructed.pt (decoded weights), .tar (for nerf-pytorch); ckpt_step<n>.pt
    movies/ testset_step<n>/   pictures
    result.txt, results.json   every iteration; the table at the end
"""

import csv
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.artifacts.kinds import of_scene
from nerfcomp.artifacts.nfc import write_nfc
from nerfcomp.codec import Container, unwrap
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.report import MeanResult, ViewResult, mean_result, write_csv, write_json
from nerfcomp.evaluation.views import evaluate_views
from nerfcomp.exchange.nerf_pytorch import is_vanilla_nerf, to_nerf_pytorch
from nerfcomp.files import atomic_write
from nerfcomp.readers.nerf_pytorch import write_nerf_pytorch
from nerfcomp.readers.scene import Scene
from nerfcomp.readers.torch_file import save_torch_file

DatasetType = Literal["blender", "llff"]


class LSAOptions(NamedTuple):
    """What ``compress.py lsa`` was asked for; see there."""

    ckpt: str
    root: str
    dataset_type: DatasetType
    nickname: str
    qp: int
    lsa: bool
    epochs: int
    n_iters: int
    learning_rate: float
    learning_rate_decay: float
    save_every: int | None
    batch_size: int
    uniform: bool
    scale_qp: int
    bias_qp: int
    tune_biases: bool
    target_bytes: int | None
    max_psnr_drop: float | None
    downscale: int | None
    test_stride: int
    movie_frames: int
    movie_scale: float
    disparity: bool
    processes: int = 1


class StageResult(NamedTuple):
    """What one stage of a run is worth on the test views."""

    stage: str  # fp32, quantized, tuned
    psnr: float  # dB
    ssim: float
    drop: float  # dB below fp32
    bytes: int
    ratio: float  # of the fp32 weights to the file


def run_name(options: LSAOptions, when: datetime) -> str:
    """Name of a run's folder.

    >>> options = LSAOptions(*[None] * 3, "lego", -20, True, 2, 20000, 1e-4, 0.5, *[None] * 13)
    >>> run_name(options._replace(dataset_type="blender"), datetime(2026, 11, 20, 9, 5, 7))
    '261120090507_lego_qp-20_e2_lr0p0001_decay0p5_N20000_blender'
    """
    rate, decay = (f"{value:g}".replace(".", "p") for value in (options.learning_rate, options.learning_rate_decay))
    parts = (f"{when:%y%m%d%H%M%S}", options.nickname, f"qp{options.qp}", f"e{options.epochs}", f"lr{rate}")
    return "_".join([*parts, f"decay{decay}", f"N{options.n_iters}", options.dataset_type])


def write_options(folder: Path, options: LSAOptions) -> None:
    """Keep what was asked for in the folder of a run."""
    write_json(folder / "options.json", options._asdict())


def read_options(folder: Path) -> LSAOptions:
    """Read what a run was asked for.

    Raises:
        NerfcompError: The folder is none of a run.
    """
    path = folder / "options.json"
    if not path.is_file():
        raise NerfcompError(f"{folder} is not the folder of an LSA run: it has no options.json.")
    try:
        return LSAOptions(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise NerfcompError(f"{path} cannot be continued ({error}); start a new run.") from error


def measured(
    folder: Path, stage: str, read: Callable[[], Artifact], scene: Scene, pictures: Path | None = None
) -> MeanResult:
    """Measure a stage on the views of a scene, or read what an earlier session measured.

    Args:
        folder: Of the run.
        stage: Name of the stage.
        read: Reads what is measured, if it has to be.
        scene: Test views.
        pictures: Folder for the renderings.

    Returns:
        Means over the views.
    """
    path = folder / "evaluation" / f"{stage}.csv"
    if path.exists():
        with open(path, newline="") as file:
            rows = [ViewResult(r["name"], *(float(r[k]) for k in ViewResult._fields[1:])) for r in csv.DictReader(file)]
        if [row.name for row in rows] == list(scene.names):
            return mean_result(rows)
    rows = evaluate_views(of_scene(read(), "Views show"), scene, stage, pictures)
    write_csv(path, rows)
    return mean_result(rows)


def stage_result(stage: str, mean: MeanResult, fp32: MeanResult, original: int, size: int) -> StageResult:
    """One row of the table at the end; ``original`` and ``size`` in bytes."""
    return StageResult(stage, mean.psnr, mean.ssim, fp32.psnr - mean.psnr, size, original / size)


def write_bitstreams(container: Container, path: Path) -> None:
    """Write a container and, beside it, its bare NNC streams ``<stem>_<section>.nnc``."""
    for section, stream in unwrap(container).items():
        with atomic_write(path.with_name(f"{path.stem}_{section.replace('/', '_')}.nnc")) as temporary:
            temporary.write_bytes(stream)
    write_nfc(container, path)


def write_reconstructed(decoded: Artifact, folder: Path, name: str) -> list[Path]:
    """Write decoded weights into ``reconstructed/``.

    Args:
        decoded: What a decoder made of the bitstream.
        folder: Of the run.
        name: Of the run.

    Returns:
        The files: all weights under the field's names (``.pt``), and for a vanilla NeRF the checkpoint that
        nerf-pytorch loads (``.tar``).
    """
    paths = [folder / "reconstructed" / f"{name}_reconstructed.pt"]
    with atomic_write(paths[0]) as temporary:
        save_torch_file({key: value.detach().cpu() for key, value in decoded.field.named_parameters()}, temporary)
    if is_vanilla_nerf(decoded):
        paths.append(paths[0].with_suffix(".tar"))
        write_nerf_pytorch(paths[1], to_nerf_pytorch(decoded))
    return paths


def write_results(folder: Path, options: LSAOptions, rows: list[StageResult], more: Mapping[str, Any]) -> None:
    """Write the table at the end as ``results.json``."""
    stages = [row._asdict() for row in rows]
    write_json(folder / "results.json", {"options": options._asdict(), "stages": stages, **more})
