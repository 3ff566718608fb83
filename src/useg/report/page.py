"""A `Report` as one HTML file: it opens from disk, fetches nothing, and prints.

Template, style sheet and script lie beside this file. Names come from users, so the template escapes all that it is
given, and the page forbids itself any script but its own, and any address but its own pictures.
"""

from __future__ import annotations

import base64
import hashlib
import math
from pathlib import Path

from useg.atomic import write_text
from useg.pictures.overlay import ERROR_LEGEND
from useg.report import charts
from useg.report.content import Curve, Report, ScoreRow
from useg.words import bounds, figure, percent

HERE = Path(__file__).parent
OPEN_IMAGES = 24
"""The worst images are open; the others are folded away, which keeps a page of hundreds quick and short in print."""
NAMED_COLUMNS = 4
"""Up to so many classes a column of the confusion matrix has the name of its class, else its number."""


def write_report(path: Path, report: Report) -> None:
    """Write the page, whole or not at all.

    Raises:
        OutputError: `path` cannot be written.
    """
    write_text(path, render(report))


def render(report: Report) -> str:
    """The page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    # An undefined name is an error, and not a gap in the page.
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"figure": figure, "bounds": bounds, "percent": percent, "data": _data, "rgb": _rgb}
    script = (HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        report=report,
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        digest=digest,
        cells=_cells(report),
        named=len(report.rows) <= NAMED_COLUMNS,
        bars=[_bar(row) for row in report.rows],
        charts=_charts(report),
        errors=ERROR_LEGEND,
        opened=report.images[:OPEN_IMAGES],
        folded=report.images[OPEN_IMAGES:],
    )


def _charts(report: Report) -> dict[str, object]:
    """The charts by name; None where there is nothing to draw."""
    training, found, expected, grown = report.training, report.reliability, report.expected, report.growth
    scores = training.scores if training else ()
    return {
        "loss": charts.lines([training.loss], "step", "loss", _told(training.loss)) if training else None,
        "validation": charts.lines(scores, "step", "score", ", ".join(map(_told, scores))) if scores else None,
        "reliability": charts.reliability(
            found, report.uncalibrated, f"accuracy against confidence, mean gap {percent(found.error)}"
        )
        if found and any(found.counts)
        else None,
        "expected": charts.scatter(
            expected, f"true against expected Dice, rank correlation {figure(expected.spearman)}"
        )
        if expected
        else None,
        "growth": charts.growth(grown, grown.sentence) if grown else None,
    }


def _told(curve: Curve) -> str:
    return f"{curve.name} from {curve.y[0]:.3f} at step {curve.x[0]:g} to {curve.y[-1]:.3f} at step {curve.x[-1]:g}"


def _cells(report: Report) -> list[list[tuple[int, float, str]]]:
    """Pixels, share of the row and what stands in the cell, of the confusion matrix."""
    rows = []
    for row in report.confusion:
        total = sum(row)
        shares = [count / total if total else 0.0 for count in row]
        rows.append([(count, share, _whole(share) if count else "") for count, share in zip(row, shares, strict=True)])
    return rows


def _whole(share: float) -> str:
    """A share in percent, without the sign, which columns of many classes have no room for."""
    return "·" if share < 0.005 else f"{100 * share:.0f}"


def _bar(row: ScoreRow) -> str:
    """Places of the score and its bounds on a bar of 0 to 100 %, as a style; "" without a score."""
    if math.isnan(row.dice):
        return ""
    low, high = row.dice_interval if not math.isnan(row.dice_interval[0]) else (row.dice, row.dice)
    return f"--low:{100 * low:.1f}%;--wide:{100 * (high - low):.1f}%;--at:{100 * row.dice:.1f}%"


def _data(content: bytes, kind: str) -> str:
    """A picture as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _rgb(colour: tuple[int, int, int]) -> str:
    return "rgb({} {} {})".format(*colour)
