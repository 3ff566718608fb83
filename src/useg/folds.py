"""Cross-validation: every annotated image is judged by a model that did not see it, and the models together predict."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from useg.data.known import checksums
from useg.errors import MissingError, SettingsError
from useg.loop import MODEL
from useg.metrics.overlap import plain
from useg.report.content import Table
from useg.report.gallery import Gallery
from useg.report.run import REPORT, report_evaluation
from useg.scores import Evaluation, score
from useg.several import Member, Options, begin, look_at, predict_held_out, read_once, read_record, train_in_turn
from useg.unet.ensemble import join_models
from useg.unet.model import read_card
from useg.watch import Watcher

FOLDS = "folds.json"


@dataclass(frozen=True)
class FoldScore:
    """How the model of one fold did on the images that it was not trained on.

    Attributes:
        run: its run folder. images: their names.
        dice: mean Dice of the foreground, pooled over them; NaN where nothing of it was annotated.
        quality: panoptic quality at IoU 0.5, where masks number objects.
    """

    run: Path
    images: list[str]
    dice: float
    quality: float | None


@dataclass(frozen=True)
class FoldsResult:
    """How a cross-validation ended.

    The best model of each fold was chosen among its validations on these very images, so scores are a little too good,
    as every validation score of useg is.

    Attributes:
        run: the folder of all. model: the models of all folds in one file.
        folds: score by score. evaluation: of all images, each judged by the model that did not see it.
        finished: False when it was stopped before that; then there are no scores, and it can be resumed.
    """

    run: Path
    model: Path
    folds: list[FoldScore]
    evaluation: Evaluation | None
    finished: bool

    @property
    def mean(self) -> float:
        """Mean Dice of the folds that can be judged; NaN where none can."""
        known = self._known()
        return fmean(known) if known else float("nan")

    @property
    def deviation(self) -> float:
        """Standard deviation of their Dice, a sample's (n - 1); NaN for fewer than two."""
        known = self._known()
        return stdev(known) if len(known) > 1 else float("nan")

    def _known(self) -> list[float]:
        return [fold.dice for fold in self.folds if fold.dice == fold.dice]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and None, ready for JSON."""
        folds = [
            {"run": f.run.name, "images": f.images, "dice": plain(f.dice), "panoptic_quality": plain(f.quality)}
            for f in self.folds
        ]
        total = self.evaluation.as_dict() if self.evaluation else None
        return {"folds": folds, "mean": plain(self.mean), "deviation": plain(self.deviation), "total": total}


def train_folds(
    data: str | Path | None,
    run: str | Path,
    *,
    folds: int | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    recipe: Literal["auto", "paper"] = "auto",
    resume: bool = False,
    device: str = "auto",
    overrides: Mapping[str, Any] | None = None,
    watch: Watcher | None = None,
    spent: float = 0.0,
    command: str = "",
) -> FoldsResult:
    """Train a model a fold within one budget, judge each on the images that it did not see, and join them.

    Fold k is an ordinary run in `run/fold-k`, with the plan of the first and a seed of its own. The scores are kept in
    `run/folds.json`, the joined models in `run/model.safetensors`.

    Args:
        folds: how many, 2 or more; see `useg.data.folds` for what belongs together. None goes on with those there are.
        minutes, steps: the budget of all folds together, everything included (10 minutes if neither is given).
        data, recipe, resume, device, overrides, watch, spent, command: see `useg.train.train`.

    Raises:
        SettingsError: the data set cannot be divided into so many folds. Others as `useg.train.train`.
    """
    started = time.monotonic() - spent
    run, watch = Path(run), watch or Watcher()
    kept = read_record(run / FOLDS) if resume else None
    if folds is None:
        if kept is None:
            raise MissingError(f"{run}: there are no folds to resume here; say how many to train")
        folds = len(kept.runs)
    if folds < 2:
        raise SettingsError(f"--folds {folds}: choose 2 or more")
    members = [
        Member(run / f"fold-{k}", f"fold {k} of 0..{folds - 1}", {"data.folds": folds, "data.fold": k}, seed=k)
        for k in range(folds)
    ]
    given = overrides or {}
    read = read_once(run, given)
    if kept is None and data is not None:
        look_at(data, {**given, **members[0].settings}, read)
    record = begin(run / FOLDS, data, members, minutes=minutes, steps=steps, resume=resume, overrides=given)
    options = Options(recipe, device, given, watch, read)
    if not train_in_turn(data, members, record, options, started):
        return FoldsResult(run, run / MODEL, [], None, False)
    judging, gallery = time.monotonic(), Gallery(read_card(members[0].folder))
    scores, everything = [], []
    for member in members:
        predictor, scored = predict_held_out(member.folder, read, gallery.add if command else None)
        found = score(scored, predictor.card.network.classes)
        quality = found.objects.panoptic_quality[0] if found.objects else None
        scores.append(FoldScore(member.folder, [s.name for s in scored], found.overlap.foreground_dice, quality))
        everything += scored
    total = score(everything, predictor.card.network.classes)
    result = FoldsResult(run, run / MODEL, scores, total, True)
    told = {**read_card(members[0].folder).trained_on, "images": len(everything)}
    told["pixels"] = sum(s.truth.size for s in everything)
    told["checksums"] = checksums([], "".join(read_card(m.folder).trained_on.get("checksums", "") for m in members))
    shown = {"images": len(everything), **total.overlap.as_dict()}
    if total.objects:
        shown["objects"] = total.objects.as_dict()
    join_models(run / MODEL, [member.folder for member in members], {"trained_on": told, "scores": shown})
    if command:
        gallery.card = read_card(run)
        report_evaluation(
            run / REPORT,
            total,
            gallery,
            run=run,
            data=f"{folds} folds",
            command=command,
            seconds=time.monotonic() - judging,
            validation=True,
            tables=[_table(result)],
        )
    record.model_copy(update={"result": result.as_dict()}).save(run / FOLDS)
    return result


def _table(result: FoldsResult) -> Table:
    """For the report."""
    rows = [(str(k), str(len(fold.images)), f"{fold.dice:.4f}") for k, fold in enumerate(result.folds)]
    return Table(
        "Folds",
        "Each fold is judged by a model that was trained on the others. Mean Dice "
        f"{result.mean:.4f}, standard deviation {result.deviation:.4f}.",
        ("fold", "held-out images", "Dice of the foreground"),
        tuple(rows),
    )
