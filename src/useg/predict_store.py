"""Overlap-tile prediction of images larger than memory: block by block through a store on disk, by one or many workers.

Each block is what `predict.py` would compute of it in memory. It is durable before it counts as done, so the same call
after a power cut does what is missing and ends with the same bytes.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from useg import machine
from useg.atomic import telling, write_text
from useg.blocks import EMPTY, MODEL, PLAN, BlockPlan, Job, choose_block
from useg.errors import ImageError
from useg.images.files import level_headers, open_windows
from useg.images.image import Header
from useg.images.store import LabelStore
from useg.images.stored import write_labels_from, write_probabilities_from
from useg.images.windows import Windows
from useg.inputs import Glance, glance, size_as_in_training, unlike_training
from useg.objects.chunks import Grid
from useg.objects.seams import separate_chunked
from useg.objects.settings import SeparateSettings
from useg.predict import Predictor
from useg.runner import WORKSPACE
from useg.unet.model import ClassInfo, digest, find_model
from useg.unet.normalise import measure
from useg.views import symmetric_views
from useg.workers import Alone, Cluster, WorkerSettings, hire

FINISHED = "finished.jsonl"
"""In the work folder, a line a block that is done."""
PROBE = {2: 512, 3: 64}
"""Pixels along an axis of the tile that tells the pace, by the number of axes."""


class StoreSettings(BaseModel):
    """How an image larger than memory is predicted, beside `PredictSettings`.

    Attributes:
        workers: who does it.
        where: a coarse mask of the same field of view, of any size; blocks where it is 0 are not predicted.
        skip_empty: nor those without signal, see `useg.blocks.is_empty`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: WorkerSettings = WorkerSettings()
    where: Path | None = None
    skip_empty: bool = False


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
    probabilities: Path | None = None,
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
        probabilities: also write them, `.tif`.
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
        identity = _identity(predictor, model, source, settings, level, looked, instances, probabilities is not None)
        folder = work_folder(target)
        plan = _plan_in(folder)
        if plan is None or plan.identity != identity:
            stores = ["confidence" if instances else "labels", *(["probabilities"] if probabilities else [])]
            plan = _plan(predictor, image, looked, settings, identity, stores)
            watch.on_begin()
            _begin(folder, plan, predictor, model)
        done = _finished(folder)
        left = [index for index in range(plan.blocks) if index not in done]
        before, skipped = plan.blocks - len(left), sum(not anything for anything in done.values())
        watch.on_text(_outline(name, plan, folder))
        watch.on_text(f"{before} blocks were done before" if before else _estimate(predictor, plan, folder))
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
        _write(folder, target, probabilities, header, predictor.card.classes)
    if skipped:
        watch.on_text(f"{skipped} of {plan.blocks} blocks were left out ({skipped / plan.blocks:.0%})")
    watch.on_written()
    shutil.rmtree(folder, ignore_errors=True)
    return StoreResult(target, plan.blocks, before, skipped, objects, warnings, time.monotonic() - begun)


def work_folder(target: Path) -> Path:
    """Where the unfinished work of a target lies."""
    return target.with_name(f".{target.name}.work")


def pick_level(predictor: Predictor, source: Path) -> int:
    """The level of a file's pyramid whose pixels are as large as those of the training images.

    Raises:
        ImageError: both know their pixel size, and no level has it.
    """
    seen, levels = predictor.card.input, level_headers(source)
    for level, header in enumerate(levels):
        if size_as_in_training(seen, header.size, header.spacing, header.unit) == header.size:
            return level
    sizes = " or ".join(" x ".join(f"{edge:.4g}" for edge in header.spacing or ()) for header in levels)
    wanted = " x ".join(f"{edge:.4g}" for edge in seen.spacing or ())
    raise ImageError(
        f"{source}: has pixels of {sizes} {seen.unit}, and the model learned on {wanted} {seen.unit}; an image that "
        "does not fit into memory is not scaled: save it with such pixels, or allow more --max-memory"
    )


def _identity(
    predictor: Predictor,
    model: Path,
    source: Path | Windows,
    settings: StoreSettings,
    level: int,
    looked: Glance,
    instances: bool,
    probabilities: bool,
) -> dict[str, Any]:
    """What must be the same for a call to go on with the work of another."""
    if isinstance(source, Path):
        image = _file(source)
    else:
        image = {"array": f"{zlib.crc32(looked.small.tobytes()):08x} {looked.size} {looked.small.dtype}"}
    return {
        "model": digest(model),
        "source": image | {"level": level},
        "where": _file(settings.where) if settings.where else None,
        "skip_empty": settings.skip_empty,
        "tta": predictor.settings.tta,
        "instances": instances,
        "probabilities": probabilities,
    }


def _file(path: Path) -> dict[str, Any]:
    stat = path.stat()
    return {"path": str(path.resolve()), "bytes": stat.st_size, "modified": stat.st_mtime_ns}


