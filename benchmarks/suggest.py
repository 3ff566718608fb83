"""Does `useg suggest` choose better images to annotate than chance? Active learning, both arms from the same start.

    python benchmarks/suggest.py DATA_ROOT --sets nuclei-dsb2018 camvid-12class --ignore camvid-12class=11 --steps 100

For each seed, a few random images of SET/train are annotated and a model is trained on them. Then, in rounds, each arm
adds some more of the others, "suggest" those that the arm's own model suggests and "random" those that chance does, and
trains anew from scratch with the same settings and seed. After each training the model is scored on SET/test: Dice,
mean over the classes that the test holds (without the background where there are two). The curve of an arm is one
number by its area (trapezoids, over the number of annotated images, normalised: the mean Dice on the way), and the two
areas of a seed are a pair. One row of the table is a set: the mean areas, and the mean difference with its 95 %
intervals, by Student's t and by the bootstrap over seeds.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from useg import machine
from useg.data.dataset import Pair, find_pairs
from useg.data.legend import value_text
from useg.data.prepare import prepare
from useg.evaluate import evaluate_folder
from useg.predict import Predictor, PredictSettings
from useg.suggest.ranking import SuggestSettings, annotated_in, suggest
from useg.train import train

COLUMNS = ("data set", "seeds", "images", "steps", "random", "suggest", "difference", "95 % (t)", "95 % (bootstrap)")
ARMS = ("suggest", "random")
WHOLE = 4096
"""Images are suggested whole: chance cannot choose regions."""


@dataclass(frozen=True)
class Protocol:
    """How one experiment goes: images to start with, images a round, rounds, steps of each training."""

    start: int
    per_round: int
    rounds: int
    steps: int
    ignore: int | None


def main() -> None:
    """Parse, run seed after seed, tell each curve, then the table."""
    args = parse()
    rows = []
    for name in args.sets:
        protocol = Protocol(args.start, args.per_round, args.rounds, args.steps, args.ignore.get(name))
        seeds = []
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            with tempfile.TemporaryDirectory() as work:
                seeds.append(run_seed(args.root / name, Path(work), seed, protocol))
            print(f"{name}, seed {seed}: {curves(seeds[-1])}", file=sys.stderr, flush=True)
            row = summary(name, seeds, protocol)
            if args.out:
                args.out.write_text(json.dumps([*rows, row], indent=2), encoding="utf-8")
        rows.append(row)
    table = sys.stderr if args.json else sys.stdout
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", file=table)
    for row in rows:
        print(as_markdown(row), file=table)
    if args.json:
        print(json.dumps(rows, indent=2))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of data sets, each with train/ and test/ (images/ and masks/)")
    parser.add_argument("--sets", nargs="+", required=True, help="names of folders in it")
    parser.add_argument("--seeds", type=int, default=5, help="experiments of each set (5)")
    parser.add_argument("--first-seed", type=int, default=0, help="of the experiments (0)")
    parser.add_argument("--start", type=int, default=4, help="images annotated by chance before the first round (4)")
    parser.add_argument("--per-round", type=int, default=4, help="images annotated in each round (4)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (3)")
    parser.add_argument("--steps", type=int, default=150, help="of each training (150)")
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="SET=VALUE", help="see `useg train`; repeatable"
    )
    parser.add_argument("--out", type=Path, help="file for the results so far, as JSON, after each seed")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    args = parser.parse_args()
    if unknown := [s for s in args.sets if not all((args.root / s / p / "images").is_dir() for p in ("train", "test"))]:
        parser.error(f"{args.root}: no train/images and test/images in {', '.join(unknown)}")
    try:
        args.ignore = {name: int(value) for name, value in (pair.split("=") for pair in args.ignore)}
    except ValueError:
        parser.error(f"--ignore {' '.join(args.ignore)}: write SET=NUMBER")
    return args


def run_seed(data: Path, work: Path, seed: int, protocol: Protocol) -> dict[str, Any]:
    """Both arms from one start: the Dice after each training, the images that each added, and the time."""
    began = time.monotonic()
    pairs = {pair.name: pair for pair in find_pairs(data / "train")}
    legend = legend_of(data / "train", protocol.ignore)
    chance = random.Random(seed)
    order = chance.sample(sorted(pairs), len(pairs))

    def learn(names: Sequence[str], where: Path) -> tuple[Predictor, float]:
        make_set(where / "data", [pairs[name] for name in names], legend)
        overrides = {"seed": seed, "data.ignore": protocol.ignore, "validations": 1}
        train(where / "data", where / "run", steps=protocol.steps, overrides=overrides)
        predictor = Predictor.load(where / "run", PredictSettings(precision="float32"))
        return predictor, test_dice(predictor, data / "test")

    first, first_score = learn(order[: protocol.start], work / "start")
    found: dict[str, Any] = {"seed": seed}
    for arm in ARMS:
        have, predictor, scores, run = list(order[: protocol.start]), first, [first_score], work / "start" / "run"
        for number in range(1, protocol.rounds + 1):
            left = [name for name in order if name not in have]
            if arm == "suggest":
                settings = SuggestSettings(count=protocol.per_round, region=WHOLE)
                sources = [pairs[name].image for name in left]
                chosen = suggest(predictor, sources, settings, annotated=annotated_in(run)).chosen
                have += [one.name for one in chosen]
            else:
                have += left[: protocol.per_round]
            run = work / f"{arm}{number}" / "run"
            predictor, score = learn(have, run.parent)
            scores.append(score)
        found[arm] = {"dice": scores, "images": have}
    return found | {"seconds": time.monotonic() - began}


def legend_of(data: Path, ignore: int | None) -> str:
    """A legend file of all classes of a set: its first images may not show each of them."""
    legend = prepare(data, ignore=ignore).legend
    if legend.kind == "instances":
        return ""
    lines = [f"{value_text(value)},{name}" for value, name in zip(legend.values, legend.names, strict=True)]
    return "\n".join(["value,name", *lines, *([] if legend.ignore is None else [f"{legend.ignore},void"]), ""])


def make_set(folder: Path, pairs: Sequence[Pair], legend: str) -> None:
    """A data set of links to some of the images and masks of another."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for pair in pairs:
        (folder / "images" / pair.image.name).symlink_to(pair.image.resolve())
        (folder / "masks" / pair.mask.name).symlink_to(pair.mask.resolve())
    if legend:
        (folder / "legend.csv").write_text(legend, encoding="utf-8")


