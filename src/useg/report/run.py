"""RUN/report.html: written when a training ends, and again when the model is evaluated."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from useg.data.splits import Split
from useg.evaluate import evaluate
from useg.predict import Predictor
from useg.report.content import Growth, Table
from useg.report.gallery import Gallery
from useg.report.gather import report_of
from useg.report.page import write_report
from useg.report.trained import trained_in, trained_on
from useg.scores import Evaluation
from useg.words import count

REPORT = "report.html"


def report_training(
    run: Path, predictor: Predictor, parts: Split, *, command: str, tables: Sequence[Table] = ()
) -> None:
    """Score the model on the images held out of its training, and write `run/report.html`.

    Takes about the time of a validation: every held-out image is predicted once, and the middles of a few others.

    Args:
        run: folder of the run. predictor: of the model that it kept.
        parts: images trained on and held out. command: what was typed to train.
        tables: what else to show.
    """
    begun, gallery = time.monotonic(), Gallery(predictor.card)
    evaluation = evaluate(predictor, parts.validation, watch=gallery.add)
    seconds = time.monotonic() - begun
    report = report_of(
        evaluation,
        predictor.card,
        gallery,
        data=count(len(parts.validation), "image"),
        command=command,
        seconds=seconds,
        validation=True,
        run=run,
        trained=trained_on(predictor, parts.train),
        tables=tables,
    )
    write_report(run / REPORT, report)


def report_evaluation(
    page: Path,
    evaluation: Evaluation,
    gallery: Gallery,
    *,
    run: Path | None,
    data: str,
    command: str,
    seconds: float,
    validation: bool = False,
    tables: Sequence[Table] = (),
    growth: Growth | None = None,
) -> None:
    """Write a page with the scores of an evaluation.

    The images that the run was trained on are read again, as far as they are there, to find copies of them.

    Args:
        page: the file; an existing one is replaced. evaluation: of the model.
        run: folder of its run, where it has one.
        gallery: was shown the same images: `evaluate_folder(..., watch=gallery.add)`.
        data: where the images came from. command: what was typed. seconds: how long the evaluation took.
        validation: the images are those held out of the training. tables, growth: what else to show.
    """
    report = report_of(
        evaluation,
        gallery.card,
        gallery,
        data=f"{count(len(evaluation.images), 'image')} of {data}",
        command=command,
        seconds=seconds,
        validation=validation,
        run=run,
        trained=trained_in(run) if run else None,
        tables=tables,
        growth=growth,
    )
    write_report(page, report)
