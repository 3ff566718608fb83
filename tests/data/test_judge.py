"""Colours, legends and the noise of compression."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from useg.data.judge import Fault, Seen, judge_values, legend_of, survey
from useg.data.legend import Entry, Legend, ignored_value, is_noisy, parse_value, to_classes, value_text
from useg.errors import DataError, SettingsError
from useg.images.files import read_mask
from useg.images.image import COLOUR
from useg.labels import IGNORE

HERE = Path("m.png")


def saved(path: Path, array: np.ndarray) -> np.ndarray:
    Image.fromarray(array).save(path)
    return np.asarray(read_mask(path))


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=2, max_size=20, unique=True), st.integers(0, 2**32 - 1))
def test_each_colour_becomes_a_class(tmp_path_factory: pytest.TempPathFactory, rgb: list, seed: int) -> None:
    index = np.random.default_rng(seed).integers(0, len(rgb), (9, 9))
    mask = saved(tmp_path_factory.mktemp("m") / "m.png", np.array(rgb, np.uint8)[index])
    if mask.max() < COLOUR:
        return  # only grays: numbers, not colours
    legend = legend_of([survey(mask, HERE)])
    assert legend.coloured and legend.kind == "classes"
    labels = to_classes(mask, legend, HERE)
    assert [legend.palette[k] for k in labels.reshape(-1)] == [rgb[k] for k in index.reshape(-1)]


def test_an_all_gray_file_of_a_coloured_set_is_in_colours_too(tmp_path: Path) -> None:
    white, red = (255, 255, 255), (255, 0, 0)
    coloured = saved(tmp_path / "a.png", np.array([[white, red]], np.uint8))
    gray = saved(tmp_path / "b.png", np.array([[white, white]], np.uint8))
    legend = legend_of([survey(coloured, HERE), survey(gray, HERE)])
    assert legend.names == ["#ff0000", "#ffffff"]
    np.testing.assert_array_equal(to_classes(gray, legend, HERE), [[1, 1]])


def test_a_photograph_is_no_mask() -> None:
    picture = np.random.default_rng(0).integers(1, 2**24, (50, 50), np.int32) + COLOUR
    with pytest.raises(DataError, match=r"256 or more colours.*photograph.*; save the masks as PNG"):
        legend_of([survey(picture, HERE)])


@given(seed=st.integers(0, 2**32 - 1), quality=st.integers(40, 95))
def test_a_jpeg_of_a_binary_mask_is_cleaned(tmp_path_factory: pytest.TempPathFactory, seed: int, quality: int) -> None:
    rng = np.random.default_rng(seed)
    clean = np.zeros((96, 96), np.uint8)
    for y, x in rng.integers(4, 60, (3, 2)):
        clean[y : y + 30, x : x + 28] = 255
    path = tmp_path_factory.mktemp("j") / "m.jpg"
    Image.fromarray(clean).save(path, quality=quality)
    mask = read_mask(path)
    legend = legend_of([survey(mask, path)])
    assert legend.values == [0, 255]
    assert np.mean(to_classes(mask, legend, path) != (clean > 0)) < 0.01


@pytest.mark.parametrize(
    "values",
    [[0, 1], [0, 255], list(range(12)), [*range(12), 255], [0, 128, 255], list(range(256))],
)
def test_classes_are_never_taken_for_noise(values: list[int]) -> None:
    assert not is_noisy(dict.fromkeys(values, 100), HERE)


def test_a_legend_decides_and_what_it_lacks_is_named() -> None:
    entries = [Entry(0, "sky", (1, 2, 3)), Entry(1, "tree"), Entry(11, "void", ignore=True)]
    legend = legend_of([Seen(HERE, 8, {0: 5, 1: 5, 11: 5}, 0.0)], entries=entries)
    assert (legend.values, legend.names, legend.ignore) == ([0, 1], ["sky", "tree"], 11)
    assert legend.palette[0] == (1, 2, 3)
    with pytest.raises(DataError, match=r"m\.png: the value 4 stands in 7 pixels, and the legend has no entry"):
        legend_of([Seen(HERE, 8, {0: 5, 4: 7}, 0.0)], entries=entries)
    with pytest.raises(DataError, match=r"the legend calls 11 not annotated, and 0"):
        legend_of([Seen(HERE, 8, {0: 5}, 0.0)], 0, entries=entries)


def test_ids_of_objects_take_the_names_of_a_legend() -> None:
    ids = [Seen(HERE, 16, dict.fromkeys(range(n), 9), 1.0) for n in (8, 9)]
    legend = legend_of(ids, entries=[Entry(0, "tissue"), Entry(1, "nucleus")])
    assert (legend.kind, legend.names) == ("instances", ["tissue", "nucleus"])


def test_a_legend_names_what_is_said_to_be_objects_and_what_nobody_annotated() -> None:
    few = [Seen(HERE, 8, {0: 90, 1: 5, 255: 5}, 0.0)]  # nothing here looks like ids
    entries = [Entry(0, "tissue"), Entry(1, "nucleus", (1, 2, 3)), Entry(255, "void", ignore=True)]
    legend = legend_of(few, kind="instances", entries=entries)
    assert (legend.kind, legend.names, legend.ignore) == ("instances", ["tissue", "nucleus"], 255)
    assert legend.palette[1] == (1, 2, 3)
    mask = np.array([[0, 7, 255]], np.uint8)
    np.testing.assert_array_equal(to_classes(mask, legend, HERE), [[0, 1, IGNORE]])


def test_only_objects_are_no_two_classes() -> None:
    ids = [Seen(HERE, 16, dict.fromkeys(range(n), 9), 1.0) for n in (8, 9)]
    found = judge_values(ids, 0)
    assert isinstance(found, list) and isinstance(found[0], Fault)
    assert "no background" in found[0].message and "--unlabelled background" in found[0].remedy
    scribbles = legend_of([Seen(HERE, 8, {0: 90, 1: 5, 2: 5}, 0.0)], 0)
    assert (scribbles.values, scribbles.ignore) == ([1, 2], 0)
    np.testing.assert_array_equal(to_classes(np.array([[0, 1, 2]], np.uint8), scribbles, HERE), [[IGNORE, 0, 1]])


def test_ignored_values_and_words() -> None:
    assert ignored_value(None, "ignore") == 0 and ignored_value(7, "auto") == 7 and ignored_value(7, "background") == 7
    with pytest.raises(SettingsError, match="only one value"):
        ignored_value(7, "ignore")
    assert value_text(parse_value("#ff0080")) == "#ff0080" and parse_value("12") == 12 and parse_value("#000000") == 0
    with pytest.raises(ValueError, match="rrggbb"):
        parse_value("#12")


def test_colours_must_be_as_many_as_values() -> None:
    with pytest.raises(ValueError, match="as many colours"):
        Legend(values=[0, 1], names=["a", "b"], colours=[(0, 0, 0)])
