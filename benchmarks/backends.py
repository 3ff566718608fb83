"""All backends and precisions side by side, and whether files are predicted at the pace of the bare backend.

    python benchmarks/backends.py --widths 32 64
    python benchmarks/backends.py --parts quality --run RUN --data DATA

pace      for each width, a network (same padding, batch normalisation, depth 4, channels doubled at each level) with
          random weights but a last layer that is sure of what it says, as trained ones are: `useg benchmark` on 512x512
          pixels, and int8 against the best bfloat16 and against the network as torch makes it (float32, channels
          first), in turn; by the processor's time too, which says more where others use the machine and this runs on
          one core (taskset -c 0)
files     `useg predict` of many images by the fastest backend, reading and writing included, against the bare backend
quality   of a trained run: for each way the labels that are those of torch in float32, and Dice, on annotated images
          that neither training nor calibration saw
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import psutil
import torch
from speed import card_of

import useg
from useg import machine
from useg.backends.benchmark import BenchmarkSettings, benchmark
from useg.backends.choose import choose_backend
from useg.backends.note import Note, read_note
from useg.backends.pace import measure_paces
from useg.backends.ways import file_of
from useg.evaluate import evaluate_folder
from useg.predict import Predictor, PredictSettings, load_runner
from useg.predict_files import find_inputs, predict_files
from useg.tables import show_benchmark
from useg.unet.model import load_model, save_model

EDGE = 512
"""Of the timed tile."""


def main() -> None:
    """Measure, width after width."""
    args = parse()
    if args.child:
        Plain.child(args.child)
        return
    print(f"{machine.cpu_name()}, cores: {machine.cores()}, torch {torch.__version__}")
    if "quality" in args.parts:
        quality(args.run, args.data)
    with tempfile.TemporaryDirectory() as folder:
        for width in args.widths if {"pace", "files"} & set(args.parts) else ():
            model = Path(folder) / f"width{width}.safetensors"
            write_model(model, width)
            noise = draw(Path(folder) / "noise", 8, EDGE)
            note = benchmark(model, BenchmarkSettings(images=noise, compiled=args.compiled, rounds=args.rounds))
            if "pace" in args.parts:
                print(f"width {width}:", flush=True)
                show_benchmark(model, note)
                against_plain(model, note, args.rounds)
            if "files" in args.parts:
                files(model, draw(Path(folder) / "images", args.images, args.size), Path(folder) / f"out{width}")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("pace", "files", "quality"), default=["pace", "files"])
    parser.add_argument("--widths", nargs="+", type=int, default=[32, 64], help="of the network (32 64)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way, at most (5)")
    parser.add_argument("--images", type=int, default=20, help="of the part files (20)")
    parser.add_argument("--size", type=int, default=1024, help="their edge (1024)")
    parser.add_argument("--compiled", action="store_true", help="also torch's compiled network")
    parser.add_argument("--run", type=Path, help="of the part quality")
    parser.add_argument("--data", type=Path, help="annotated images that the run did not see")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def write_model(path: Path, width: int) -> None:
    """A network with random weights, whose last layer prefers one class as clearly as a trained one does."""
    settings = useg.UNetSettings(width=width, padding="same", norm="batch", dropout=0.0, depth=4)
    torch.manual_seed(0)
    network = useg.UNet.from_settings(settings).eval()
    network.head.weight.data.mul_(0.01)
    network.head.bias.data.copy_(torch.tensor([3.0, -3.0]))
    save_model(path, card_of(settings), network.state_dict())


def draw(folder: Path, count: int, size: int) -> Path:
    """A folder of images of noise."""
    folder.mkdir(exist_ok=True)
    for k in range(count):
        pixels = np.random.default_rng(k).integers(0, 256, (size, size), dtype=np.uint8)
        iio.imwrite(folder / f"{k:02d}.png", pixels)
    return folder


class Plain:
    """The network as torch makes it: float32, channels first, nothing folded; in a process of its own.

    In this one the C library keeps freed memory, see `useg.machine.keep_freed_memory`, which speeds up plain torch too.
    """

    def __init__(self, model: Path) -> None:
        command = [sys.executable, __file__, "--child", str(model)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self(np.empty(0), [])

    def __call__(self, tile: np.ndarray, keep: Any) -> np.ndarray:
        """Have a tile of noise run; see `useg.runner.Runner`."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"
        return tile

    @staticmethod
    def child(model: Path) -> None:
        """Run a tile for each line that comes in."""
        network, tile = load_model(model)[1][0], torch.randn(1, 1, EDGE, EDGE)
        for _ in sys.stdin:
            with torch.inference_mode():
                network(tile)[0].softmax(0)
            print("done", flush=True)


