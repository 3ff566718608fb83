"""A few painted objects among many, told from all objects painted."""

from pathlib import Path

import numpy as np
import pytest

from useg.data.layouts import find_layout
from useg.data.prepare import check_layout
from useg.data.sparse import count_alike


def dots(number: int, seed: int, sign: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """An image of round objects on a noisy ground, and their ids."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((256, 256), np.uint16)
    rows, columns = np.ogrid[:256, :256]
    places = rng.permutation(64)[:number]
    for k, place in enumerate(places, 1):
        y, x = 16 + 32 * (place // 8), 16 + 32 * (place % 8)
        ids[(rows - y) ** 2 + (columns - x) ** 2 <= 49] = k
    return (100 + sign * 60 * (ids > 0) + rng.normal(0, 5, ids.shape))[None].astype(np.float32), ids


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("seed", range(3))
def test_unpainted_objects_are_counted(sign: int, seed: int) -> None:
    image, ids = dots(30, seed, sign)
    painted = np.where(ids <= 4, ids, 0).astype(np.uint16)
    assert count_alike(image, painted) == 26


@pytest.mark.parametrize("seed", range(3))
def test_where_all_are_painted_none_is_left(seed: int) -> None:
    image, ids = dots(20, seed)
    assert count_alike(image, ids) == 0
    assert count_alike(np.zeros_like(image), ids) == 0
    assert count_alike(image, np.zeros_like(ids)) == 0


@pytest.mark.real
def test_real_masks_are_told_apart(real_data: Path) -> None:
    layout = find_layout(real_data / "nuclei-kromp-singlecell")
    assert "look like them" in check_layout(layout).errors[0].message
    assert "--unlabelled background" in check_layout(layout).errors[0].remedy
    assert check_layout(layout, unlabelled="background").errors == []
    assert "no background" in check_layout(layout, unlabelled="ignore").errors[0].message
    for name in ("ctc-phc-c2dh-u373", "ctc-dic-c2dh-hela", "nuclei-dsb2018", "fluo-stardist-samples"):
        assert check_layout(find_layout(real_data / name)).errors == [], name
