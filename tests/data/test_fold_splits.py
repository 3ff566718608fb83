"""Folds: each example judged once, what belongs together on one side, and the same folds every time."""

import functools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from useg.data.dataset import Example
from useg.data.folds import fold_splits
from useg.data.prepare import prepare, read_annotated
from useg.data.splits import Split, classes_in, series_of
from useg.errors import SettingsError

OCT = [f"s{s:02}_b{b}" for s in (1, 2, 3, 5, 7, 9) for b in range(10, 65, 5)]
ISBI = [f"{n:02}" for n in range(24)]


def example(name: str, *classes: int, group: str | None = None) -> Example:
    labels = np.resize(np.array(classes or (0, 1), np.uint8), (4, 4))
    return Example(name, np.zeros((1, 4, 4), np.uint8), labels, group=group)


def names(part: list[Example]) -> list[str]:
    return [each.name for each in part]


def assert_each_judged_once(found: list[Split], everyone: list[str]) -> None:
    assert Counter(name for fold in found for name in names(fold.validation)) == Counter(everyone)
    for fold in found:
        assert fold.train and fold.validation
        assert not set(names(fold.train)) & set(names(fold.validation))
        assert set(names(fold.train)) <= set(everyone)
        assert "\n" not in fold.reason


@st.composite
def grouped(draw: st.DrawFn) -> tuple[list[tuple[str, list[int], str]], int]:
    """Name, classes and group of images in groups of 1 to 6, and no more folds than groups."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=2, max_size=15))
    classes = st.lists(st.integers(0, 4), min_size=1, max_size=4)
    found = [(f"{group}-{n}", draw(classes), f"g{group}") for group, size in enumerate(sizes) for n in range(size)]
    return found, draw(st.integers(2, len(sizes)))


@settings(max_examples=30)
@given(grouped(), st.integers(0, 1000))
def test_groups_stay_whole_and_sizes_are_even(case: tuple[list[tuple[str, list[int], str]], int], seed: int) -> None:
    images, folds = case
    examples = [example(name, *classes, group=group) for name, classes, group in images]
    found = fold_splits(examples, folds, seed=seed)
    assert len(found) == folds
    assert_each_judged_once(found, names(examples))
    for fold in found:
        assert not {e.group for e in fold.train} & {e.group for e in fold.validation}
        assert len(fold.train) + len(fold.validation) == len(examples)
    held = [len(fold.validation) for fold in found]
    assert max(held) - min(held) <= max(Counter(e.group for e in examples).values())


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=4, max_size=40), st.integers(2, 8), st.integers(0, 1000))
def test_random_images_are_spread_with_their_classes(kinds: list[int], folds: int, seed: int) -> None:
    """Letters show no groups; each image holds one class besides the background."""
    examples = [example("abcdefghij"[n % 10] * (n // 10 + 1), 0, kind) for n, kind in enumerate(kinds)]
    folds = min(folds, len(examples))
    found = fold_splits(examples, folds, seed=seed)
    assert_each_judged_once(found, names(examples))
    held = [len(fold.validation) for fold in found]
    assert max(held) - min(held) <= 1
    for kind, count in Counter(kinds).items():
        if count > 1:  # whatever two images hold is never all on one side
            assert all(any(kind in classes_in(e) for e in fold.train) for fold in found)


@settings(max_examples=30)
@given(st.integers(1, 2), st.integers(2, 12), st.integers(2, 6))
def test_blocks_of_series_leave_their_neighbours_out(series: int, length: int, folds: int) -> None:
    everyone = [f"{'ab'[which]}_{n:02}" for which in range(series) for n in range(length)]
    if len(everyone) < folds:
        return
    found = fold_splits([example(name) for name in everyone], folds)
    assert_each_judged_once(found, everyone)
    for fold in found:
        if "at random" in fold.reason:
            assert "too short" in fold.reason
            continue
        for held in names(fold.validation):
            letter, number = series_of(held)
            assert number is not None
            for beside in (number - 1, number + 1):
                assert f"{letter}_{beside:02}" not in names(fold.train)
        assert len(fold.train) + len(fold.validation) >= len(everyone) - 2


@settings(max_examples=20)
@given(st.permutations(OCT), st.integers(2, 8), st.integers(0, 5))
def test_the_order_of_the_files_does_not_matter(shuffled: list[str], folds: int, seed: int) -> None:
    one, other = (fold_splits([example(n) for n in order], folds, seed=seed) for order in (OCT, shuffled))
    for a, b in zip(one, other, strict=True):
        assert (names(a.train), names(a.validation), a.reason) == (names(b.train), names(b.validation), b.reason)


def test_six_subjects_in_five_folds() -> None:
    """The two subjects with least of the rare class share a fold."""
    much = {"s01": 6, "s02": 1, "s03": 5, "s05": 4, "s07": 1, "s09": 5}
    found = fold_splits([_with_rare(n, much[n[:3]]) for n in OCT], 5)
    held = [{name[:3] for name in names(fold.validation)} for fold in found]
    assert sorted(map(len, held)) == [1, 1, 1, 1, 2]
    assert {"s02", "s07"} in held
    both = next(fold for fold in found if len(fold.validation) == 22)
    assert "22 of 66 images, subjects s02 and s07, because images of one subject resemble each other" in both.reason


def _with_rare(name: str, pixels: int) -> Example:
    return example(name, *[1] * pixels, *[0] * (16 - pixels))


def test_a_rare_class_is_on_both_sides() -> None:
    examples = [example(name, 0, *([2] if name in ("a", "b") else [1])) for name in "abcdefghij"]
    for seed in range(10):
        held = fold_splits(examples, 2, seed=seed, names=["x", "y", "rust"])
        assert all(sum(2 in classes_in(e) for e in fold.validation) == 1 for fold in held)
        assert not any("rust" in fold.reason for fold in held)
    told = [fold.reason for fold in fold_splits(examples, 3, names=["x", "y", "rust"])]
    assert sum(reason.endswith("; validation holds no rust") for reason in told) == 1


def test_too_few_subjects_are_divided_and_it_is_said() -> None:
    found = fold_splits([example(name) for name in OCT[:33]], 5)
    assert_each_judged_once(found, OCT[:33])
    assert all("their names show 3 subjects, too few for 5 folds" in fold.reason for fold in found)
    assert all("not another one" in fold.reason for fold in found)


@pytest.mark.parametrize(
    ("count", "group", "folds", "told"),
    [
        (1, None, 2, "only 1 annotated image; train without folds"),
        (3, None, 5, "only 3 annotated images; choose no more than 3"),
        (9, "abc", 4, "names 3 groups, and none is divided; choose no more than 3"),
        (9, None, 1, "choose 2 or more"),
    ],
)
def test_what_cannot_be_divided(count: int, group: str | None, folds: int, told: str) -> None:
    examples = [example(f"x{n}", group=group and group[n % 3]) for n in range(count)]
    with pytest.raises(SettingsError, match=told) as caught:
        fold_splits(examples, folds)
    assert "data.folds" in str(caught.value)


def test_images_set_apart_join_the_pool(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    for part, count in (("train", 4), ("val", 2)):
        for kind in ("images", "masks"):
            (tmp_path / part / kind).mkdir(parents=True)
        for n in range(count):
            rng = np.random.default_rng([count, n])
            Pillow.fromarray(rng.integers(0, 255, (32, 40), np.uint8)).save(tmp_path / part / "images" / f"{n}.png")
            Pillow.fromarray(rng.integers(0, 2, (32, 40), np.uint8)).save(tmp_path / part / "masks" / f"{n}.png")
    found = [prepare(tmp_path, folds=3, fold=fold).parts for fold in range(3)]
    assert_each_judged_once(found, ["0", "1", "2", "3", "val/0", "val/1"])
    assert names(prepare(tmp_path).parts.validation) == ["0", "1"]


@pytest.mark.real
def test_real_subjects(real_data: Path) -> None:
    read = functools.lru_cache(maxsize=1)(read_annotated)
    for fold in range(5):
        parts = prepare(real_data / "oct-dme" / "train", folds=5, fold=fold, read=read).parts
        train, held = ({name[:3] for name in names(part)} for part in (parts.train, parts.validation))
        assert held and not train & held
