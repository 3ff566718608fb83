"""Whether models know how good they are: calibration, and the Dice that they expect of themselves against the true one.

    python benchmarks/quality.py DATA_ROOT --minutes 10 --out RUNS      # trains one model a set, if there is none
    python benchmarks/trust.py DATA_ROOT RUNS

Evaluates each run of RUNS on DATA_ROOT/SET/test, inside `fov` where there is one. The calibration error counts all
pixels, in 15 bins of confidence, without and with the calibration that the validation images gave. The rank correlation
(Spearman) is that of expected and true Dice over the test images; pooled after subtracting the mean of each set.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from quality import useg
from scipy.stats import spearmanr

from useg import machine
from useg.metrics.overlap import mean_foreground
from useg.unet.model import read_card

COLUMNS = (
    "data set",
    "temperature",
    "calibration error before",
    "after",
    "test images",
    "rank correlation of expected and true Dice",
)


def main() -> None:
    """Evaluate run after run, print a row as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of data sets, each with test/ and what it was trained on")
    parser.add_argument("runs", type=Path, help="folder of runs, each named as its set")
    parser.add_argument("--within", default="fov", help="score only inside SET/test/WITHIN where that exists (fov)")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    args = parser.parse_args()
    people = sys.stderr if args.json else sys.stdout
    print(f"{machine.cpu_name()}, cores: {machine.cores()}", file=people)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", file=people, flush=True)
    rows = []
    for run in sorted(path.parent for path in args.runs.glob("*/model.safetensors")):
        rows.append(measure(run, args.root / run.name / "test", args.within))
        print(as_markdown(rows[-1]), file=people, flush=True)
    apart = [pair - np.mean(row["pairs"], 0) for row in rows for pair in row["pairs"]]
    pooled = rank_correlation(apart)
    print(f"pooled over {len(apart)} images, without the mean of each set: {pooled:.2f}", file=people)
    if args.json:
        print(json.dumps({"sets": rows, "pooled": pooled}, indent=2))


def measure(run: Path, test: Path, within: str) -> dict[str, Any]:
    """Evaluate a run as a user would."""
    options: list[object] = ["--within", test / within] if (test / within).is_dir() else []
    with tempfile.TemporaryDirectory() as folder:
        scores = json.loads(useg(Path(folder) / "log", "evaluate", run, test, "--json", *options))
    each = [(image["expected_dice"], mean_foreground(known(image["dice"]))) for image in scores["per_image"]]
    pairs = [pair for pair in each if None not in pair]
    return {
        "set": run.name,
        "temperature": read_card(run).temperature,
        "before": scores["uncalibrated"]["error"],
        "after": scores["calibration"]["error"],
        "pairs": pairs,
        "rank_correlation": rank_correlation(pairs),
    }


def known(dice: list[float | None]) -> list[float]:
    """NaN for None."""
    return [float("nan") if value is None else value for value in dice]


def rank_correlation(pairs: Any) -> float:
    """Spearman's, -1..1."""
    return float(spearmanr(np.array(pairs)).statistic)


def as_markdown(row: dict[str, Any]) -> str:
    """One row of the table."""
    cells = (
        row["set"],
        f"{row['temperature']:.2f}",
        f"{row['before']:.4f}",
        f"{row['after']:.4f}",
        str(len(row["pairs"])),
        f"{row['rank_correlation']:.2f}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
