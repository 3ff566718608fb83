"""A small data set that useg draws itself, and the whole way through on it: proves an install."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from useg.atomic import require_output_folder
from useg.errors import OutputError
from useg.evaluate import evaluate_folder
from useg.images.files import write_labels, write_picture
from useg.predict import Predictor
from useg.predict_files import Outputs, find_inputs, predict_files
from useg.report.gallery import Gallery
from useg.report.run import REPORT, report_evaluation
from useg.scores import Evaluation
from useg.train import train
from useg.unet.borders import part_objects
from useg.watch import Watcher

TRAIN_IMAGES, TEST_IMAGES, SIZE = 8, 4, 256


@dataclass(frozen=True)
class DemoResult:
    """Where the demo put everything, and how the model scored on images that it never saw."""

    data: Path
    run: Path
    pictures: Path
    report: Path
    evaluation: Evaluation


def run_demo(
    out: Path, *, minutes: float | None = None, steps: int | None = None, watch: Watcher | None = None
) -> DemoResult:
    """Draw a data set, train on it for `minutes` or `steps`, predict its test images, score them, write the report.

    Raises:
        OutputError: `out` exists and is not empty.
    """
    require_output_folder(out)
    if out.exists() and any(out.iterdir()):
        raise OutputError(f"{out}: is not empty; remove it, or name another folder with -o")
    data, run = out / "data", out / "run"
    draw_data_set(data, ids=True)
    train(data, run, minutes=minutes, steps=steps, watch=watch)
    predictor = Predictor.load(run)
    predict_files(predictor, run, find_inputs([data / "test"]), out / "predictions", Outputs(instances=True))
    gallery, begun = Gallery(predictor.card), time.monotonic()
    evaluation = evaluate_folder(predictor, data, overlays=out / "pictures", watch=gallery.add)
    report_evaluation(
        run / REPORT,
        evaluation,
        gallery,
        run=run,
        data=str(data / "test"),
        command=f"useg demo -o {out}",
        seconds=time.monotonic() - begun,
    )
    return DemoResult(data, run, out / "pictures", run / REPORT, evaluation)


def draw_data_set(
    folder: Path,
    *,
    train_images: int = TRAIN_IMAGES,
    test_images: int = TEST_IMAGES,
    size: int = SIZE,
    ids: bool = False,
) -> None:
    """Write `train/` and `test/`, each with `images/` and `masks/`.

    Masks number the cells with `ids`; without, they are 0 for background and 1 for cells, a gap between those that
    touch.
    """
    for part, first, count in (("train", 0, train_images), ("test", 1000, test_images)):
        for index in range(count):
            image, cells = draw_cells(np.random.default_rng([2015, first + index]), size)
            mask = cells if ids else (part_objects(cells) > 0).astype(np.uint8)
            name = f"cells_{index:02d}"
            write_picture(folder / part / "images" / f"{name}.png", image)
            write_labels(folder / part / "masks" / f"{name}.png", mask)


def draw_cells(rng: np.random.Generator, size: int = SIZE) -> tuple[UInt8[np.ndarray, "y x"], Int32[np.ndarray, "y x"]]:
    """One picture of touching cells in uneven light with noise, and the cell at each pixel, 0 for none."""
    from scipy.ndimage import gaussian_filter

    y, x = np.mgrid[:size, :size].astype(np.float32)
    owner = np.zeros((size, size), np.int32)
    bright = np.zeros((size, size), np.float32)
    centre = np.zeros(2)
    for cell in range(1, size // 8):
        # Cells come in clumps of four, so that many touch.
        centre = rng.uniform(0, size, 2) if cell % 4 == 1 else centre + rng.normal(0, size / 14, 2)
        radius = rng.uniform(size / 28, size / 14)
        angle, squeeze = rng.uniform(0, np.pi), rng.uniform(0.6, 1)
        along = (y - centre[0]) * np.cos(angle) + (x - centre[1]) * np.sin(angle)
        across = (x - centre[1]) * np.cos(angle) - (y - centre[0]) * np.sin(angle)
        distance = np.sqrt(along**2 + (across / squeeze) ** 2) / radius
        mine = (distance < 1) & (owner == 0)
        owner[mine] = cell
        # Bright in the middle, with a dark nucleus, each cell of its own brightness.
        bright[mine] = (rng.uniform(0.5, 1) * (1.1 - distance**2) - 0.5 * np.exp(-((distance / 0.3) ** 2)))[mine]
    # A pixel with a neighbour of another cell is a gap between the two.
    gap = np.zeros_like(owner, bool)
    for axis in (0, 1):
        other = np.roll(owner, 1, axis)
        gap |= (owner != other) & (owner > 0) & (other > 0)
    texture = gaussian_filter(rng.normal(0, 1, (size, size)), 3) * 1.5
    light = gaussian_filter(rng.normal(0, 1, (size, size)), size / 5, mode="wrap")
    light *= 1 / light.std()
    image = 70 + 90 * gaussian_filter(np.where(gap, 0.1, bright), 1.0) + 12 * texture + 22 * light
    image = image + rng.normal(0, 10, (size, size))
    return image.clip(0, 255).astype(np.uint8), owner
