"""The contact sheet of a check: images flat, volumes in three planes."""

from pathlib import Path

import numpy as np
import pytest

from useg.data.check import check_pairs
from useg.data.layouts import find_layout
from useg.data.preview import TILE, preview
from useg.images import write_labels


@pytest.mark.parametrize("size", [(40, 60), (6, 40, 60)])
@pytest.mark.parametrize("objects", [1, 9])
def test_every_kind_of_data_has_a_sheet(tmp_path: Path, size: tuple[int, ...], objects: int) -> None:
    suffix = ".nii.gz" if len(size) == 3 else ".png"
    for number in range(2):
        mask = np.zeros(size, int)
        for k in range(objects):
            mask[..., 4 + number :: 8, 6 * k : 6 * k + 4] = k + 1
        write_labels(tmp_path / "images" / f"{number}{suffix}", 100 * (mask > 0) + np.arange(size[-1]))
        write_labels(tmp_path / "masks" / f"{number}{suffix}", mask)
    found = check_pairs(find_layout(tmp_path).train, kind="classes" if objects == 1 else "instances")
    sheet = preview(found)
    assert sheet is not None and sheet.dtype == np.uint8
    columns = 4 if objects == 1 else 2 if len(size) == 3 else 3
    assert columns * TILE < sheet.shape[1] < (columns + 1) * TILE
