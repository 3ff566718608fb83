"""What there is to know of an image in blocks before the first of them: level, plan, work folder, time and disk."""

from __future__ import annotations

import math
import shutil
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from useg import machine
from useg.atomic import telling, write_text
from useg.blocks import EMPTY, MODEL, PLAN, BlockPlan, choose_block
from useg.errors import ImageError, MissingError
from useg.images.files import level_headers, read_mask
from useg.images.store import LabelStore
from useg.images.windows import Windows
from useg.inputs import Glance, size_as_in_training
from useg.predict import Predictor, uncertainty_planes, views_of
from useg.runner import WORKSPACE
from useg.unet.model import copy_model, digest, find_model
from useg.unet.normalise import measure
from useg.workers import WorkerSettings

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


def identify(
    predictor: Predictor,
    model: Path,
    source: Path | Windows,
    settings: StoreSettings,
    level: int,
    looked: Glance,
    stores: Sequence[str],
) -> dict[str, Any]:
    """What must be the same for a call to go on with the work of another.

    Raises:
        MissingError: there is no such coarse mask.
    """
    if isinstance(source, Path):
        image = file_state(source)
    else:
        image = {"array": f"{zlib.crc32(looked.small.tobytes()):08x} {looked.size} {looked.small.dtype}"}
    return {
        "model": digest(model),
        "source": image | {"level": level},
        "where": file_state(settings.where) if settings.where else None,
        "skip_empty": settings.skip_empty,
        "tta": predictor.settings.tta,
        "folds": list(predictor.settings.folds),
        "stores": list(stores),
    }


def file_state(path: Path) -> dict[str, Any]:
    """Which file a result was made of, and as it was then.

    Raises:
        MissingError: there is no such file.
    """
    if not path.exists():
        raise MissingError(f"{path}: there is no such file; check the path")
    stat = path.stat()
    return {"source": str(path.resolve()), "bytes": stat.st_size, "modified": stat.st_mtime_ns}


def plan_blocks(
    predictor: Predictor,
    image: Windows,
    looked: Glance,
    settings: StoreSettings,
    identity: dict[str, Any],
    stores: Sequence[str],
) -> BlockPlan:
    """How an image is cut and predicted, by what may be taken of memory and by what it looks like.

    Raises:
        SettingsError: the memory allowed is too small for any tile.
        ImageError: the coarse mask is none, or has another number of axes.
    """
    if settings.where and read_mask(settings.where).ndim != len(image.header.size):
        raise ImageError(f"{settings.where}: is no mask of {len(image.header.size)} axes, as the image has; give one")
    asked, header, workers = predictor.settings, image.header, settings.workers.here
    predict = asked
    if "auto" in (asked.device, asked.precision):
        device = machine.find_device(asked.device)
        precision = machine.probe_precision(device) if asked.precision == "auto" else asked.precision
        predict = asked.model_copy(update={"device": device.type, "precision": precision})
    memory = (asked.max_memory or machine.free_memory() // 2) // workers
    network = min(memory - WORKSPACE, machine.network_memory(predict.device) // workers)
    chunk, block = choose_block(predictor.card, header.size, header.dtype.itemsize, network, predict)
    intensity = measure(looked.small, predictor.card.normalise)
    values = looked.small.reshape(len(looked.small), -1)
    ends = [np.percentile(np.nan_to_num(row), (1, 99)) for row in values] if settings.skip_empty else []
    return BlockPlan(
        identity=identity,
        source=str(image.path.resolve()) if image.path else "",
        level=identity["source"]["level"],
        size=header.size,
        chunk=chunk,
        block=block,
        predict=predict,
        # Workers elsewhere have one thread each: how many share a machine is not known here.
        threads=1 if settings.workers.scheduler else max(1, machine.cores() // workers),
        memory=memory,
        shift=[float(v) for v in intensity.shift],
        scale=[float(v) for v in intensity.scale],
        spread=[float(high - low) for low, high in ends],
        where=str(settings.where.resolve()) if settings.where else "",
        stores=list(stores),
    )


def kept_plan(folder: Path) -> BlockPlan | None:
    """The plan of a work folder; None where there is none that can be gone on with."""
    try:
        return BlockPlan.model_validate_json((folder / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


def begin_work(folder: Path, plan: BlockPlan, predictor: Predictor, model: Path) -> None:
    """Make the work folder. Its plan comes last: without it the folder is nothing, and is made anew."""
    planes = {
        "probabilities": predictor.card.network.classes,
        "uncertainty": uncertainty_planes(predictor.card, plan.predict),
    }
    with telling(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        copy_model(find_model(model), folder, MODEL)
        for name in plan.stores:
            if name in planes:
                LabelStore.create(folder / name, plan.size, np.float32, plan.chunk, planes=planes[name])
            else:
                LabelStore.create(folder / name, plan.size, np.uint8, plan.chunk)
        write_text(folder / PLAN, plan.model_dump_json())


def outline(name: str, plan: BlockPlan, folder: Path) -> str:
    """What will be done, in words."""
    size, block = (" x ".join(map(str, edges)) for edges in (plan.size, plan.block))
    level = f" (level {plan.level} of the pyramid)" if plan.level else ""
    found = f"{name}: {size} pixels{level}, {plan.blocks} blocks of up to {block}, kept in {folder} until all is done"
    if plan.spread:
        found += f"; blocks whose gray values differ by less than {EMPTY:.0%} of the image's are left out"
    return found


def estimate(predictor: Predictor, plan: BlockPlan, folder: Path) -> str:
    """Time by the network's pace on a small tile, disk by what results take of which nothing can be compressed."""
    network, dims = predictor.card.network, len(plan.size)
    edges = [axis.fit_up(min(PROBE[dims], max(plan.block))) for axis in network.axes]
    tile = np.zeros((network.in_channels, *edges), np.float32)
    seconds = []
    for _ in range(4):  # the first sets things up
        begun = time.perf_counter()
        predictor.runner(
            tile, [slice(0, axis.output_size(edge)) for axis, edge in zip(network.axes, edges, strict=True)]
        )
        seconds.append(time.perf_counter() - begun)
    views = len(views_of(predictor.card, plan.predict))
    pixels = plan.blocks * views * math.prod(n + axis.halo for axis, n in zip(network.axes, plan.block, strict=True))
    time_needed = pixels * min(seconds) / tile[0].size
    in_words = f"{time_needed / 60:.0f} min" if time_needed > 90 else f"{time_needed:.0f} s"
    a_pixel = {"labels": 2, "confidence": 1 + 5 * 4, "probabilities": 2 * 4 * network.classes, "uncertainty": 2 * 4 * 2}
    disk = math.prod(plan.size) * sum(a_pixel[name] for name in plan.stores) / 1e9
    free = shutil.disk_usage(folder).free / 1e9
    return f"about {in_words} on this machine; at most {disk:.2g} GB of disk, where {free:.2g} GB are free"
