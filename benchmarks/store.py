"""Prediction of images larger than memory, against the bare network, against itself and against MONAI; medians.

    python benchmarks/store.py --sizes 16384x16384 8192x8192 32768x8192

A planned network (same padding, batch normalisation, depth 4) with random weights on a synthetic OME-Zarr, 2 classes.

pace      pixels a second of `useg.predict_store`, everything included, against those of the bare network on its best
          tile, measured before and after it; the most memory that all processes of the command took together
workers   two workers with one thread each against one (useg[cluster])
monai     `useg.predict_store` and MONAI's sliding_window_inference (roi 512, overlap 0.25, constant and gaussian) of
          the same network, image and precision: time, peak memory, and the largest difference from the whole image at
          once; needs `pip install monai`
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import torch
from speed import bare_network, model

from useg import machine
from useg.images.files import read, read_header
from useg.images.store import LabelStore
from useg.images.stored import write_labels_from
from useg.predict import Predictor, PredictSettings
from useg.predict_store import StoreWatch, predict_store
from useg.runner import TorchRunner
from useg.store_plan import StoreSettings
from useg.unet.model import load_model, save_model
from useg.unet.network import UNet
from useg.unet.normalise import measure
from useg.workers import WorkerSettings

TILES = (512, 768, 1024, 1536, 2048)
"""Edges among which the bare network's best tile is found."""


def main() -> None:
    """Measure, size after size."""
    args = parse()
    if args.child:
        asked = json.loads(args.child)
        print(json.dumps(CHILDREN[asked.pop("what")](**asked)))
        return
    machine_words = f"{machine.cpu_name()}, cores: {machine.cores()}, torch {torch.__version__}"
    print(f"{machine_words}, precision: {args.precision}, width {args.width}")
    found: dict[str, Any] = {"machine": machine_words, "precision": args.precision, "width": args.width}
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        asked = {
            "model": str(make_model(folder, args.width)),
            "precision": args.precision,
            "max_memory": args.max_memory,
        }
        if "pace" in args.parts:
            found["pace"] = [measure_pace(folder, size, args.repeats, **asked) for size in args.sizes]
        if "workers" in args.parts:
            found["workers"] = measure_workers(folder, args.workers_size, args.repeats, **asked)
        if "monai" in args.parts:
            found["monai"] = measure_monai(folder, args.monai_size, **asked)
    if args.json:
        args.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("pace", "workers", "monai")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts), help="what to measure (all)")
    parser.add_argument("--sizes", nargs="+", type=size_of, default=[(16384, 16384)], help="of the part pace")
    parser.add_argument("--workers-size", type=size_of, default=(8192, 8192), help="of the part workers (8192x8192)")
    parser.add_argument("--monai-size", type=size_of, default=(4096, 4096), help="of the part monai (4096x4096)")
    parser.add_argument("--width", type=int, default=16, help="of the network (16)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--max-memory", type=int, default=850_000_000, help="bytes for the prediction (8.5e8)")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each kind, in turn (1)")
    parser.add_argument("--folder", type=Path, help="where images and results lie while it runs")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def size_of(text: str) -> tuple[int, int]:
    """ "16384x8192" -> (16384, 8192)."""
    height, width = map(int, text.split("x"))
    return height, width


def make_model(folder: Path, width: int) -> Path:
    """A planned network with random weights, as a file."""
    card, _ = model(width, "float32")
    save_model(folder / "model.safetensors", card, UNet.from_settings(card.network).state_dict())
    return folder / "model.safetensors"


def make_image(folder: Path, size: tuple[int, int]) -> Path:
    """Blobs under a little noise as OME-Zarr, written chunk by chunk."""
    path = folder / f"image-{size[0]}x{size[1]}.ome.zarr"
    if not path.exists():
        store = LabelStore.create(folder / "image.store", size, np.uint8, (512, 512))
        rng = np.random.default_rng(0)
        wave = np.sin(np.arange(1024) * (2 * np.pi / 64))
        blobs = 120 + 60 * wave[:512, None] * wave[None, :512]
        for block in store.blocks():
            rows, columns = (part.stop - part.start for part in block)
            noisy = blobs[:rows, :columns] + rng.normal(0, 4, (rows, columns))
            store.write(block, noisy.clip(0, 255).astype(np.uint8))
        write_labels_from(path, store)
    return path


