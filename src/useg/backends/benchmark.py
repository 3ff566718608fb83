"""`useg benchmark`: a model is exported for every backend that is here, and all of them are held against torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from useg import machine
from useg.backends.note import Measured, Note, versions, write_note
from useg.backends.pace import measure_paces
from useg.backends.ways import COMPILED, SUFFIXES, WAYS, Way, file_of
from useg.errors import DataError, ExportError, ImageError, MissingExtraError, ModelError, SettingsError
from useg.export import Exported, export_onnx, export_openvino, samples_of
from useg.export.quantise import Samples, agreement_of, labels_of
from useg.predict import PredictSettings, load_runner
from useg.runner import WORKSPACE, Runner, TorchRunner, largest_tile
from useg.unet.geometry import Tile, plan_tiles
from useg.unet.model import ModelCard, digest, find_model, is_exported, read_card

EDGE = {2: 512, 3: 96}
"""Of the images, in pixels, where none are known."""
MOST_EDGE = {2: 1024, 3: 128}
"""Of the timed tile, so that slow backends take seconds; the pace a pixel hardly changes beyond."""


class BenchmarkSettings(BaseModel):
    """What to measure, and how long.

    Attributes:
        images: a folder of images like those to be predicted; None takes those that the model was trained on.
        compiled: also torch's compiled network.
        rounds, seconds: each way is timed so often at most; after so many seconds no further round begins.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Path | None = None
    compiled: bool = False
    rounds: int = Field(default=9, ge=1)
    seconds: float = Field(default=60.0, gt=0)


def benchmark(
    model: Path, settings: BenchmarkSettings | None = None, watch: Callable[[str], None] = lambda text: None
) -> Note:
    """Measure the pace of every way to run a model, and how many labels it keeps; remember both beside the model.

    Each export is proved before it is timed, see `useg.export`. Labels are compared on tiles of images, held-out ones
    where the run's images are still there. Without images only the pace is measured, and there is no int8, which is
    calibrated on them. The exports stay in `<model>.backends/`, from where `choose_backend` takes them.

    Args:
        model: a model file or run folder. watch: told what is being done.

    Raises:
        MissingError, ModelError: see `useg.unet.model.load_model`; and an exported model has one backend only.
        MissingError, DataError, ImageError: `images` holds none, or none for this model.
        OutputError: the folder beside the model cannot be written.
    """
    settings, model = settings or BenchmarkSettings(), find_model(model)
    if is_exported(model):
        raise ModelError(f"{model}: is an export, which has one backend only; give the model that it was made from")
    card, samples = read_card(model), _samples(model, settings.images)
    trial = _Trial(model, card, samples, watch)
    rows = {way: trial.row(way) for way in [*WAYS, *[COMPILED] * settings.compiled]}
    watch(f"pace of {len(trial.runners)} ways, in turn")
    paces = measure_paces(
        trial.runners, trial.pixels, trial.tile.keep, rounds=settings.rounds, seconds=settings.seconds
    )
    for way, pace in paces.items():
        rows[way] = rows[way].model_copy(update={"pace": pace.megapixels, "ratio": pace.ratio})
    note = Note(
        model=digest(model),
        cpu=machine.cpu_name(),
        cores=machine.cores(),
        versions=versions(),
        tile=list(trial.tile.shape),
        tiles=len(samples.compare) if samples else 0,
        held_out=samples is not None and samples.held_out,
        rows=list(rows.values()),
    )
    write_note(model, note)
    return note


