"""Where the time and the memory go, as ratios that are measured in turn in one run; medians.

    python benchmarks/speed.py --widths 16 64

For each width, a planned network (same padding, batch normalisation, depth 4, the deepest no wider than the level
above it) with random weights:

step      the bare optimisation step as useg takes it (channels-last, --precision), against float32, channels first
volume    the same of a network of volumes on crops of 64x64x64, as `useg train` plans it for cubic voxels
loop      one step of `useg train` as planned for cells on 512x512, everything included, against the bare optimisation
          step on a batch at hand
predict   pixels a second of `Predictor.predict` of a square image, against those of the bare network on one of its
          tiles: what the halo, reading and stitching cost together
memory    the most that this prediction took, against its --max-memory; measured in a process of its own
monai     the same prediction against MONAI's sliding_window_inference (roi 512, batch 4, overlap 0.25, constant) of
          the same network as torch makes it (float32, channels first), and the largest difference of each from the
          whole image at once; needs `pip install monai`
network   bytes a tile pixel that the bare network took, against the formula `useg.runner.bytes_per_pixel`
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import torch

import useg
from useg import machine
from useg.demo import draw_data_set
from useg.pace import bare_step
from useg.predict import PredictSettings, resident_bytes
from useg.runner import WORKSPACE, TorchRunner, bytes_per_pixel, largest_tile
from useg.settings import Settings, load_settings, override
from useg.unet.geometry import plan_tiles
from useg.unet.losses import LossSettings
from useg.unet.model import ClassInfo, InputSeen, ModelCard
from useg.unet.normalise import NormaliseSettings, measure
from useg.volume_plan import DEEPEST
from useg.watch import Progress

PLANNED: dict[str, Any] = {"padding": "same", "norm": "batch", "dropout": 0.0, "depth": 4, "doublings": 3}
"""What `useg train` plans, on single pixels."""
BLOCK = 4
"""Steps measured before the other kind takes its turn."""
AHEAD = 3
"""Batches that are ready when the loop's turn begins: these steps do not count."""


