"""One change at a time: the same data set trained with different settings, judged by its validation part alone.

    python benchmarks/compare.py DATA/train --steps 300 "" "optimiser.kind=adamw optimiser.learning_rate=3e-3"

Each quoted word is a variant: dotted settings as for `useg train --set`, "" for the plan as it is. Variants are
trained in turn for the same `--steps` or `--minutes`, `--seeds` times; a row holds medians. What was found is kept
in `docs/measurements.md`. Nothing here looks at test images.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import useg
from useg import machine
from useg.data.prepare import prepare
from useg.evaluate import evaluate
from useg.options import parse_settings
from useg.settings import load_settings


def main() -> None:
    """Train variant after variant; a row as soon as it is there."""
    args = parse()
    if not args.json:
        print(f"{machine.cpu_name()}, cores: {machine.cores()}; {args.data}")
        print("| settings | steps | minutes | loss, last quarter | validation Dice | V_rand / V_info |")
        print(f"|{'---|' * 6}")
    rows = []
    for variant in args.variants:
        runs = [run(args, parse_settings(variant.split()), seed) for seed in range(args.seeds)]
        row = {key: median(r[key] for r in runs) for key in runs[0]}
        rows.append({"settings": variant, "runs": runs, **row})
        if not args.json:
            regions = f"{row['v_rand']:.3f} / {row['v_info']:.3f}" if args.regions is not None else "-"
            words = f"{row['steps']:g} | {row['minutes']:.1f} | {row['loss']:.3f} | {row['dice']:.3f} | {regions}"
            print(f"| {variant or 'as planned'} | {words} |", flush=True)
    if args.json:
        print(json.dumps(rows, indent=2))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data set to train on")
    parser.add_argument("variants", nargs="*", default=[""], help="settings of each variant, quoted")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--steps", type=int, help="optimisation steps of each run")
    budget.add_argument("--minutes", type=float, help="minutes of each run")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each variant (1)")
    parser.add_argument("--regions", type=int, help="class whose connected regions are scored too: V_rand, V_info")
    parser.add_argument("--json", action="store_true", help="one JSON document, with every run")
    return parser.parse_intermixed_args()  # variants may follow options


def run(args: argparse.Namespace, overrides: dict[str, Any], seed: int) -> dict[str, float]:
    """Train once; what the run says of itself."""
    with tempfile.TemporaryDirectory() as folder:
        began, out = time.monotonic(), Path(folder) / "run"
        budget = {"steps": args.steps, "minutes": args.minutes}
        # One validation, at the end: the time belongs to the steps.
        result = useg.train(args.data, out, **budget, overrides={"validations": 1, "seed": seed, **overrides})
        took = (time.monotonic() - began) / 60
        records = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        losses = [r["loss"] for r in records if r.get("loss") is not None]
        last = losses[-max(1, len(losses) // 4) :]
        found = {
            "steps": result.steps,
            "minutes": took,
            "loss": sum(last) / len(last),
            "dice": result.validation or 0.0,
        }
        if args.regions is not None:
            d = load_settings(out / "settings.toml").data
            held_out = prepare(args.data, **d.how_to_read()).parts.validation
            regions = evaluate(useg.load(out), held_out, region_class=args.regions).regions
            assert regions is not None
            found |= {"v_rand": regions.best.v_rand, "v_info": regions.best.v_info}
        return found


if __name__ == "__main__":
    main()