def test_dice(predictor: Predictor, data: Path) -> float:
    """Dice on the test images: mean over the classes that they hold, of two the foreground's."""
    overlap = evaluate_folder(predictor, data).overlap
    dice, there = np.array(overlap.dice, float), np.array(overlap.confusion).sum(1) > 0
    if len(dice) == 2:
        return float(dice[1])
    return float(np.nan_to_num(dice[there]).mean())


def area(scores: Sequence[float]) -> float:
    """Under the curve, normalised: the mean height."""
    return float(np.trapezoid(scores) / (len(scores) - 1))


def summary(name: str, seeds: Sequence[dict[str, Any]], protocol: Protocol) -> dict[str, Any]:
    """A row: areas of both arms, their paired difference and its intervals."""
    areas = {arm: np.array([area(seed[arm]["dice"]) for seed in seeds]) for arm in ARMS}
    difference = areas["suggest"] - areas["random"]
    return {
        "set": name,
        **asdict(protocol),
        **{arm: float(areas[arm].mean()) for arm in ARMS},
        "difference": float(difference.mean()),
        "t": interval_t(difference),
        "bootstrap": interval_bootstrap(difference),
        "curves": {arm: np.mean([seed[arm]["dice"] for seed in seeds], axis=0).tolist() for arm in ARMS},
        "seeds": list(seeds),
        "processor": machine.cpu_name(),
        "cores": machine.cores(),
    }


def interval_t(values: np.ndarray) -> tuple[float, float] | None:
    """95 % of the mean, by Student's t; None of a single value."""
    from scipy.stats import t

    if len(values) < 2:
        return None
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()) - half, float(values.mean()) + half


def interval_bootstrap(values: np.ndarray, draws: int = 10_000) -> tuple[float, float] | None:
    """95 % of the mean, by the percentiles of means of values drawn again; None of a single value."""
    if len(values) < 2:
        return None
    means = np.random.default_rng(0).choice(values, (draws, len(values))).mean(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def curves(seed: dict[str, Any]) -> str:
    """Both curves of a seed in words."""
    each = [f"{arm} {' '.join(f'{dice:.3f}' for dice in seed[arm]['dice'])}" for arm in ARMS]
    return f"{'; '.join(each)}; {seed['seconds']:.0f} s"


def as_markdown(row: dict[str, Any]) -> str:
    """One row of the table."""

    def between(ends: tuple[float, float] | None) -> str:
        return "-" if ends is None else f"{ends[0]:+.3f} to {ends[1]:+.3f}"

    cells = (
        row["set"],
        str(len(row["seeds"])),
        f"{row['start']} + {row['rounds']} x {row['per_round']}",
        str(row["steps"]),
        *(f"{row[arm]:.3f} ({' '.join(f'{d:.3f}' for d in row['curves'][arm])})" for arm in ("random", "suggest")),
        f"{row['difference']:+.3f}",
        between(row["t"]),
        between(row["bootstrap"]),
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
