"""Models with random weights, images of noise, and all the bytes of a folder, for the tests of the doors' rooms."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import useg
from useg.objects.settings import SeparateSettings
from useg.unet.model import ClassInfo, InputSeen, ModelCard, save_model
from useg.unet.network import UNet
from useg.unet.normalise import NormaliseSettings
from useg.unet.settings import UNetSettings

SMALL = {"padding": "same", "norm": "batch", "depth": 1, "width": 4}


def make_model(folder: Path, seed: int = 0, **changes: object) -> Path:
    """A model with random weights and statistics, whose probabilities are not all alike."""
    chosen = UNetSettings.model_validate(SMALL | changes)
    torch.manual_seed(seed)
    network = UNet.from_settings(chosen)
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.3)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    card = ModelCard(
        version=useg.__version__,
        network=chosen,
        normalise=NormaliseSettings(),
        classes=[ClassInfo(name=f"class {k}", colour=(9 * k, 0, 9), value=k) for k in range(chosen.classes)],
        masks="instances",
        score_shift=[0.0] * chosen.classes,
        flips=["x", "transpose"],
        input=InputSeen(dtype="uint8", low=[0] * chosen.in_channels, high=[255] * chosen.in_channels),
        trained_on={},
        objects=SeparateSettings(threshold=0.4, seed_threshold=0.55, smallest=3),
    )
    path = folder / f"model{seed}.safetensors"
    save_model(path, card, network.state_dict())
    return path


def make_image(size: Sequence[int], channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (channels, *size), dtype=np.uint8)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
