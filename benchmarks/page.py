"""What the page keeps up with, in a real browser: frames a second while painting and moving, and a very large image.

    python benchmarks/page.py

drop      milliseconds from the drop of an image of --dropped x --dropped pixels until its overlay is seen, the first
          time and in the median of five more, and what the network of --width took of that
strokes   frames that the browser drew, in its own trace, while a brush went to and fro over an image of --edge x --edge
          pixels with labels: whole on the screen and at 1:1, with a small and a large brush, in fill and in outline
moves     the same while the image is dragged about, and while it is zoomed, with labels over it
large     an image of --large x --large pixels, each kind of file in a fresh server: seconds until its first picture,
          milliseconds of the view document and of tiles when the server was started again, peak of memory above what
          the server held before, and bytes of the cache

The server, the browser and this program share the cores that they may use. Needs playwright and a Chromium.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from useg import machine
from useg.server import ServeSettings
from useg.unet.model import ClassInfo, InputSeen, ModelCard, save_model
from useg.unet.network import UNet
from useg.unet.normalise import NormaliseSettings
from useg.unet.settings import UNetSettings

_SERVE = """
import sys
from useg.server import ServeSettings, serve
serve(ServeSettings.model_validate_json(sys.argv[1]), lambda url: print(url, flush=True))
"""
PAGE = """<!doctype html><link rel="icon" href="data:,">
<style>body { margin: 0 } #host { width: 100vw; height: 100vh }</style><div id="host"></div>
<script type="module">
import { LabelLayer } from "/labels.js";
import { Editor } from "/tools.js";
import { Viewer } from "/viewer.js";
window.viewer = new Viewer(document.getElementById("host"));
window.show = async (name) => {
    const view = await (await fetch(`/api/images/${name}/view`)).json();
    const { width, height, slices } = view;
    const data = new Uint8Array(width * height * slices);
    for (let i = 0; i < data.length; i++) data[i] = ((i % width) >> 5) % 5 === 0 && ((i / width) >> 5) % 3 === 0;
    const colours = ["#000000", "#e69f00", "#56b4e9"];
    window.layer = new LabelLayer({ width, height, slices, data, kind: "classes", colours });
    viewer.open(name, view);
    viewer.overlays.push(layer);
    window.editor = new Editor(viewer, layer);
    editor.choose({ tool: "brush", value: 2 });
    window.changes = 0;
    editor.addEventListener("change", () => window.changes++);
    window.count = () => layer.data.reduce((sums, value) => (sums[value]++, sums), [0, 0, 0]);
};
</script>"""
DROP = """async ([name, letters]) => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(atob(letters), (letter) => letter.charCodeAt(0))], name));
    const small = new OffscreenCanvas(16, 16).getContext("2d", { willReadFrequently: true });
    const frame = () => new Promise(requestAnimationFrame);
    const painted = () => {
        small.clearRect(0, 0, 16, 16);
        small.drawImage(document.querySelectorAll("#viewer canvas")[1], 0, 0, 16, 16);
        return small.getImageData(0, 0, 16, 16).data.some((value, k) => k % 4 === 3 && value > 0);
    };
    const begun = performance.now();
    document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: data }));
    while (!name.startsWith(location.hash.slice(1) || "?")) await frame();
    await frame(); // what was painted over the image before is gone
    await frame();
    while (!painted()) await frame();
    return performance.now() - begun;
}"""
SCREEN = {"width": 1280, "height": 800}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WARM = 15.0
"""Seconds that a user looks at the page before the first drop; meanwhile the model is loaded."""
CATEGORIES = ["devtools.timeline", "disabled-by-default-devtools.timeline.frame", "cc", "benchmark"]
MOVES = 120
"""A second, as of a fast mouse."""
SAME_MS = 4
STROKE = 40
"""Moves of one stroke."""


def main() -> None:
    """Measure, part after part."""
    args = parse()
    results: dict[str, Any] = {}
    print(f"{machine.cpu_name()}, cores: {machine.cores()}")
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        if "drop" in args.parts:
            results["drop"] = measure_drop(Path(folder) / "drop", args.dropped, args.width)
        if {"strokes", "moves"} & set(args.parts):
            results["frames"] = measure_frames(Path(folder) / "frames", args.edge, args.seconds, args.parts)
        if "large" in args.parts:
            results["large"] = [measure_large(Path(folder), kind, args.large) for kind in args.kinds]
    if args.json:
        args.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("drop", "strokes", "moves", "large")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts), help="what to measure (all)")
    parser.add_argument("--dropped", type=int, default=512, help="edge of the image that is dropped (512)")
    parser.add_argument("--width", type=int, default=32, help="of the network that paints it (32)")
    parser.add_argument("--edge", type=int, default=4096, help="of the image that is painted on (4096)")
    parser.add_argument("--seconds", type=float, default=4, help="of painting or moving, each way of it (4)")
    parser.add_argument("--large", type=int, default=16384, help="edge of the large image (16384)")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="of large files (all)")
    parser.add_argument("--scratch", type=Path, help="folder for the files, 1 GB at a time; they go in the end")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def measure_drop(folder: Path, edge: int, width: int) -> dict[str, float]:
    """How long a user waits for the overlay of an image."""
    from playwright.sync_api import sync_playwright

    folder.mkdir()
    network = UNetSettings(padding="same", norm="batch", dropout=0, doublings=3, width=width)
    classes = [ClassInfo(name=str(k), colour=(230 * k, 159 * k, 0), value=k) for k in range(2)]
    seen = InputSeen(dtype="uint8", low=[0], high=[255])
    card = ModelCard(
        version="0", network=network, normalise=NormaliseSettings(), classes=classes, score_shift=[0, 9], input=seen
    )
    save_model(folder / "model.safetensors", card, UNet.from_settings(network).state_dict())
    waited, took = [], []
    with server(folder / "project", folder / "model.safetensors") as (url, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=SCREEN)
        page.goto(url)
        page.locator("#welcome").wait_for()
        time.sleep(WARM)
        for k in range(6):
            file = io.BytesIO()
            Image.fromarray(texture(edge, k, edge)).save(file, "PNG")
            with page.expect_response("**/prediction") as answer:
                waited.append(page.evaluate(DROP, [f"image{k}.png", base64.b64encode(file.getvalue()).decode()]))
            took.append(1000 * answer.value.json()["network_seconds"])
        browser.close()
    over = [all_ - 1.3 * network_ for all_, network_ in zip(waited, took, strict=True)]
    row = {"first": waited[0], "first_network": took[0], "median": median(waited[1:]), "network": median(took[1:])}
    row |= {"first_over": over[0], "over": median(over[1:])}
    print(
        f"drop of {edge}x{edge}, width {width}: overlay after {row['first']:.0f} ms the first time (network "
        f"{row['first_network']:.0f} ms), then {row['median']:.0f} ms (network {row['network']:.0f} ms); above 1.3 "
        f"times the network {row['first_over']:.0f} ms the first time, then {row['over']:.0f} ms"
    )
    return row


def measure_frames(folder: Path, edge: int, seconds: float, parts: list[str]) -> list[dict[str, Any]]:
    """Frames a second of each way to paint and to move."""
    from playwright.sync_api import sync_playwright

    (folder / "images").mkdir(parents=True)
    Image.fromarray(texture(edge, 0, edge)).save(folder / "images" / "image.png", compress_level=1)
    rows = []
    with server(folder) as (url, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=SCREEN)
        page.route("**/bench", lambda route: route.fulfill(body=PAGE, content_type="text/html"))
        page.goto(url + "bench")
        page.wait_for_function("() => window.show")
        page.evaluate("show('image')")
        page.wait_for_function("() => viewer.complete")
        for name, prepare, act in ways(parts):
            page.evaluate(prepare)
            page.wait_for_function("() => viewer.complete")
            before, labels = page.evaluate("changes"), page.evaluate("count()")
            row = {"way": name} | traced(browser, page, act, seconds)
            row["changes"] = (page.evaluate("changes") - before) / seconds
            if name.startswith("brush") and (not row["changes"] or page.evaluate("count()") == labels):
                raise SystemExit(f"{name}: the brush changed no label, so that nothing was measured")
            rows.append(row)
            print(
                f"{name}: {row['rate']:.0f} frames a second, {row['median']:.1f} ms a frame in the median, "
                f"{row['slow']:.1f} ms at the 95th percentile, at most {row['most']:.1f} ms; "
                f"script {row['script']:.1f} ms a frame, {row['changes']:.1f} strokes a second"
            )
            sys.stdout.flush()
        browser.close()
    return rows


def ways(parts: list[str]) -> Iterator[tuple[str, str, Callable[[Any, int], None]]]:
    """What to measure: its name, how to prepare it, and what to do at step n."""

    def paint(page: Any, n: int) -> None:
        if n % STROKE == 0:  # another class each time: painting the same again would change nothing
            page.mouse.up()
            page.evaluate(f"editor.choose({{value: {1 + n // STROKE % 2}}})")
            page.mouse.down()
        drag(page, n)

    def drag(page: Any, n: int) -> None:
        page.mouse.move(640 + 500 * np.cos(n / 7), 400 + 300 * np.sin(n / 11))

    def wheel(page: Any, n: int) -> None:
        page.mouse.wheel(0, 60 if n // 30 % 2 else -60)

    whole, full = "viewer.fit()", "viewer.fit(); viewer.zoomBy(1 / viewer.scale)"
    if "strokes" in parts:
        for style in ("fill", "outline"):
            for zoom, at in (("whole", whole), ("1:1", full)):
                for size in (20, 400):
                    prepare = f"layer.style = '{style}'; viewer.mode = 'paint'; editor.choose({{size: {size}}}); {at}"
                    yield f"brush of {size} pixels, {style}, {zoom}", prepare, paint
    if "moves" in parts:
        prepare = f"layer.style = 'fill'; viewer.mode = 'pan'; {full}"
        yield "dragging at 1:1", prepare, drag
        yield "zooming", prepare, wheel


def traced(browser: Any, page: Any, act: Callable[[Any, int], None], seconds: float) -> dict[str, float]:
    """Do something with the button held, and read the browser's trace of it."""
    page.mouse.move(640, 400)
    page.mouse.down()
    act(page, 0)
    browser.start_tracing(page=page, categories=CATEGORIES)
    begun, n = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        n += 1
        act(page, n)
        time.sleep(max(0.0, begun + n / MOVES - time.perf_counter()))
    events = json.loads(browser.stop_tracing())["traceEvents"]
    page.mouse.up()
    drawn = presented(events)
    # Those that are cut off by the end of the trace have no duration.
    scripts = [e["dur"] / 1000 for e in events if e["name"] in ("FunctionCall", "FireAnimationFrame") and "dur" in e]
    gaps = np.diff(drawn)
    return {
        "rate": 1000 * len(gaps) / (drawn[-1] - drawn[0]),
        "median": float(np.median(gaps)),
        "slow": float(np.percentile(gaps, 95)),
        "most": float(gaps.max()),
        "script": sum(scripts) / len(drawn),
        "moves": n,
    }


