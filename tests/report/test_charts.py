"""Charts: well-formed for any numbers, inside their frame, and with round numbers at the axes."""

import math
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import EVIL

from useg.metrics.calibration import Reliability
from useg.report.charts import HEIGHT, WIDTH, growth, lines, reliability, scatter, ticks
from useg.report.content import Curve, Expected, Growth

SCORE = st.floats(0, 1)
BINS = st.lists(st.tuples(st.integers(0, 10**9), SCORE, SCORE), min_size=15, max_size=15)


def drawn(markup: str) -> ElementTree.Element:
    """The chart, once all its points are seen to lie within the frame."""
    svg = ElementTree.fromstring(markup)
    assert svg.get("role") == "img"
    for point in svg.iter("circle"):
        assert 0 <= float(point.get("cx", "nan")) <= WIDTH
        assert 0 <= float(point.get("cy", "nan")) <= HEIGHT
    for line in [*svg.iter("polyline"), *svg.iter("polygon")]:
        for pair in line.get("points", "").split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT
    return svg


@given(
    low=st.floats(-1e6, 1e6),
    span=st.floats(1e-3, 1e6),
    most=st.integers(3, 9),
)
def test_ticks_are_round_few_and_within(low: float, span: float, most: int) -> None:
    found = ticks(low, low + span, most)
    assert 1 <= len(found) <= most
    slack = 1e-6 * (abs(low) + span)
    assert low - slack <= found[0] <= found[-1] <= low + span + slack
    for step in (b - a for a, b in pairwise(found)):
        factor = step / 10 ** math.floor(math.log10(step) + 1e-6)
        assert min(abs(factor - round_one) for round_one in (1, 2, 5)) < 1e-3 * factor + slack / step


@given(values=st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=80), mark=st.booleans())
def test_curves_lie_in_the_frame(values: list[float], mark: bool) -> None:
    steps = tuple(float(10 * i + 1) for i in range(len(values)))
    curve = Curve(EVIL, steps, tuple(values), 0 if mark else None)
    svg = drawn(lines([curve, curve], EVIL, EVIL, EVIL))
    assert len([c for c in svg.iter("circle") if c.get("class") == "ring"]) == 2 * mark
    assert sum(text.text == EVIL for text in svg.iter("text")) == 4  # two titles, two in the legend


@given(found=BINS, before=st.none() | BINS)
def test_reliability_shows_every_bin_that_holds_pixels(
    found: list[tuple[int, float, float]], before: list[tuple[int, float, float]] | None
) -> None:
    def made(bins: list[tuple[int, float, float]]) -> Reliability:
        counts, sure, right = zip(*((n, c if n else math.nan, a if n else math.nan) for n, c, a in bins), strict=True)
        return Reliability(counts, sure, right)

    svg = drawn(reliability(made(found), made(before) if before else None, "x"))
    shown = sum(n > 0 for n, _, _ in found) + sum(n > 0 for n, _, _ in before or [])
    assert len(list(svg.iter("circle"))) == shown


@given(points=st.lists(st.tuples(SCORE, SCORE), min_size=1, max_size=30))
def test_scatter_has_a_point_an_image(points: list[tuple[float, float]]) -> None:
    expected, true = zip(*points, strict=True)
    svg = drawn(scatter(Expected((EVIL,) * len(points), expected, true, 0.5), EVIL))
    assert len(list(svg.iter("circle"))) == len(points)


@pytest.mark.parametrize("bounded", [True, False])
def test_growth_has_a_band_where_there_are_bounds(bounded: bool) -> None:
    found = Growth((3, 6, 12), (0.5, 0.6, 0.9), *(((0.4, 0.5, 0.8), (0.7, 0.7, 0.95)) if bounded else ()))
    svg = drawn(growth(found, "x"))
    assert len(list(svg.iter("polygon"))) == bounded
    assert len(list(svg.iter("circle"))) == 3
