"""Nearly identical images are found, others are not, and they are reported where a split would divide them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from useg.data.layouts import find_layout
from useg.data.prepare import check_layout, prepare
from useg.data.similar import nearly_equal, thumbnail

RNG = np.random.default_rng(1)


def textured(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).normal(size=(16, 16))
    return np.kron(coarse, np.ones((8, 8)))[None] * 40 + 120


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), gain=st.floats(0.5, 2), offset=st.floats(-50, 50))
def test_gain_offset_and_a_little_noise_do_not_hide_a_copy(seed: int, gain: float, offset: float) -> None:
    image = textured(seed)
    copy = gain * image + offset + np.random.default_rng(seed).normal(0, 3, image.shape)
    found = nearly_equal([thumbnail(image), thumbnail(textured(seed + 1)), thumbnail(copy)])
    assert [(i, j) for i, j, _ in found] == [(0, 2)]


def test_even_images_resemble_nothing() -> None:
    even = thumbnail(np.full((1, 40, 50), 7, np.uint8))
    assert not even.any() and nearly_equal([even, even]) == [] and nearly_equal([]) == []


def test_copies_across_the_split_are_reported(tmp_path: Path) -> None:
    names = ["kite", "moon", "oak", "pear", "quill", "rose", "sun", "tulip", "vine", "wolf"]
    for k, name in enumerate(names):
        picture = textured(k // 2)[0] + RNG.normal(0, 2, (128, 128))  # two and two show the same
        mask = np.zeros((128, 128), np.uint8)
        mask[k : k + 40, 20:60] = 1
        for part, array in (("images", picture.clip(0, 255).astype(np.uint8)), ("masks", mask)):
            (tmp_path / part).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / part / f"{name}.png")
    told = [p.message for p in check_layout(find_layout(tmp_path)).problems]
    assert any("5 pairs of images are nearly identical (kite and moon" in message for message in told)
    assert any("stand on both sides of the validation split" in p.message for p in prepare(tmp_path).problems)
    rows = [f"images/{n}.png,masks/{n}.png,g{k // 2}" for k, n in enumerate(names)]
    (tmp_path / "pairs.csv").write_text("\n".join(["image,mask,group", *rows]))
    grouped = prepare(tmp_path)
    assert grouped.problems == [] and "group" in grouped.parts.reason
    sides = [{e.group for e in part} for part in (grouped.parts.train, grouped.parts.validation)]
    assert not sides[0] & sides[1]


@pytest.mark.real
@pytest.mark.parametrize("name", ["retina-drive", "isbi2012-em", "oct-dme"])
def test_real_images_that_differ_are_not_reported(real_data: Path, name: str) -> None:
    assert not [p for p in prepare(real_data / name).problems if "identical" in p.message]
