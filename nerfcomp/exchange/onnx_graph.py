"""A light field as one ONNX graph from the pose of a camera to its picture; standard operators only.

Notation: P = h w blocks, K points per ray; every tensor is float32. The input ``c2w`` is (1, 3, 4), the output
``rgb`` (1, 3, H, W) in [0, 1]. Intrinsics, size and bounds of the scene are constants of the graph.
"""

from typing import Any

import numpy as np
from torch import Tensor, nn

from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.fields import Bounds, LightField
from nerfcomp.fields.block_points import block_directions
from nerfcomp.fields.channels_last import Pointwise
from nerfcomp.fields.light_field import Residual, Stage
from nerfcomp.geometry.cameras import select_views

OPSET = 20  # the first with Gelu
_IR_VERSION = 9
_EXACT_OCTAVES = 4  # doubling an angle by recurrence doubles its error, so that every fourth octave begins anew

LAST_LAYER = "rgb_layer"


class Graph:
    """Collects nodes and constants.

    Args:
        onnx: The package, imported late because it is optional.
    """

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any, name: str = "") -> str:
        """Add a tensor; floats become float32."""
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        name = name or f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add an operator with one output; returns the output's name."""
        output = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def model(self, output: str, shape: tuple[int, ...]) -> Any:
        """Finish: a checked model with input ``c2w`` and output ``rgb``."""
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        self.node("Identity", output, name="rgb")
        graph = helper.make_graph(
            self.nodes,
            "light_field",
            [helper.make_tensor_value_info("c2w", kind, [1, 3, 4])],
            [helper.make_tensor_value_info("rgb", kind, list(shape))],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="nerfcomp")
        model.ir_version = _IR_VERSION
        self.onnx.checker.check_model(model)
        return model


