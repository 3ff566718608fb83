"""Which image of a project to annotate next, as `useg suggest` ranks them; kept in `.cache/suggest.json`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from useg.atomic import write_text
from useg.data.dataset import evenly, stem_of
from useg.data.layouts import read_kept
from useg.predict import Predictor
from useg.project.folder import Project

REGION = 2048
"""Images up to twice as long are looked at whole."""
MOST = 1000
"""Images and regions that are ranked."""
MOST_KNOWN = 50
"""Kept images, evenly spread, that others are compared with."""


class Ranked(BaseModel):
    """An image to annotate: its place among them, from 1, and why, in words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    rank: int
    reason: str


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    ranked: list[Ranked]


def rank_images(project: Project, predictor: Predictor, go_on: Callable[[], bool] = lambda: True) -> list[Ranked]:
    """Rank the images that nobody kept yet, the one that helps most first, and keep the ranking.

    Args:
        predictor: of the project's model. go_on: asked after each image; with False nothing is ranked.

    Raises:
        SettingsError: the memory allowed is too small.
    """
    # It brings torch, for which a server that begins must not wait.
    from useg.suggest.ranking import SuggestSettings, suggest

    kept, paths = set(project.kept()), project.stock.paths()
    pairs = read_kept(project.folder) if kept else []
    known = [pairs[i] for i in evenly(len(pairs), MOST_KNOWN)]
    sources = [path for name, path in paths.items() if name not in kept]

    def watch(path: Path, error: str | None) -> None:
        if not go_on():
            raise InterruptedError

    try:
        found = suggest(predictor, sources, SuggestSettings(count=MOST, region=REGION), annotated=known, watch=watch)
    except InterruptedError:
        return []
    reasons: dict[str, str] = {}
    for one in found.chosen:
        reasons.setdefault(stem_of(one.source), one.reason)
    ranked = [Ranked(name=name, rank=rank, reason=why) for rank, (name, why) in enumerate(reasons.items(), 1)]
    write_text(_path(project), _Stored(ranked=ranked).model_dump_json())
    return ranked


def ranking(project: Project) -> dict[str, Ranked]:
    """The last ranking, without the images that were kept or taken away since; by name."""
    try:
        stored = _Stored.model_validate_json(_path(project).read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return {}
    left = project.stock.paths().keys() - set(project.kept())
    still = [each for each in stored.ranked if each.name in left]
    return {each.name: each.model_copy(update={"rank": rank}) for rank, each in enumerate(still, 1)}


def _path(project: Project) -> Path:
    return project.folder / ".cache" / "suggest.json"
