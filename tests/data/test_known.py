"""Images that an earlier model was trained on: known again, and not held out where others can be."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from useg.data.dataset import Example
from useg.data.known import checksums, hold_out_unseen, seen_before
from useg.data.splits import Split


def examples(count: int, *, channels: int = 1, first: int = 0) -> list[Example]:
    found = []
    for index in range(first, first + count):
        rng = np.random.default_rng(index)
        labels = rng.integers(0, 2, (20, 24)).astype(np.uint8)
        image = np.repeat(rng.integers(0, 255, (1, 20, 24)).astype(np.uint8), channels, axis=0)
        found.append(Example(f"image {chr(97 + index)}", image, labels))
    return found


@given(held=st.integers(1, 6), kept=st.integers(1, 12), seen=st.sets(st.integers(0, 17)), again=st.booleans())
def test_what_is_held_out_is_new_to_the_earlier_model(held: int, kept: int, seen: set[int], again: bool) -> None:
    everyone = examples(held + kept)
    parts = Split(everyone[held:], everyone[:held], "said so")
    known = {example.name for index, example in enumerate(everyone) if index in seen}
    found = hold_out_unseen(parts, checksums(e for e in everyone if e.name in known), again=again)
    held_names = {e.name for e in found.validation}
    assert sorted(e.name for e in [*found.train, *found.validation]) == sorted(e.name for e in everyone)
    assert held_names
    if not known & {e.name for e in parts.validation}:
        assert found is parts
    if held_names & known:
        assert known >= {e.name for e in parts.validation}
        assert "its score is too good" in found.reason


def test_images_are_known_again_gray_or_rgb() -> None:
    gray, rgb = examples(4), examples(4, channels=3)
    known = checksums(gray[:2], checksums(gray[2:3]))
    assert len(known) == 3 * 8
    assert known == checksums(rgb[:3])
    assert [e.name for e in seen_before(rgb, known)] == [e.name for e in gray[:3]]
    assert seen_before(examples(3, first=9), known) == []
    assert seen_before(gray, "") == []
