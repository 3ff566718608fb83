"""Two processes against one: how far their losses are apart, and how fast they are.

    python benchmarks/processes.py [--json]

curves  the largest difference of the loss over 20 steps in float32, for SGD, AdamW and what `useg train` plans, on
        masks that number touching cells (batch normalisation, cross-entropy + Dice, border weights). Beside it, how far
        one process with two threads is from one with one: what another order of the same sums does
pace    seconds between two steps of `useg train`, everything included, two processes of half the threads each against
        one with all of them, in turn; medians
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from useg import machine
from useg.demo import draw_data_set
from useg.train import train
from useg.watch import Progress, Watcher

STEPS = 20
SETTLED = 5
"""Steps of a run that are not timed: what is set up once."""
SMALL: dict[str, Any] = {
    "network.width": 8,
    "network.depth": 2,
    "network.patch": 1,
    "samples.crop": [64, 64],
    "samples.batch": 4,
    "machine.device": "cpu",
    "machine.precision": "float32",
    "validations": 1,
}
KINDS: dict[str, dict[str, Any]] = {
    "sgd": {"optimiser.kind": "sgd", "optimiser.learning_rate": 0.001, "optimiser.momentum": 0.9},
    "adamw": {"optimiser.kind": "adamw", "optimiser.learning_rate": 0.001},
    "planned": {},
}


def main() -> None:
    """Measure, and print."""
    args = parse()
    if args.child:
        child(**json.loads(args.child))
        return
    results: dict[str, Any] = {"machine": machine.cpu_name(), "cores": machine.cores(), "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_data_set(folder / "data", train_images=8, test_images=0, size=256, ids=True)
        if "curves" in args.parts:
            results["curves"] = measure_curves(folder)
        if "pace" in args.parts:
            results["pace"] = measure_pace(folder, args.rounds, args.width, args.batch, args.steps)
    if args.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{results['machine']}, cores: {results['cores']}, torch {results['torch']}")
    for kind, found in results.get("curves", {}).items():
        print(
            f"{kind}: losses of one and two processes differ by {found['processes']:.1e} at most over {STEPS} steps "
            f"(one process with one thread and with two: {found['rounding']:.1e})"
        )
    if p := results.get("pace"):
        print(
            f"pace, width {args.width}, {args.batch} x 256x256 a step: two processes at {p['ratio']:.2f} times that of "
            f"one ({p['two']:.3f} s a step against {p['one']:.3f} s)"
        )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("curves", "pace"), default=("curves", "pace"))
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind, in turn")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=25, help="of each timed run")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure_curves(folder: Path) -> dict[str, dict[str, float]]:
    """Largest differences of the losses, of each kind of optimiser."""
    kinds = [{**SMALL, **changes} for changes in KINDS.values()]
    plain, threaded = ([{"overrides": {**k, "machine.threads": count}} for k in kinds] for count in (1, 2))
    found = launch(folder, 1, [*plain, *threaded])
    one, beside, two = found[: len(plain)], found[len(plain) :], launch(folder, 2, plain)
    return {
        kind: {"processes": furthest(one[i], two[i]), "rounding": furthest(one[i], beside[i])}
        for i, kind in enumerate(KINDS)
    }


def furthest(run: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of two loss curves."""
    return max(abs(a - b) for a, b in zip(run["losses"], other["losses"], strict=True))


def measure_pace(folder: Path, rounds: int, width: int, batch: int, steps: int) -> dict[str, float]:
    """Medians of the seconds between steps, and one process's over two processes'."""
    overrides = {"network.width": width, "samples.batch": batch, "samples.crop": [256, 256], "machine.device": "cpu"}
    overrides |= {"validations": 1, "network.patch": 1}
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for count, found in seconds.items():
            found += launch(folder, count, [{"overrides": overrides, "steps": steps}])[0]["seconds"]
    one, two = median(seconds[1]), median(seconds[2])
    return {"one": one, "two": two, "ratio": one / two}


def launch(folder: Path, count: int, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Losses and seconds of runs by `count` processes."""
    start = [sys.executable]
    if count > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    words = json.dumps({"folder": str(folder), "runs": runs})
    done = subprocess.run([*start, __file__, "--child", words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def child(folder: str, runs: list[dict[str, Any]]) -> None:
    """Train, in each of the processes; the first one prints a line a run."""
    for run in runs:
        with tempfile.TemporaryDirectory() as name:
            print_run(Path(folder) / "data", Path(name) / "run", **run)


def print_run(data: Path, run: Path, overrides: dict[str, Any], steps: int = STEPS) -> None:
    """Losses of a run, and the seconds from each step to the next."""
    losses: list[float | None] = []
    times: list[float] = []

    def told(progress: Progress) -> None:
        if progress.event != "validated":
            losses.append(progress.loss)
            times.append(time.perf_counter())

    # The others write into a folder of their own what they write: nothing but border fields.
    train(data, run, steps=steps, overrides=overrides, watch=Watcher(on_progress=told))
    if machine.speaks():
        seconds = [b - a for a, b in zip(times[SETTLED:], times[SETTLED + 1 :], strict=False)]
        print(json.dumps({"losses": losses, "seconds": seconds}))


if __name__ == "__main__":
    main()
