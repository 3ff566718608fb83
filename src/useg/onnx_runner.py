"""The engine of an exported model: one tile through onnxruntime, without torch (extra `export`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from useg import machine
from useg.errors import ModelError, extra
from useg.metrics.uncertainty import entropy
from useg.unet.model import ModelCard

IMAGE, PROBABILITIES, ENTROPY = "image", "probabilities", "entropy"
"""What goes in and out of the graph; the mean entropy of the networks comes out where there are several."""


class OnnxRunner:
    """Runs the network of an ONNX file on the CPU, in float32. The file corrects and averages by itself."""

    precision: Literal["float32"] = "float32"
    device = "cpu"

    def __init__(self, path: Path, card: ModelCard, *, threads: int = 0, spread: bool = False) -> None:
        """Make it ready.

        Args:
            path: the file. card: its own.
            threads: of a tile; 0 means one a processor.
            spread: also give the mean entropy.

        Raises:
            MissingExtraError: onnxruntime is not here.
            ModelError: the network is damaged, or not one that the card describes.
        """
        with extra(path, "export"):
            import onnxruntime
        machine.keep_freed_memory()
        onnxruntime.disable_telemetry_events()  # builds for Windows would send some
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or machine.cores()
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # tiles differ in size
        options.log_severity_level = 4  # what fails is raised
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(f"{path}: its network cannot be used ({_told(error)}); export the model again") from error
        self.path, self.card, self.spread = path, card, spread
        self._outputs = [PROBABILITIES, *([ENTROPY] if spread and card.members > 1 else [])]
        self._require_fit()

    def __call__(self, tile: Float[np.ndarray, "c *size"], keep: Sequence[slice]) -> Float[np.ndarray, "p *kept"]:
        """Probabilities of the window `keep` of one tile.

        Raises:
            SizeError: the network cannot take a tile of this size. ModelError: the network is damaged.
        """
        sizes = tuple(self.card.network.geometry.output_size(n) for n in tile.shape[1:])
        batch = np.ascontiguousarray(tile, np.float32)[None]
        try:
            found = self._session.run(self._outputs, {IMAGE: batch})
        except Exception as error:
            raise ModelError(
                f"{self.path}: the network fails on a tile of {batch.shape[2:]} pixels ({_told(error)}); allow less "
                "--max-memory, or export the model again"
            ) from error
        expected = [(1, planes, *sizes) for planes in (self.card.network.classes, 1)[: len(found)]]
        if [each.shape for each in found] != expected:
            raise ModelError(f"{self.path}: the network gives {found[0].shape} where its card says {expected[0]}")
        planes: list[Any] = [each[(0, slice(None), *keep)] for each in found]
        if self.spread and len(planes) == 1:
            planes.append(entropy(planes[0])[None])
        return np.concatenate(planes)

    def _require_fit(self) -> None:
        """See that what goes in and out is what `useg.export` writes for such a card."""
        n = self.card.network
        axes: list[Any] = [None] * n.dims
        expected = {IMAGE: [1, n.in_channels, *axes], PROBABILITIES: [1, n.classes, *axes]}
        if ENTROPY in self._outputs:
            expected[ENTROPY] = [1, 1, *axes]
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        found = {
            node.name: [edge if isinstance(edge, int) else None for edge in node.shape]
            for node in (*inputs, *outputs)
            if node.type == "tensor(float)" and node.name in expected
        }
        if len(inputs) != 1 or found != expected:
            raise ModelError(
                f"{self.path}: the network is not the one that its card describes; the file is damaged, export the "
                "model again"
            )


def _told(error: Exception) -> str:
    """The first line of what onnxruntime says, without its prefix."""
    return (str(error).splitlines() or [type(error).__name__])[0].rpartition(" : ")[2].strip()
