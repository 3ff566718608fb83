"""What an earlier model has learned -> a new network: what fits is taken, its two ends are adapted, the rest is fresh.

image ─ first layer ─ all between ─────── head ─ scores
        by channel    where shapes agree  by the names of classes
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from useg.errors import ModelError, SettingsError
from useg.unet.model import ClassInfo, ModelCard, load_model, read_card
from useg.unet.network import UNet
from useg.unet.settings import UNetSettings

GIVEN_NAME = re.compile(r"background|foreground|object|class \d+|#[0-9a-f]{6}")
"""Names that classes get where the data set has none for them: they say no more than the mask value."""
NEW_ROW = 0.1
"""A new class begins with this share of the weights that chance gave it, so that the known ones decide at first."""
NEW_BIAS = -3.0
"""How far its bias lies from the mean of those that are known: odds of one to twenty."""


@dataclass(frozen=True)
class Transfer:
    """What became of each tensor of a new network; each is named once, as in its `state_dict`.

    Attributes:
        taken: as they were. adapted: and how. fresh: and why.
        classes: for each new class, the class of the earlier model that it goes on from, or None.
        words: all of it in one sentence.
    """

    taken: list[str]
    adapted: dict[str, str]
    fresh: dict[str, str]
    classes: list[int | None]
    words: str


def load_start(path: Path) -> tuple[ModelCard, UNet]:
    """A model that training can start from.

    Raises:
        MissingError: no such file. ModelError: it is damaged, or holds several networks.
    """
    card = read_card(path)
    if card.members > 1:
        told = f"holds the networks of {card.members} folds, and training starts from one"
        raise ModelError(f"{path}: {told}; name the folder of one, such as fold-0")
    card, (network,) = load_model(path)
    return card, network


@torch.no_grad()
def transfer(
    card: ModelCard, old: UNet, network: UNet, classes: Sequence[ClassInfo], score_shift: Sequence[float]
) -> Transfer:
    """Copy into `network` what `old` knows, batch-norm statistics too; what does not fit stays as it is.

    Layers in the same place whose weights have the same shape are taken. The head goes class by class (see
    `match_classes`), and its biases make up for another `score_shift`, so that the probabilities stay. The first layer
    goes channel by channel, in their order; the weights of further ones begin at zero. But those of a gray image are
    spread over three channels, and those of three are summed for one: a gray image is answered as the same image saved
    as RGB.

    Args:
        card: of `old`. network: the new one, of any settings; changed in place.
        classes, score_shift: as in the card of the new model.

    Raises:
        SettingsError: nothing fits, as between networks of different widths, or with and without batch normalisation.
    """
    origin, n = match_classes(card.classes, classes), network.settings
    there = {_place(name, old.settings): value for name, value in old.state_dict().items()}
    here = {_place(name, n): (name, value) for name, value in network.state_dict().items()}
    taken: list[str] = []
    adapted: dict[str, str] = {}
    fresh: dict[str, str] = {}
    for place, (name, new) in here.items():
        main = _weight(place)
        if place not in there or main not in there:
            fresh[name] = "the earlier network has no such layer"
            continue
        before, sizes = there[place], (here[main][1].shape, there[main].shape)
        if not _alike(*sizes, _axis(main, n)):
            fresh[name] = "weights of {}, in the earlier network of {}".format(*("x".join(map(str, s)) for s in sizes))
            continue
        how = _copy(before, new, place, origin, n)
        if place == _place("head.2.bias" if n.head == "3x3" else "head.bias", n):
            _balance(new, origin, card.score_shift, score_shift)
        if before.shape == new.shape and torch.equal(before, new.to(before)):
            taken.append(name)
        else:
            adapted[name] = how
    if not taken and not adapted:
        raise SettingsError("nothing of the earlier model fits this network; leave out --from, or the --set network.*")
    return Transfer(taken, adapted, fresh, origin, _words(card.classes, classes, origin, taken, adapted, fresh))


def match_classes(old: Sequence[ClassInfo], new: Sequence[ClassInfo]) -> list[int | None]:
    """For each new class the old one that it goes on from, or None; no old one is given twice.

    Equal names come first (upper and lower case are the same), then class 0 with class 0, which is background by
    custom. A class that got its name from useg, for want of another, goes with that of the same mask value, or of two
    classes with the other one: 1 is 255.
    """
    found: list[int | None] = [None] * len(new)
    both_two = len(old) == len(new) == 2

    def same_name(a: ClassInfo, b: ClassInfo) -> bool:
        return a.name.casefold() == b.name.casefold()

    def same_value(a: ClassInfo, b: ClassInfo) -> bool:
        given = any(GIVEN_NAME.fullmatch(each.name.casefold()) for each in (a, b))
        return given and (a.value == b.value or both_two)

    for rule in (same_name, lambda a, b: a is old[0] and b is new[0], same_value):
        for k, info in enumerate(new):
            free = (j for j, other in enumerate(old) if j not in found and rule(other, info))
            if found[k] is None:
                found[k] = next(free, None)
    return found


Place = tuple[str, ...]


def _place(name: str, s: UNetSettings) -> Place:
    """Where a tensor stands, the same in networks of any depth, and never the same where it means something else."""
    part, *rest = name.split(".")
    first = ["stem"] if s.patch > 1 else ["contracting", "0", "0"] if s.depth else ["bottleneck", "0"]
    if [part, *rest[: len(first) - 1]] == first:
        return ("first", str(s.patch), s.norm, rest[-1])
    if part == "head":
        return ("head", str(s.patch), s.head, s.norm, *rest)
    if part in ("up", "expansive"):  # counted from the deepest
        rest[0] = str(s.depth - 1 - int(rest[0]))
    return (part, s.norm, *rest)


def _weight(place: Place) -> Place:
    """The weights by which a layer fits or does not, with all that belongs to it."""
    last = ("0", "weight") if place[0] == "head" and "3x3" in place else ("weight",)
    return (*place[: -len(last)], *last)


def _axis(place: Place, s: UNetSettings) -> int | None:
    """Along which a tensor has an entry a class, or, of the first layer, a channel; None: along none."""
    if place[0] == "head":
        return 1 if s.patch > 1 and place[-1] == "weight" else 0
    return 1 if place[0] == "first" and place[-1] == "weight" else None


def _alike(one: Sequence[int], other: Sequence[int], axis: int | None) -> bool:
    """Whether shapes are equal but for an axis."""
    return [n for d, n in enumerate(one) if d != axis] == [n for d, n in enumerate(other) if d != axis]


def _copy(before: Tensor, new: Tensor, place: Place, origin: Sequence[int | None], s: UNetSettings) -> str:
    """Fill `new`, of a layer that fits, and say how."""
    axis = _axis(place, s) if new.ndim else None
    if axis is None:
        new.copy_(before)
        return "as it was"
    if place[0] == "head":
        for k, source in enumerate(origin):
            if source is not None:
                new.select(axis, k).copy_(before.select(axis, source))
            elif new.ndim > 1:
                new.select(axis, k).mul_(NEW_ROW)
        return f"{sum(k is not None for k in origin)} of {len(origin)} classes from the earlier model"
    have, want = before.shape[1], new.shape[1]
    if (have, want) == (1, 3):
        new.copy_((before / 3).expand_as(new))
        return "gray spread over 3 channels"
    if (have, want) == (3, 1):
        new.copy_(before.sum(1, keepdim=True))
        return "3 channels summed to gray"
    new.zero_()[:, : min(have, want)].copy_(before[:, :want])
    return f"the first {min(have, want)} of {want} channels from the earlier model"


def _balance(bias: Tensor, origin: Sequence[int | None], old: Sequence[float], new: Sequence[float]) -> None:
    """Score and shift together stay what they were; a new class begins low."""
    known = [k for k, source in enumerate(origin) if source is not None]
    for k in known:
        bias[k] += old[origin[k] or 0] - new[k]
    mean = float(sum(bias[k] + new[k] for k in known)) / max(1, len(known))
    for k in set(range(len(origin))) - set(known):
        bias[k] = mean + NEW_BIAS - new[k]


def _words(
    old: Sequence[ClassInfo],
    new: Sequence[ClassInfo],
    origin: Sequence[int | None],
    taken: Sequence[str],
    adapted: dict[str, str],
    fresh: dict[str, str],
) -> str:
    count = len(taken) + len(adapted) + len(fresh)
    said = [f"all {count} tensors taken" if len(taken) == count else f"{len(taken)} of {count} tensors taken"]
    if adapted:
        said.append("adapted: " + ", ".join(f"{name} ({how})" for name, how in adapted.items()))
    if fresh:
        parts = list(dict.fromkeys(".".join(name.split(".")[:2]) for name in fresh))
        more = f" and {len(parts) - 6} more" if len(parts) > 6 else ""
        said.append(f"fresh, because they fit nothing: {', '.join(parts[:6])}{more}")
    pairs = [(old[source].name, info.name) for source, info in zip(origin, new, strict=True) if source is not None]
    if same := [b for a, b in pairs if a.casefold() == b.casefold()]:
        said.append(f"class{'es' * (len(same) > 1)} as before: {', '.join(same)}")
    said += [f"{b!r} goes on from {a!r}" for a, b in pairs if a.casefold() != b.casefold()]
    said += [f"{info.name!r} is new" for source, info in zip(origin, new, strict=True) if source is None]
    said += [f"{info.name!r} is given up" for k, info in enumerate(old) if k not in origin]
    return "; ".join(said)
