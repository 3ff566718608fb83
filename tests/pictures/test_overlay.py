"""Stretching, painting, and the map of errors, on pictures small enough to work out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from useg.errors import SettingsError, SizeError
from useg.pictures import ERROR_LEGEND, class_colours, error_map, overlay, to_gray_rgb

COLOURS = [(0, 0, 0), (200, 100, 0), (0, 50, 250)]


def test_one_channel_spreads_over_all_grays() -> None:
    image = np.linspace(1000, 3000, 400, dtype=np.float32).reshape(1, 20, 20)
    gray = to_gray_rgb(image)
    assert gray.shape == (20, 20, 3) and gray.dtype == np.uint8
    assert gray.min() == 0 and gray.max() == 255
    assert (np.diff(gray[..., 0].ravel().astype(int)) >= 0).all()
    assert (gray == gray[..., :1]).all()


def test_outliers_do_not_set_the_range() -> None:
    image = np.tile(np.arange(100, dtype=np.float32), (1, 100, 1))
    image[0, 0, 0] = 1e9
    assert int(to_gray_rgb(image)[50, 50, 0]) == pytest.approx(127, abs=4)


def test_rgb_is_stretched_together() -> None:
    image = np.zeros((3, 10, 10), np.uint16)
    image[0], image[1, :5], image[2] = 4000, 2000, 0
    assert to_gray_rgb(image)[0, 0].tolist() == [255, 128, 0]


def test_other_channel_counts_show_the_brightest() -> None:
    image = np.zeros((2, 4, 4), np.float32)
    image[0, 0, 0], image[1, 3, 3] = 1, 9
    gray = to_gray_rgb(image)[..., 0]
    assert gray[0, 0] == gray[3, 3] == 255 and gray[1, 1] == 0


@given(arrays(np.float32, (1, 3, 4), elements=st.floats(width=32)))
def test_any_floats_can_be_shown(image: np.ndarray) -> None:
    gray = to_gray_rgb(image)
    assert (gray[~np.isfinite(image[0])] == 0).all()


def test_overlay_by_hand() -> None:
    rgb = np.full((5, 5, 3), 100, np.uint8)
    labels = np.zeros((5, 5), np.int64)
    labels[:, 2:] = 1
    painted = overlay(rgb, labels, COLOURS, opacity=0.5)
    assert (painted[:, :2] == 100).all()
    assert (painted[:, 2] == (200, 100, 0)).all()  # the outline
    assert (painted[:, 3:] == (150, 100, 50)).all()  # half and half
    assert (overlay(rgb, labels, COLOURS, opacity=0.5, outline=False)[:, 2] == (150, 100, 50)).all()
    turned = overlay(rgb, labels.T.copy(), COLOURS, opacity=0.5)
    assert (turned == painted.swapaxes(0, 1)).all()
    last = overlay(rgb, 1 - labels, COLOURS, opacity=0.5)
    assert (last[:, 1] == (200, 100, 0)).all() and (last[:, 0] == (150, 100, 50)).all()
    assert (overlay(rgb, 1 - labels.T, COLOURS, opacity=0.5) == last.swapaxes(0, 1)).all()
    assert (rgb == 100).all()


def test_overlay_colours_of_ignored_and_of_many_objects() -> None:
    labels = np.array([[255, 1, 2, 3, 4, 5]], np.uint16)
    painted = overlay(np.zeros((1, 6, 3), np.uint8), labels, COLOURS, opacity=1.0)
    assert painted[0].tolist() == [[128, 128, 128], *map(list, [COLOURS[i] for i in (1, 2, 1, 2, 1)])]
    long = overlay(np.zeros((1, 6, 3), np.uint8), labels, class_colours(256), opacity=1.0)
    assert tuple(long[0, 0]) == class_colours(256)[255]


def test_error_map_has_the_colours_of_its_legend() -> None:
    truth = np.array([[0, 1, 1, 0, 1, 255]], np.uint8)
    labels = np.array([[0, 1, 0, 2, 2, 1]], np.int32)
    legend = dict(ERROR_LEGEND)
    picture = [tuple(int(v) for v in pixel) for pixel in error_map(truth, labels)[0]]
    assert picture[1:] == [legend[name] for name in ("hit", "missed", "false", "wrong class", "not annotated")]
    assert picture[0] == class_colours(1)[0]
    assert len(set(picture)) == 6


def test_sizes_and_colours_must_fit() -> None:
    rgb, labels = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8)
    with pytest.raises(SizeError, match=r"\(4, 5\).*\(4, 4\)"):
        overlay(rgb, labels, COLOURS)
    with pytest.raises(SizeError, match="equal sizes"):
        error_map(labels, labels[:, :4])
    with pytest.raises(SettingsError, match="1 colours"):
        overlay(rgb, labels[:, :4], COLOURS[:1])
