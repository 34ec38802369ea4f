"""A light field as one ONNX graph from the pose of a camera to its picture; standard operators only.

The graph is that of a module which torch's exporter traces: 1x1 layers are convolutions in it, which onnxruntime fuses,
and angles are doubled by recurrence. The input ``c2w`` is (1, 3, 4) float32, the output ``rgb``
(1, 3, H, W) in [0, 1]. Intrinsics, size and bounds of the scene are constants of the graph.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.fields.block_points import block_directions, points_along
from nerfcomp.fields.channels_last import Pointwise
from nerfcomp.fields.residual import Stage
from nerfcomp.geometry.cameras import select_views
from nerfcomp.kernels.hash_grid import hash_encode

OPSET = 20  # the first with Gelu
_EXACT_OCTAVES = 4  # doubling an angle by recurrence doubles its error, so that every fourth octave begins anew


class PoseToPicture(nn.Module):
    """What the graph computes, channels first.

    Args:
        trained: A merged light field and its scene; camera constants are those of the home view.
    """

    scale: Tensor
    shift: Tensor
    directions: Tensor
    fractions: Tensor

    def __init__(self, trained: LightFieldArtifact) -> None:
        super().__init__()
        self.field = field = trained.field
        assert not field.batch_norm
        home, count = select_views(trained.scene.camera, [0]), field.points_per_ray
        self.bounds = trained.scene.bounds
        self.box = field.aabb if field.in_box else None
        self.height, self.width = home.height, home.width
        self.rows = -(-home.height // field.factor)
        middle, reach = field.aabb.mean(0), (field.aabb[1] - field.aabb[0]) / 2
        self.register_buffer("scale", (1 / reach).repeat(count)[:, None, None])
        self.register_buffer("shift", (-middle / reach).repeat(count)[:, None, None])
        self.register_buffer("directions", block_directions(home, field.factor))
        self.register_buffer("fractions", (torch.arange(count) + 0.5) / count)

    def forward(self, c2w: Tensor) -> Tensor:
        """Map a pose (1, 3, 4) to its picture (1, 3, H, W)."""
        x = start = functional.gelu(convolve(self.field.head, self.encode(self.points(c2w))))
        for block in self.field.body:
            x = add_residual(block, x)
        x = x + start
        for stage in self.field.tail:
            assert isinstance(stage, Stage)
            x = convolve(stage.up, x)
            for block in stage.blocks:
                x = add_residual(block, x)
        if isinstance(self.field.rgb, Pointwise):
            x = convolve(self.field.rgb, x)
        return torch.sigmoid(x)[:, :, : self.height, : self.width]

    def points(self, c2w: Tensor) -> Tensor:
        """Points (1, 3 K, h, w) along the rays of a pose (1, 3, 4)."""
        points = points_along(c2w, self.directions, self.fractions, self.bounds, self.box)
        return points.view(1, self.rows, -1, points.shape[-1]).permute(0, 3, 1, 2)

    def encode(self, points: Tensor) -> Tensor:
        """Encode points (1, 3 K, h, w), channels first; see `LightField.encode`."""
        x = points * self.scale + self.shift
        parts = [x]
        for octave in range(self.field.octaves):
            if octave % _EXACT_OCTAVES == 0:
                sine, cosine = (x * 2.0**octave).sin(), (x * 2.0**octave).cos()
            else:
                twice = 2 * sine
                sine, cosine = twice * cosine, 1 - twice * sine
            parts += [sine, cosine]
        if self.field.grid is not None:
            parts.append(self.features(x))
        return torch.cat(parts, 1)

    def features(self, x: Tensor) -> Tensor:
        """Features (1, K C, h, w) of the grid at points (1, 3 K, h, w) of the cube [-1, 1]^3."""
        grid = self.field.grid
        assert grid is not None
        _, _, rows, columns = x.shape
        inside = (x.permute(0, 2, 3, 1).reshape(-1, 3) + 1) / 2
        found = hash_encode(inside, grid.tables, grid.geometry, "torch")
        return found.view(1, rows, columns, -1).permute(0, 3, 1, 2)


def convolve(layer: Any, x: Tensor) -> Tensor:
    """A convolution or a transposed one on (1, C, h, w), as such; the layers themselves take their channels last."""
    if isinstance(layer, nn.ConvTranspose2d):
        assert isinstance(layer.padding, tuple)
        return functional.conv_transpose2d(x, layer.weight, layer.bias, layer.stride, layer.padding)
    return functional.conv2d(x, layer.weight, layer.bias)


def add_residual(block: Any, x: Tensor) -> Tensor:
    """``x + conv2(gelu(conv1(x)))``."""
    return x + convolve(block.conv2, functional.gelu(convolve(block.conv1, x)))


def build_graph(trained: LightFieldArtifact) -> Any:
    """Write a merged light field as an ONNX model; takes some seconds.

    Args:
        trained: The light field and its scene.

    Returns:
        The model (``onnx.ModelProto``).
    """
    return export_module(PoseToPicture(trained).eval())


def export_module(module: PoseToPicture) -> Any:
    """Trace a module into an ONNX model without traces of this machine."""
    pose = torch.eye(3, 4)[None]
    names: dict[str, Any] = {"input_names": ["c2w"], "output_names": ["rgb"]}
    with without_advice():
        program = torch.onnx.export(module, (pose,), dynamo=True, opset_version=OPSET, verbose=False, **names)
    assert program is not None
    model = program.model_proto
    strip_traces(model)
    return model


def strip_traces(model: Any) -> None:
    """Take out, in place, the lines of source and paths of this machine that the exporter notes at every node."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.producer_name = "nerfcomp"


@contextmanager
def without_advice() -> Iterator[None]:
    """Keep from users what the exporter tells developers: missing torchvision, deprecated calls inside torch."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
