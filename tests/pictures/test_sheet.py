"""Contact sheets: everything is on the paper, nothing overlaps, nothing is lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from useg.errors import SizeError
from useg.pictures import contact_sheet

RED, BLUE = (250, 10, 20), (10, 20, 250)


def plain(height: int, width: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def count(sheet: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((sheet == colour).all(axis=-1).sum())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=4), st.integers(64, 100))
def test_every_picture_is_there_in_full(sizes: list[tuple[int, int]], tile: int) -> None:
    rows = [[("a caption", plain(h, w, RED)), ("b", plain(w, h, BLUE))] for h, w in sizes]
    sheet = contact_sheet(rows, tile=tile)

    def area(h: int, w: int) -> int:
        scale = tile / max(h, w)
        return max(1, round(h * scale)) * max(1, round(w * scale))

    expected = sum(area(h, w) for h, w in sizes)
    assert count(sheet, RED) == expected
    assert count(sheet, BLUE) == expected


def test_enlarging_invents_no_colour() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, 0], picture[1, 1] = RED, BLUE
    sheet = contact_sheet([[("", picture)]], tile=64)
    assert count(sheet, RED) == count(sheet, BLUE) == 32 * 32


def test_captions_and_legend_put_ink_on_the_paper() -> None:
    bare = contact_sheet([[("", plain(9, 9, RED))]], tile=100)
    named = contact_sheet([[("a very long caption that does not fit", plain(9, 9, RED))]], tile=100)
    assert bare.shape == named.shape
    assert (named != bare).any()
    legend = contact_sheet([[("", plain(9, 9, RED))]], tile=100, legend=[("x", BLUE), ("a long name", RED)] * 3)
    assert legend.shape[0] > bare.shape[0] and legend.shape[1] == bare.shape[1]
    assert count(legend, BLUE) > 30


def test_a_long_caption_goes_on_in_the_next_line() -> None:
    """Words that fit into two lines are all there; each line takes as much paper as the first."""

    def sheet(caption: str, lines: int) -> np.ndarray:
        return contact_sheet([[(caption, plain(99, 99, RED))]], tile=100, lines=lines)

    one, two, three = (sheet("", lines).shape[0] for lines in (1, 2, 3))
    assert three - two == two - one > 0
    long = sheet("first words here then more", 2)
    np.testing.assert_array_equal(long[: two - one], sheet("first words here", 2)[: two - one])
    assert (sheet("first words here", 2)[two - one + 8 : 2 * (two - one)] == 255).all()
    assert (long[two - one + 8 : 2 * (two - one)] != 255).any()
    assert (sheet("averyverylongwordthatcannotbebroken", 2)[:, :100] != 255).any()


def test_rows_may_be_ragged() -> None:
    sheet = contact_sheet([[("a", plain(5, 5, RED))], [], [("b", plain(5, 9, RED)), ("c", plain(5, 5, BLUE))]])
    assert sheet.ndim == 3 and sheet.dtype == np.uint8 and count(sheet, BLUE) == 256 * 256


@pytest.mark.parametrize("rows", [[], [[]], [[("a", np.zeros((0, 4, 3), np.uint8))]]])
def test_nothing_to_show_is_an_error(rows: list[list[tuple[str, np.ndarray]]]) -> None:
    with pytest.raises(SizeError):
        contact_sheet(rows)


def test_tiles_too_small_for_a_caption() -> None:
    with pytest.raises(SizeError, match="20 pixels"):
        contact_sheet([[("a", plain(5, 5, RED))]], tile=20)
