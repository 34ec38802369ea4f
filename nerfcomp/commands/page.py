"""A student as a page of its own."""

import json
import logging
import math
from importlib.resources import files
from pathlib import Path

from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.report import format_table
from nerfcomp.exchange.onnx_export import Precision, compare_with_torch
from nerfcomp.exchange.onnx_export import export_onnx as write_onnx
from nerfcomp.exchange.web_runtime import WASM, WEBGPU, find_runtime, unpack
from nerfcomp.files import atomic_write
from nerfcomp.viewer import surroundings

logger = logging.getLogger("compress")
MODEL = "student.onnx"
_LARGEST = 1e-4  # difference to torch that is rounding


def page(
    input: Path,
    out: Path,
    scale: float = 1.0,
    precision: Precision = "fp32",
    webgpu: bool = False,
    runtime: Path | None = None,
) -> None:
    """Write a page that draws a student in the browser alone: one folder for any web host.

    It holds the student as an ONNX graph, onnxruntime-web, and a page to turn it on, which says its bytes and frames
    per second. A browser needs http for it: ``python -m http.server --directory FOLDER`` shows it on this machine.

    Args:
        input: Checkpoint or .nfc file of a student, or the folder of a run.
        out: Folder to write; must not hold anything yet.
        scale: Size of the pictures relative to those that the student learned from.
        precision: ``fp32``; ``bf16`` for 16-bit weights; ``int8`` for products of bytes.
        webgpu: Also draw on GPUs of browsers that have WebGPU; 27 MB more.
        runtime: onnxruntime-web as npm packs it, or the folder it lies in; fetched by npm once when absent.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise NerfcompError(f"{out} holds something already. Choose another --out.")
    if not (scale > 0 and math.isfinite(scale)):
        raise NerfcompError(f"Pictures cannot be scaled by {scale}; give a number above 0.")
    trained = of_kind(read_artifact(input), LightFieldArtifact, "A page of its own draws")
    trained = trained.replace(scene=trained.scene.scaled(scale))
    package, names = find_runtime(runtime), WEBGPU if webgpu else WASM
    out.mkdir(parents=True, exist_ok=True)
    size = write_onnx(trained, out / MODEL, precision)
    agreement = compare_with_torch(out / MODEL, trained)
    if precision == "fp32" and agreement.largest > _LARGEST:
        raise NerfcompError(f"The graph differs from torch by {agreement.largest:.2e}; at most 1e-4 is rounding.")
    library = unpack(package, names, out)
    written = write_page(trained, out, names[0], size, library)
    rows = [["student", size], ["onnxruntime-web", library], ["page", written], ["all", size + library + written]]
    logger.info(format_table(["part", "bytes"], [list(row) for row in rows]))
    logger.info("Put %s on any web host. To look at it here: python -m http.server --directory %s", out, out)


def write_page(trained: LightFieldArtifact, folder: Path, script: str, size: int, library: int) -> int:
    """Write the page itself.

    Args:
        trained: The student.
        folder: Where.
        script: Of onnxruntime-web.
        size: Bytes of the graph.
        library: Bytes of onnxruntime-web.

    Returns:
        Its bytes.
    """
    scene = {**surroundings(trained.scene), "model": MODEL, "bytes": size, "library": library, "script": script}
    text = files("nerfcomp.viewer").joinpath("student.html").read_text(encoding="utf-8")
    text = text.replace("SCRIPT_OF_ONNXRUNTIME", script).replace('"SCENE_OF_THE_STUDENT"', json.dumps(scene))
    with atomic_write(folder / "index.html") as temporary:
        return temporary.write_text(text, encoding="utf-8")
