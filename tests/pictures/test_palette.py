"""The colours of classes: fixed, distinct, one list growing."""

import numpy as np
import pytest
from skimage.color import rgb2lab

from useg.pictures import class_colours
from useg.pictures.palette import BACKGROUND


def test_background_first_and_the_list_only_grows() -> None:
    assert class_colours(0) == []
    assert class_colours(1) == [BACKGROUND]
    for n in (2, 20, 60):
        assert class_colours(n) == class_colours(n + 1)[:n]


def test_all_256_differ_and_are_bytes() -> None:
    colours = class_colours(256)
    assert len(set(colours)) == 256
    assert all(0 <= channel <= 255 for colour in colours for channel in colour)


@pytest.mark.parametrize("n", [2, 8, 24])
def test_the_fixed_colours_look_different(n: int) -> None:
    lab = rgb2lab(np.array(class_colours(n), float)[None] / 255)[0]
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[~np.eye(n, dtype=bool)]
    assert apart.min() > 25
