"""A model in the formats of others, each proved to give the same result there before it is kept.

onnx_graph   a `UNet` written down as an ONNX graph
parity       the largest difference between two runners
proof        what all ways share: card, metadata, proof
quantise     int8: tiles of images to find its ranges on, and what it costs
to_onnx, to_openvino, to_torch
             the whole ways: graph, metadata, proof, file
"""

from useg.export.proof import Exported
from useg.export.quantise import samples_of
from useg.export.to_onnx import export_onnx
from useg.export.to_openvino import export_openvino

__all__ = ["Exported", "export_onnx", "export_openvino", "samples_of"]
