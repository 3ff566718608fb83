"""Separating objects against the network that finds them: a ratio of medians, measured in turn in one run.

    python benchmarks/objects.py --size 4096 --objects 10000

The image is a grid of soft discs of varied size, shifted at random so that many touch; the network a planned one
(as in speed.py) with random weights. A pass is the bare network on as many tiles as `Predictor.predict` would take,
one of them measured. Separated with a threshold of 0.5, a seed threshold of 0.8 and objects of at least 30 pixels.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from speed import model

from useg import machine
from useg.objects import SeparateSettings, separate
from useg.predict import PredictSettings, resident_bytes
from useg.runner import largest_tile
from useg.unet.geometry import plan_tiles


def main() -> None:
    """Measure and print."""
    args = parse()
    machine.keep_freed_memory()
    probability = draw(args.size, args.objects)
    settings = SeparateSettings(threshold=0.5, seed_threshold=0.8, smallest=30)
    card, runner = model(args.width, args.precision)
    image = np.zeros((1, args.size, args.size), np.uint8)
    limit = args.max_memory - resident_bytes(card, image.nbytes, image.size, PredictSettings())
    tiles = plan_tiles(card.network.axes, image.shape[1:], largest_tile(card, image.shape[1:], limit, args.precision))
    tile = np.zeros((1, *max((t.shape for t in tiles), key=np.prod)), np.float32)
    share = sum(int(np.prod(t.shape)) for t in tiles) / tile.size

    found = separate(probability, settings).max()
    whole = [slice(0, n) for n in tile.shape[1:]]
    runner(tile, whole)
    separating, passing = [], []
    for _ in range(args.rounds):
        separating.append(seconds(lambda: separate(probability, settings)))
        passing.append(seconds(lambda: runner(tile, whole)) * share)
    ours, network = median(separating), median(passing)
    print(f"{machine.cpu_name()}, cores: {machine.cores()}, torch {torch.__version__}, precision: {args.precision}")
    print(
        f"{found} of {args.objects} objects of {args.size}x{args.size} pixels separated in {ours:.2f} s: "
        f"{ours / network:.3f} of a pass of the width-{args.width} network ({network:.1f} s, {len(tiles)} tiles)"
    )


def draw(size: int, objects: int) -> np.ndarray:
    """Probabilities `Y X` of about so many soft discs with a little noise."""
    rng = np.random.default_rng(0)
    side = max(1, round(objects**0.5))
    step = size / side
    probability = np.zeros((size, size), np.float32)
    for row, column in np.ndindex(side, side):
        y, x = (np.array([row, column]) + 0.5 + rng.uniform(-0.2, 0.2, 2)) * step
        radius = step * rng.uniform(0.3, 0.5)
        top, left = (max(int(n - radius - 8), 0) for n in (y, x))
        part = probability[top : int(y + radius + 9), left : int(x + radius + 9)]
        rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
        depth = radius - np.hypot(rows + top - y, columns + left - x)
        np.maximum(part, 1 / (1 + np.exp(-depth / 2)), out=part, casting="same_kind")
    probability += 0.01 * rng.standard_normal(probability.shape, np.float32)
    return probability.clip(0, 1)


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4096, help="edge of the image (4096)")
    parser.add_argument("--objects", type=int, default=10_000, help="discs to draw (10000)")
    parser.add_argument("--width", type=int, default=16, help="of the network (16)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (5)")
    parser.add_argument(
        "--max-memory", type=int, default=4_000_000_000, help="bytes that the prediction may take (4e9)"
    )
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    return parser.parse_args()


if __name__ == "__main__":
    main()
