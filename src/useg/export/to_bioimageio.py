"""`useg export --to bioimageio`: a model package of bioimage.io, for ilastik, deepImageJ, QuPath and others.

bioimageio.spec (extra `bioimageio`) writes and validates it; the weights are our ONNX graph. The package is kept only
if that graph, behind the preprocessing that the package describes, gives what torch gives, and if the test of
bioimageio.core passes where that is installed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float, Float32

from useg.atomic import replacing
from useg.engines.runner import ExportedRunner
from useg.errors import ExportError, SettingsError, extra
from useg.export import bioimageio_rdf as rdf
from useg.export.about import Owner, model_page
from useg.export.to_onnx import export_onnx
from useg.pictures.overlay import overlay, to_gray_rgb
from useg.report.content import Report
from useg.runner import TorchRunner
from useg.unet.model import ModelCard, load_model
from useg.unet.normalise import measure
from useg.unet.settings import UNetSettings

TEST_EDGE = {2: (128, 192), 3: (16, 24)}
"""Pixels of the test image, about: the last axis is the longer one."""
COVER_EDGE = 256
"""Pixels of each half of the cover."""
ENDS = 0.02
"""Share of the test image's pixels that have the darkest gray value, and the brightest."""


@dataclass(frozen=True)
class Packaged:
    """A package that was proved.

    Attributes:
        path: the file. bytes: its size. networks: whose mean it gives.
        sizes, graph_difference: of the graph in it, see `useg.export.Exported`.
        difference: the largest one from torch of any probability of the test image.
        tests: of bioimageio.core that were passed; 0 where it is not installed.
        exact: whether the format can say how the model normalises; else by mean and deviation of the whole image.
    """

    path: Path
    bytes: int
    networks: int
    sizes: int
    graph_difference: float
    difference: float
    tests: int
    exact: bool


def export_bioimageio(
    model: Path, out: Path, owner: Owner, folds: Sequence[int] = (), report: Report | None = None
) -> Packaged:
    """Write a model as a bioimage.io package, and keep it if it gives what torch gives, from raw gray values on.

    Its test image is drawn in the range of gray values that the model knows, and so is its cover: nothing of the images
    trained on is in the package. What stands there in words comes from the card and the report.

    Args:
        model: a model file or run folder. out: the file to write, `.zip`; it is replaced. owner: authors and licence.
        folds: of a model of several networks those to export, from 0; all without.
        report: scores and cautions to tell, see `useg.export.about.judge`.

    Raises:
        MissingError, ModelError: see `useg.unet.model.load_model`. OutputError: the file cannot be written.
        SettingsError: `out` is not named `.zip`, or the licence is none that SPDX knows.
        MissingExtraError: bioimageio.spec, onnx or onnxruntime is not here.
        ExportError: see `useg.export.export_onnx`; or the package gives something else, or failed its test.
    """
    owner = require_package(out, owner)
    from bioimageio.spec import InvalidDescr, ValidationContext, build_description, save_bioimageio_package
    from bioimageio.spec.model.v0_5 import ModelDescr

    card, networks = load_model(model, folds)
    with TemporaryDirectory() as parts, replacing(out) as temporary:
        folder = Path(parts)
        onnx = export_onnx(model, folder / rdf.WEIGHTS, folds)
        image = draw_test_image(card)
        runner = TorchRunner(networks, "cpu", "float32", shift=card.shift, temperature=card.temperature)
        probabilities = runner(measure(image, card.normalise).apply(image), _whole(card, image))
        np.save(folder / rdf.TEST_INPUT, image[None])
        np.save(folder / rdf.TEST_OUTPUT, probabilities[None])
        _draw_cover(folder / rdf.COVER, card, image, probabilities)
        page = model_page(out.stem, card, report, owner, _use(out.name, card))
        (folder / rdf.PAGE).write_text(page, encoding="utf-8")
        content = rdf.describe(out.stem, card, networks[0], report, owner)
        content["format_version"] = ModelDescr.implemented_format_version
        context = ValidationContext(root=folder, log_warnings=False)
        described = build_description(content, context=context)
        if isinstance(described, InvalidDescr):
            raise ExportError(f"{out}: {_first_line(described.get_reason() or '')}; nothing was kept, please report it")
        difference = _prove(folder, out, card)
        save_bioimageio_package(described, output_path=temporary)
        tests = _test(temporary, out)
        size = temporary.stat().st_size
    exact = card.normalise.kind != "image"
    return Packaged(out, size, onnx.networks, onnx.sizes, onnx.difference, difference, tests, exact)


def require_package(out: Path, owner: Owner) -> Owner:
    """See that a package can be written under this name, and give its owner with the licence as SPDX writes it.

    Raises:
        SettingsError: `out` is not named `.zip`, or the licence is none that SPDX knows.
        MissingExtraError: bioimageio.spec, onnx or onnxruntime is not here.
    """
    if out.suffix.lower() != ".zip":
        raise SettingsError(f"{out}: a bioimage.io package is named .zip; name it so")
    with extra(out, "bioimageio"):
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        from bioimageio.spec.utils import get_spdx_licenses
    if owner.licence is None:
        return owner
    known = {one["licenseId"].lower(): one["licenseId"] for one in get_spdx_licenses()["licenses"]}
    licence = known.get(owner.licence.lower())
    if licence is None:
        raise SettingsError(
            f"--license {owner.licence}: not a licence that SPDX knows; such as CC-BY-4.0, MIT, Apache-2.0"
        )
    return replace(owner, licence=licence)


