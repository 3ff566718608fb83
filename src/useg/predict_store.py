"""Overlap-tile prediction of images larger than memory: block by block through a store on disk, by one or many workers.

Each block is what `predict.py` would compute of it in memory. It is durable before it counts as done, so the same call
after a power cut does what is missing and ends with the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from useg.atomic import telling
from useg.blocks import BlockPlan, Job
from useg.images.files import open_windows
from useg.images.image import Header
from useg.images.store import LabelStore
from useg.images.stored import write_labels_from, write_probabilities_from
from useg.images.windows import Windows
from useg.inputs import glance, unlike_training
from useg.objects.seams import separate_chunked
from useg.objects.settings import SeparateSettings
from useg.predict import Predictor
from useg.store_plan import (
    StoreSettings,
    begin_work,
    estimate,
    identify,
    kept_plan,
    outline,
    pick_level,
    plan_blocks,
)
from useg.unet.model import ClassInfo
from useg.workers import Alone, Cluster, hire

NOTHING: Mapping[str, Path] = MappingProxyType({})
FINISHED = "finished.jsonl"
"""In the work folder, a line a block that is done."""


@dataclass(frozen=True)
class StoreWatch:
    """What a prediction in blocks tells while it runs; every function may be left out.

    Attributes:
        on_text: a sentence for the user: what is done, how long it will take, where the workers can be watched.
        on_block: after each block, with the number of those that are done and of all.
        on_begin: when nothing is wrong with what is asked, before anything is written.
        on_written: when the results are there, before the work behind them is removed.
    """

    on_text: Callable[[str], None] = lambda text: None
    on_block: Callable[[int, int], None] = lambda done, total: None
    on_begin: Callable[[], None] = lambda: None
    on_written: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class StoreResult:
    """What a prediction in blocks did.

    Attributes:
        target: the label image. blocks: of the image, of which `before` were there already and `skipped` had nothing
            in them (by `StoreSettings.where` or `skip_empty`).
        objects: how many were found, where they were asked for.
        warnings: ways in which the image is unlike those that the model was trained on.
        seconds: this call took.
    """

    target: Path
    blocks: int
    before: int
    skipped: int
    objects: int | None
    warnings: list[str]
    seconds: float


def predict_store(
    predictor: Predictor,
    model: Path,
    source: Path | Windows,
    target: Path,
    settings: StoreSettings | None = None,
    *,
    beside: Mapping[str, Path] = NOTHING,
    instances: bool = False,
    watch: StoreWatch | None = None,
) -> StoreResult:
    """Segment an image of any size through a store on disk; memory stays below `PredictSettings.max_memory`.

    What is done lies in `.<name of target>.work` beside the target until all is. The same call goes on from there.

    Args:
        predictor: of the model, with the settings of the prediction.
        model: the model file or run folder; a copy of it is kept with the work.
        source: the file, or an array by `useg.images.windows_of`.
        target: the label image, `.ome.zarr`, `.tif` or `.npy`; replaced when all is done.
        settings: workers, and what is skipped.
        beside: where else to write "probabilities" or "uncertainty" to, `.tif`.
        instances: labels are numbers of objects, equal to those of a prediction in memory.

    Raises:
        ImageError: the image is damaged, has gone, or is not one for this model.
        SettingsError: the memory allowed is too small for any tile, or objects are asked of a model of classes.
        OutputError: the disk is full. WorkerError: workers are not there, or die. What is done is kept.
    """
    begun, settings, watch = time.monotonic(), settings or StoreSettings(), watch or StoreWatch()
    separation = predictor.require_objects() if instances else None
    level = pick_level(predictor, source) if isinstance(source, Path) else 0
    alpha = predictor.card.alpha
    with open_windows(source, alpha=alpha, level=level) if isinstance(source, Path) else source as image:
        name, header = str(image.path or "the image"), image.header
        predictor.require_input(name, (header.channels, *header.size))
        looked = glance(image)
        warnings = unlike_training(predictor.card.input, looked, header.spacing, header.unit)
        stores = ["confidence" if instances else "labels", *sorted(beside)]
        identity = identify(predictor, model, source, settings, level, looked, stores)
        folder = work_folder(target)
        plan = kept_plan(folder)
        if plan is None or plan.identity != identity:
            plan = plan_blocks(predictor, image, looked, settings, identity, stores)
            watch.on_begin()
            begin_work(folder, plan, predictor, model)
        done = _finished(folder)
        left = [index for index in range(plan.blocks) if index not in done]
        before, skipped = plan.blocks - len(left), sum(not anything for anything in done.values())
        watch.on_text(outline(name, plan, folder))
        watch.on_text(f"{before} blocks were done before" if before else estimate(predictor, plan, folder))
        objects = None
        with hire(settings.workers) as crew:
            if isinstance(crew, Cluster):
                watch.on_text(f"workers at work: {crew.dashboard}")
            if left:
                job = Job(folder, None if isinstance(source, Path) else image)
                for index, anything in _noted(folder, crew.blocks(job, left)):
                    done[index] = anything
                    skipped += not anything
                    watch.on_block(len(done), plan.blocks)
            if separation:
                watch.on_text("telling the objects apart, across blocks")
                objects = _separate(folder, plan, separation, crew)
        watch.on_text(f"writing {target}")
        _write(folder, target, beside, header, predictor.card.classes)
    if skipped:
        watch.on_text(f"{skipped} of {plan.blocks} blocks were left out ({skipped / plan.blocks:.0%})")
    watch.on_written()
    shutil.rmtree(folder, ignore_errors=True)
    return StoreResult(target, plan.blocks, before, skipped, objects, warnings, time.monotonic() - begun)


def work_folder(target: Path) -> Path:
    """Where the unfinished work of a target lies."""
    return target.with_name(f".{target.name}.work")


def _finished(folder: Path) -> dict[int, bool]:
    """The blocks that are done, each with whether there was anything in it; a line that a kill cut short is none."""
    found = {}
    with suppress(FileNotFoundError):
        for line in (folder / FINISHED).read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, KeyError, TypeError):
                record = json.loads(line)
                found[int(record["block"])] = bool(record["anything"])
    return found


def _noted(folder: Path, results: Iterator[tuple[int, bool]]) -> Iterator[tuple[int, bool]]:
    """Write down what is done, before anybody is told."""
    with telling(folder), (folder / FINISHED).open("a", encoding="utf-8") as file:
        for index, anything in results:
            # A kill may have cut the line before short.
            file.write("\n" + json.dumps({"block": index, "anything": anything}) + "\n")
            file.flush()
            os.fsync(file.fileno())
            yield index, anything


def _separate(folder: Path, plan: BlockPlan, settings: SeparateSettings, crew: Alone | Cluster) -> int:
    """The objects of the finished confidence into the store "labels". Begins anew after a kill: it takes little."""
    scratch = folder / "scratch"

    def store(path: Path) -> LabelStore:
        shutil.rmtree(path, ignore_errors=True)
        return LabelStore.create(path, plan.size, np.int32, plan.chunk)

    objects = separate_chunked(
        LabelStore.open(folder / "confidence"),
        store(folder / "labels"),
        plan.grid,
        settings,
        scratch=lambda name: store(scratch / name),
        map_chunks=crew.map,
    )
    shutil.rmtree(scratch)
    return objects


def _write(
    folder: Path, target: Path, beside: Mapping[str, Path], header: Header, classes: Sequence[ClassInfo]
) -> None:
    """Make the files of the finished stores. Doing it again gives the same ones, until the folder goes."""
    for name, path in beside.items():
        write_probabilities_from(path, LabelStore.open(folder / name), like=header)
    if not (folder / "labels").exists() and target.exists():
        return  # an OME-Zarr store is moved, and a kill came behind that
    colours, names = [c.colour for c in classes], [c.name for c in classes]
    write_labels_from(target, LabelStore.open(folder / "labels"), colours=colours, names=names, like=header)