def measure_pace(
    folder: Path, size: tuple[int, int], repeats: int, model: str, precision: str, max_memory: int
) -> dict[str, Any]:
    """A prediction between two measurements of the bare network."""
    image, ratios, runs = make_image(folder, size), [], []
    before = in_child(what="bare", model=model, precision=precision)
    for _ in range(repeats):
        run = in_child(what="predict", model=model, precision=precision, max_memory=max_memory, image=str(image))
        after = in_child(what="bare", model=model, precision=precision)
        ratios.append(run["pace"] / ((before["pace"] + after["pace"]) / 2))
        runs.append(run)
        before = after
    found = {
        "size": size,
        "ratio": median(ratios),
        "seconds": median(run["seconds"] for run in runs),
        "peak": max(run["peak"] for run in runs),
        "blocks": runs[0]["blocks"],
        "bare": before,
    }
    print(
        f"{size[0]}x{size[1]} in {found['seconds']:.1f} s, {found['blocks']} blocks: {found['ratio']:.3f} of the pace "
        f"of the bare network on its best tile ({before['tile']}), halo included; at most {found['peak'] / 1e6:.0f} MB",
        flush=True,
    )
    return found


def measure_workers(
    folder: Path, size: tuple[int, int], repeats: int, model: str, precision: str, max_memory: int
) -> dict[str, Any]:
    """Two workers and one, in turn, of one thread each; the first blocks, before which they start, do not count."""
    asked = {"model": model, "precision": precision, "max_memory": max_memory, "image": str(make_image(folder, size))}
    turns = [[in_child(what="predict", workers=n, **asked) for n in (1, 2)] for _ in range(repeats)]
    found = {
        "size": size,
        "ratio": median(one["block_seconds"] / two["block_seconds"] for one, two in turns),
        "peak": max(two["peak"] for _, two in turns),
    }
    print(
        f"{size[0]}x{size[1]}: two workers at {found['ratio']:.2f} times the pace of one; "
        f"all processes together took at most {found['peak'] / 1e6:.0f} MB",
        flush=True,
    )
    return found


def measure_monai(folder: Path, size: tuple[int, int], model: str, precision: str, max_memory: int) -> dict[str, Any]:
    """Each way in a process of its own, with files and all; their probabilities are held against the whole at once."""
    asked = {"model": model, "precision": precision, "image": str(make_image(folder, size))}
    rows = {
        "the whole at once": in_child(what="whole", **asked),
        "useg, in blocks": in_child(what="predict", max_memory=max_memory, scores=True, **asked),
        "MONAI, constant": in_child(what="monai", mode="constant", **asked),
        "MONAI, gaussian": in_child(what="monai", mode="gaussian", **asked),
    }
    print(f"\n| {size[0]}x{size[1]}, {precision} | seconds | peak, MB | largest difference |\n|---|---|---|---|")
    for name, row in rows.items():
        print(
            f"| {name} | {row['seconds']:.1f} | {row['peak'] / 1e6:.0f} | {row.get('difference', 0):.0e} |", flush=True
        )
    return {"size": size, "rows": rows}


