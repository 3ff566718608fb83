"""Training that starts from an earlier model: which one, what is taken of it, and a fair comparison with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from useg.card import describe_classes, seen_before
from useg.data.legend import Legend
from useg.data.splits import FEW, Split, split
from useg.errors import MissingError, ModelError
from useg.processes import Team
from useg.settings import Settings, StartSettings
from useg.unet.model import digest, find_model
from useg.unet.network import UNet
from useg.unet.transfer import Transfer, load_start, transfer


def choose_start(path: Path) -> StartSettings:
    """The model file or run folder that a run is to start from, read once to see that it can.

    Raises:
        MissingError, ModelError: as `load_start`.
    """
    file = find_model(path).resolve()
    card, _ = load_start(file)
    return StartSettings(model=str(file), digest=digest(file), seen=str(card.trained_on.get("checksums", "")))


def held_out_fairly(parts: Split, start: StartSettings, *, divided: bool) -> tuple[Split, bool]:
    """Held-out images that the earlier model was not trained on, as far as there are any; and whether there are.

    Its score on an image that it was trained on is too good, and so is that of a model that goes on from it. Such
    images change sides: they are trained on again, and others are held out.

    Args:
        divided: whether the images were divided by `split`, and not by who made the data set.
    """
    everyone = [*parts.train, *parts.validation]
    seen = {e.name for e in seen_before(everyone, start.seen)}
    spoilt = [e for e in parts.validation if e.name in seen]
    if not spoilt:
        return parts, True
    fresh, known = ([e for e in everyone if (e.name in seen) == side] for side in (False, True))
    if divided and len(fresh) >= FEW:
        share = min(len(parts.validation), len(fresh) - 1) / len(fresh)
        again = split(fresh, share=share)
        return replace(
            again,
            train=[*known, *again.train],
            reason=f"{again.reason}; of the {len(fresh)} images that the earlier model was not trained on",
        ), True
    apart = [e for e in parts.validation if e.name not in seen]
    if apart:
        told = f"{parts.reason}; without {len(spoilt)} of them, which the earlier model was trained on"
        return Split([*parts.train, *spoilt], apart, told), True
    told = (
        f"{parts.reason}; the earlier model was trained on all of them, so that its score is too good and is not held "
        "against the new one, whose score is too good as well; put other images into val/ to know better"
    )
    return replace(parts, reason=told), False


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
