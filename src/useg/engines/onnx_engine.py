"""An ONNX file in onnxruntime (extra `export`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from useg import machine
from useg.errors import extra


class OnnxEngine:
    """A session, in float32."""

    precision: machine.Precision = "float32"

    def __init__(self, path: Path, threads: int, precision: str = "auto") -> None:
        """Make it ready; see `useg.engines.runner.Engine`."""
        with extra(path, "onnx"):
            import onnxruntime
        onnxruntime.disable_telemetry_events()  # builds for Windows would send some
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # tiles differ in size
        options.log_severity_level = 4  # what fails is raised
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs, self.outputs = (
            {node.name: _edges(node.shape) for node in nodes if node.type == "tensor(float)"}
            for nodes in (self._session.get_inputs(), self._session.get_outputs())
        )

    def __call__(self, batch: Float[np.ndarray, "1 c *size"], outputs: Sequence[str]) -> list[np.ndarray]:
        """See `useg.engines.runner.Engine`."""
        found: list[np.ndarray] = self._session.run(outputs, dict.fromkeys(self.inputs, batch))
        return found


def _edges(shape: Sequence[Any]) -> list[int | None]:
    return [edge if isinstance(edge, int) else None for edge in shape]
