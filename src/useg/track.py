"""A run shown to experiment trackers: TensorBoard, MLflow, Weights & Biases and Trackio, through accelerate's classes.

Everything stays on this machine unless the user's own environment says otherwise: `WANDB_MODE=online`,
`MLFLOW_TRACKING_URI`, `TRACKIO_SPACE_ID`.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from useg.atomic import write_text
from useg.checkpoint import read_log
from useg.data.dataset import Example
from useg.errors import extra
from useg.metrics.calibration import count_reliability, reliability
from useg.predict import Prediction
from useg.scored_picture import picture_of
from useg.settings import Settings
from useg.unet.model import ModelCard
from useg.watch import Progress, Watcher

IDS = "trackers.json"
"""In a run folder: by which name each tracker knows the run, so that a resumed one goes on there."""
PROJECT = "useg"
PICTURES = 4
"""Held-out images that are shown at each validation."""
LONGEST = 250
"""Characters of a setting; there are lists of checksums."""
ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    # MLflow no longer recommends files, but a data base needs more libraries than training does.
    "MLFLOW_ALLOW_FILE_STORE": "true",
    # A server that does not answer would hold up a step for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""Of the libraries, where the user has not set it: they tell their makers nothing."""


@dataclass(frozen=True)
class Tracker:
    """One that is open.

    Attributes:
        sink: one of accelerate's `GeneralTracker`. known_as: the run, to it.
        show: takes a name, a picture uint8 `Y X 3`, and the step.
        close: ends it.
    """

    sink: Any
    known_as: str
    show: Callable[[str, UInt8[np.ndarray, "y x 3"], int], None]
    close: Callable[[], None]


def load_trackers(names: Sequence[str]) -> None:
    """Load the libraries of these trackers, so that a missing one is told before anything is begun.

    Raises:
        MissingExtraError: one is not installed.
    """
    for name, value in ENVIRONMENT.items():
        if names:
            os.environ.setdefault(name, value)
    for name in names:
        with extra(f"--track {name}", name):
            importlib.import_module("accelerate.tracking")
            importlib.import_module("torch.utils.tensorboard" if name == "tensorboard" else name)


@contextmanager
def tracking(watch: Watcher, run: Path, names: Sequence[str], settings: Settings) -> Iterator[Watcher]:
    """A watcher that tells `watch` and the trackers `names` of a run.

    They are opened when there is something to tell. Loss and rate are told after each step; Dice, panoptic quality,
    calibration error (before calibration) and pictures of a few held-out images after each validation. A step that a
    session which was killed has told is not told again by the next one, which repeats it. A tracker that fails is told
    of once, and left out.

    Args:
        watch: is told everything first. run: folder of the run.
        names: of trackers, see `Settings.track`. settings: what they show as the run's settings.
    """
    if not names:
        yield watch
        return
    shown = _Shown(watch, run, list(dict.fromkeys(names)), settings)
    try:
        yield replace(watch, on_progress=shown.on_progress, on_image=shown.on_image)
    finally:
        shown.close()


@dataclass
class _Shown:
    """The trackers of a run, and what they are to be shown next."""

    watch: Watcher
    run: Path
    waiting: list[str]
    settings: Settings
    trackers: dict[str, Tracker] = field(default_factory=dict)
    pictures: list[UInt8[np.ndarray, "y x 3"]] = field(default_factory=list)
    counts: list[Float[np.ndarray, "3 bins"]] = field(default_factory=list)

    def __post_init__(self) -> None:
        records = read_log(self.run / "metrics.jsonl", sys.maxsize)
        self.told = {
            validated: max((r["step"] for r in records if ("validation" in r) == validated), default=-1)
            for validated in (False, True)
        }

    def on_image(self, example: Example, prediction: Prediction, card: ModelCard) -> None:
        self.watch.on_image(example, prediction, card)
        self.counts.append(count_reliability(prediction.probabilities, example.labels))
        if len(self.pictures) < PICTURES:
            self.pictures.append(picture_of(example, prediction, card))

    def on_progress(self, p: Progress) -> None:
        self.watch.on_progress(p)
        validated = p.event == "validated"
        if p.step > self.told[validated]:
            if self.waiting:
                self._open()
            values = self._of_validation(p) if validated else _of_step(p)
            self._each(lambda tracker: tracker.sink.log(values, step=p.step))
            self._each(lambda tracker: self._show(tracker, p.step))
        if validated:
            self.pictures, self.counts = [], []

    def close(self) -> None:
        self._each(lambda tracker: tracker.close())

    def _show(self, tracker: Tracker, step: int) -> None:
        # Each names its image in its caption; trackers allow few characters in a name.
        for number, picture in enumerate(self.pictures, 1):
            tracker.show(f"held-out/{number}", picture, step)

    def _of_validation(self, p: Progress) -> dict[str, float]:
        error = reliability(self.counts).error
        found = {"dice": p.dice, "panoptic_quality": p.quality, "calibration_error": error if error == error else None}
        return {f"validation/{name}": value for name, value in found.items() if value is not None}

    def _open(self) -> None:
        """Open what is not open yet, and show the settings to those that see the run for the first time."""
        from accelerate import PartialState  # type: ignore[import-untyped]

        PartialState()  # its trackers ask there which process this is; among several it is there already
        while self.waiting:
            name = self.waiting.pop(0)
            path = self.run / IDS
            with self._leaving_out(name):
                ids: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
                tracker = OPEN[name](self.run, ids.get(name))
                if name not in ids:
                    tracker.sink.store_init_configuration(_flat(self.settings))
                    write_text(path, json.dumps(ids | {name: tracker.known_as}, indent=2) + "\n")
                self.trackers[name] = tracker

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self.trackers.items()):
            with self._leaving_out(name):
                act(tracker)

    @contextmanager
    def _leaving_out(self, name: str) -> Iterator[None]:
        """A tracker that fails in this block is left out from then on; what it prints is not for our output."""
        try:
            with redirect_stdout(io.StringIO()):
                yield
        # Libraries that write to disks and networks raise anything, and a run is worth more than its curves.
        except Exception as error:  # noqa: BLE001
            self.trackers.pop(name, None)
            what = (str(error).splitlines() or [""])[0]
            self.watch.on_text(f"note: {name} is left out from here on, for it failed: {type(error).__name__} {what}")


