"""In which order to annotate images, and why, in words.

Expected gain is how unsure the model is of an image, times how new that image is: how far its looks are from those of
all annotated images and of the suggestions ahead of it. The greatest gain is taken, again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from useg.data.dataset import evenly
from useg.suggest.candidates import BRIGHT, CONTRAST, DETAIL, Candidate, Doubt, floors
from useg.unet.model import ModelCard

COMPARED = 500
"""Of so many images, evenly spread, the usual distance is measured."""
NEAR = 0.5
"""Of the usual distance: that far from the nearest image the novelty is a half."""
SURELY_WRONG = 0.01
"""Added to the uncertainty: of what is unlike all that it saw, a model may be sure and wrong."""
ALIKE, UNLIKE = 0.1, 0.9
"""Novelties up to and from which people are told that an image is like, or unlike, what is known."""
MOSTLY = 0.6
"""Share of the unsure pixels that is called most."""
STRIKING = 1.0
"""Spreads by which an image must differ from the mean of the training images for a word about it."""
WORDS = {
    BRIGHT: ("darker", "brighter"),
    CONTRAST: ("lower in contrast", "higher in contrast"),
    DETAIL: ("coarser", "finer"),
}
"""What people call less and more of it."""


@dataclass(frozen=True)
class Space:
    """Where images lie by their looks, a row each, in units of the spread of all of them.

    Attributes:
        candidates: to be ranked. known: annotated.
        usual: distance between two images that have little to do with one another.
    """

    candidates: Float[np.ndarray, "n d"]
    known: Float[np.ndarray, "m d"]
    usual: float

    @classmethod
    def of(cls, candidates: Sequence[Candidate], known: Sequence[Candidate], card: ModelCard) -> Space:
        """Lay out what was looked at by a model."""
        least, all_of_them = floors(card), [*candidates, *known]
        every = np.array([each.description for each in all_of_them]).reshape(len(all_of_them), len(least))
        if not len(every):
            return cls(every, every, 1.0)
        every = (every - every.mean(0)) / np.maximum(every.std(0), least)
        some = every[evenly(len(every), COMPARED)]
        apart = _distances(some, some)[np.triu_indices(len(some), 1)]
        # At least a spread: of images that are nearly equal, what `floors` call noise is no distance.
        usual = max(1.0, float(np.median(apart))) if apart.size else 1.0
        return cls(every[: len(candidates)], every[len(candidates) :], usual)


def _distances(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    """Root mean square over the numbers; row by row, so that memory stays bounded."""
    return np.array([np.sqrt(((row - b) ** 2).mean(1)) for row in a]).reshape(len(a), len(b))


@dataclass(frozen=True)
class Pick:
    """One choice of `rank`.

    Attributes:
        index: among the candidates.
        uncertainty, novelty, score: 0..1, the last the product of the others.
        nearest: the image that it is most like: among the candidates where it is `earlier` suggested, else among the
            known ones; None where there is nothing to be like.
    """

    index: int
    uncertainty: float
    novelty: float
    score: float
    nearest: int | None
    earlier: bool


def rank(candidates: Sequence[Candidate], space: Space, count: int) -> list[Pick]:
    """The best `count` candidates, each unlike those ahead of it; of equal ones the first.

    Greedy, as the k-centre method of Sener and Savarese (2018, arXiv 1708.00489), each image weighted by how unsure the
    model is. With the distance d to the nearest of the annotated and of those ahead, in units of `NEAR` times the
    usual one, novelty is d^2 / (1 + d^2).
    """
    unsure = np.array([each.doubt.uncertainty for each in candidates])
    apart, nearest = np.full(len(candidates), np.inf), np.full(len(candidates), -1)
    if len(space.known):
        table = _distances(space.candidates, space.known)
        apart, nearest = table.min(1), table.argmin(1)
    earlier, free, picks = np.zeros(len(candidates), bool), np.ones(len(candidates), bool), []
    for _ in range(min(count, len(candidates))):
        novelty = 1 / (1 + (NEAR * space.usual / np.maximum(apart, 1e-9)) ** 2)
        score = np.minimum(unsure + SURELY_WRONG, 1) * novelty
        best = int(np.where(free, score, -1).argmax())
        near = int(nearest[best]) if np.isfinite(apart[best]) else None
        picks.append(
            Pick(best, float(unsure[best]), float(novelty[best]), float(score[best]), near, bool(earlier[best]))
        )
        free[best] = False
        away = _distances(space.candidates, space.candidates[best : best + 1])[:, 0]
        nearer = away < apart
        apart, nearest, earlier = np.where(nearer, away, apart), np.where(nearer, best, nearest), earlier | nearer
    return picks


def reason(pick: Pick, doubt: Doubt, space: Space, name: str, card: ModelCard) -> str:
    """Why an image is suggested, in words.

    Args:
        name: of the image that it is nearest to.
    """
    return "; ".join(filter(None, [_of_doubt(doubt, card), _of_looks(pick, space, name)]))


def _of_doubt(doubt: Doubt, card: ModelCard) -> str:
    if doubt.unsure < 0.001:
        return "the model is sure about almost every pixel"
    share = f"{100 * doubt.unsure:.0f}" if doubt.unsure >= 0.01 else f"{100 * doubt.unsure:.1f}"
    told = f"the model is unsure about {share} % of the pixels"
    one, other = (card.classes[k].name for k in doubt.between)
    if doubt.at_borders < MOSTLY:
        return f"{told}, most often between '{one}' and '{other}'"
    return (
        f"{told}, most at the borders of '{other}'"
        if doubt.between[0] == 0
        else (f"{told}, most where '{one}' meets '{other}'")
    )


def _of_looks(pick: Pick, space: Space, name: str) -> str:
    if pick.nearest is None:
        return ""
    if pick.novelty <= ALIKE:
        return f"much like {name}, which is ahead of it" if pick.earlier else f"much like {name}, which is annotated"
    if not len(space.known):
        return ""
    spread = np.maximum(space.known.std(0), space.known.std(0).mean())
    away = (space.candidates[pick.index] - space.known.mean(0)) / np.maximum(spread, 1e-9)
    striking = sorted((k for k in WORDS if abs(away[k]) >= STRIKING), key=lambda k: -abs(away[k]))
    words = ", ".join(WORDS[k][int(away[k] > 0)] for k in striking)
    if pick.novelty >= UNLIKE:
        return "looks like nothing it was trained on" + (f" ({words})" if words else "")
    return f"{words} than what it was trained on" if words else ""
