"""Cross-validation: how good the folds say that models are, and how good they and their mean are on test images.

    python benchmarks/folds.py DATA_ROOT --set oct-dme --folds 5 --minutes 40 --out RUN

Runs `useg train DATA_ROOT/SET/train -o RUN --folds K --minutes M`, unless RUN is there already, and evaluates the model
of each fold, and all of them averaged, on DATA_ROOT/SET/test. Dice of the foreground, pooled.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from quality import useg

from useg import machine


def main() -> None:
    """Train, evaluate, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of data sets, each with train/ and test/")
    parser.add_argument("--set", default="oct-dme", help="a folder in it (oct-dme)")
    parser.add_argument("--folds", type=int, default=5, help="how many (5)")
    parser.add_argument("--minutes", type=float, default=40.0, help="to train all of them (40)")
    parser.add_argument("--out", type=Path, required=True, help="the run; evaluated only, where it is there already")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    args = parser.parse_args()
    log = args.out.with_name(f"{args.out.name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    if not (args.out / "model.safetensors").exists():
        useg(
            log,
            "train",
            args.root / args.set / "train",
            "-o",
            args.out,
            "--folds",
            args.folds,
            "--minutes",
            args.minutes,
        )
    held_out = json.loads((args.out / "folds.json").read_text(encoding="utf-8"))["result"]
    runs = [args.out / fold["run"] for fold in held_out["folds"]]
    test = [scores(log, run, args.root / args.set / "test")["foreground_dice"] for run in runs]
    together = scores(log, args.out, args.root / args.set / "test")
    found = {
        "set": args.set,
        "out_of_fold": held_out["total"]["foreground_dice"],
        "out_of_fold_interval": held_out["total"]["intervals"]["foreground_dice"],
        "folds": [fold["dice"] for fold in held_out["folds"]],
        "test_of_each": test,
        "test_mean": fmean(test),
        "test_of_all": together["foreground_dice"],
        "test_of_all_interval": together["intervals"]["foreground_dice"],
        "processor": machine.cpu_name(),
        "cores": machine.cores(),
    }
    print(as_markdown(found), file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(found, indent=2))


def scores(log: Path, model: Path, test: Path) -> dict[str, Any]:
    """Of `useg evaluate`; the report of the run is left as it is."""
    found: dict[str, Any] = json.loads(useg(log, "evaluate", model / "model.safetensors", test, "--json"))
    return found


def as_markdown(found: dict[str, Any]) -> str:
    """A table of one row."""
    columns = (
        "data set",
        "out of fold (95 %)",
        "each fold",
        "test: each fold",
        "mean",
        "all averaged (95 %)",
        "machine",
    )
    low, high = found["out_of_fold_interval"]
    least, most = found["test_of_all_interval"]
    cells = (
        found["set"],
        f"{found['out_of_fold']:.3f} ({low:.3f} to {high:.3f})",
        ", ".join(f"{dice:.3f}" for dice in found["folds"]),
        ", ".join(f"{dice:.3f}" for dice in found["test_of_each"]),
        f"{found['test_mean']:.3f}",
        f"{found['test_of_all']:.3f} ({least:.3f} to {most:.3f})",
        f"{found['processor']}, cores: {found['cores']}",
    )
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
