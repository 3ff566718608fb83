"""One tile through an exported model, without torch. The file corrects and averages by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from useg import machine
from useg.engines.onnx_engine import OnnxEngine
from useg.engines.openvino_engine import OpenVinoEngine
from useg.errors import ModelError, UsegError
from useg.metrics.uncertainty import entropy
from useg.unet.model import ModelCard

IMAGE, PROBABILITIES, ENTROPY = "image", "probabilities", "entropy"
"""What goes in and out of the graph; the mean entropy of the networks comes out where there are several."""


class Engine(Protocol):
    """A network that a library has loaded, on the CPU. Made of its file, the threads of a tile and the precision:
    "float32", "bfloat16", or "auto" for the faster one of this machine.

    Attributes:
        precision: of convolutions.
        inputs, outputs: shapes of those in float32, by name; None is an axis of any size.
    """

    precision: machine.Precision
    inputs: dict[str, list[int | None]]
    outputs: dict[str, list[int | None]]

    def __call__(self, batch: Float[np.ndarray, "1 c *size"], outputs: Sequence[str]) -> list[np.ndarray]:
        """The outputs of these names; they hold until the next call."""


ENGINES: dict[str, Callable[[Path, int, str], Engine]] = {".onnx": OnnxEngine, ".xml": OpenVinoEngine}
"""By the suffix of the file."""


class ExportedRunner:
    """Runs the network of an exported file on the CPU."""

    device = "cpu"

    def __init__(
        self, path: Path, card: ModelCard, precision: str = "auto", *, threads: int = 0, spread: bool = False
    ) -> None:
        """Make it ready.

        Args:
            path: the file. card: its own.
            precision: "float32", "bfloat16" or "auto", where the engine can choose.
            threads: of a tile; 0 means one a processor.
            spread: also give the mean entropy.

        Raises:
            MissingExtraError: the engine is not here.
            ModelError: the network is damaged, or not one that the card describes.
        """
        machine.keep_freed_memory()
        try:
            self._engine = ENGINES[path.suffix.lower()](path, threads or machine.cores(), precision)
        except UsegError:
            raise
        except Exception as error:
            raise ModelError(f"{path}: its network cannot be used ({_told(error)}); export the model again") from error
        self.path, self.card, self.spread, self.precision = path, card, spread, self._engine.precision
        self._outputs = [PROBABILITIES, *([ENTROPY] if spread and card.members > 1 else [])]
        self._require_fit()

    def __call__(self, tile: Float[np.ndarray, "c *size"], keep: Sequence[slice]) -> Float[np.ndarray, "p *kept"]:
        """Probabilities of the window `keep` of one tile.

        Raises:
            SizeError: the network cannot take a tile of this size. ModelError: the network is damaged.
        """
        sizes = tuple(a.output_size(n) for a, n in zip(self.card.network.axes, tile.shape[1:], strict=True))
        batch = np.ascontiguousarray(tile, np.float32)[None]
        try:
            found: list[Any] = self._engine(batch, self._outputs)
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
        outputs = {PROBABILITIES: [1, n.classes, *axes], ENTROPY: [1, 1, *axes]}
        # Of the outputs the sizes are known to some engines in part.
        found = {name: [*shape[:2], *axes] for name, shape in self._engine.outputs.items() if len(shape) == n.dims + 2}
        if self._engine.inputs != {IMAGE: [1, n.in_channels, *axes]} or any(
            found.get(name) != outputs[name] for name in self._outputs
        ):
            raise ModelError(
                f"{self.path}: the network is not the one that its card describes; the file is damaged, export the "
                "model again"
            )


def _told(error: Exception) -> str:
    """What a library says, in one line: onnxruntime's first one without its prefix, OpenVINO's last one."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1 if lines[0].startswith("Exception from") else 0].rpartition(" : ")[2].strip()
