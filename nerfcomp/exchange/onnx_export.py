"""Light fields as ONNX files: written, quantized and compared with torch."""

import importlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.errors import MissingExtraError
from nerfcomp.exchange.onnx_graph import LAST_LAYER, build_graph
from nerfcomp.files import atomic_write
from nerfcomp.geometry.cameras import select_views

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
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"{name.partition('.')[0]} is needed for this. Install it with `pip install 'nerfcomp[onnx]'`, "
            "or `pip install onnx onnxscript onnxruntime`."
        ) from error


def export_onnx(trained: LightFieldArtifact, path: Path, precision: Precision = "fp32") -> int:
    """Write a light field as an ONNX file that onnxruntime runs from ``c2w`` (1, 3, 4) to ``rgb`` (1, 3, H, W).

    Args:
        trained: A light field with its scene.
        path: File to write, whole or not at all.
        precision: ``bf16`` stores the weights of convolutions in 16 bits and computes with all 32. ``int8`` stores
            weights in 8 bits and multiplies the 1x1 convolutions but the last in 8 bits, their ranges calibrated on
            known poses; students without batch normalisation bear that badly.

    Returns:
        Its bytes.

    Raises:
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    onnx, _ = load_extra("onnx"), load_extra("onnxscript")
    importlib.import_module("onnx.numpy_helper")
    model = build_graph(trained.for_drawing())
    if precision == "bf16":
        store_in_bf16(model.graph, onnx)
    with atomic_write(path) as temporary:
        onnx.save(model, str(temporary))
        if precision == "int8":
            quantize_file(temporary, trained)
    return path.stat().st_size


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


def quantize_file(path: Path, trained: LightFieldArtifact) -> None:
    """Quantize the convolutions of an ONNX file, in place: 8-bit weights per channel, 8-bit activations.

    Args:
        path: The file.
        trained: Knows poses to calibrate on.
    """
    quantization = load_extra("onnxruntime.quantization")
    trained.scene.warn_of_one_pose()

    class KnownPoses(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        """Feeds poses one by one."""

        def __init__(self) -> None:
            self.poses: Iterator[NDArray[np.float32]] = iter(some_poses(trained, _CALIBRATION_VIEWS))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            """The next pose; None after the last."""
            pose = next(self.poses, None)
            return None if pose is None else {"c2w": pose}

    target = path.with_name(f"{path.stem}-int8{path.suffix}")
    try:
        quantization.quantize_static(
            str(path),
            str(target),
            KnownPoses(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=[LAST_LAYER],  # its errors are the picture's, and it has three rows
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )
        target.replace(path)
    finally:
        target.unlink(missing_ok=True)


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