class _Trial:
    """Makes one way after the other ready to run, and keeps the runners of those that do."""

    def __init__(self, model: Path, card: ModelCard, samples: Samples | None, watch: Callable[[str], None]) -> None:
        self.model, self.samples, self.watch = model, samples, watch
        self.tile = _tile(card, samples)
        noise = np.random.default_rng(0).normal(size=(card.network.in_channels, *self.tile.shape))
        self.pixels = noise.astype(np.float32)
        self.runners: dict[Way, Runner] = {}
        self._exported: dict[str, Exported] = {}
        self._plain: list[np.ndarray] = []  # labels of the first way, torch in float32

    def row(self, way: Way) -> Measured:
        """What there is to know of a way but its pace, or why it is not here."""
        row = Measured(**way._asdict())
        try:
            path = self._file(way.backend)
            self.watch(
                f"{row.name}: getting ready" + ", comparing labels" * (self.samples is not None and way != COMPILED)
            )
            begun = time.perf_counter()
            runner = _runner(path, way)
            runner(self.pixels, self.tile.keep)
            ready = time.perf_counter() - begun
        except (MissingExtraError, ExportError, SettingsError) as error:
            return row.model_copy(update={"missing": str(error).removeprefix(f"{file_of(self.model, way.backend)}: ")})
        self.runners[way] = runner
        export = digest(path) if way.backend in SUFFIXES else None
        return row.model_copy(update={"ready": ready, "export": export, "agreement": self._agreement(way, runner)})

    def _file(self, backend: str) -> Path:
        """What a backend reads, exported where that was not done yet."""
        path = file_of(self.model, backend)
        if backend not in SUFFIXES or backend in self._exported:
            return path
        if backend == "openvino-int8" and self.samples is None:
            raise ExportError("is calibrated on images, and there are none")
        self.watch(f"{backend}: exporting, and proving that it gives the same")
        match backend:
            case "onnxruntime":
                done = export_onnx(self.model, path)
            case "openvino":
                done = export_openvino(self.model, path)
            case _:
                done = export_openvino(self.model, path, samples=self.samples)
        self._exported[backend] = done
        return path

    def _agreement(self, way: Way, runner: Runner) -> float | None:
        # The compiled network would be compiled anew for each size of tile.
        if self.samples is None or way == COMPILED:
            return None
        # An int8 network was compared on the same tiles before it was kept.
        if way.backend in self._exported and (known := self._exported[way.backend].agreement) is not None:
            return known
        labels = labels_of(runner, self.samples.compare)
        self._plain = self._plain or labels
        return agreement_of(self._plain, labels)


def _runner(path: Path, way: Way) -> Runner:
    """A way, ready to run.

    Raises:
        SettingsError: this processor does not compute in its precision. ExportError: torch cannot compile here.
    """
    precision = "auto" if way.precision == "int8" else way.precision
    _, runner = load_runner(path, PredictSettings(precision=precision))
    slow = isinstance(runner, TorchRunner) and not machine.computes_bfloat16(runner.device)
    if precision != "auto" and (runner.precision != precision or (precision == "bfloat16" and slow)):
        raise SettingsError(f"{path}: this processor has no instructions for {precision}")
    if way.backend == "torch-compiled":
        assert isinstance(runner, TorchRunner)
        return _compiled(path, runner)
    return runner


def _compiled(path: Path, runner: TorchRunner) -> Runner:
    """A runner whose networks are compiled when they first run."""
    for network in runner.networks:
        network.compile()

    def run(tile: np.ndarray, keep: Sequence[slice]) -> np.ndarray:
        try:
            return runner(tile, keep)
        except Exception as error:  # of the compiler that is not here, or fails
            raise ExportError(f"{path}: torch cannot compile it here ({type(error).__name__})") from error

    return run


def _samples(model: Path, images: Path | None) -> Samples | None:
    """Tiles of images to compare labels on; None where nobody names any, and the run's cannot be found."""
    if images is not None:
        return samples_of(model, images)
    try:
        return samples_of(model)
    except (SettingsError, DataError, ImageError):
        return None


def _tile(card: ModelCard, samples: Samples | None) -> Tile:
    """The largest of the tiles in which an image would be predicted, within `MOST_EDGE`."""
    axes, dims = card.network.axes, card.network.dims
    size = samples.size if samples else [EDGE[dims]] * dims
    fitting = largest_tile(card, size, machine.free_memory() // 2 - WORKSPACE)
    largest = [min(most, max(MOST_EDGE[dims], axis.smallest_tile)) for most, axis in zip(fitting, axes, strict=True)]
    return max(plan_tiles(axes, size, largest), key=lambda tile: math.prod(tile.shape))
