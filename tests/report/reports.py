"""Reports that the tests of their room share: of drawn images, with names that try to break the page."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from models import make_card
from useg.data.dataset import Example
from useg.metrics.calibration import Reliability
from useg.pictures.palette import class_colours
from useg.predict import Prediction
from useg.report.content import Growth, Report, Table
from useg.report.gallery import Gallery
from useg.report.gather import report_of
from useg.scores import Evaluation, Scored, score
from useg.unet.model import ClassInfo, ModelCard
from useg.unet.settings import UNetSettings

EVIL = "<script>document.title='broken'</script><img src=x onerror=alert(1)>\"'`{{7*7}}"


def card_of(classes: int, channels: int = 1, *, first: str = "kind 1", **changes: object) -> ModelCard:
    """A card whose class 1 is called `first`."""
    names = ["kind 0", first, *(f"kind {k}" for k in range(2, classes))]
    kinds = [
        ClassInfo(name=n, colour=c, value=k) for k, (n, c) in enumerate(zip(names, class_colours(classes), strict=True))
    ]
    network = UNetSettings(classes=classes, in_channels=channels, padding="same", norm="batch", depth=1, width=4)
    return make_card(network, classes=kinds, **changes)


def case(
    card: ModelCard, number: int, size: tuple[int, ...] = (40, 56), wrong: float = 0.1, group: str | None = None
) -> tuple[Example, Prediction]:
    """An image of blocks of classes, and a prediction of which so many pixels are wrong."""
    rng, classes = np.random.default_rng(number), card.network.classes
    blocks = rng.integers(0, classes, [-(-n // 8) for n in size])
    labels = np.kron(blocks, np.ones([8] * len(size), int))[tuple(slice(n) for n in size)].astype(np.uint8)
    image = (labels * (200 // classes) + rng.integers(0, 40, size)).astype(np.uint8)
    found = np.where(rng.random(size) < wrong, rng.integers(0, classes, size), labels).astype(np.uint8)
    probabilities = np.stack([(found == k) * np.float32(1) for k in range(classes)])
    image = np.repeat(image[None], card.network.in_channels, axis=0)
    return Example(f"image {number}", image, labels, group=group), Prediction(found, probabilities, [])


def scored(card: ModelCard, cases: list[tuple[Example, Prediction]]) -> Evaluation:
    return score([Scored(e.name, e.labels, p.labels, group=e.group) for e, p in cases], card.network.classes)


def shown(card: ModelCard, cases: list[tuple[Example, Prediction]]) -> Gallery:
    gallery = Gallery(card)
    for example, prediction in cases:
        gallery.add(example, prediction)
    return gallery


def evil_report(classes: int, images: int, run: Path | None = None) -> Report:
    """Everything that a report can hold, with names that would break a page which did not escape them."""
    card = card_of(classes, first=EVIL)
    cases = [case(card, i, wrong=0.05 + 0.9 * i / images, group=EVIL if i % 2 else None) for i in range(images)]
    cases = [(Example(e.name + EVIL, e.image, e.labels, group=e.group), p) for e, p in cases]
    evaluation = scored(card, cases)
    bins = 15
    reliable = Reliability(
        (0,) * 5 + (100,) * 10,
        (float("nan"),) * 5 + tuple((k + 0.5) / bins for k in range(5, 15)),
        (float("nan"),) * 5 + tuple((k - 0.5) / bins for k in range(5, 15)),
    )
    evaluation = replace(
        evaluation,
        reliability=reliable,
        uncalibrated=reliable,
        expected_dice=[0.5 + 0.4 * i / images for i in range(images)],
    )
    return report_of(
        evaluation,
        card,
        shown(card, cases),
        data=f"images of {EVIL}",
        command=f"useg evaluate RUN {EVIL}",
        seconds=75.0,
        run=run,
        tables=[Table(EVIL, EVIL, (EVIL, "score"), ((EVIL, "0.9"),))],
        growth=Growth((2, 4, 8), (0.5, 0.7, 0.8), (0.4, 0.6, 0.75), (0.6, 0.8, 0.85), EVIL),
    )
