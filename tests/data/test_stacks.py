"""A stack and its masks, each a TIFF of many pages: every page is an image, and neighbours are held apart."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from useg.cli import app
from useg.data.check import check_pairs
from useg.data.dataset import load_example
from useg.data.layouts import Layout, find_layout
from useg.data.prepare import check_layout, prepare
from useg.data.stacks import whole_stacks
from useg.errors import DataError
from useg.images import files, tiff

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 40, 48), np.uint8)
MASKS = np.zeros(IMAGES.shape, np.uint8)
for _page, _mask in enumerate(MASKS):
    _mask[5 : 15 + _page, 10:30] = 255


def write(folder: Path, image: str = "stack.tif", mask: str = "stack_mask.tif", pages: int = 20) -> Path:
    for name, array in ((image, IMAGES), (mask, MASKS)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / name, array[:pages], compression="zlib")
    return folder


def places(layout: Layout) -> list[tuple[str, str, str, int | None]]:
    return [(pair.name, pair.image.name, pair.mask.name, pair.page) for pair in layout.train]


def test_where_it_is_asked_for_a_stack_is_a_volume(tmp_path: Path) -> None:
    write(tmp_path, "train-volume.tif", "train-labels.tif")
    write(tmp_path, "test-volume.tif", "test-labels.tif", pages=6)
    layout = find_layout(tmp_path, pages="volume")
    assert layout.kind == "stacks of pages, each a volume (2 volumes)"
    assert [pair.name for pair in layout.train + layout.test] == ["train-volume", "test-volume"]
    parts = prepare(tmp_path, pages="volume").parts
    [rest], [strip] = parts.train, parts.validation
    assert rest.labels.shape[0] == strip.labels.shape[0] == 20  # along y or x
    np.testing.assert_array_equal(files.read(layout.train[0].image).array[0], IMAGES)
    # All else is read as it is without.
    write(tmp_path / "other" / "images", "a.tif", "b.tif")
    write(tmp_path / "other" / "masks", "a.tif", "b.tif")
    assert find_layout(tmp_path / "other", pages="volume").train == find_layout(tmp_path / "other").train


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("train-volume.tif", "train-labels.tif"),
        ("stack.tif", "stack_mask.tif"),
        ("images.tif", "masks.tiff"),
        ("images.tif", "labels.tif"),
        ("images/a.tif", "masks/b.tif"),
        ("images/a.tif", "labels/a.tif"),
    ],
)
def test_every_page_is_an_image(tmp_path: Path, image: str, mask: str) -> None:
    layout = find_layout(write(tmp_path, image, mask))
    assert layout.kind.startswith(f"pages of {image} + {mask}, each an image (20 images)")
    stem = Path(image).stem
    assert places(layout)[:2] == [(f"{stem}_{n:03}", Path(image).name, Path(mask).name, n) for n in range(2)]
    check = check_layout(layout)
    assert check.errors == [] and check.legend is not None and len(check.used) == 20
    for page, pair in enumerate(layout.train):
        example = load_example(pair, check.legend)
        np.testing.assert_array_equal(example.image, IMAGES[page][None])
        np.testing.assert_array_equal(example.labels, MASKS[page] // 255)


def imagej(path: Path, array: np.ndarray) -> None:
    tifffile.imwrite(path, array, imagej=True)


def ome(path: Path, array: np.ndarray) -> None:
    tifffile.imwrite(path, array, ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5})


def pillow(path: Path, array: np.ndarray) -> None:
    first, *others = map(Image.fromarray, array)
    first.save(path, save_all=True, append_images=others)


def colour(path: Path, array: np.ndarray) -> None:
    tifffile.imwrite(path, np.repeat(array[..., None], 3, axis=-1), photometric="rgb")


@pytest.mark.parametrize("writer", [imagej, ome, pillow, colour])
def test_whoever_wrote_the_pages(tmp_path: Path, writer: Callable[[Path, np.ndarray], None]) -> None:
    writer(tmp_path / "train-volume.tif", IMAGES)
    writer(tmp_path / "train-labels.tif", MASKS)
    layout = find_layout(tmp_path)
    assert len(layout.train) == 20
    for page in (0, 7, 19):
        np.testing.assert_array_equal(files.read(layout.train[page].image, page=page).array[0], IMAGES[page])
        np.testing.assert_array_equal(files.read_mask(layout.train[page].mask, page=page), MASKS[page])
        header = files.read_header(layout.train[page].image, page=page)
        assert header.size == (40, 48) and header.spacing == ((0.5, 0.5) if writer is ome else None)


def test_neighbouring_pages_are_held_apart(tmp_path: Path) -> None:
    prepared = prepare(write(tmp_path))
    validation, train = ([each.name for each in part] for part in (prepared.parts.validation, prepared.parts.train))
    assert validation == [f"stack_{n:03}" for n in range(16, 20)]
    assert train == [f"stack_{n:03}" for n in range(15)]
    assert "stack_015 beside them is left out" in prepared.parts.reason
    assert any("all 20 images are pages of this one stack" in problem.line for problem in prepared.problems)


def test_the_challenge_as_it_is_downloaded(tmp_path: Path) -> None:
    write(tmp_path, "train-volume.tif", "train-labels.tif")
    tifffile.imwrite(tmp_path / "test-volume.tif", IMAGES)
    layout = find_layout(tmp_path)
    assert [len(part) for part in (layout.train, layout.val, layout.test)] == [20, 0, 0]
    write(tmp_path, "test-volume.tif", "test-labels.tif", 5)
    layout = find_layout(tmp_path)
    assert [len(part) for part in (layout.train, layout.val, layout.test)] == [20, 0, 5]
    assert "test-volume.tif + test-labels.tif" in layout.kind and "(20 and 5 images)" in layout.kind
    for name in ("train-volume.tif", "train-labels.tif"):
        (tmp_path / name).unlink()
    assert len(find_layout(tmp_path).train) == 5


def test_parts_may_be_stacks(tmp_path: Path) -> None:
    write(tmp_path / "train")
    write(tmp_path / "val", pages=6)
    layout = find_layout(tmp_path)
    assert [len(part) for part in (layout.train, layout.val)] == [20, 6]
    assert not any("one stack" in problem.message for problem in check_layout(layout).problems)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (MASKS[:19], r"stack_mask\.tif: it has 19 pages, its image stack\.tif has 20; save one mask for each page"),
        (MASKS[0], r"stack_mask\.tif: it has 1 pages, its image stack\.tif has 20; "),
        (MASKS[:, :30], r"stack_mask\.tif: its page 1 is 30 x 48 \(height x width\), that of stack\.tif is 40 x 48"),
    ],
)
def test_masks_that_do_not_fit(tmp_path: Path, mask: np.ndarray, said: str) -> None:
    tifffile.imwrite(write(tmp_path) / "stack_mask.tif", mask)
    with pytest.raises(DataError, match=said) as caught:
        find_layout(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_mask_that_is_no_tiff(tmp_path: Path) -> None:
    folder = write(tmp_path, "images/a.tif", "masks/a.tif")
    (folder / "masks" / "a.tif").unlink()
    np.save(folder / "masks" / "a.npy", MASKS)
    with pytest.raises(DataError, match=r"a\.npy: it is no TIFF of several pages, its image a\.tif has 20; save"):
        find_layout(folder)


def test_channels_and_pyramids_are_no_stacks(tmp_path: Path) -> None:
    for name, mask in (("channels", MASKS[0]), ("pyramid", MASKS[1])):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "x_mask.tif", mask)
    tifffile.imwrite(tmp_path / "channels" / "x.tif", IMAGES[:3], imagej=True, metadata={"axes": "CYX"})
    for name, array in (("x.tif", IMAGES[0]), ("x_mask.tif", MASKS[0])):
        with tifffile.TiffWriter(tmp_path / "pyramid" / name) as writer:
            writer.write(array)
            writer.write(array[::2, ::2])
    for name in ("channels", "pyramid"):
        layout = find_layout(tmp_path / name)
        assert layout.kind.startswith("masks beside images") and places(layout) == [("x", "x.tif", "x_mask.tif", None)]


def test_several_stacks_are_volumes_still(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path, f"images/{name}.tif", f"masks/{name}.tif")
    layout = find_layout(tmp_path)
    assert layout.kind == "images/ + masks/" and len(layout.train) == 2
    assert len(check_layout(layout).used) == 2


def test_messages_name_the_page(tmp_path: Path) -> None:
    folder = write(tmp_path)
    even, odd = IMAGES.copy(), MASKS.copy()
    even[3], odd[5, 0, 0] = 7, 9
    tifffile.imwrite(folder / "stack.tif", even)
    tifffile.imwrite(folder / "stack_mask.tif", odd)
    said = [problem.line for problem in check_pairs(find_layout(folder).train).problems]
    assert any(line.startswith(f"{folder / 'stack.tif'}, page 4 (stack_003): every pixel is 7") for line in said)
    assert any(line.startswith(f"{folder / 'stack_mask.tif'}, page 6 (stack_005): the value 9") for line in said)


def test_a_page_that_cannot_be_decoded(tmp_path: Path) -> None:
    path = write(tmp_path) / "stack.tif"
    with tifffile.TiffFile(path) as file:
        begin, length = file.pages[2].dataoffsets[0], file.pages[2].databytecounts[0]
    with path.open("r+b") as stream:
        stream.seek(begin)
        stream.write(b"\xff" * length)
    check = check_pairs(find_layout(tmp_path).train)
    assert [problem.path.name for problem in check.errors] == ["stack.tif, page 3 (stack_002)"]
    assert check.errors[0].message.startswith("cannot be decoded") and check.summary.images == 19


def test_pages_are_sought_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "many.tif", np.zeros((300, 8, 8), np.uint8), compression="zlib", metadata=None)
    parsed = []
    init = tifffile.TiffPage.__init__

    def counted(self: tifffile.TiffPage, *args: object, **kwargs: object) -> None:
        parsed.append(1)
        init(self, *args, **kwargs)

    monkeypatch.setattr(tifffile.TiffPage, "__init__", counted)
    for page in range(300):
        files.read(tmp_path / "many.tif", page=page)
    assert len(parsed) <= 300 * 4
    tifffile.imwrite(tmp_path / "many.tif", np.ones((2, 8, 8), np.uint8))  # another file under the same name
    assert len(tiff.page_sizes(tmp_path / "many.tif")) == 2


def test_the_command_tells_what_it_found(tmp_path: Path) -> None:
    write(tmp_path, "train-volume.tif", "train-labels.tif")
    result = CliRunner().invoke(app, ["check", str(tmp_path), "--json"])
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert found["layout"]["kind"].startswith("pages of train-volume.tif + train-labels.tif")
    assert found["layout"]["images"] == {"train": 20, "val": 0, "test": 0}
    assert found["summary"]["images"] == 20 and found["summary"]["sizes"] == {"40 x 48": 20}
    assert [problem["severity"] for problem in found["problems"]] == ["warning"]


def test_a_stack_alone_is_a_volume_where_those_trained_on_are(tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path / "train", f"images/{number}.tif", f"masks/{number}.tif", pages=5)
    write(tmp_path / "test", "images/a.tif", "masks/a.tif", pages=5)
    layout = find_layout(tmp_path)
    assert [(pair.name, pair.page) for pair in (*layout.train, *layout.test)] == [("0", None), ("1", None), ("a", None)]
    alone = find_layout(tmp_path / "test").train
    assert len(alone) == 5
    assert whole_stacks(layout.test) == layout.test
    assert [(pair.image, pair.mask, pair.page) for pair in whole_stacks(alone)] == [
        (pair.image, pair.mask, None) for pair in layout.test
    ]