def _whole(card: ModelCard, image: Float[np.ndarray, "c *size"]) -> list[slice]:
    return [slice(0, axis.output_size(n)) for axis, n in zip(card.network.axes, image.shape[1:], strict=True)]


def _prove(folder: Path, out: Path, card: ModelCard) -> float:
    """The largest difference of the test output and what comes out of the graph behind the described preprocessing."""
    image, expected = np.load(folder / rdf.TEST_INPUT)[0], np.load(folder / rdf.TEST_OUTPUT)[0]
    values, axes = image, tuple(range(1, image.ndim))
    for step in rdf.preprocessing(card):
        told = step["kwargs"]
        if step["id"] == "clip":
            values = values.clip(told["min"], told["max"])
            continue
        if "mean" in told:
            mean, deviation = (np.array(told[key]).reshape(-1, *[1] * len(axes)) for key in ("mean", "std"))
        else:
            mean, deviation = image.mean(axes, keepdims=True), image.std(axes, keepdims=True) + told["eps"]
        values = (values - mean) / deviation
    found = ExportedRunner(folder / rdf.WEIGHTS, card)(values.astype(np.float32), _whole(card, image))
    difference = float(np.abs(found - expected).max())
    if not difference <= rdf.TOLERANCE:
        raise ExportError(
            f"{out}: its probabilities of the test image differ from torch's by up to {difference:.2g}, more than "
            f"{rdf.TOLERANCE:g}; nothing was kept, please report it"
        )
    return difference


def _test(package: Path, out: Path) -> int:
    """How many tests of bioimageio.core the package passed; 0 where that is not installed."""
    try:
        from bioimageio.core import test_model
    except ImportError:
        return 0
    summary = test_model(package)
    if summary.status != "passed":
        reasons = [error.msg for detail in summary.details for error in detail.errors]
        raise ExportError(
            f"{out}: bioimageio.core's test failed: {_first_line(*reasons)}; nothing was kept, please report it"
        )
    return len(summary.details)


def draw_test_image(card: ModelCard) -> Float32[np.ndarray, "c *size"]:
    """A smooth random pattern in the range of gray values that the model knows, of a size that its package takes.

    As many pixels have one gray value as another, and a few more the darkest and the brightest. So there are neither
    outliers nor padding, and whatever leaves these out normalises it like that which does not.
    """
    from scipy.ndimage import gaussian_filter

    random, size, planes = np.random.default_rng(0), test_size(card.network), []
    for low, high in zip(card.input.low, card.input.high, strict=True):
        order = gaussian_filter(random.normal(size=size), 3).ravel().argsort().argsort() / (math.prod(size) - 1)
        planes.append(low + ((order - ENDS) / (1 - 2 * ENDS)).clip(0, 1).reshape(size) * (high - low))
    return np.stack(planes).astype(np.float32)


def test_size(settings: UNetSettings) -> tuple[int, ...]:
    """Size of the test image: on the grid, no two neighbouring axes alike."""
    short, long = TEST_EDGE[settings.dims]
    *others, last = settings.axes
    first = [max(rdf.smallest(g), g.fit_up(short)) for g in others]
    return (*first, max(first[-1] + last.stride, last.fit_up(long)))


def _draw_cover(
    path: Path, card: ModelCard, image: Float[np.ndarray, "c *size"], probabilities: Float[np.ndarray, "k *_"]
) -> None:
    """The test image, and what the model sees in it, side by side; of a volume the middle slice."""
    from PIL import Image

    margins = [axis.margin for axis in card.network.axes]
    inner = (slice(m, m + n) for m, n in zip(margins, probabilities.shape[1:], strict=True))
    shown = image[(slice(None), *inner)]
    labels = probabilities.argmax(0)
    if labels.ndim == 3:
        shown, labels = shown[:, len(labels) // 2], labels[len(labels) // 2]
    below = to_gray_rgb(shown)
    halves = [below, overlay(below, labels, [one.colour for one in card.classes])]
    edge = min(labels.shape)
    picture = Image.new("RGB", (2 * COVER_EDGE, COVER_EDGE))
    for place, half in enumerate(halves):
        square = Image.fromarray(half[:edge, :edge]).resize((COVER_EDGE, COVER_EDGE), Image.Resampling.NEAREST)
        picture.paste(square, (place * COVER_EDGE, 0))
    picture.save(path)


def _use(package: str, card: ModelCard) -> list[str]:
    """How to run it, and where that differs from useg."""
    tiles = [f"{rdf.smallest(g)} + N x {g.stride} pixels" for g in card.network.axes]
    each = dict(zip("zyx"[-len(tiles) :], tiles, strict=True))
    told = (
        f"{tiles[0]} along each axis" if len(set(tiles)) == 1 else ", ".join(f"{n} along {a}" for a, n in each.items())
    )
    found = [
        f"`bioimageio predict {package} --inputs IMAGE --blockwise N` (bioimageio.core) runs it in tiles of "
        f"{told}; an image must not be smaller than its tiles. "
        "Other programs that read bioimage.io models of format 0.5 with ONNX weights should run it too; there it was "
        "not tested."
    ]
    if card.normalise.kind == "image":
        found.append(
            "The format can only say: subtract the mean of the image and divide by its standard deviation. useg leaves "
            "padding and outliers out of both, and bioimageio.core takes both of the image with a mirrored rim around "
            "it. So results differ a little from those of useg, most where that rim is unlike the image."
        )
    if card.network.padding == "same":
        found.append("Near the border of an image, results depend on how a program fills up what lies beyond it.")
    return found


def _first_line(*texts: str) -> str:
    return next((line.strip() for text in texts for line in text.splitlines() if line.strip()), "no reason was given")