def against_plain(model: Path, note: Note, rounds: int) -> None:
    """int8 against the best bfloat16, and against the plain network."""
    lower = max((row for row in note.rows if row.precision == "bfloat16"), key=lambda row: row.pace or 0)
    runners = {
        "int8": load_runner(file_of(model, "openvino-int8"), PredictSettings())[1],
        "bfloat16": load_runner(file_of(model, lower.backend), PredictSettings(precision="bfloat16"))[1],
        "plain": Plain(model),
    }
    tile = np.random.default_rng(0).normal(size=(1, EDGE, EDGE)).astype(np.float32)
    for name, clock in (("time", time.perf_counter), ("the processor's time", processor_time)):
        paces = measure_paces(runners, tile, [slice(0, EDGE)] * 2, rounds=rounds, seconds=60, clock=clock)
        print(
            f"int8, by {name}: {paces['int8'].megapixels:.3f} Mpx/s, {1 / paces['bfloat16'].ratio:.2f} times "
            f"{lower.name}, {1 / paces['plain'].ratio:.1f} times plain torch in float32, channels first",
            flush=True,
        )
    runners["plain"].process.terminate()


def processor_time() -> float:
    """Seconds of the processor that this process and those that it started have taken: others do not count."""
    here = psutil.Process()
    return sum(sum(each.cpu_times()[:2]) for each in (here, *here.children()))


def files(model: Path, images: Path, out: Path) -> None:
    """Files predicted by the fastest backend between two runs of the bare backend on a whole image."""
    chosen = choose_backend(model, PredictSettings())
    print(chosen.told)
    predictor, sources = Predictor.load(chosen.model, chosen.settings), find_inputs([images])
    size = iio.imread(sources[0]).shape
    tile = np.random.default_rng(0).normal(size=(1, *size)).astype(np.float32)

    def clocks() -> np.ndarray:
        return np.array([time.perf_counter(), time.process_time()])

    def bare() -> np.ndarray:
        begun = clocks()
        predictor.runner(tile, [slice(0, edge) for edge in size])
        return clocks() - begun

    bare()
    before = [bare() for _ in range(3)]
    begun = clocks()
    results = predict_files(predictor, chosen.model, sources, out)
    taken = (clocks() - begun) / len(results)
    assert not any(result.error for result in results)
    by_time, by_processor = np.median([*before, *(bare() for _ in range(3))], 0) / taken
    print(
        f"files: {len(sources)} images of {'x'.join(map(str, size))} at {tile.size / taken[0] / 1e6:.3f} Mpx/s, "
        f"{by_time:.2f} of the pace of the bare backend ({by_processor:.2f} by the processor's time)",
        flush=True,
    )


def quality(run: Path, data: Path) -> None:
    """Every way that `useg benchmark` measured of a run, on annotated images."""
    model = run / "model.safetensors"
    note = read_note(model) or benchmark(model)
    labels: dict[str, list[np.ndarray]] = {}
    for row in note.rows:
        if not row.pace or row.backend == "torch-compiled":
            continue
        precision = "auto" if row.precision == "int8" else row.precision
        predictor = Predictor.load(file_of(model, row.backend), PredictSettings(precision=precision))
        found = labels.setdefault(row.name, [])
        scored = evaluate_folder(predictor, data, watch=lambda _, prediction, to=found: to.append(prediction.labels))
        plain = next(iter(labels.values()))
        same = np.mean([np.mean(a == b) for a, b in zip(plain, found, strict=True)])
        dice = ", ".join(f"{value:.4f}" for value in scored.overlap.dice)
        print(f"{row.name:22} {same:.2%} of the labels of torch in float32; Dice of each class {dice}", flush=True)


if __name__ == "__main__":
    main()
