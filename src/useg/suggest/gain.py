"""In which order to annotate images, and why, in words.

To annotate an image tells about all that look like it. Its expected gain is how much of all images that covers: of
each, how much nearer it then has something annotated; and up to twice as much where the model is unsure of the image
itself. The greatest gain is taken, again and again. An image that nothing else looks like covers itself only: a model
that knows few images is least sure of strangers, and learns most from what is typical.
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
DOUBTS = 0.5
"""Share of the gain that goes by how unsure the model is; the rest counts whatever it says."""
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

    def alike(self, a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
        """1 for equal looks, a half at `NEAR` times the usual distance, towards 0 beyond."""
        return 1 / (1 + (_distances(a, b) / (NEAR * self.usual)) ** 2)


def _distances(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    """Root mean square over the numbers; row by row, so that memory stays bounded."""
    return np.array([np.sqrt(((row - b) ** 2).mean(1)) for row in a]).reshape(len(a), len(b))


@dataclass(frozen=True)
class Pick:
    """One choice of `rank`.

    Attributes:
        index: among the candidates.
        uncertainty, novelty: 0..1, of the image alone. score: 0..1, its expected gain.
        like: other candidates that look like it, and like nothing that is annotated or ahead of it.
        nearest: the image that it is most like: among the candidates where it is `earlier` suggested, else among the
            known ones; None where there is nothing to be like.
    """

    index: int
    uncertainty: float
    novelty: float
    score: float
    like: int
    nearest: int | None
    earlier: bool


def rank(candidates: Sequence[Candidate], space: Space, count: int) -> list[Pick]:
    """The best `count` candidates, each for what those ahead of it leave uncovered; of equal ones the first.

    Greedy for the facility location function (Wei, Iyer and Bilmes 2015, "Submodularity in data subset selection and
    active learning"). Two images at the distance d, in units of `NEAR` times the usual one, are alike by 1 / (1 + d^2);
    an image is covered as far as it is like one that is annotated or ahead. Of very many candidates `COMPARED`, evenly
    spread, stand for all.
    """
    unsure = np.array([each.doubt.uncertainty for each in candidates])
    counts = 1 - DOUBTS + DOUBTS * unsure / max(float(unsure.max(initial=0)), 1e-9)
    crowd = evenly(len(candidates), COMPARED)
    alike = space.alike(space.candidates, space.candidates[crowd])
    covered, nearest = np.zeros(len(candidates)), np.full(len(candidates), -1)
    if len(space.known):
        table = space.alike(space.candidates, space.known)
        covered, nearest = table.max(1), table.argmax(1)
    earlier, free, picks = np.zeros(len(candidates), bool), np.ones(len(candidates), bool), []
    for _ in range(min(count, len(candidates))):
        gains = counts * np.maximum(alike - covered[crowd], 0).mean(1)
        best = int(np.where(free, gains, -1).argmax())
        like = int(((alike[best] > 0.5) & (covered[crowd] < 0.5)).sum()) - int(covered[best] < 0.5)
        novelty, score, near = float(1 - covered[best]), float(gains[best]), int(nearest[best])
        known = near if near >= 0 else None
        picks.append(Pick(best, float(unsure[best]), novelty, score, max(0, like), known, bool(earlier[best])))
        free[best] = False
        to_best = space.alike(space.candidates, space.candidates[best : best + 1])[:, 0]
        closer = to_best > covered
        covered, nearest = np.where(closer, to_best, covered), np.where(closer, best, nearest)
        earlier |= closer
    return picks


def reason(pick: Pick, doubt: Doubt, space: Space, name: str, card: ModelCard) -> str:
    """Why an image is suggested, in words.

    Args:
        name: of the image that it is nearest to.
    """
    stands_for = f"{pick.like} more look like it" if pick.like else ""
    return "; ".join(filter(None, [_of_doubt(doubt, card), stands_for, _of_looks(pick, space, name)]))


def _of_doubt(doubt: Doubt, card: ModelCard) -> str:
    pixel = "voxel" if card.network.dims == 3 else "pixel"
    if doubt.unsure < 0.001:
        return f"the model is sure about almost every {pixel}"
    share = f"{100 * doubt.unsure:.0f}" if doubt.unsure >= 0.01 else f"{100 * doubt.unsure:.1f}"
    told = f"the model is unsure about {share} % of the {pixel}s"
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
