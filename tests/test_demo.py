"""The demo: its drawings, and the whole way through on them."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from useg import demo
from useg.demo import draw_cells, draw_data_set, run_demo
from useg.errors import OutputError
from useg.images.files import read, read_mask
from useg.unet.borders import part_objects


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(48, 128))
def test_cells_are_drawn_alike_from_one_seed(seed: int, size: int) -> None:
    image, mask = draw_cells(np.random.default_rng(seed), size)
    again = draw_cells(np.random.default_rng(seed), size)
    assert np.array_equal(image, again[0])
    assert np.array_equal(mask, again[1])
    assert image.shape == mask.shape == (size, size)
    assert 0 <= mask.min() <= mask.max() < size // 8


def test_cells_can_be_seen_and_touch() -> None:
    from scipy.ndimage import binary_dilation, label

    image, cells = draw_cells(np.random.default_rng(1), 256)
    mask = part_objects(cells) > 0
    assert 0.02 < mask.mean() < 0.6
    assert image[mask].mean() > image[~mask].mean() + 10
    # Some cells are parted by a gap so thin that one step of growth joins them.
    assert label(binary_dilation(mask, iterations=2))[1] < label(mask)[1]


def test_the_data_set_has_its_two_parts(tmp_path: Path) -> None:
    draw_data_set(tmp_path, train_images=2, test_images=1, size=48)
    names = sorted(str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*.png"))
    assert names == [
        "test/images/cells_00.png",
        "test/masks/cells_00.png",
        "train/images/cells_00.png",
        "train/images/cells_01.png",
        "train/masks/cells_00.png",
        "train/masks/cells_01.png",
    ]
    train, test = (read(tmp_path / part / "images/cells_00.png").array for part in ("train", "test"))
    assert not np.array_equal(train, test)
    assert read_mask(tmp_path / "train/masks/cells_00.png").shape == (48, 48)


def test_the_demo_leaves_a_used_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        run_demo(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]


def test_the_demo_runs_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On pictures of a quarter of the pixels: a network that knows nothing yet sees objects everywhere."""
    monkeypatch.setattr(demo, "draw_data_set", partial(draw_data_set, size=128))
    result = run_demo(tmp_path / "demo", steps=2)
    assert (result.run / "model.safetensors").is_file()
    assert len(list(result.pictures.iterdir())) == 4
    assert len(list((tmp_path / "demo/predictions").glob("cells_*.tif"))) == 4
    assert result.evaluation.overlap.images == 4
    assert result.evaluation.objects is not None
    assert result.evaluation.objects.truth_objects > 40


@pytest.mark.long
def test_the_demo_learns_its_cells(tmp_path: Path) -> None:
    evaluation = run_demo(tmp_path / "demo", steps=80).evaluation
    assert evaluation.overlap.dice[1] > 0.75
    assert evaluation.objects is not None
    assert evaluation.objects.f1[0] > 0.5
