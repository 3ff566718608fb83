"""A share of the training images: nested, of all classes, and the same every time."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from useg.data.dataset import Example
from useg.data.prepare import prepare
from useg.data.share import share_size, take_share
from useg.data.splits import classes_in
from useg.demo import draw_data_set


def example(name: str, *classes: int) -> Example:
    labels = np.resize(np.array(classes, np.uint8), (4, 4))
    return Example(name, np.zeros((1, 4, 4), np.uint8), labels)


CLASSES = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=4), min_size=1, max_size=30)


def examples_of(classes: list[list[int]]) -> list[Example]:
    return [example(f"x{n}", *each) for n, each in enumerate(classes)]


@settings(max_examples=30)
@given(CLASSES, st.lists(st.floats(0.01, 1), min_size=2, max_size=4).map(sorted), st.integers(0, 100))
def test_smaller_shares_are_part_of_larger_ones(classes: list[list[int]], shares: list[float], seed: int) -> None:
    examples, smaller = examples_of(classes), set[str]()
    for share in shares:
        found = [e.name for e in take_share(examples, share, seed=seed)]
        assert len(found) == share_size(len(examples), share) >= 1
        assert found == [e.name for e in examples if e.name in found]
        assert smaller <= set(found)
        turned = {e.name for e in take_share(examples[::-1], share, seed=seed)}
        assert turned == set(found)
        smaller = set(found)
    assert take_share(examples, 1.0) == examples


@settings(max_examples=40)
@given(CLASSES)
def test_as_many_images_as_classes_hold_every_class(classes: list[list[int]]) -> None:
    examples = examples_of(classes)
    everything = frozenset().union(*map(classes_in, examples))
    found = take_share(examples, min(1.0, (len(everything) + 0.01) / len(examples)))
    if len(found) >= len(everything):
        assert frozenset().union(*map(classes_in, found)) == everything


def test_the_seed_chooses() -> None:
    examples = [example(f"x{n}", 0, 1) for n in range(20)]
    assert len({tuple(e.name for e in take_share(examples, 0.25, seed=seed)) for seed in range(8)}) > 1


def test_the_images_held_out_are_the_same(tmp_path: Path) -> None:
    draw_data_set(tmp_path, train_images=8, test_images=1, size=32)
    whole, half = prepare(tmp_path).parts, prepare(tmp_path, share=0.5).parts
    assert [e.name for e in half.validation] == [e.name for e in whole.validation]
    assert len(half.train) == round(len(whole.train) / 2)
    assert half.reason.endswith(f"{len(half.train)} of the other {len(whole.train)} are trained on")
