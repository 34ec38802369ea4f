"""Light fields that multiply integers as ONNX graphs: quantizing and dequantizing nodes around their products.

onnxruntime makes one product in 8 bits of ``Gemm(DequantizeLinear, DequantizeLinear, DequantizeLinear)``, whose result
is float32 as that of our layers. Weights are stored as bytes about 128: with signed ones, on processors without VNNI,
onnxruntime adds neighbouring products in 16 bits, which saturate.

Notation as in `nerfcomp.kernels.int8_linear`; ``f`` is the factor of a transposed convolution, ``k`` its kernel.
"""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.exchange.onnx_graph import PoseToPicture, export_module
from nerfcomp.fields import IntegerLayer, integer_layers

_MIDDLE = 128  # of a byte
_LEVELS = "levels"
_LEAST = 1e-30
_LARGEST_BIAS = 2.0**30  # in steps of products, which have 32 bits


class Product(nn.Module):
    """An integer layer as one matrix product with values of its grids, and additions of pixels that overlap.

    Args:
        layer: The layer.

    Attributes:
        levels: (inputs, outputs) float32 whole numbers.
        scale: (outputs,) float32.
        bias: (outputs,) float32.
        shared_bias: (channels,) float32, what is added after pixels that overlap; zero where they do not.
    """

    levels: Tensor
    scale: Tensor
    bias: Tensor
    shared_bias: Tensor

    def __init__(self, layer: IntegerLayer) -> None:
        super().__init__()
        self.grid = layer.grids[0]
        self.transposed = layer.transposed
        self.factor = layer.factor
        self.kernel = layer.weight.shape[2] if layer.transposed else 1
        self.reach = -(-self.kernel // self.factor)  # blocks that a place contributes to, along an axis
        bias = torch.zeros_like(layer.scale) if layer.bias is None else layer.bias.detach()
        overlap = self.reach > 1
        matrix, scale, own = self._arranged(layer), layer.scale.detach(), torch.zeros_like(bias) if overlap else bias
        repeats = len(matrix) // len(scale)
        values = {"scale": scale.repeat(repeats), "bias": own.repeat(repeats)}
        values["shared_bias"] = bias if overlap else torch.zeros_like(bias)
        for name, value in {_LEVELS: matrix.t().float().contiguous(), **values}.items():
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tensor:
        """Map (1, h, w, channels) as the layer does."""
        _, height, width, channels = x.shape
        y = torch.addmm(self.bias, x.reshape(height * width, channels), self.levels)
        if not self.transposed:
            return y.view(1, height, width, -1)
        f, reach, margin = self.factor, self.reach, (self.kernel - self.factor) // 2
        y = y.view(height, width, reach, reach, f, f, -1)
        total: Tensor | None = None
        for a in range(reach):
            for b in range(reach):
                sides = (0, 0, 0, 0, 0, 0, b, reach - 1 - b, a, reach - 1 - a)
                part = nn.functional.pad(y[:, :, a, b], sides) if reach > 1 else y[:, :, a, b]
                total = part if total is None else total + part
        assert total is not None
        rows, columns = (height + reach - 1) * f, (width + reach - 1) * f
        pixels = total.permute(0, 2, 1, 3, 4).reshape(rows, columns, -1)
        pixels = pixels[margin : margin + height * f, margin : margin + width * f]
        return (pixels + self.shared_bias if reach > 1 else pixels)[None]

    def _arranged(self, layer: IntegerLayer) -> Tensor:
        """Weights (outputs, inputs); of a transposed convolution, blocks of ``f x f`` pixels one after another."""
        weight = layer.weight.detach()
        if not self.transposed:
            return weight.flatten(1)
        side, f, reach = self.reach * self.factor, self.factor, self.reach
        inputs, channels = weight.shape[:2]
        padded = nn.functional.pad(weight, (0, side - self.kernel, 0, side - self.kernel))
        blocks = padded.view(inputs, channels, reach, f, reach, f)
        return blocks.permute(2, 4, 3, 5, 1, 0).reshape(-1, inputs)


class IntegersToPicture(PoseToPicture):
    """What the graph of a student in integers computes; its channels are the last until the end.

    Args:
        trained: A light field without batch normalisation, some of whose layers multiply integers.
    """

    def __init__(self, trained: LightFieldArtifact) -> None:
        twin = trained.replace(field=copy.deepcopy(trained.field))
        super().__init__(twin)
        for name, layer in integer_layers(twin.field).items():
            owner, _, last = name.rpartition(".")
            setattr(twin.field.get_submodule(owner), last, Product(layer))

    def forward(self, c2w: Tensor) -> Tensor:
        """Map a pose (1, 3, 4) to its picture (1, 3, H, W)."""
        encoded = self.encode(self.points(c2w)).permute(0, 2, 3, 1)
        picture: Tensor = self.field.picture(encoded).permute(0, 3, 1, 2)
        return picture[:, :, : self.height, : self.width]


def build_integer_graph(trained: LightFieldArtifact, onnx: Any) -> Any:
    """Write a light field in integers as an ONNX model; takes some seconds.

    Args:
        trained: Some of its layers multiply integers; without batch normalisation.
        onnx: The package.

    Returns:
        The model (``onnx.ModelProto``).
    """
    module = IntegersToPicture(trained).eval()
    model = export_module(module)
    products = {name: part for name, part in module.named_modules() if isinstance(part, Product)}
    found = {}
    for node in model.graph.node:
        name = node.input[1].removesuffix(f".{_LEVELS}") if node.op_type == "Gemm" else ""
        if name in products:
            found[name] = node
    assert found.keys() == products.keys(), "torch's exporter names initializers as buffers"
    for name, node in found.items():
        quantize_product(model.graph, node, products[name], name, onnx)
    return model


def quantize_product(graph: Any, node: Any, product: Product, name: str, onnx: Any) -> None:
    """Put quantizing and dequantizing nodes before a matrix product, in place.

    Args:
        graph: Of the model.
        node: ``Gemm``.
        product: What it computes.
        name: Prefix of what is added.
        onnx: The package.
    """
    values = integer_values(product)
    graph.initializer.extend(onnx.numpy_helper.from_array(value, f"{name}.{key}") for key, value in values.items())
    own = {key: f"{name}.{key}" for key in values}

    def dequantize(source: str, scale: str, zero: str, result: str, **axis: int) -> Any:
        return onnx.helper.make_node("DequantizeLinear", [source, own[scale], own[zero]], [f"{name}.{result}"], **axis)

    kept = {initializer.name: initializer for initializer in graph.initializer}
    for old in node.input[1:]:
        graph.initializer.remove(kept[old])
    added = [
        onnx.helper.make_node(
            "QuantizeLinear", [node.input[0], own["input_scale"], own["input_zero"]], [f"{name}.bytes"]
        ),
        dequantize(f"{name}.bytes", "input_scale", "input_zero", "input"),
        dequantize(own["weight"], "weight_scale", "weight_zero", "weights", axis=1),
        dequantize(own["whole_bias"], "bias_scale", "bias_zero", "biases", axis=0),
    ]
    place = next(index for index, other in enumerate(graph.node) if other is node or other.output == node.output)
    for offset, new in enumerate(added):
        graph.node.insert(place + offset, new)
    target = graph.node[place + len(added)]
    del target.input[:]
    target.input.extend(f"{name}.{result}" for result in ("input", "weights", "biases"))


def integer_values(product: Product) -> dict[str, Any]:
    """Initializers of a product in 8 bits, by name.

    Biases are whole steps of the products. Where a channel's step is too fine for that, its products are too small to
    matter beside the bias, and go.
    """
    scale, bias, levels = (value.double().numpy() for value in (product.scale, product.bias, product.levels))
    least = np.maximum(np.abs(bias) / (product.grid.scale * _LARGEST_BIAS), _LEAST)
    levels, scale = levels * np.sign(scale), np.abs(scale)  # normalisation may have turned a channel around
    levels = np.where(scale < least, 0.0, levels)
    weight_scale = np.maximum(scale, least).astype(np.float32)
    input_scale = np.float32(product.grid.scale)
    bias_scale = input_scale * weight_scale
    outputs = len(bias)
    return {
        "input_scale": np.array(input_scale),
        "input_zero": np.array(product.grid.zero_point, np.uint8),
        "weight": (levels + _MIDDLE).astype(np.uint8),
        "weight_scale": weight_scale,
        "weight_zero": np.full(outputs, _MIDDLE, np.uint8),
        "whole_bias": np.round(bias / bias_scale).astype(np.int32),
        "bias_scale": bias_scale,
        "bias_zero": np.zeros(outputs, np.int32),
    }