def presented(events: list[dict[str, Any]]) -> list[float]:
    """When each frame that holds all that it should was on the screen, in milliseconds."""
    found, begun = [], set()
    for event in sorted((e for e in events if e["name"] == "PipelineReporter"), key=lambda e: e["ts"]):
        key = (event["pid"], event["id2"]["local"])
        if event["ph"] == "b" and event["args"]["frame_reporter"]["state"] == "STATE_PRESENTED_ALL":
            begun.add(key)
        elif event["ph"] == "e" and key in begun:
            begun.remove(key)
            found.append(event["ts"] / 1000)
    # Two that are shown in the same refresh of the screen are one to the eye.
    times: list[float] = []
    for each in sorted(found):
        if not times or each - times[-1] > SAME_MS:
            times.append(each)
    return times


def measure_large(folder: Path, kind: str, edge: int) -> dict[str, Any]:
    """The first visit of a large image, and a later one by a server that was started again."""
    project = folder / kind
    (project / "images").mkdir(parents=True)
    file = project / "images" / f"image{KINDS[kind][0]}"
    KINDS[kind][1](file, edge)
    with server(project) as (url, process):
        held = peak(process)
        begun = time.perf_counter()
        view = asked(url, "view")
        while not view["ready"]:
            time.sleep(0.1)
            view = asked(url, "view")
        fetched(url, f"tiles/image/{view['levels'] - 1}/0/0")
        first = time.perf_counter() - begun
        memory = peak(process) - held
    with server(project) as (url, process):
        held = peak(process)
        times = {"view": timed(lambda: asked(url, "view"))}
        last = view["levels"] - 1
        times["coarsest"] = timed(lambda: fetched(url, f"tiles/image/{last}/0/0"))
        middle = edge // 1024
        tiles = [timed(lambda n=n: fetched(url, f"tiles/image/0/{middle}/{n}")) for n in range(min(10, middle))]
        later = peak(process) - held
    cache = sum(each.stat().st_size for each in (project / ".cache").rglob("*") if each.is_file())
    row = {"kind": kind, "first": first, "memory": memory, "later_memory": later, "cache": cache}
    row |= {**times, "tile": median(tiles), "file": file.stat().st_size}
    print(
        f"{edge}x{edge}, {kind}: first picture after {first:.1f} s, {memory / 1e6:.0f} MB more memory, cache "
        f"{cache / 1e6:.0f} MB; later the view after {1000 * times['view']:.0f} ms, the whole image after "
        f"{1000 * times['coarsest']:.0f} ms more, a tile of full resolution {1000 * row['tile']:.0f} ms (median), "
        f"{later / 1e6:.0f} MB"
    )
    sys.stdout.flush()
    shutil.rmtree(project)
    return row


