"""A model in the formats of others, each proved to give the same result there before it is kept.

onnx_graph  a `UNet` written down as an ONNX graph
parity      the largest difference between two runners
to_onnx     the whole way: graph, metadata, proof, file
"""

from useg.export.to_onnx import Exported, export_onnx

__all__ = ["Exported", "export_onnx"]
