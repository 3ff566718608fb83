"""Models with random weights, images of noise, and all the bytes of a folder, for the tests of the doors' rooms."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st

from useg.objects.settings import SeparateSettings
from useg.unet.model import ClassInfo, InputSeen, ModelCard, save_model
from useg.unet.network import UNet
from useg.unet.normalise import NormaliseSettings
from useg.unet.settings import UNetSettings

SMALL = {"padding": "same", "norm": "batch", "depth": 1, "width": 4}


def axes_apart(dims: int, depth: int) -> st.SearchStrategy[dict[str, object]]:
    """Settings that treat the first axis of volumes unlike the others: flat levels, fewer poolings, or 2.5-D."""
    if dims == 2:
        return st.just({})
    flat = st.integers(0, depth).map(lambda n: {"flat": (n, 0, 0), "pools": (0, depth, depth)})
    return st.one_of(st.just({}), flat, st.integers(0, 2).map(lambda n: {"neighbours": n}))


def make_card(network: UNetSettings, **changes: object) -> ModelCard:
    fields: dict[str, object] = {
        "version": "0",
        "network": network,
        "normalise": NormaliseSettings(),
        "classes": [ClassInfo(name=str(k), colour=(0, 0, k), value=k) for k in range(network.classes)],
        "score_shift": [0.0] * network.classes,
        "input": InputSeen(dtype="float32", low=[-3.0] * network.in_channels, high=[3.0] * network.in_channels),
    }
    return ModelCard.model_validate(fields | changes)


def make_network(settings: UNetSettings, seed: int) -> UNet:
    """Random weights, random biases and random batch-norm statistics: fresh ones hide errors at borders."""
    torch.manual_seed(seed)
    network = UNet.from_settings(settings).eval()
    with torch.no_grad():
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif name.endswith(("running_mean", "bias")):
                value.normal_(0, 0.5)
            elif value.ndim == 1 and value.is_floating_point():  # the factors of a normalisation
                value.uniform_(0.5, 1.5).mul_(torch.where(torch.rand_like(value) < 0.2, -1.0, 1.0))
    return network


def make_model(folder: Path, seed: int = 0, **changes: object) -> Path:
    """A small model of objects as a file, with random weights."""
    chosen = UNetSettings.model_validate(SMALL | changes)
    card = make_card(
        chosen,
        masks="instances",
        flips=["x", "transpose"],
        input=InputSeen(dtype="uint8", low=[0] * chosen.in_channels, high=[255] * chosen.in_channels),
        objects=SeparateSettings(threshold=0.4, seed_threshold=0.55, smallest=3),
    )
    path = folder / f"model{seed}.safetensors"
    save_model(path, card, make_network(chosen, seed).state_dict())
    return path


def make_sharp_model(folder: Path) -> Path:
    """A model that is sure of what it says, as trained ones are: of which of two gray values a pixel is nearer to."""
    card = make_card(UNetSettings(padding="same", depth=1, width=4))
    network = make_network(card.network, 0)
    network.head.weight.data.zero_()
    network.head.bias.data = network.head.bias.new_tensor([3.0, -3.0])
    network.head.weight.data[1] = 0.02
    save_model(folder / "sharp.safetensors", card, network.state_dict())
    return folder / "sharp.safetensors"


def make_image(size: Sequence[int], channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (channels, *size), dtype=np.uint8)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