def texture(edge: int, top: int, rows: int, dtype: str = "u1") -> np.ndarray:
    """Rows of an image of structure and noise."""
    y, x = np.ogrid[top : top + rows, :edge]
    wave = (np.sin(x / 40) * np.sin(y / 50) + 1) / 2
    noise = np.random.default_rng(top).integers(0, 32, (rows, edge))
    gray = (200 * wave).astype(np.int32) + noise
    return gray.astype(np.uint8) if dtype == "u1" else (16 * gray).astype(np.uint16)


def _whole(edge: int, dtype: str) -> np.ndarray:
    found = np.empty((edge, edge), dtype)
    for top in range(0, edge, 512):
        found[top : top + 512] = texture(edge, top, min(512, edge - top), dtype)
    return found


def _tiff(file: Path, edge: int, **options: Any) -> None:
    tifffile.imwrite(file, _whole(edge, "u2"), compression="zlib", **options)


def _png(file: Path, edge: int) -> None:
    Image.fromarray(_whole(edge, "u1")).save(file, compress_level=1)


KINDS: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "tiled 16-bit TIFF": (".tif", lambda file, n: _tiff(file, n, tile=(512, 512))),
    "16-bit TIFF in strips": (".tif", lambda file, n: _tiff(file, n, rowsperstrip=64)),
    "8-bit PNG": (".png", _png),
}


@contextmanager
def server(project: Path, model: Path | None = None) -> Iterator[tuple[str, int]]:
    """A server of a project in a process of its own: its address and process id."""
    settings = ServeSettings(project=project, model=model).model_dump_json()
    process = subprocess.Popen([sys.executable, "-c", _SERVE, settings], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.terminate()
        process.wait()


def fetched(url: str, what: str) -> bytes:
    """What an address of the image gives."""
    with urllib.request.urlopen(f"{url}api/images/image/{what}") as answer:
        data: bytes = answer.read()
    return data


def asked(url: str, what: str) -> Any:
    """What an address of the image says."""
    return json.loads(fetched(url, what))


def timed(call: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def peak(process: int) -> int:
    """The most bytes that a process ever held in memory; what of its files lies there too does not count."""
    status = Path(f"/proc/{process}/status")
    lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
