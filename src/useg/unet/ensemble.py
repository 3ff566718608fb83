"""Several models of one kind in one file, whose probabilities are averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from useg.errors import ModelError
from useg.objects.settings import SeparateSettings
from useg.unet.model import KEY, InputSeen, ModelCard, find_model, read_card, save_tensors

ALIKE = ("network", "normalise", "classes", "masks", "ignore", "alpha", "score_shift", "flips", "members")
"""What all cards have in common, so that an image gives each model the same input, and answers can be averaged."""


def join_models(path: Path, models: Sequence[Path], changes: Mapping[str, Any] | None = None) -> None:
    """Write one file with the weights of all `models`, named "0.", "1.", ... and as in each.

    Its card is that of the first, with what any of them saw as input, and the medians of what calibrates them and
    of the numbers that tell objects apart.

    Args:
        path: the new file. models: model files or run folders, at least one.
        changes: other values of the card, such as its scores.

    Raises:
        MissingError: a model is not there. ModelError: one is damaged, or is not of one kind with the first.
        OutputError: the file cannot be written.
    """
    from safetensors.torch import load_file

    paths = [find_model(model) for model in models]
    cards = [read_card(model) for model in paths]
    first = cards[0]
    for model, card in zip(paths, cards, strict=True):
        for name in ALIKE:
            if getattr(card, name) != getattr(first, name):
                raise ModelError(
                    f"{model}: its {name} is not that of {paths[0]}, so that the two cannot be averaged; join models "
                    "that were trained with the same settings"
                )
    tensors = {f"{n}.{name}": value for n, model in enumerate(paths) for name, value in load_file(model).items()}
    update = {
        "members": len(cards),
        "temperature": median(card.temperature for card in cards),
        "class_bias": [median(each) for each in zip(*(card.biases for card in cards), strict=True)],
        "input": _seen([card.input for card in cards]),
        "objects": _objects(cards),
        **(changes or {}),
    }
    save_tensors(path, tensors, {KEY: first.model_copy(update=update).model_dump_json()})


def _seen(inputs: Sequence[InputSeen]) -> InputSeen:
    """What the models saw, taken together."""
    sizes = {(tuple(each.spacing or ()), each.unit) for each in inputs}
    details = [each.detail for each in inputs if each.detail is not None]
    return InputSeen(
        dtype=inputs[0].dtype,
        low=[min(values) for values in zip(*(each.low for each in inputs), strict=True)],
        high=[max(values) for values in zip(*(each.high for each in inputs), strict=True)],
        spacing=inputs[0].spacing if len(sizes) == 1 else None,
        unit=inputs[0].unit if len(sizes) == 1 else None,
        detail=min(details, default=None),
    )


def _objects(cards: Sequence[ModelCard]) -> SeparateSettings | None:
    """Of an even number of models the median lies between two, so that seeds stay inside objects."""
    found = [card.objects for card in cards if card.objects is not None]
    if not found:
        return None
    return SeparateSettings(
        threshold=median(each.threshold for each in found),
        seed_threshold=median(each.seed_threshold for each in found),
        smallest=round(median(each.smallest for each in found)),
    )