def build_graph(trained: LightFieldArtifact, onnx: Any) -> Any:
    """Write a merged light field as an ONNX model.

    Args:
        trained: The light field and its scene; camera constants are those of the home view.
        onnx: The package.

    Returns:
        The model.
    """
    field, scene = trained.field, trained.scene
    assert not field.batch_norm
    graph = Graph(onnx)
    home = select_views(scene.camera, [0])
    rows = -(-scene.height // field.factor)
    directions = block_directions(home, field.factor)
    points = add_points(graph, directions, field.points_per_ray, scene.bounds)
    grid = graph.node("Reshape", points, graph.constant(np.array([1, rows, -1, 3 * field.points_per_ray])))
    x = add_network(graph, field, graph.node("Transpose", grid, perm=[0, 3, 1, 2]))
    ends = graph.constant(np.array([scene.height, scene.width]))
    picture = graph.node("Slice", x, graph.constant(np.array([0, 0])), ends, graph.constant(np.array([2, 3])))
    return graph.model(picture, (1, 3, scene.height, scene.width))


def add_points(graph: Graph, directions: Tensor, count: int, bounds: Bounds) -> str:
    """Points along the rays of all blocks, (1, P, K, 3); see `nerfcomp.fields.block_points.points_along`."""
    zero, three, four, last = (graph.constant(np.array([value])) for value in (0, 3, 4, 2))
    rotation = graph.node("Slice", "c2w", zero, three, last)
    turned = graph.node("Transpose", rotation, perm=[0, 2, 1])
    world = graph.node("MatMul", graph.constant(directions), turned)
    length = graph.node("ReduceL2", world, last, keepdims=1)
    unit = graph.node("Div", world, length)
    origin = graph.node("Transpose", graph.node("Slice", "c2w", three, four, last), perm=[0, 2, 1])
    fractions = (np.arange(count) + 0.5) / count
    if bounds.frustum is None:
        t = graph.constant((bounds.near + (bounds.far - bounds.near) * fractions).reshape(1, 1, -1, 1))
    else:
        origin, unit, reach = add_ndc(graph, origin, unit, bounds.frustum)
        t = graph.constant((bounds.near + (bounds.far - bounds.near) * fractions).reshape(1, 1, -1, 1))
        t = graph.node("Mul", graph.node("Unsqueeze", reach, last), t)
    steps = graph.node("Mul", graph.node("Unsqueeze", unit, last), t)
    return graph.node("Add", graph.node("Unsqueeze", origin, last), steps)


def add_ndc(graph: Graph, origin: str, unit: str, frustum: tuple[float, float]) -> tuple[str, str, str]:
    """Origins and directions (1, P, 3) in normalised device coordinates, and lengths (1, P, 1) to infinity.

    See `nerfcomp.geometry.rays.ndc_rays`; rays that do not look along -z get length 0.
    """
    axes = [graph.constant(np.array([axis])) for axis in range(4)]

    def coordinate(value: str, axis: int) -> str:
        return graph.node("Slice", value, axes[axis], axes[axis + 1], axes[2])

    one, least = graph.constant(np.array(1.0)), graph.constant(np.array(-1e-6))
    z = coordinate(unit, 2)
    forward = graph.node("Less", z, least)
    depth = graph.node("Where", forward, graph.node("Neg", z), one)
    drop = graph.node("Add", coordinate(origin, 2), one)
    starts, spans = [], []
    for axis, half in enumerate(frustum):
        slope = graph.node("Div", coordinate(unit, axis), depth)
        start = graph.node("Add", coordinate(origin, axis), graph.node("Mul", drop, slope))
        scale = graph.constant(np.array(1 / half))
        starts.append(graph.node("Mul", start, scale))
        spans.append(graph.node("Mul", graph.node("Sub", slope, start), scale))
    like = graph.node("Mul", z, graph.constant(np.array(0.0)))
    spans.append(graph.node("Add", like, graph.constant(np.array(2.0))))
    starts.append(graph.node("Sub", like, one))
    span = graph.node("Concat", *spans, axis=2)
    length = graph.node("ReduceL2", span, axes[2], keepdims=1)
    there = graph.node("Mul", length, graph.node("Cast", forward, to=1))
    direction = graph.node("Where", forward, graph.node("Div", span, length), unit)
    return graph.node("Concat", *starts, axis=2), direction, there


def add_network(graph: Graph, field: LightField, points: str) -> str:
    """The network itself: points (1, 3 K, h, w) to a picture (1, 3, f h, f w)."""
    x = start = graph.node("Gelu", add_conv(graph, field.head, add_encoding(graph, field, points), "head"))
    for index, block in enumerate(field.body):
        assert isinstance(block, Residual)
        x = add_residual(graph, block, x, f"body_{index}")
    x = graph.node("Add", x, start)
    for index, stage in enumerate(field.tail):
        assert isinstance(stage, Stage)
        last = stage is field.tail[-1] and not field.arguments["rgb_layer"]
        x = add_conv(graph, stage.up, x, LAST_LAYER if last else f"tail_{index}_up")
        for place, block in enumerate(stage.blocks):
            assert isinstance(block, Residual)
            x = add_residual(graph, block, x, f"tail_{index}_{place}")
    if isinstance(field.rgb, Pointwise):
        x = add_conv(graph, field.rgb, x, LAST_LAYER)
    return graph.node("Sigmoid", x)


def add_encoding(graph: Graph, field: LightField, points: str) -> str:
    """Frequency encoding, angles doubled by recurrence; see `LightField.encode`."""
    middle, reach = field.aabb.mean(0), (field.aabb[1] - field.aabb[0]) / 2
    scale, shift = (value.repeat(field.points_per_ray)[:, None, None] for value in (1 / reach, -middle / reach))
    x = graph.node("Add", graph.node("Mul", points, graph.constant(scale)), graph.constant(shift))
    two, one, parts = graph.constant(np.array(2.0)), graph.constant(np.array(1.0)), [x]
    for octave in range(field.octaves):
        if octave % _EXACT_OCTAVES == 0:
            angle = graph.node("Mul", x, graph.constant(np.array(2.0**octave)))
            sine, cosine = graph.node("Sin", angle), graph.node("Cos", angle)
        else:
            twice = graph.node("Mul", two, sine)
            sine, cosine = graph.node("Mul", twice, cosine), graph.node("Sub", one, graph.node("Mul", twice, sine))
        parts += [sine, cosine]
    return graph.node("Concat", *parts, axis=1)


def add_residual(graph: Graph, block: Residual, x: str, name: str) -> str:
    """``x + conv2(gelu(conv1(x)))``."""
    inner = graph.node("Gelu", add_conv(graph, block.conv1, x, f"{name}_conv1"))
    return graph.node("Add", x, add_conv(graph, block.conv2, inner, f"{name}_conv2"))


def add_conv(graph: Graph, conv: nn.Conv2d | nn.ConvTranspose2d, x: str, name: str) -> str:
    """A convolution or a transposed one, with its bias."""
    assert conv.bias is not None
    weights = graph.constant(conv.weight, f"{name}_weight"), graph.constant(conv.bias, f"{name}_bias")
    kind = "ConvTranspose" if isinstance(conv, nn.ConvTranspose2d) else "Conv"
    assert isinstance(conv.padding, tuple)
    shape = {"strides": list(conv.stride), "pads": list(conv.padding) * 2, "kernel_shape": list(conv.kernel_size)}
    return graph.node(kind, x, *weights, name=name, **shape)
