"""Charts as SVG, drawn by hand: lines, points, bins and bounds. Their colours are classes of the page's style sheet.

Every function returns markup that is safe to put into a page: all text in it is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from useg.metrics.calibration import Reliability
from useg.report.content import Curve, Expected, Growth
from useg.words import figure, percent

WIDTH, HEIGHT = 440, 280
"""Units of a chart; on the page it is as wide as there is room."""
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 12, 42
"""Room for the numbers and titles around the plot."""
LEGEND = 20
"""More room above it for a legend."""
LEAST_SPAN = 0.05
"""Of an axis of scores: smaller differences are chance, and should look small."""


@dataclass(frozen=True)
class Plot:
    """An area with two axes: from values to places."""

    x: tuple[float, float]
    y: tuple[float, float]
    top: int = TOP

    def at(self, x: float, y: float) -> str:
        """Where a point lies."""
        return f"{self.across(x):.1f},{self.down(y):.1f}"

    def across(self, x: float) -> float:
        """Where a value of the horizontal axis lies."""
        return LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT)

    def down(self, y: float) -> float:
        """Where a value of the vertical axis lies."""
        return HEIGHT - BOTTOM - (y - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - self.top - BOTTOM)

    def axes(self, x_title: str, y_title: str) -> str:
        """Lines, numbers and titles."""
        left, right, bottom = self.across(self.x[0]), self.across(self.x[1]), self.down(self.y[0])
        parts = []
        for value in ticks(*self.y):
            place = self.down(value)
            parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{place:.1f}" y2="{place:.1f}"/>')
            parts.append(f'<text class="number end" x="{left - 6}" y="{place + 4:.1f}">{value:g}</text>')
        for value in ticks(*self.x):
            anchor = "number middle" if self.across(value) < right - 8 else "number end"
            place = min(self.across(value), WIDTH - 2)
            parts.append(f'<text class="{anchor}" x="{place:.1f}" y="{bottom + 16}">{value:g}</text>')
        parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        middle = (left + right) / 2
        parts.append(f'<text class="title middle" x="{middle}" y="{HEIGHT - 6}">{escape(x_title)}</text>')
        height = (self.top + bottom) / 2
        turned = f'transform="rotate(-90 12 {height})"'
        parts.append(f'<text class="title middle" x="12" y="{height}" {turned}>{escape(y_title)}</text>')
        return "".join(parts)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two, at least one and at most so many (3 or more), 1, 2 or 5 times a power of ten apart."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (power, 2 * power, 5 * power, 10 * power):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def lines(curves: Sequence[Curve], x_title: str, y_title: str, label: str) -> Markup:
    """Curves over one axis, with a legend where there are several; a marked point is ringed."""
    top = TOP + LEGEND * (len(curves) > 1)
    plot = Plot(_span([0.0, *(x for c in curves for x in c.x)]), _span([y for c in curves for y in c.y]), top)
    parts = [plot.axes(x_title, y_title)]
    for number, curve in enumerate(curves, 1):
        points = list(zip(curve.x, curve.y, strict=True))
        path = " ".join(plot.at(x, y) for x, y in points)
        parts.append(f'<polyline class="line line{number}" points="{path}"/>')
        if len(points) <= 60:
            parts += [_dot(plot, x, y, f"dot dot{number}", f"{curve.name} {y:.3f} at {x:g}") for x, y in points]
        if curve.mark is not None:
            x, y = points[curve.mark]
            ringed = f'cx="{plot.across(x):.1f}" cy="{plot.down(y):.1f}" r="7"'
            parts.append(f'<circle class="ring" {ringed}><title>the model that was kept: {y:.3f}</title></circle>')
    if len(curves) > 1:
        parts.append(_legend([(f"line line{n}", curve.name) for n, curve in enumerate(curves, 1)]))
    return _svg(parts, label)


def reliability(found: Reliability, before: Reliability | None, label: str) -> Markup:
    """Accuracy against confidence, one point a bin, as large as the bin is full; `before` without the calibration."""
    shown = [r for r in (before, found) if r is not None]
    least = min((c for r in shown for c in r.confidence if not math.isnan(c)), default=0.0)
    low = max(0.0, math.floor(least * 10 - 1e-9) / 10)
    lowest = min([low, *(a for r in shown for a in r.accuracy if not math.isnan(a))])
    plot = Plot((low, 1.0), (math.floor(lowest * 10) / 10, 1.0), TOP + LEGEND * (before is not None))
    start = max(low, plot.y[0])
    parts = [plot.axes("confidence of the model", "share that is right")]
    parts.append(f'<polyline class="ideal" points="{plot.at(start, start)} {plot.at(1.0, 1.0)}"/>')
    for r, kind in ((before, "before"), (found, "after")):
        if r is None:
            continue
        bins = [(c, a, n) for c, a, n in zip(r.confidence, r.accuracy, r.counts, strict=True) if n]
        path = " ".join(plot.at(c, a) for c, a, _ in bins)
        parts.append(f'<polyline class="line {kind}" points="{path}"/>')
        whole = max(1, sum(r.counts))
        for c, a, n in bins:
            told = f"confidence {c:.3f}: {a:.3f} right, {percent(n / whole)} of all"
            parts.append(_dot(plot, c, a, f"dot {kind}", told, 2.5 + 6 * math.sqrt(n / whole)))
    if before is not None:
        parts.append(_legend([("line after", "as it predicts"), ("line before", "without calibration")]))
    return _svg(parts, label)


def scatter(found: Expected, label: str) -> Markup:
    """Expected against true Dice, one point an image."""
    span = _span([*found.expected, *found.true])
    plot = Plot(span, span)
    parts = [plot.axes("Dice that the model expects", "true Dice")]
    parts.append(f'<polyline class="ideal" points="{plot.at(span[0], span[0])} {plot.at(span[1], span[1])}"/>')
    for name, x, y in zip(found.names, found.expected, found.true, strict=True):
        parts.append(_dot(plot, x, y, "dot after", f"{name}: expected {x:.3f}, true {y:.3f}", 4.0))
    return _svg(parts, label)


def growth(found: Growth, label: str) -> Markup:
    """Scores by the number of images trained on, with a band between the bounds."""
    numbers = [float(n) for n in found.images]
    plot = Plot(_span([0.0, *numbers]), _span([*found.scores, *found.low, *found.high]))
    parts = [plot.axes("images trained on", "score")]
    if found.low and found.high:
        there = [plot.at(x, y) for x, y in zip(numbers, found.high, strict=True)]
        back = [plot.at(x, y) for x, y in zip(numbers, found.low, strict=True)][::-1]
        parts.append(f'<polygon class="band" points="{" ".join(there + back)}"/>')
    points = list(zip(numbers, found.scores, strict=True))
    parts.append(f'<polyline class="line line1" points="{" ".join(plot.at(x, y) for x, y in points)}"/>')
    parts += [_dot(plot, x, y, "dot dot1", f"{x:g} images: {figure(y)}") for x, y in points]
    return _svg(parts, label)


def _span(values: Sequence[float]) -> tuple[float, float]:
    """From somewhat below the least to somewhat above the largest; from 0 where that is near."""
    low, high = min(values), max(values)
    room = max(0.05 * (high - low), (LEAST_SPAN - (high - low)) / 2)
    return (0.0 if 0 <= low <= room else low - room), high + room


def _dot(plot: Plot, x: float, y: float, kind: str, told: str, radius: float = 3.0) -> str:
    place = f'cx="{plot.across(x):.1f}" cy="{plot.down(y):.1f}" r="{radius:.1f}"'
    return f'<circle class="{kind}" {place}><title>{escape(told)}</title></circle>'


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    """Lines and their names, in a row above the plot."""
    parts = []
    for place, (kind, name) in enumerate(entries):
        x = LEFT + 150 * place
        parts.append(f'<line class="{kind}" x1="{x}" x2="{x + 22}" y1="{TOP - 2}" y2="{TOP - 2}"/>')
        parts.append(f'<text class="number" x="{x + 28}" y="{TOP + 2}">{escape(name)}</text>')
    return "".join(parts)


def _svg(parts: Sequence[str], label: str) -> Markup:
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}"'
    return Markup(f'<svg class="chart" {box}>{"".join(parts)}</svg>')