def main() -> None:
    """Measure, width after width."""
    args = parse()
    if args.child:
        print(json.dumps(child(**json.loads(args.child))))
        return
    print(f"{machine.cpu_name()}, cores: {machine.cores()}, torch {torch.__version__}, precision: {args.precision}")
    results = []
    for width in args.widths:
        row: dict[str, Any] = {"width": width}
        for part, crop, batch in (("step", [args.crop] * 2, 4), ("volume", [64] * 3, 2)):
            if part not in args.parts:
                continue
            name = {"step": "bare step", "volume": "bare step of volumes"}[part]
            n = row[part] = measure_step(width, args.rounds, args.precision, crop, batch)
            print(
                f"width {width}: {name} at {n['ratio']:.2f} times the pace of plain float32, channels first "
                f"({n['seconds']:.3f} s against {n['plain_seconds']:.3f} s)"
            )
        if "loop" in args.parts:
            row["loop"] = measure_loop(width, args.rounds, args.precision)
            ratio, steps = row["loop"]["ratio"], row["loop"]["steps"]
            print(
                f"width {width}: loop / bare step {ratio:.3f} (bare {row['loop']['bare_seconds']:.3f} s, {steps} steps)"
            )
        if "predict" in args.parts:
            row["predict"] = measure_prediction(width, args.size, args.max_memory, args.precision, args.repeats)
            p = row["predict"]
            print(
                f"width {width}: {args.size}x{args.size} in {p['seconds']:.1f} s, {p['tiles']} tiles of {p['tile']}: "
                f"{p['ratio']:.3f} of the pace of the bare network, halo included; {p['read']:.3f} pixels read for one"
            )
        if "memory" in args.parts:
            row["memory"] = measure_memory(width, args.size, args.max_memory, args.precision)
            m = row["memory"]
            print(
                f"width {width}: the prediction took {m['peak'] / 1e6:.0f} MB of the {args.max_memory / 1e6:.0f} MB "
                f"that it may ({m['peak'] / args.max_memory:.2f})"
            )
        if "network" in args.parts:
            row["network"] = measure_network(width, args.precision)
            n = row["network"]
            print(
                f"width {width}: network {n['measured']:.0f} bytes a tile pixel, formula {n['formula']:.0f} "
                f"({n['measured'] / n['formula']:.2f})"
            )
        if "monai" in args.parts:
            row["monai"] = measure_monai(width, args.size, args.max_memory, args.precision, args.repeats)
            n = row["monai"]
            print(
                f"width {width}: {args.size}x{args.size} at {n['ratio']:.2f} times the pace of MONAI's sliding window; "
                f"largest difference from the whole at once: {n['difference']:.0e}, MONAI {n['monai_difference']:.0e}"
            )
        results.append(row)
        sys.stdout.flush()
    if args.json:
        args.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("step", "volume", "loop", "predict", "memory", "network", "monai")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts), help="what to measure (all)")
    parser.add_argument("--widths", nargs="+", type=int, default=[16, 64], help="of the network (16 64)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each kind of step (3)")
    parser.add_argument("--crop", type=int, default=256, help="edge of a training sample of the part step (256)")
    parser.add_argument("--repeats", type=int, default=1, help="predictions, each between two runs of a bare tile (1)")
    parser.add_argument("--size", type=int, default=2048, help="edge of the predicted image (2048)")
    parser.add_argument("--max-memory", type=int, default=4_000_000_000, help="bytes for the prediction (4e9)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure_step(width: int, rounds: int, precision: str, crop: list[int], batch: int) -> dict[str, Any]:
    """The same network's optimisation step in useg's way and in plain float32, channels first, in turn."""
    kind: dict[str, Any] = {} if len(crop) == 2 else {"dims": 3, "depth": DEEPEST}
    base = Settings().model_copy(update={"network": useg.UNetSettings(**PLANNED | {"width": width} | kind)})
    base = base.model_copy(update={"loss": LossSettings(dice=1.0)})
    ours = override(base, {"samples.crop": crop, "samples.batch": batch, "machine.precision": precision})
    plain = override(ours, {"machine.precision": "float32"})
    machine.keep_freed_memory()
    torch.set_num_threads(machine.cores())
    steps = bare_step(ours), bare_step(plain, torch.contiguous_format)
    for step in steps:
        step()
    seconds = [[step() for step in steps] for _ in range(rounds * BLOCK)]
    return {
        "ratio": median(plain / ours for ours, plain in seconds),
        "seconds": median(ours for ours, _ in seconds),
        "plain_seconds": median(plain for _, plain in seconds),
    }


def measure_loop(width: int, rounds: int, precision: str) -> dict[str, Any]:
    """`useg.train` and bare steps in turn: a watcher of the loop takes the bare steps while the loop waits."""
    ratios, bare_seconds, whole_seconds = [], [], []
    block: list[float] = []
    last = time.perf_counter()
    step: Any = None

    def on_progress(progress: Progress) -> None:
        nonlocal last, step, block
        now = time.perf_counter()
        if progress.event != "validated":
            block.append(now - last)
        if len(block) == AHEAD + BLOCK:
            step = step or bare_step(load_settings(run / "settings.toml"))
            # The thread of the samples fills its stock meanwhile; the bare steps have the machine alone.
            time.sleep(sum(block[:AHEAD]))
            bare = [step() for _ in range(1 + BLOCK)][1:]
            ratios.append(sum(block[AHEAD:]) / sum(bare))
            bare_seconds.extend(bare)
            whole_seconds.extend(block[AHEAD:])
            block = []
        last = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        draw_data_set(Path(folder) / "data", train_images=8, test_images=1, size=512)
        overrides = {"network.width": width, "machine.precision": precision}
        watch = useg.Watcher(on_progress=on_progress, should_stop=lambda: len(ratios) > rounds)
        useg.train(Path(folder) / "data", run, minutes=1000, overrides=overrides, watch=watch)
    # The first round holds what happens once.
    return {
        "ratio": median(ratios[1:]),
        "ratios": ratios[1:],
        "bare_seconds": median(bare_seconds[BLOCK:]),
        "whole_seconds": median(whole_seconds[BLOCK:]),
        "steps": rounds * BLOCK,
    }


def measure_prediction(width: int, size: int, max_memory: int, precision: str, repeats: int) -> dict[str, Any]:
    """A prediction between two runs of the bare network on one of its tiles."""
    card, runner = model(width, precision)
    predictor = useg.Predictor(card, runner, PredictSettings(max_memory=max_memory, precision=precision))
    image = np.random.default_rng(0).integers(0, 256, (1, size, size), dtype=np.uint8)
    limit = max_memory - resident_bytes(card, image.nbytes, image.size, PredictSettings())
    tiles = plan_tiles(card.network.axes, (size, size), largest_tile(card, (size, size), limit, precision))
    # The tile in the middle is one of the largest.
    tile = np.zeros((1, *max((t.shape for t in tiles), key=np.prod)), np.float32)

    def seconds(call: Any, argument: np.ndarray) -> float:
        begun = time.perf_counter()
        call(argument)
        return time.perf_counter() - begun

    bare = bare_network(runner)
    bare(tile)
    ratios, wholes, before = [], [], seconds(bare, tile)
    for _ in range(repeats):
        wholes.append(seconds(predictor.predict, image))
        after = seconds(bare, tile)
        ratios.append((before + after) / 2 / tile.size * image.size / wholes[-1])
        before = after
    return {
        "ratio": median(ratios),
        "seconds": median(wholes),
        "tiles": len(tiles),
        "tile": "x".join(map(str, tile.shape[1:])),
        "read": sum(int(np.prod(t.shape)) for t in tiles) / size**2,
    }


def bare_network(runner: TorchRunner) -> Any:
    """The whole output of one tile: no window of it, and nothing done with it."""
    return lambda tile: runner(tile, [slice(0, n) for n in tile.shape[1:]])


def measure_monai(width: int, size: int, max_memory: int, precision: str, repeats: int) -> dict[str, Any]:
    """`Predictor.predict` and MONAI's sliding window in turn, and how far each is from the whole image at once."""
    try:
        from monai.inferers import sliding_window_inference
    except ImportError as error:
        raise SystemExit(f"--parts monai: {error}; pip install monai") from error
    card, runner = model(width, precision)
    network = model(width, "float32")[1].networks[0].to(memory_format=torch.contiguous_format)
    predictor = useg.Predictor(card, runner, PredictSettings(max_memory=max_memory, precision=precision))
    image = np.random.default_rng(0).integers(0, 256, (1, size, size), dtype=np.uint8)
    whole = useg.Predictor(card, runner, PredictSettings(max_memory=10**12)).predict(image[:, :1024, :1024])

    def theirs(image: np.ndarray) -> np.ndarray:
        normalised = measure(image, card.normalise).apply(image)
        with torch.inference_mode():
            scores = sliding_window_inference(torch.from_numpy(normalised)[None], 512, 4, network, overlap=0.25)
            return scores.softmax(1)[0].numpy()

    ratios = []
    for _ in range(repeats):
        times = []
        for predict in (theirs, predictor.predict):
            begun = time.perf_counter()
            predict(image)
            times.append(time.perf_counter() - begun)
        ratios.append(times[0] / times[1])
    part = image[:, :1024, :1024]
    tiled = useg.Predictor(card, runner, PredictSettings(max_memory=WORKSPACE + 300_000_000)).predict(part)
    return {
        "ratio": median(ratios),
        "difference": float(np.abs(tiled.probabilities - whole.probabilities).max()),
        "monai_difference": float(np.abs(theirs(part) - whole.probabilities).max()),
    }


def measure_memory(width: int, size: int, max_memory: int, precision: str) -> dict[str, Any]:
    """The peak of a prediction above what the process held before it, the image not yet among that."""
    asked = {"what": "prediction", "width": width, "size": size, "max_memory": max_memory, "precision": precision}
    return in_child(asked)


def measure_network(width: int, precision: str) -> dict[str, Any]:
    """Bytes a pixel: the rise of the peak between a small and a large tile, so that constants fall out."""
    small, large = (
        in_child({"what": "network", "width": width, "size": size, "max_memory": 0, "precision": precision})["peak"]
        for size in (512, 1024)
    )
    card, _ = model(width, precision)
    return {"measured": (large - small) / (1024**2 - 512**2), "formula": bytes_per_pixel(card, precision)}


def in_child(asked: dict[str, Any]) -> dict[str, Any]:
    """Run `child` in a fresh process, because a peak can only be measured once in a process."""
    command = [sys.executable, __file__, "--child", json.dumps(asked)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def child(what: str, width: int, size: int, max_memory: int, precision: str) -> dict[str, Any]:
    """Measure the peak of one prediction, or of the bare network on one tile."""
    card, runner = model(width, precision)
    bare_network(runner)(np.zeros((1, 64, 64), np.float32))  # what the engine sets up once
    gc.collect()
    before = psutil.Process().memory_info().rss
    if what == "network":
        bare_network(runner)(np.zeros((1, size, size), np.float32))
    else:
        image = np.random.default_rng(0).integers(0, 256, (1, size, size), dtype=np.uint8)
        useg.Predictor(card, runner, PredictSettings(max_memory=max_memory, precision=precision)).predict(image)
    return {"peak": peak() - before}


def peak() -> int:
    """The most bytes that this process ever held in memory."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    status = Path("/proc/self/status")
    if status.is_file():
        # Linux: getrusage would remember the parent's peak across the start of this process.
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def card_of(settings: useg.UNetSettings) -> ModelCard:
    """Of a network of gray images and two classes."""
    return ModelCard(
        version=useg.__version__,
        network=settings,
        normalise=NormaliseSettings(),
        classes=[ClassInfo(name=name, colour=(0, 0, 0), value=k) for k, name in enumerate(("background", "cell"))],
        score_shift=[0.0, 0.0],
        input=InputSeen(dtype="uint8", low=[0.0], high=[255.0]),
    )


def model(width: int, precision: str) -> tuple[ModelCard, TorchRunner]:
    """A planned network of this width with random weights."""
    settings = useg.UNetSettings(width=width, **PLANNED)
    card = card_of(settings)
    torch.set_num_threads(machine.cores())
    torch.manual_seed(0)
    return card, TorchRunner(useg.UNet.from_settings(settings).eval(), "cpu", precision)


if __name__ == "__main__":
    main()
