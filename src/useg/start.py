"""Training that starts from an earlier model: which one, and the weights that it begins with."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from useg.card import describe_classes
from useg.data.legend import Legend
from useg.errors import MissingError, ModelError
from useg.processes import Team
from useg.settings import Settings
from useg.unet.model import digest, find_model
from useg.unet.network import UNet
from useg.unet.transfer import Transfer, load_start, transfer


def choose_start(path: Path) -> dict[str, str]:
    """Settings, by dotted name, of a run that is to start from a model file or run folder: read once, to see it can.

    Raises:
        MissingError, ModelError: as `load_start`.
    """
    file = find_model(path).resolve()
    card, _ = load_start(file)
    seen = str(card.trained_on.get("checksums", ""))
    return {"start.model": str(file), "start.digest": digest(file), "data.seen": seen}


def begin(settings: Settings, legend: Legend, team: Team) -> tuple[dict[str, Tensor], Transfer]:
    """The weights that a run begins with, the same in all processes, and what of them is the earlier model's.

    Raises:
        MissingError, ModelError: the model's file is not there any more, or is another one.
        SettingsError: nothing of it fits.
    """
    path = Path(settings.start.model)
    with team.file_of_first(path) as file:
        if file is None:
            raise MissingError(
                f"{path}: the model that this run starts from is gone; put it back, or begin another run"
            )
        if digest(file) != settings.start.digest:
            raise ModelError(f"{path}: has changed since this run was set up to start from it; begin another run")
        card, old = load_start(file)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = UNet.from_settings(settings.network)
    found = transfer(card, old, network, describe_classes(legend), settings.score_shift)
    return network.state_dict(), found
