"""Light fields as ONNX files: written, quantized and compared with torch."""

import importlib
import logging
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from nerfcomp.artifacts.integers import calibrated, to_integers
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.compression import FakeQuantization, quantizers
from nerfcomp.exchange.onnx_graph import build_graph
from nerfcomp.exchange.onnx_integers import build_integer_graph
from nerfcomp.fields import integer_layers
from nerfcomp.files import atomic_write
from nerfcomp.geometry.cameras import select_views
from nerfcomp.lazy import import_extra

logger = logging.getLogger(__name__)
Precision = Literal["fp32", "bf16", "int8"]
_CALIBRATION_VIEWS = 6


class Agreement(NamedTuple):
    """How far an ONNX file is from torch, over a few pictures; values are in [0, 1].

    Attributes:
        largest: Largest absolute difference of a value.
        psnr: Of the ONNX pictures against torch's, in dB; infinite when they are equal.
    """

    largest: float
    psnr: float


def load_extra(name: str) -> Any:
    """Import onnx, onnxscript or onnxruntime.

    Raises:
        MissingExtraError: It is not installed.
    """
    missing = f"{name.partition('.')[0]} is needed for this. Install it with `pip install 'nerfcomp[onnx]'`, "
    return import_extra(name, missing + "or `pip install onnx onnxscript onnxruntime`.")


def export_onnx(trained: LightFieldArtifact, path: Path, precision: Precision = "fp32") -> int:
    """Write a light field as an ONNX file that onnxruntime runs from ``c2w`` (1, 3, 4) to ``rgb`` (1, 3, H, W).

    Args:
        trained: A light field with its scene.
        path: File to write, whole or not at all.
        precision: ``bf16`` stores the weights of convolutions in 16 bits and computes with all 32. ``int8`` stores
            and multiplies in 8 bits, with the ranges of `in_integers`.

    Returns:
        Its bytes.

    Raises:
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    onnx, _ = load_extra("onnx"), load_extra("onnxscript")
    importlib.import_module("onnx.numpy_helper")
    if precision == "int8":
        model = build_integer_graph(in_integers(trained), onnx)
    else:
        model = build_graph(trained.for_drawing())
    if precision == "bf16":
        store_in_bf16(model.graph, onnx)
    with atomic_write(path) as temporary:
        onnx.save(model, str(temporary))
    return path.stat().st_size


def in_integers(trained: LightFieldArtifact) -> LightFieldArtifact:
    """A light field that multiplies integers, without batch normalisation.

    Args:
        trained: One that does already; one that was trained for it, see `FakeQuantization`; or any other, whose ranges
            are then calibrated on known poses.
    """
    if integer_layers(trained.field):
        return trained.for_drawing()
    if not quantizers(trained.field):
        trained.scene.warn_of_one_pose()
        trained = calibrated(trained, [FakeQuantization()], _CALIBRATION_VIEWS)
    return to_integers(trained).for_drawing()


def store_in_bf16(graph: Any, onnx: Any) -> None:
    """Round the weights of all convolutions to bfloat16, in place; a cast makes them float32 where they are used."""
    used = {node.input[1] for node in graph.node if node.op_type in ("Conv", "ConvTranspose")}
    casts = []
    for weight in [tensor for tensor in graph.initializer if tensor.name in used]:
        values = torch.from_numpy(onnx.numpy_helper.to_array(weight).copy()).bfloat16()
        kind, name = onnx.TensorProto.BFLOAT16, f"{weight.name}_bf16"
        short = onnx.helper.make_tensor(name, kind, weight.dims, values.view(torch.int16).numpy().tobytes(), raw=True)
        casts.append(onnx.helper.make_node("Cast", [name], [weight.name], to=onnx.TensorProto.FLOAT))
        graph.initializer.remove(weight)
        graph.initializer.append(short)
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(casts + nodes)


def some_poses(trained: LightFieldArtifact, count: int) -> list[NDArray[np.float32]]:
    """Evenly spread known poses, (1, 3, 4) each."""
    poses = trained.scene.camera.c2w
    chosen = sorted({index * len(poses) // count for index in range(count)})
    return [poses[view : view + 1].numpy() for view in chosen]


def open_session(path: Path, threads: int = 0) -> Any:
    """Open an ONNX file with onnxruntime on the CPU; 0 threads lets it choose."""
    runtime = load_extra("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def compare_with_torch(path: Path, trained: LightFieldArtifact, views: int = 2) -> Agreement:
    """Draw a few known views with onnxruntime and with torch in float32.

    Args:
        path: ONNX file.
        trained: The light field it was made of.
        views: Number of views.

    Returns:
        How far they differ.
    """
    session, plain = open_session(path), trained.for_drawing()
    field = plain.field
    camera, largest, squares = plain.scene.camera, 0.0, []
    home = select_views(camera, [0])
    for pose in some_poses(plain, views):
        (rgb,) = session.run(None, {"c2w": pose})
        with torch.no_grad():
            truth = (
                field.draw(home._replace(c2w=torch.from_numpy(pose)), plain.scene.bounds).permute(0, 3, 1, 2).numpy()
            )
        largest = max(largest, float(np.abs(rgb - truth).max()))
        squares.append(float(np.square(rgb - truth).mean()))
    error = float(np.mean(squares))
    return Agreement(largest, float("inf") if error == 0 else -10 * float(np.log10(error)))
