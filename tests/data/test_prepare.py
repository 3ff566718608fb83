"""From a folder to images in memory: the parts, the legend, and what stops it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from useg.data.prepare import prepare
from useg.errors import DataError, MissingError
from useg.labels import IGNORE


def write(folder: Path, names: list[str], mask_values: tuple[int, ...] = (0, 255), seed: int = 0) -> Path:
    """`images/` and `masks/` of small pictures with vertical stripes of the mask values."""
    rng = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name in names:
        mask = np.repeat(mask_values, -(-40 // len(mask_values)))[:40].astype(np.uint8)[None].repeat(32, 0)
        image = (rng.random((32, 40)) * 200).astype(np.uint8)
        Pillow.fromarray(image).save(folder / "images" / f"{name}.png")
        Pillow.fromarray(mask).save(folder / "masks" / f"{name}.png")
    return folder


NAMES = [f"{letter}" for letter in "abcdefghij"]


def test_whole_images_are_held_out(tmp_path: Path) -> None:
    prepared = prepare(write(tmp_path, NAMES))
    train, held_out = ({e.name for e in part} for part in (prepared.parts.train, prepared.parts.validation))
    assert len(held_out) == 2
    assert not train & held_out
    assert train | held_out == set(NAMES)
    assert prepared.parts.reason.startswith("validation: ")
    assert prepared.legend.values == [0, 255]
    assert not prepared.check.errors
    for example in prepared.parts.train:
        assert example.image.shape == (1, 32, 40)
        assert example.image.dtype == np.uint8
        assert set(np.unique(example.labels).tolist()) == {0, 1}


def test_the_share_can_be_chosen(tmp_path: Path) -> None:
    assert len(prepare(write(tmp_path, NAMES), validation=0.4).parts.validation) == 4


def test_the_same_folder_gives_the_same_parts(tmp_path: Path) -> None:
    folder = write(tmp_path, NAMES)
    first, second = prepare(folder), prepare(folder)
    assert [e.name for e in first.parts.validation] == [e.name for e in second.parts.validation]


def test_a_val_folder_is_what_is_held_out(tmp_path: Path) -> None:
    write(tmp_path / "train", NAMES[:6])
    write(tmp_path / "val", NAMES[6:9], seed=1)
    write(tmp_path / "test", NAMES[9:], seed=2)
    prepared = prepare(tmp_path)
    assert [e.name for e in prepared.parts.train] == NAMES[:6]
    assert [e.name for e in prepared.parts.validation] == NAMES[6:9]
    assert str(tmp_path / "val") in prepared.parts.reason
    assert "3 images" in prepared.parts.reason


def test_a_train_folder_alone_is_split(tmp_path: Path) -> None:
    write(tmp_path / "train", NAMES)
    write(tmp_path / "test", ["z"], seed=2)
    prepared = prepare(tmp_path)
    names = [e.name for e in prepared.parts.train + prepared.parts.validation]
    assert sorted(names) == NAMES


def test_the_test_images_are_never_touched(tmp_path: Path) -> None:
    write(tmp_path / "train", NAMES)
    (write(tmp_path / "test", ["z"]) / "images" / "z.png").write_bytes(b"broken")
    assert not prepare(tmp_path).check.errors


def test_pixels_that_nobody_annotated(tmp_path: Path) -> None:
    folder = write(tmp_path, NAMES, mask_values=(0, 1, 7))
    plain, ignoring = prepare(folder), prepare(folder, ignore=7)
    assert len(plain.legend.values) == 3
    assert ignoring.legend.values == [0, 1]
    assert ignoring.legend.ignore == 7
    assert all((e.labels == IGNORE).any() for e in ignoring.parts.train)
    assert not any((e.labels == IGNORE).any() for e in plain.parts.train)


def test_the_kind_of_masks_can_be_said(tmp_path: Path) -> None:
    folder = write(tmp_path, NAMES, mask_values=(0, 1, 2, 3))
    assert len(prepare(folder, masks="classes").legend.values) == 4
    objects = prepare(folder, masks="instances")
    assert objects.legend.kind == "instances"
    assert len(objects.legend.names) == 2
    assert set(np.unique(objects.parts.train[0].labels).tolist()) == {0, 1}


def test_problems_of_either_part_stop_it_with_file_and_remedy(tmp_path: Path) -> None:
    write(tmp_path / "train", NAMES[:6])
    write(tmp_path / "val", NAMES[6:9], seed=1)
    broken = tmp_path / "val" / "images" / "h.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(DataError) as caught:
        prepare(tmp_path)
    assert str(broken) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_image_without_mask_stops_it(tmp_path: Path) -> None:
    folder = write(tmp_path, NAMES)
    (folder / "masks" / "c.png").unlink()
    with pytest.raises(MissingError, match=r"c\.png: there is no mask"):
        prepare(folder)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="nowhere"):
        prepare(tmp_path / "nowhere")


@pytest.mark.real
@pytest.mark.parametrize("name", ["isbi2012-em", "retina-drive", "oct-dme"])
def test_real_folders_are_ready_for_training(real_data: Path, name: str) -> None:
    prepared = prepare(real_data / name)
    assert len(prepared.legend.names) >= 2
    assert prepared.parts.train
    assert prepared.parts.validation
    train, held_out = ({e.name for e in part} for part in (prepared.parts.train, prepared.parts.validation))
    assert not train & held_out
