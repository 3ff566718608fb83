"""Exported models on a CPU, without torch.

runner           one tile through an exported model, whatever its engine
onnx_engine      `.onnx` by onnxruntime
openvino_engine  `.xml`, with its weights in a `.bin` beside it, by OpenVINO
"""
