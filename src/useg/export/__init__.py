"""A model in the formats of others, each proved to give the same result there before it is kept.

onnx_graph      a `UNet` written down as an ONNX graph
parity          the largest difference between two runners
proof           what ONNX, OpenVINO and torch share: card, metadata, proof
quantise        int8: tiles of images to find its ranges on, and what it costs
to_onnx, to_openvino, to_torch
                the whole ways: graph, metadata, proof, file
about           what others should know of a model, from its card and a report
bioimageio_rdf  what a bioimage.io package says of its model
to_bioimageio   the package: graph, test image, cover, page, proof
to_hub          a folder for the Hugging Face Hub
"""

from useg.export.about import Owner, judge
from useg.export.proof import Exported
from useg.export.quantise import samples_of
from useg.export.to_bioimageio import Packaged, export_bioimageio
from useg.export.to_hub import HubFolder, export_hub
from useg.export.to_onnx import export_onnx
from useg.export.to_openvino import export_openvino

__all__ = [
    "Exported",
    "HubFolder",
    "Owner",
    "Packaged",
    "export_bioimageio",
    "export_hub",
    "export_onnx",
    "export_openvino",
    "judge",
    "samples_of",
]