def _of_step(p: Progress) -> dict[str, float]:
    values = {
        "loss": None if p.event == "skipped" else p.loss,
        "rate": p.rate,
        "images_per_second": p.images_per_second,
    }
    return {f"train/{name}": value for name, value in values.items() if value is not None}


def _flat(settings: Settings) -> dict[str, Any]:
    """Settings by dotted name, as numbers, truth values and text."""
    flat: dict[str, Any] = {}

    def add(name: str, value: object) -> None:
        if isinstance(value, dict):
            for key, each in value.items():
                add(f"{name}.{key}" if name else key, each)
        else:
            flat[name] = value if isinstance(value, bool | int | float) else str(value)[:LONGEST]

    add("", settings.model_dump(mode="json", exclude_none=True))
    return flat


def _tensorboard(run: Path, known_as: str | None) -> Tracker:
    """Event files in `run/tensorboard`."""
    from accelerate.tracking import TensorBoardTracker  # type: ignore[import-untyped]

    sink = TensorBoardTracker("tensorboard", run)
    sink.start()

    def show(name: str, picture: UInt8[np.ndarray, "y x 3"], step: int) -> None:
        sink.log_images({name: picture[None]}, step=step, dataformats="NHWC")

    return Tracker(sink, "tensorboard", show, sink.finish)


def _mlflow(run: Path, known_as: str | None) -> Tracker:
    """Files in `run/mlflow`, or what MLFLOW_TRACKING_URI says."""
    from accelerate.tracking import MLflowTracker

    mlflow = importlib.import_module("mlflow")
    if own := not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri((run / "mlflow").resolve().as_uri())
    sink = MLflowTracker(PROJECT, run_id=known_as, run_name=run.resolve().name)
    sink.start()

    def show(name: str, picture: UInt8[np.ndarray, "y x 3"], step: int) -> None:
        mlflow.log_image(picture, key=name, step=step, synchronous=True)

    def close() -> None:
        sink.finish()
        if own:
            mlflow.set_tracking_uri(None)

    return Tracker(sink, sink.tracker.info.run_id, show, close)


def _wandb(run: Path, known_as: str | None) -> Tracker:
    """An offline folder in `run/wandb`, for `wandb sync`, or what WANDB_MODE says."""
    from accelerate.tracking import WandBTracker

    name = known_as or secrets.token_hex(4)
    settings = {"silent": True, "console": "off", "disable_git": True, "disable_code": True}
    mode = os.environ.get("WANDB_MODE", "offline")
    go_on = {"resume": "allow"} if mode != "offline" else {}
    sink = WandBTracker(PROJECT, id=name, name=run.resolve().name, dir=str(run), mode=mode, settings=settings, **go_on)
    sink.start()

    def show(name: str, picture: UInt8[np.ndarray, "y x 3"], step: int) -> None:
        sink.log_images({name: [picture]}, step=step)

    return Tracker(sink, name, show, sink.finish)


def _trackio(run: Path, known_as: str | None) -> Tracker:
    """Trackio's own data base (TRACKIO_DIR), which its dashboard reads, or what TRACKIO_SPACE_ID says."""
    from accelerate.tracking import TrackioTracker

    trackio = importlib.import_module("trackio")
    name = known_as or f"{run.resolve().name}-{secrets.token_hex(4)}"
    sink = TrackioTracker(PROJECT, name=name, resume="allow", embed=False, auto_log_cpu=False, auto_log_gpu=False)
    sink.start()

    def show(name: str, picture: UInt8[np.ndarray, "y x 3"], step: int) -> None:
        sink.log({name: trackio.Image(picture)}, step=step)

    return Tracker(sink, name, show, trackio.finish)


OPEN: dict[str, Callable[[Path, str | None], Tracker]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
    "trackio": _trackio,
}
"""Given the folder of a run, and as what the tracker knows it already."""
