"""What a bias for each class brings beside a temperature, judged on held-out images that did not choose it.

    python benchmarks/quality.py DATA_ROOT --minutes 15 --out RUNS      # trains one model a set, if there is none
    python benchmarks/bias.py RUNS

The images that were held out of a run's training are dealt into four parts. Each is labelled with what was found on the
other three: a temperature, which leaves labels as they are; a temperature and a bias for each class, as training keeps
them; and the offset of each class that gives the highest mean Dice. "The same images" is what the second scores where
it was found. No test image is looked at.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from useg import machine
from useg.data.dataset import evenly
from useg.evaluate import image_of
from useg.labels import IGNORE
from useg.metrics.calibration import RANGE, Calibration, calibrate
from useg.metrics.overlap import confusion_matrix
from useg.predict import Predictor, calibration_of
from useg.run_data import images_of_run
from useg.scores import dice_of

PARTS, PIXELS = 4, 100_000
"""Parts of the images, and pixels, evenly spread, on which something is found."""
Pixels = tuple[np.ndarray, np.ndarray]
"""Probabilities `k n` before calibration, and classes, of annotated pixels."""
COLUMNS = ("data set", "images", "found", "mean Dice of the foreground", "right pixels", "cross-entropy")


def main() -> None:
    """Judge run after run, print its rows as soon as they are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of runs, each named as its set")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    args = parser.parse_args()
    people = sys.stderr if args.json else sys.stdout
    print(f"{machine.cpu_name()}, cores: {machine.cores()}", file=people)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", file=people, flush=True)
    rows = []
    for run in sorted(path.parent for path in args.runs.glob("*/model.safetensors")):
        images = held_out(run)
        for name, find in FOUND.items():
            rows.append({"set": run.name, "images": len(images), "found": name, **judge(images, find, apart=True)})
        rows.append({"set": run.name, "images": len(images), "found": "the same images", **judge(images, calibrate)})
        for row in rows[-len(FOUND) - 1 :]:
            scores = f"{row['dice']:.4f} | {row['right']:.4f} | {row['cross_entropy']:.4f}"
            print(f"| {row['set']} | {row['images']} | {row['found']} | {scores} |", file=people, flush=True)
    if args.json:
        print(json.dumps(rows, indent=2))


def held_out(run: Path) -> list[Pixels]:
    """The annotated pixels of each held-out image, as the network answers before it is calibrated."""
    predictor, parts = Predictor.load(run), images_of_run(run)
    assert parts is not None, f"{run}: its data have gone"
    plain = calibration_of(predictor.card).undone
    found = []
    for example in parts.validation:
        known = example.labels != IGNORE
        found.append((plain.apply(predictor.predict(image_of(example)).probabilities[:, known]), example.labels[known]))
    return found


def judge(images: Sequence[Pixels], find: Callable[..., Calibration], *, apart: bool = False) -> dict[str, float]:
    """Scores of all images, each with what was found on those of the other parts, or on all."""
    classes = len(images[0][0])
    confusion, costs = np.zeros((classes, classes)), []
    for part in range(PARTS if apart else 1):
        here = range(part, len(images), PARTS) if apart else range(len(images))
        others = [image for k, image in enumerate(images) if not apart or k not in here]
        found = find(*thinned(others))
        for probabilities, truth in (images[k] for k in here):
            mended = found.apply(probabilities)
            confusion += confusion_matrix(truth, mended.argmax(0), classes)
            costs.append(-np.log(mended[truth, np.arange(truth.size)] + 1e-12).sum())
    return {
        "dice": float(np.nanmean(dice_of(confusion)[1:])),
        "right": float(np.trace(confusion) / confusion.sum()),
        "cross_entropy": float(np.sum(costs) / confusion.sum()),
    }


def thinned(images: Sequence[Pixels]) -> Pixels:
    """Some pixels of each image, together."""
    some = [(p[:, i], t[i]) for p, t in images for i in [evenly(t.size, PIXELS // len(images))]]
    return np.concatenate([p for p, _ in some], axis=1), np.concatenate([t for _, t in some])


def find_temperature(probabilities: np.ndarray, truth: np.ndarray) -> Calibration:
    """The best temperature, to 2 %, without biases."""
    tried = [Calibration(t, (0.0,) * len(probabilities)) for t in np.geomspace(*RANGE, 150)]
    right = np.arange(truth.size)
    return min(tried, key=lambda each: -np.log(each.apply(probabilities)[truth, right] + 1e-12).mean())


def find_offsets(probabilities: np.ndarray, truth: np.ndarray) -> Calibration:
    """What added to the scores of each class gives the highest mean Dice: class by class, in ever smaller steps."""
    classes = len(probabilities)

    def dice(offsets: np.ndarray) -> float:
        labels = Calibration(1.0, tuple(offsets)).weigh(probabilities).argmax(0)
        return float(np.nanmean(dice_of(confusion_matrix(truth, labels, classes))[1:]))

    best = np.zeros(classes)
    for step in (0.5, 0.25, 0.125):
        for way in [w for k in range(classes) for w in (step * np.eye(classes)[k], -step * np.eye(classes)[k])] * 3:
            while dice(best + way) > dice(best) + 1e-5:
                best = best + way
    return Calibration(1.0, tuple(best))


FOUND: dict[str, Callable[..., Calibration]] = {
    "temperature": find_temperature,
    "temperature and biases": calibrate,
    "offsets for Dice": find_offsets,
}

if __name__ == "__main__":
    main()
