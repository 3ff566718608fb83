"""An OpenVINO file in its runtime (extra `openvino`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float

from useg import machine
from useg.errors import ModelError, extra
from useg.unet.openvino_header import WEIGHTS, read_openvino_metadata, weights_digest, weights_of

HINTS: dict[str, machine.Precision] = {"f32": "float32", "bf16": "bfloat16"}
"""What OpenVINO calls the precisions of ours."""


class OpenVinoEngine:
    """A compiled network. Once a size was seen, it is as fast as one compiled for this size alone."""

    def __init__(self, path: Path, threads: int, precision: str = "auto") -> None:
        """Make it ready; see `useg.engines.runner.Engine`."""
        openvino = import_openvino(path)
        weights = weights_of(path)
        require_weights(path, weights)
        core = openvino.Core()
        network = core.read_model(path, weights)
        options: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
        # Left alone, OpenVINO takes bfloat16 where the processor computes in it; what else it may take is not ours.
        hints: list[str | None] = [hint for hint, name in HINTS.items() if name == precision]
        hints = hints or [None, "f32"]
        for hint in hints:
            chosen = options | ({"INFERENCE_PRECISION_HINT": hint} if hint else {})
            compiled = core.compile_model(network, "CPU", chosen)
            taken = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
            if taken in HINTS:
                break
        self.precision = HINTS[taken]
        self.inputs, self.outputs = (
            {port.any_name: _edges(port) for port in ports if port.element_type == openvino.Type.f32}
            for ports in (compiled.inputs, compiled.outputs)
        )
        self._request = compiled.create_infer_request()

    def __call__(self, batch: Float[np.ndarray, "1 c *size"], outputs: Sequence[str]) -> list[np.ndarray]:
        """See `useg.engines.runner.Engine`."""
        self._request.infer([batch], share_inputs=True)
        return [self._request.get_tensor(name).data for name in outputs]


def import_openvino(path: Path) -> ModuleType:
    """OpenVINO, which then sends nothing.

    Its wheels bring a library `openvino_telemetry` that sends what is used to Google Analytics. OpenVINO and nncf work
    without it, so they are told that there is none; `opt_in_out --opt_out` would ask each user to say no.

    Raises:
        MissingExtraError: OpenVINO is not here.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    with extra(path, "openvino"):
        import openvino
    return openvino


def require_weights(path: Path, weights: Path) -> None:
    """See that the weights are those that an OpenVINO file was written with.

    Raises:
        ModelError: they are not there, or are others.
    """
    try:
        found = weights_digest(weights)
    except OSError as error:
        raise ModelError(
            f"{weights}: the weights of {path.name} cannot be read ({error.strerror}); keep both files side by side"
        ) from error
    if found != read_openvino_metadata(path).get(WEIGHTS):
        raise ModelError(
            f"{weights}: are not the weights that {path.name} was written with; copy both files, or export again"
        )


def _edges(port: Any) -> list[int | None]:
    return [edge.get_length() if edge.is_static else None for edge in port.partial_shape]
