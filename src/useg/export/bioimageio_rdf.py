"""What a bioimage.io package says of its model: the content of its `bioimageio.yaml`, model format 0.5.

https://github.com/bioimage-io/spec-bioimage-io. Sizes come from the network's stride grid. Tiles without their halo lie
side by side, so the halo is chosen such that each of them starts on that grid, see `useg.unet.geometry`.
"""

from __future__ import annotations

import re
from typing import Any

from useg import __version__
from useg.engines.runner import IMAGE, PROBABILITIES
from useg.export.about import PAPER, PAPER_DOI, Owner, limits, summary
from useg.export.onnx_graph import OPSET
from useg.report.content import Report
from useg.unet.geometry import Geometry
from useg.unet.model import ModelCard
from useg.unet.network import UNet

WEIGHTS, PAGE, COVER, TEST_INPUT, TEST_OUTPUT = "model.onnx", "README.md", "cover.png", "input.npy", "output.npy"
"""Files of a package."""
TOLERANCE = 1e-4
"""By how much the probabilities of the test image may differ elsewhere."""
_UNITS = {"µm": "micrometer", "nm": "nanometer", "mm": "millimeter", "cm": "centimeter", "m": "meter"}


def halo(geometry: Geometry) -> int:
    """Output pixels to cut off at both ends of a tile: those that depend on what lies outside, and as many more as it
    takes to have the tiles start on the stride grid."""
    g = geometry
    most = max(g.lead, g.trail)
    if g.padding == "same":  # the same grid as that of the whole image
        return -(-most // g.stride) * g.stride
    return next(n for n in range(most, most + g.stride + 1) if (g.smallest - g.shrink - 2 * n) % g.stride == 0)


def smallest(geometry: Geometry) -> int:
    """The smallest input of which something is left when the halo is cut off."""
    return geometry.fit_up(geometry.shrink + 2 * halo(geometry) + 1)


def describe(name: str, card: ModelCard, network: UNet, report: Report | None, owner: Owner) -> dict[str, Any]:
    """The content of `bioimageio.yaml`.

    Args:
        name: of the model. network: one of its networks. report: see `useg.export.about.judge`.
    """
    n = card.network
    return {
        "type": "model",
        "name": _name(name),
        "description": " ".join(summary(card, report))[:1000],
        "authors": [{"name": author.replace("/", " ")} for author in owner.authors],
        "cite": [{"text": PAPER, "doi": PAPER_DOI}],
        "license": owner.licence,
        "tags": [
            "unet",
            f"{n.dims}d",
            "pytorch",
            f"{'instance' if card.masks == 'instances' else 'semantic'}-segmentation",
            "useg",
        ],
        "documentation": {"source": PAGE},
        "covers": [{"source": COVER}],
        "inputs": [
            {
                "id": IMAGE,
                "description": "gray values as they stand in the file",
                "axes": [*_first_axes(_channel_names(card)), *(_input_axis(card, axis) for axis in range(n.dims))],
                "data": {"type": "float32"},
                "test_tensor": {"source": TEST_INPUT},
                "pad": {"mode": "reflect"},
                "preprocessing": preprocessing(card),
            }
        ],
        "outputs": [
            {
                "id": PROBABILITIES,
                "description": "the probability of each class, 0 to 1",
                "axes": [
                    *_first_axes([one.name for one in card.classes]),
                    *(_output_axis(card, axis) for axis in range(n.dims)),
                ],
                "data": {"type": "float32", "range": [0.0, 1.0]},
                "test_tensor": {"source": TEST_OUTPUT},
            }
        ],
        "weights": {"onnx": {"source": WEIGHTS, "opset_version": OPSET, "comment": f"written by useg {__version__}"}},
        "config": {"bioimageio": _config(card, network, report), "useg": _useg(card)},
    }


def preprocessing(card: ModelCard) -> list[dict[str, Any]]:
    """The model's normalisation. "image" comes near it: the format has no statistics without outliers and padding."""
    settings, spatial = card.normalise, list("zyx"[3 - card.network.dims :])
    if settings.kind == "none":
        return []
    if settings.kind == "fixed":
        values = {"mean": settings.mean, "std": settings.std, "axis": "channel"}
        # The format clips all channels alike, which Hounsfield units are anyway.
        ends = (
            (min(low for low, _ in settings.bounds), max(high for _, high in settings.bounds))
            if settings.bounds
            else ()
        )
        clip = [{"id": "clip", "kwargs": {"min": ends[0], "max": ends[1]}}] if ends else []
        return [*clip, {"id": "fixed_zero_mean_unit_variance", "kwargs": values}]
    return [{"id": "zero_mean_unit_variance", "kwargs": {"axes": spatial, "eps": _epsilon(card)}}]


def _epsilon(card: ModelCard) -> float:
    """So small that it changes no image like those trained on."""
    ranges = [high - low for low, high in zip(card.input.low, card.input.high, strict=True) if high > low]
    return min(1e-6, 1e-6 * min(ranges, default=1.0))


def _first_axes(names: list[str]) -> list[dict[str, Any]]:
    return [{"type": "batch", "size": 1}, {"type": "channel", "id": "channel", "channel_names": names}]


def _channel_names(card: ModelCard) -> list[str]:
    return ["gray"] if card.network.in_channels == 1 else [f"channel{k}" for k in range(card.network.in_channels)]


def _space(card: ModelCard, axis: int) -> dict[str, Any]:
    """Name of a spatial axis, and its pixel size where the training images knew theirs in a unit of length."""
    seen, found = card.input, {"type": "space", "id": "zyx"[3 - card.network.dims + axis]}
    unit = _UNITS.get(seen.unit or "")
    return found | ({"unit": unit, "scale": seen.spacing[axis]} if seen.spacing and unit else {})


def _input_axis(card: ModelCard, axis: int) -> dict[str, Any]:
    g = card.network.axes[axis]
    return _space(card, axis) | {"size": {"min": smallest(g), "step": g.stride}, "concatenable": True}


def _output_axis(card: ModelCard, axis: int) -> dict[str, Any]:
    g, found = card.network.axes[axis], _space(card, axis)
    size = {"tensor_id": IMAGE, "axis_id": found["id"], "offset": -g.shrink}
    return found | {"size": size} | ({"halo": halo(g)} if halo(g) else {})


def _name(name: str) -> str:
    """Of the letters that the format allows."""
    return " ".join([*re.sub("[^A-Za-z0-9_+()-]+", " ", name)[:50].split(), "U-Net"])


def _config(card: ModelCard, network: UNet, report: Report | None) -> dict[str, Any]:
    """What the format has fields for."""
    n = card.network
    return {
        "reproducibility_tolerance": [
            {"relative_tolerance": 0.0, "absolute_tolerance": TOLERANCE, "mismatched_elements_per_million": 0}
        ],
        "architecture_type": f"{n.dims}D U-Net",
        "architecture_description": f"depth {n.depth}, width {n.width}, {n.padding} padding, norm: {n.norm}, networks: "
        f"{card.members}",
        "target_structure": [one.name for one in card.classes[1:]],
        "task": "segmentation",
        "bias_risks_limitations": {
            "known_biases": "\n".join(limits(card, report)),
            "risks": "Where images differ from those that it was trained on, it can be wrong and sure of itself.",
            "recommendations": "Annotate a few of your own images and score the model on them.",
        },
        "model_parameter_count": card.members * sum(each.numel() for each in network.parameters()),
    }


def _useg(card: ModelCard) -> dict[str, Any]:
    """What useg knows beside that; the ONNX file holds the whole card."""
    told = card.model_dump(
        mode="json", include={"version", "classes", "objects", "temperature", "class_bias", "input", "scores"}
    )
    return told | {"trained_on": {key: value for key, value in card.trained_on.items() if key != "checksums"}}
