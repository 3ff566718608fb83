"""What the border weights of an image cost, against one distance transform an object; medians of runs in turn.

    python benchmarks/borders.py

For an image of --size pixels a side with 1,000 and with 4,000 objects, drawn so that some touch:

map       `useg.unet.borders.border_weights` in seconds, and how its time grows with the objects
brute     the same map by one distance transform an object: timed on --brute of its objects, for the time of one, and
          EXTRAPOLATED to all; with --full timed on all of them (many minutes), and the maps compared
part      `part_objects` on a training sample of --crop pixels a side, in milliseconds
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from scipy import ndimage

from useg import machine
from useg.unet.borders import PLUGIN, BorderSettings, border_weights, part_objects, touching_share

PAPER = BorderSettings()


def main() -> None:
    """Measure, in turn."""
    args = parse()
    print(f"{machine.cpu_name()}, cores: {machine.cores()}, numpy {np.__version__}")
    images = {count: draw(count, args.size) for count in args.objects}
    for count, ids in images.items():
        touching, objects = touching_share(ids)
        covered = np.count_nonzero(ids) / ids.size
        print(f"{count} objects: {objects} drawn, {touching} touch another one, {covered:.2f} of the image covered")

    results: dict[str, Any] = measure_maps(images, args.repeats)
    for name, row in results.items():
        listed = ", ".join(f"{count} objects {value:.2f} s" for count, value in row["seconds"].items())
        print(
            f"map, {name}: {args.size}x{args.size}, {listed}; the time of {max(images)} is {row['growth']:.2f} times "
            f"that of {min(images)}"
        )
    for count, ids in images.items():
        results[f"brute_{count}"] = measure_brute_force(ids, args.brute, args.full, args.repeats)
        sys.stdout.flush()
    for crop in args.crop:
        sample = np.ascontiguousarray(images[max(images)][:crop, :crop])
        value = median(timed(part_objects, sample) for _ in range(100))
        print(f"part: {crop}x{crop} in {1000 * value:.2f} ms")
        results[f"part_{crop}"] = value
    if args.json:
        args.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2048, help="edge of the image (2048)")
    parser.add_argument("--objects", nargs="+", type=int, default=[1000, 4000], help="in the image (1000 4000)")
    parser.add_argument("--repeats", type=int, default=5, help="maps of each image, in turn (5)")
    parser.add_argument("--brute", type=int, default=20, help="objects that the brute force is timed on (20)")
    parser.add_argument("--full", action="store_true", help="time the brute force on all objects too: many minutes")
    parser.add_argument("--crop", nargs="+", type=int, default=[256, 384], help="edges of a training sample (256 384)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def draw(count: int, size: int) -> np.ndarray:
    """`count` cells of like area in a square image: round where free, flat where they touch; ids from 1."""
    rng = np.random.default_rng(0)
    a_side = int(np.ceil(np.sqrt(count)))
    edge = size / a_side
    grid = np.stack(np.divmod(np.arange(count), a_side), 1)
    centres = ((grid + rng.uniform(0.25, 0.75, grid.shape)) * edge).astype(int)
    seeds = np.zeros((size, size), np.int32)
    seeds[tuple(centres.T)] = np.arange(1, count + 1)
    distance, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    cells = seeds[tuple(nearest)]
    radius = rng.uniform(0.3, 0.6, count + 1) * edge
    return np.where(distance < radius[cells], cells, 0).astype(np.int32)


def measure_maps(images: dict[int, np.ndarray], repeats: int) -> dict[str, dict[str, Any]]:
    """Seconds of the paper's and of the plug-in's map for each image, and the ratio of most to fewest objects."""
    chosen = {"paper": PAPER, "plug-in": PLUGIN}
    runs: dict[str, list[dict[int, float]]] = {name: [] for name in chosen}
    for _ in range(1 + repeats):
        for name, settings in chosen.items():
            runs[name].append({count: timed(border_weights, ids, settings) for count, ids in images.items()})
    # The first round holds what happens once. Ratios within a round: what else runs here changes from round to round.
    return {
        name: {
            "seconds": {count: median(run[count] for run in rounds[1:]) for count in images},
            "growth": median(run[max(images)] / run[min(images)] for run in rounds[1:]),
        }
        for name, rounds in runs.items()
    }


def measure_brute_force(ids: np.ndarray, timed_objects: int, full: bool, repeats: int) -> dict[str, Any]:
    """Seconds an object, on some of them, in turn with our map, and with `full` of the whole map; printed too."""
    every = np.unique(ids[ids != 0])
    some = every[:: max(1, len(every) // timed_objects)][:timed_objects]
    rounds = [
        (timed(border_weights, ids, PAPER), brute_force(ids, part)[1] / len(part))
        for part in np.array_split(some, min(repeats, len(some)))
    ]
    ours, one = (median(column) for column in zip(*rounds, strict=True))
    ratio = median(len(every) * each / map_ for map_, each in rounds)
    print(
        f"brute: {len(every)} objects, EXTRAPOLATED from {len(some)} of them ({one:.3f} s each): "
        f"{one * len(every):.0f} s, {ratio:.0f} times the map's {ours:.2f} s"
    )
    row: dict[str, Any] = {"timed": len(some), "seconds_each": one, "extrapolated_ratio": ratio}
    if full:
        weights, whole = brute_force(ids, every)
        difference = float(np.abs(weights - border_weights(ids, PAPER)).max())
        print(
            f"brute: {len(every)} objects, all timed: {whole:.0f} s, {whole / ours:.0f} times the map's {ours:.2f} s; "
            f"largest difference of the weights {difference:.0e}"
        )
        row |= {"full_seconds": whole, "full_ratio": whole / ours, "difference": difference}
    return row


def brute_force(ids: np.ndarray, objects: np.ndarray) -> tuple[np.ndarray, float]:
    """The paper's map by one distance transform an object, and the seconds that the objects took."""
    begun = time.perf_counter()
    first, second = np.full(ids.shape, np.inf), np.full(ids.shape, np.inf)
    for number in objects:
        distance = ndimage.distance_transform_edt(ids != number)
        np.minimum(second, np.maximum(first, distance), out=second)
        np.minimum(first, distance, out=first)
    seconds = time.perf_counter() - begun
    term = PAPER.weight * np.exp(-((first + second) ** 2) / (2 * PAPER.sigma**2))
    return 1 + np.where(ids == 0, term, 0), seconds


def timed(call: Callable[..., object], *arguments: object) -> float:
    """Seconds of one call."""
    begun = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