def _plan(
    predictor: Predictor,
    image: Windows,
    looked: Glance,
    settings: StoreSettings,
    identity: dict[str, Any],
    stores: list[str],
) -> BlockPlan:
    asked, header, workers = predictor.settings, image.header, settings.workers.here
    device = machine.find_device(asked.device)
    precision = machine.probe_precision(device) if asked.precision == "auto" else asked.precision
    limit = (asked.max_memory or machine.free_memory() // 2) // workers - WORKSPACE
    chunk, block = choose_block(predictor.card, header.size, header.dtype.itemsize, limit, precision)
    intensity = measure(looked.small, predictor.card.normalise)
    values = looked.small.reshape(len(looked.small), -1)
    ends = [np.percentile(row[np.isfinite(row)], (1, 99)) for row in values] if settings.skip_empty else []
    return BlockPlan(
        identity=identity,
        source=str(image.path.resolve()) if image.path else "",
        level=identity["source"]["level"],
        size=header.size,
        chunk=chunk,
        block=block,
        device=device.type,
        precision=precision,
        # Workers elsewhere have one thread each: how many share a machine is not known here.
        threads=1 if settings.workers.scheduler else max(1, machine.cores() // workers),
        tta=asked.tta,
        shift=[float(v) for v in intensity.shift],
        scale=[float(v) for v in intensity.scale],
        spread=[float(high - low) for low, high in ends],
        where=str(settings.where.resolve()) if settings.where else "",
        stores=stores,
    )


def _plan_in(folder: Path) -> BlockPlan | None:
    """The plan of a work folder; None where there is none that can be gone on with."""
    try:
        return BlockPlan.model_validate_json((folder / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


def _begin(folder: Path, plan: BlockPlan, predictor: Predictor, model: Path) -> None:
    """Make the work folder. Its plan comes last: without it the folder is nothing, and is made anew."""
    planes = predictor.card.network.classes
    with telling(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copyfile(find_model(model), folder / MODEL)
        for name in plan.stores:
            if name == "probabilities":
                LabelStore.create(folder / name, plan.size, np.float32, plan.chunk, planes=planes)
            else:
                LabelStore.create(folder / name, plan.size, np.uint8, plan.chunk)
        write_text(folder / PLAN, plan.model_dump_json())


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


def _outline(name: str, plan: BlockPlan, folder: Path) -> str:
    size, block = (" x ".join(map(str, edges)) for edges in (plan.size, plan.block))
    level = f" (level {plan.level} of the pyramid)" if plan.level else ""
    found = f"{name}: {size} pixels{level}, {plan.blocks} blocks of up to {block}, kept in {folder} until all is done"
    if plan.spread:
        found += f"; blocks whose gray values differ by less than {EMPTY:.0%} of the image's are left out"
    return found


def _estimate(predictor: Predictor, plan: BlockPlan, folder: Path) -> str:
    """Time by the network's pace on a small tile, disk by what results take of which nothing can be compressed."""
    network, dims = predictor.card.network, len(plan.size)
    edge = network.geometry.fit_up(min(PROBE[dims], max(plan.block)))
    tile, keep = (
        np.zeros((network.in_channels, *(edge,) * dims), np.float32),
        [slice(0, edge - network.geometry.shrink)] * dims,
    )
    seconds = []
    for _ in range(2):  # the first sets things up
        begun = time.perf_counter()
        predictor.runner(tile, keep)
        seconds.append(time.perf_counter() - begun)
    halo = network.geometry.smallest_tile - network.geometry.stride
    views = len(symmetric_views(predictor.card.flips if plan.tta else [], dims))
    pixels = plan.blocks * views * math.prod(n + halo for n in plan.block)
    time_needed = pixels * seconds[-1] / tile[0].size
    in_words = f"{time_needed / 60:.0f} minutes" if time_needed > 90 else f"{time_needed:.0f} seconds"
    a_pixel = {"labels": 2, "confidence": 1 + 5 * 4, "probabilities": 2 * 4 * network.classes}
    disk = math.prod(plan.size) * sum(a_pixel[name] for name in plan.stores) / 1e9
    free = shutil.disk_usage(folder).free / 1e9
    return f"about {in_words} on this machine; at most {disk:.2g} GB of disk, where {free:.2g} GB are free"


def _separate(folder: Path, plan: BlockPlan, settings: SeparateSettings, crew: Alone | Cluster) -> int:
    """The objects of the finished confidence into the store "labels". Begins anew after a kill: it takes little."""
    scratch = folder / "scratch"

    def store(path: Path) -> LabelStore:
        shutil.rmtree(path, ignore_errors=True)
        return LabelStore.create(path, plan.size, np.int32, plan.chunk)

    objects = separate_chunked(
        LabelStore.open(folder / "confidence"),
        store(folder / "labels"),
        Grid.regular(plan.size, plan.block),
        settings,
        scratch=lambda name: store(scratch / name),
        map_chunks=crew.map,
    )
    shutil.rmtree(scratch)
    return objects


def _write(
    folder: Path, target: Path, probabilities: Path | None, header: Header, classes: Sequence[ClassInfo]
) -> None:
    """Make the files of the finished stores. Doing it again gives the same ones, until the folder goes."""
    if probabilities:
        write_probabilities_from(probabilities, LabelStore.open(folder / "probabilities"), like=header)
    if not (folder / "labels").exists() and target.exists():
        return  # an OME-Zarr store is moved, and a kill came behind that
    colours, names = [c.colour for c in classes], [c.name for c in classes]
    write_labels_from(target, LabelStore.open(folder / "labels"), colours=colours, names=names, like=header)
