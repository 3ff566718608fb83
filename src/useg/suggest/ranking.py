"""What to annotate next: those of many images from which the model would learn most, each unlike the ones before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from useg.data.dataset import Pair, stem_of
from useg.data.layouts import find_layout
from useg.errors import SettingsError, UsegError
from useg.images.windows import Window
from useg.predict import Predictor
from useg.settings import load_settings
from useg.suggest.candidates import Candidate, look
from useg.suggest.gain import Space, rank, reason
from useg.unet.model import ModelCard

Watch = Callable[[Path, str | None], None]
"""Told of each file when it was looked at, with what is wrong with it, if anything is."""


class SuggestSettings(BaseModel):
    """How to suggest.

    Attributes:
        count: images, or regions, to suggest.
        region: an image more than twice as long is offered in regions of about so many pixels along each axis.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(default=10, ge=1)
    region: int = Field(default=512, ge=32)


@dataclass(frozen=True)
class Suggestion:
    """One image, or region of one, to annotate.

    Attributes:
        source: the file. region: its window there, `Y X`; None is the whole image.
        score: expected gain, 0..1, see `useg.suggest.gain`.
        uncertainty: how unsure the model is, 0..1, see `useg.suggest.candidates.Doubt`.
        novelty: 0 for what looks like an annotated image or an earlier suggestion, towards 1 for what is like none.
        reason: why, in words.
    """

    source: Path
    region: Window | None
    score: float
    uncertainty: float
    novelty: float
    reason: str

    @property
    def name(self) -> str:
        """The stem of the files that are written of it: that of the source, and where the region begins."""
        return name_of(self.source, self.region)


def name_of(source: Path, region: Window | None) -> str:
    """What an image, or a region of it, is called."""
    corner = "".join(f"_{axis}{part.start}" for axis, part in zip("yx", region or (), strict=False))
    return stem_of(source) + corner


@dataclass(frozen=True)
class Suggestions:
    """What to annotate next, and what became of all else.

    Attributes:
        chosen: the best first; fewer than were asked for where there are no more.
        annotated: files of which annotated ones hold the same pixels; they are not suggested.
        failed: files that cannot be suggested, and why.
        candidates: how many images and regions were ranked.
    """

    chosen: list[Suggestion]
    annotated: list[Path]
    failed: list[tuple[Path, str]]
    candidates: int

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and text, ready for JSON; of a region the first and the end of each axis, `Y X`."""
        chosen = [
            {
                "name": one.name,
                "source": str(one.source),
                "region": [[part.start, part.stop] for part in one.region] if one.region else None,
                "score": one.score,
                "uncertainty": one.uncertainty,
                "novelty": one.novelty,
                "reason": one.reason,
            }
            for one in self.chosen
        ]
        return {
            "chosen": chosen,
            "annotated": [str(path) for path in self.annotated],
            "failed": [{"source": str(path), "error": error} for path, error in self.failed],
            "candidates": self.candidates,
        }


def annotated_in(run: Path) -> list[Pair]:
    """The images that a run was trained and validated on; none for a model file, or where the data have gone.

    Raises:
        SettingsError, DataError, MissingError: the run's settings or its data cannot be read any more.
    """
    path = run / "settings.toml"
    data = load_settings(path).data if path.is_file() else None
    if data is None or not data.folder or not Path(data.folder).exists():
        return []
    layout = find_layout(Path(data.folder), alpha=data.alpha, pages=data.pages)
    return [*layout.train, *layout.val]


def suggest(
    predictor: Predictor,
    sources: Sequence[Path],
    settings: SuggestSettings | None = None,
    *,
    annotated: Iterable[Pair] = (),
    watch: Watch | None = None,
) -> Suggestions:
    """Rank images that nobody annotated by what a model would learn from them.

    One image is in memory at a time, or one region of an image that is too large for it. How they are ranked is told
    in `useg.suggest.gain`.

    Args:
        sources: image files. Those of which an annotated one holds the same pixels are left out, region by region.
        annotated: what the model was trained on, see `annotated_in`.

    Raises:
        SettingsError: the memory allowed is too small for any tile.
    """
    settings, watch = settings or SuggestSettings(), watch or (lambda path, error: None)
    known: list[Candidate] = []
    for pair in annotated:
        parts, error = _try_to_look(predictor, pair.image, settings.region, pair.page)
        known += parts
        watch(pair.image, error)
    checksums = {each.checksum for each in known}
    candidates: list[Candidate] = []
    done: list[Path] = []
    failed: list[tuple[Path, str]] = []
    for source in sources:
        parts, error = _try_to_look(predictor, source, settings.region)
        fresh = [each for each in parts if each.checksum not in checksums]
        if error is not None:
            failed.append((source, error))
        elif not fresh:
            done.append(source)
        candidates += fresh
        watch(source, error)
    return Suggestions(choose(candidates, known, predictor.card, settings.count), done, failed, len(candidates))


def choose(
    candidates: Sequence[Candidate], known: Sequence[Candidate], card: ModelCard, count: int
) -> list[Suggestion]:
    """Rank what a model looked at, see `useg.suggest.gain`; the best first, `known` being annotated."""
    space, chosen = Space.of(candidates, known, card), []
    for pick in rank(candidates, space, count):
        one = candidates[pick.index]
        near = None if pick.nearest is None else (candidates if pick.earlier else known)[pick.nearest]
        name = name_of(near.source, near.region) if near else ""
        why = reason(pick, one.doubt, space, name, card)
        chosen.append(Suggestion(one.source, one.region, pick.score, pick.uncertainty, pick.novelty, why))
    return chosen


def _try_to_look(
    predictor: Predictor, source: Path, region: int, page: int | None = None
) -> tuple[list[Candidate], str | None]:
    """The candidates of a file, or what is wrong with it."""
    try:
        return look(predictor, source, region, page=page), None
    except SettingsError:
        raise  # it would be the same for every file
    except UsegError as error:
        return [], str(error)
