"""A `UNet` written down as an ONNX graph, layer by layer.

torch has two exporters of its own. The newer took 5 to 30 s a network of depth 2 and brings two libraries; the older is
to be removed; both put arithmetic on sizes where this network crops a fixed number of pixels. A U-Net is seven kinds of
layers, and every export is compared with torch, so we write them ourselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from useg.engines.runner import ENTROPY, IMAGE, PROBABILITIES
from useg.unet.network import UNet, fold_batch_norm

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto

OPSET, IR_VERSION = 17, 8
"""Old enough for the runtimes of 2022, and all that is needed."""


def build_graph(networks: Sequence[UNet], shift: Sequence[float], temperature: float) -> GraphProto:
    """The graph from a normalised image, float32 `1 C [Z] Y X`, to probabilities `1 K [Z] Y X` of its output.

    They are the mean over the networks of softmax((scores + shift) / temperature). Of several networks the mean
    entropy comes out too, `1 1 [Z] Y X`, 0..1.
    """
    from onnx import TensorProto, helper

    s, graph = networks[0].settings, _Graph(networks[0].settings.dims)
    probabilities, entropies = [], []
    for number, network in enumerate(networks):
        name = f"network{number}"
        scores = _scores(graph, fold_batch_norm(network), IMAGE, name)
        if any(shift):
            scores = graph.add("Add", [scores, graph.constant(f"{name}.shift", _planes(shift, s.dims))])
        if temperature != 1:
            scores = graph.add("Div", [scores, graph.constant(f"{name}.temperature", np.float32(temperature))])
        if len(networks) == 1:
            probabilities.append(graph.add("Softmax", [scores], axis=1))
            continue
        logs = graph.add("LogSoftmax", [scores], axis=1)
        probabilities.append(graph.add("Exp", [logs]))
        axes = graph.constant(f"{name}.axes", np.array([1], np.int64))
        products = graph.add("ReduceSum", [graph.add("Mul", [logs, probabilities[-1]]), axes], keepdims=1)
        most = graph.constant(f"{name}.most", np.float32(-math.log(max(2, s.classes))))
        entropies.append(graph.add("Div", [products, most]))
    graph.add("Mean", probabilities, name=PROBABILITIES)
    axes_in, axes_out = (["zyx"[3 - s.dims + axis] + end for axis in range(s.dims)] for end in ("", "_out"))
    outputs = [helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, [1, s.classes, *axes_out])]
    if entropies:
        graph.add("Mean", entropies, name=ENTROPY)
        outputs.append(helper.make_tensor_value_info(ENTROPY, TensorProto.FLOAT, [1, 1, *axes_out]))
    inputs = [helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, [1, s.in_channels, *axes_in])]
    return helper.make_graph(graph.nodes, "useg", inputs, outputs, graph.weights)


class _Graph:
    """Nodes and weights, in the order in which they were added."""

    def __init__(self, dims: int) -> None:
        self.dims = dims
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def add(self, kind: str, inputs: Sequence[str], name: str | None = None, **attributes: Any) -> str:
        """One operation; the name of its result."""
        from onnx import helper

        name = name or f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, name: str, value: Tensor | np.ndarray | np.floating) -> str:
        """Numbers that stay as they are; their name."""
        from onnx import numpy_helper

        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name


def _scores(graph: _Graph, network: UNet, image: str, name: str) -> str:
    """The forward pass of `UNet`."""
    value, skips = _layer(graph, network.stem, image, f"{name}.stem"), []
    for level, block in enumerate(network.contracting):
        skips.append(_layer(graph, block, value, f"{name}.contracting.{level}"))
        value = _layer(graph, network.pools[level], skips[-1], f"{name}.pool.{level}")
    value = _layer(graph, network.bottleneck, value, f"{name}.bottleneck")
    for step, (up, block) in enumerate(zip(network.up, network.expansive, strict=True)):
        level = len(skips) - 1
        value = _layer(graph, up, value, f"{name}.up.{step}")
        skip = _crop(graph, skips.pop(), [axis.crop(level) for axis in network.axes], f"{name}.crop.{step}")
        value = _layer(graph, block, graph.add("Concat", [skip, value], axis=1), f"{name}.expansive.{step}")
    return _layer(graph, network.head, value, f"{name}.head")


def _crop(graph: _Graph, value: str, pixels: Sequence[int], name: str) -> str:
    """Take so many pixels away at both ends of each axis."""
    cut = {axis: n for axis, n in enumerate(pixels, start=2) if n}
    if not cut:
        return value
    ends = {"starts": list(cut.values()), "ends": [-n for n in cut.values()], "axes": list(cut)}
    return graph.add(
        "Slice", [value, *(graph.constant(f"{name}.{key}", np.array(n, np.int64)) for key, n in ends.items())]
    )


def _layer(graph: _Graph, layer: nn.Module, value: str, name: str) -> str:
    """One layer, or several in a row."""
    match layer:
        case nn.Sequential():
            for place, each in enumerate(layer):
                value = _layer(graph, each, value, f"{name}.{place}")
            return value
        case nn.Identity():
            return value
        case nn.ReLU():
            return graph.add("Relu", [value])
        case nn.MaxPool2d() | nn.MaxPool3d():
            edges = (
                list(layer.kernel_size) if isinstance(layer.kernel_size, tuple) else [layer.kernel_size] * graph.dims
            )
            return graph.add("MaxPool", [value], kernel_shape=edges, strides=edges)
        case nn.BatchNorm2d() | nn.BatchNorm3d():
            parts = {key: getattr(layer, key) for key in ("weight", "bias", "running_mean", "running_var")}
            numbers = [graph.constant(f"{name}.{key}", number) for key, number in parts.items()]
            return graph.add("BatchNormalization", [value, *numbers], epsilon=layer.eps)
        case nn.Conv2d() | nn.Conv3d() | nn.ConvTranspose2d() | nn.ConvTranspose3d():
            numbers = [graph.constant(f"{name}.{key}", number) for key, number in layer.named_parameters()]
            # A convolution pads by whole numbers only, since the network says so.
            pads = [int(edge) for edge in layer.padding] * 2
            shapes: dict[str, Any] = {
                "kernel_shape": list(layer.kernel_size),
                "strides": list(layer.stride),
                "pads": pads,
            }
            if isinstance(layer, nn.Conv2d | nn.Conv3d):
                return graph.add("Conv", [value, *numbers], **shapes)
            return graph.add("ConvTranspose", [value, *numbers], output_padding=list(layer.output_padding), **shapes)
        case _:
            raise TypeError(f"{name}: a layer of a kind that no U-Net has: {layer}")


def _planes(values: Sequence[float], dims: int) -> np.ndarray:
    """One number a class, as it meets scores."""
    return np.array(values, np.float32).reshape(1, -1, *[1] * dims)