def in_child(**asked: Any) -> dict[str, Any]:
    """Run one of `CHILDREN` in a fresh process; "peak" is the most memory that it and its own children took at once."""
    command = [sys.executable, __file__, "--child", json.dumps(asked)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.25):  # looking costs time, and memory that was freed is kept
            peak = max(peak, taken_by(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, _ = process.communicate()
    ended.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{asked['what']} ended with {process.returncode}")
    return {"peak": peak, **json.loads(out.splitlines()[-1])}


def taken_by(number: int) -> int:
    """Bytes of memory of a process and of all that it started; memory that they share is counted for each."""
    total = 0
    try:
        parent = psutil.Process(number)
        for process in [parent, *parent.children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def bare(model: str, precision: str) -> dict[str, Any]:
    """Pixels a second of the network alone, on the tile on which it is fastest."""
    card, networks = load_model(Path(model))
    runner, paces = TorchRunner(networks, "cpu", precision), {}
    for edge in TILES:
        tile, run = np.zeros((card.network.in_channels, edge, edge), np.float32), bare_network(runner)
        run(tile)
        seconds: list[float] = []
        while len(seconds) < 5 or sum(seconds) < 1:
            begun = time.perf_counter()
            run(tile)
            seconds.append(time.perf_counter() - begun)
        paces[edge] = edge**2 / median(seconds)
    best = max(paces, key=lambda edge: paces[edge])
    return {"tile": best, "pace": paces[best]}


def predict(
    model: str, precision: str, image: str, max_memory: int, workers: int = 0, scores: bool = False
) -> dict[str, Any]:
    """One prediction: by `workers` of one thread each, or by this process alone."""
    chosen = PredictSettings.model_validate({"device": "cpu", "precision": precision, "max_memory": max_memory})
    predictor, moments = Predictor.load(model, chosen), []
    target, file = Path(image).with_name("labels.ome.zarr"), Path(image).with_name("scores.tif") if scores else None
    watch = StoreWatch(on_block=lambda done, total: moments.append(time.perf_counter()))
    with ExitStack() as stack:
        crew = WorkerSettings()
        if workers:
            from distributed import LocalCluster

            cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
            crew = WorkerSettings(scheduler=stack.enter_context(cluster).scheduler_address)
        begun = time.perf_counter()
        done = predict_store(
            predictor,
            Path(model),
            Path(image),
            target,
            StoreSettings(workers=crew),
            beside={"probabilities": file} if file else {},
            watch=watch,
        )
        seconds = time.perf_counter() - begun
    size = read_header(target).size
    shutil.rmtree(target)
    late = moments[2 * workers :]
    found = {
        "seconds": seconds,
        "pace": size[0] * size[1] / seconds,
        "blocks": done.blocks,
        "block_seconds": (late[-1] - late[0]) / max(1, len(late) - 1),
    }
    return found | (compared(image, read(file).array) if file else {})


def whole(model: str, precision: str, image: str) -> dict[str, Any]:
    """The network on the whole image at once: what tiles should give. Kept for the others."""
    card, (network,) = load_model(Path(model))
    begun = time.perf_counter()
    array = read(image).array
    runner = TorchRunner(network, "cpu", precision)
    result = bare_network(runner)(measure(array, card.normalise).apply(array))
    seconds = time.perf_counter() - begun
    np.save(Path(image).with_name("whole.npy"), result)
    return {"seconds": seconds}


def monai(model: str, precision: str, image: str, mode: str) -> dict[str, Any]:
    """MONAI's sliding window over the image in memory, with batches of 4 tiles."""
    from monai.inferers import sliding_window_inference

    card, (network,) = load_model(Path(model))
    network = network.to(memory_format=torch.channels_last)
    begun = time.perf_counter()
    array = read(image).array
    values = torch.from_numpy(measure(array, card.normalise).apply(array))[None]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        scores = sliding_window_inference(values, 512, 4, network, overlap=0.25, mode=mode)
        result = scores.float().softmax(1)[0].numpy()
    seconds = time.perf_counter() - begun
    return {"seconds": seconds} | compared(image, result)


def compared(image: str, result: np.ndarray) -> dict[str, Any]:
    """The largest difference of probabilities from the whole at once."""
    return {"difference": float(np.abs(result - np.load(Path(image).with_name("whole.npy"))).max())}


CHILDREN = {each.__name__: each for each in (bare, predict, whole, monai)}
"""What is measured in a process of its own."""


if __name__ == "__main__":
    main()
