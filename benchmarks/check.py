"""How much memory and time `useg check` takes on very many files: it says so on one line.

    python benchmarks/check.py 10000
    python benchmarks/check.py 1000 --objects 300 --ids

Draws COUNT pairs of 1 megapixel (gray discs in noise, 8 bits; PNGs of some 30 kB each) into a temporary folder, runs
`useg check --json` on them as a user would, and deletes the folder. Peak memory is that of the `useg` process, as the
system counted it (Linux and macOS). With `--ids` masks are 16-bit ids of objects, else 0 and 1.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from useg import machine

SIDE = 1024


def main() -> None:
    """Draw, check, delete, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, help="pairs of image and mask")
    parser.add_argument("--objects", type=int, default=12, help="discs an image (12)")
    parser.add_argument("--ids", action="store_true", help="masks of 16-bit ids of objects")
    parser.add_argument(
        "--folder", type=Path, help="where to make the temporary folder; the system's place if left out"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="useg-check-", dir=args.folder) as folder:
        began = time.monotonic()
        draw(Path(folder), args.count, args.objects, args.ids)
        drawn = time.monotonic() - began
        found = measure(Path(folder))
    masks = "ids" if args.ids else "classes"
    row = {"images": args.count, "objects": args.objects, "masks": masks, **found, "processor": machine.cpu_name()}
    if args.json:
        print(json.dumps(row, indent=2))
        return
    print(
        f"{args.count} images of 1 megapixel, {args.objects} objects each, masks of {masks} (drawn in {drawn:.0f} s): "
        f"checked in {row['seconds']:.0f} s, {row['seconds'] / args.count * 1000:.1f} ms a pair; peak memory "
        f"{row['peak_bytes'] / 1e6:.0f} MB; {row['errors']} errors, {row['warnings']} warnings; {row['processor']}"
    )


def draw(folder: Path, count: int, objects: int, ids: bool) -> None:
    """Write images/ and masks/; every pair is another, and the same in every run."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    radius = max(4, min(60, int(SIDE / np.sqrt(objects) / 3)))
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disc = y**2 + x**2 <= radius**2
    for number in range(count):
        rng = np.random.default_rng(number)
        # A tile of noise, repeated: each pixel is noisy, the files stay small.
        image = np.tile(rng.integers(60, 100, (16, 64), np.uint8), (SIDE // 16, SIDE // 64))
        mask = np.zeros((SIDE, SIDE), np.uint16 if ids else np.uint8)
        for i, (top, left) in enumerate(rng.integers(0, SIDE - 2 * radius, (objects, 2)), 1):
            place = np.s_[top : top + 2 * radius + 1, left : left + 2 * radius + 1]
            mask[place][disc] = i if ids else 1
        image[mask > 0] += 100
        Image.fromarray(image).save(folder / "images" / f"{number:05}.png", compress_level=1)
        Image.fromarray(mask).save(folder / "masks" / f"{number:05}.png", compress_level=1)


def measure(folder: Path) -> dict[str, Any]:
    """Run the command; seconds, peak memory, and how many problems it named."""
    command = [sys.executable, "-c", "from useg.cli import main; main()", "check", str(folder), "--json"]
    began = time.monotonic()
    run = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if run.returncode not in (0, 2):
        sys.exit(f"useg check ended with {run.returncode}")
    severities = [problem["severity"] for problem in json.loads(run.stdout)["problems"]]
    errors = severities.count("error")
    return {"seconds": seconds, "peak_bytes": peak, "errors": errors, "warnings": len(severities) - errors}


if __name__ == "__main__":
    main()
