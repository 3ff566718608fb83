"""How good `useg train` and `useg evaluate` are on data sets that lie in one folder: one table row a set.

    python benchmarks/quality.py DATA_ROOT --minutes 10 --within fov --regions isbi2012-em=1

Runs the commands as a user would: `useg train SET/train -o OUT/SET --minutes M` with no other option, then
`useg evaluate OUT/SET SET/test`, as it is and with `--tta`: scores stand as "plain (with --tta)". The run folders, with
what the commands said, stay in OUT. `--set loss.borders.weight=0` (any setting) trains otherwise, to compare.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from useg import machine
from useg.data.dataset import find_pairs
from useg.settings import load_settings
from useg.unet.model import read_card

COLUMNS = (
    "data set",
    "training images",
    "minutes",
    "steps",
    "validation Dice",
    "test Dice",
    "test IoU",
    "V_rand / V_info",
    "objects: SEG",
    "AP at IoU 0.5",
    "splits / merges",
    "machine",
)
KEPT = ("dice", "iou", "foreground_dice", "mean_iou", "false_alarms", "regions", "objects")
"""Scores of an evaluation that a row holds."""


def main() -> None:
    """Parse, run set after set, print a row as soon as it is there."""
    args = parse()
    print(
        f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", file=sys.stderr if args.json else sys.stdout, flush=True
    )
    rows, failed = [], False
    for name in args.sets:
        try:
            labels = args.ignore.get(name), args.regions.get(name)
            row = run_set(args.root / name, args.out / name, args.minutes, *labels, args.within, args.set)
        except subprocess.CalledProcessError as error:
            failed = True
            print(f"{name}: `{' '.join(map(str, error.cmd))}` ended with {error.returncode}; see {args.out / name}.log")
            continue
        rows.append(row)
        print(as_markdown(row), file=sys.stderr if args.json else sys.stdout, flush=True)
    if args.json:
        print(json.dumps(rows, indent=2))
    sys.exit(1 if failed else 0)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of data sets, each with train/ and test/ (images/ and masks/)")
    parser.add_argument("--sets", nargs="+", help="names of folders in it; all of that form if left out")
    parser.add_argument("--minutes", type=float, default=10.0, help="time to train on each set (10)")
    parser.add_argument(
        "--regions",
        action="append",
        default=[],
        metavar="SET=CLASS",
        help="also score the connected regions of this class in this set: V_rand, V_info; repeatable",
    )
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="SET=VALUE",
        help="mask value of pixels in this set that are not annotated; repeatable",
    )
    parser.add_argument(
        "--within", default="fov", help="score only inside the masks of SET/test/WITHIN where that folder exists (fov)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="passed to train; repeatable")
    parser.add_argument("--out", type=Path, help="folder for the runs; a new one in runs/ if left out")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    args = parser.parse_args()
    there = sorted(p.parent.parent.name for p in args.root.glob("*/train/images") if (p / "../../test/images").is_dir())
    args.sets = args.sets or there
    if unknown := [name for name in args.sets if name not in there]:
        parser.error(f"{args.root}: no train/images and test/images in {', '.join(unknown)}; there are {there}")
    for option in ("regions", "ignore"):
        pairs = getattr(args, option)
        try:
            setattr(args, option, {name: int(label) for name, label in (pair.split("=") for pair in pairs)})
        except ValueError:
            parser.error(f"--{option} {' '.join(pairs)}: write SET=NUMBER")
    args.out = args.out or Path("runs") / f"quality-{datetime.now():%Y%m%d-%H%M%S}"
    return args


def run_set(
    data: Path,
    run: Path,
    minutes: float,
    ignore: int | None,
    region_class: int | None,
    within: str,
    given: list[str],
) -> dict[str, Any]:
    """Train and evaluate by the commands; everything that a row says."""
    run.parent.mkdir(parents=True, exist_ok=True)
    log = run.with_name(f"{run.name}.log")
    began = time.monotonic()
    given = [*given, f"data.ignore={ignore}"] if ignore is not None else given
    options_given = [word for each in given for word in ("--set", each)]
    useg(log, "train", data / "train", "-o", run, "--minutes", minutes, *options_given)
    measured = (time.monotonic() - began) / 60
    options: list[object] = ["--within", data / "test" / within] if (data / "test" / within).is_dir() else []
    options += ["--regions", region_class] if region_class is not None else []
    plain, flipped = (
        json.loads(useg(log, "evaluate", run, data / "test", "--json", *options, *more)) for more in ([], ["--tta"])
    )
    run.with_name(f"{run.name}.json").write_text(
        json.dumps({"plain": plain, "tta": flipped}, indent=2), encoding="utf-8"
    )
    card, settings = read_card(run), load_settings(run / "settings.toml")
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return {
        "set": data.name,
        "training_images": len(find_pairs(data / "train")),
        "minutes_asked": minutes,
        "minutes_measured": measured,
        "steps": json.loads(lines[-1])["step"],
        "best_step": card.scores.get("step"),
        "validation_dice": card.scores.get("foreground_dice"),
        "classes": [c.name for c in card.classes],
        "plain": {key: plain[key] for key in KEPT},
        "tta": {key: flipped[key] for key in KEPT},
        "within": bool(options and options[0] == "--within"),
        "processor": machine.cpu_name(),
        "cores": machine.cores(),
        "precision": settings.machine.precision,
        "device": settings.machine.device,
    }


def useg(log: Path, *words: object) -> str:
    """Run a `useg` command; what it says to people goes to `log`, its standard output is returned."""
    command = [sys.executable, "-c", "from useg.cli import main; main()", *map(str, words)]
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ useg {' '.join(map(str, words))}\n")
        file.flush()
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=file, check=True, text=True).stdout


def as_markdown(row: dict[str, Any]) -> str:
    """One row of the table."""

    def each(measure: str, mean: str) -> str:
        """The foreground class's score, or the mean over classes where there are more."""
        words = []
        for scores in (row["plain"], row["tta"]):
            value = scores[measure][1] if len(scores[measure]) == 2 else scores[mean]
            words.append("-" if value is None else f"{value:.3f}")
        return f"{words[0]} ({words[1]})"

    def regions(scores: dict[str, Any]) -> str:
        best, known = scores["regions"]["best"], scores["regions"]["validation"]
        words = f"{best['v_rand']:.4f} / {best['v_info']:.4f}"
        return words + (f", at the validation threshold {known['v_rand']:.4f} / {known['v_info']:.4f}" if known else "")

    def objects(words: Callable[[dict[str, Any]], str]) -> str:
        plain, tta = row["plain"]["objects"], row["tta"]["objects"]
        return f"{words(plain)} ({words(tta)})" if plain else "-"

    cells = (
        row["set"] + (" (inside the region)" if row["within"] else ""),
        str(row["training_images"]),
        f"{row['minutes_asked']:g} ({row['minutes_measured']:.2f} measured)",
        str(row["steps"]),
        "-" if row["validation_dice"] is None else f"{row['validation_dice']:.3f}",
        each("dice", "foreground_dice"),
        each("iou", "mean_iou"),
        f"{regions(row['plain'])} ({regions(row['tta'])})" if row["plain"]["regions"] else "-",
        objects(lambda scores: f"{scores['seg']:.3f}"),
        objects(lambda scores: f"{scores['average_precision'][0]:.3f}"),
        objects(lambda scores: f"{scores['splits']} / {scores['merges']}"),
        f"{row['processor']}, cores: {row['cores']}, {row['device']}, {row['precision']}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
