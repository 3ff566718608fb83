from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from useg.data.check import Check, check_pairs
from useg.data.dataset import find_pairs
from useg.errors import DataError

RNG = np.random.default_rng(0)
MASK = np.zeros((12, 16), np.uint8)
MASK[3:6, 3:9] = 1


def picture(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape or MASK.shape, np.uint8)


def put(folder: Path, name: str, image: np.ndarray | None = None, mask: np.ndarray = MASK) -> None:
    for part, array in (("images", picture() if image is None else image), ("masks", mask)):
        (folder / part).mkdir(exist_ok=True)
        if array.dtype in (np.uint8, np.uint16) and (array.ndim == 2 or array.shape[-1] == 3):
            Image.fromarray(array).save(folder / part / f"{name}.png")
        else:
            tifffile.imwrite(folder / part / f"{name}.tif", array, photometric="minisblack")


def good(folder: Path, number: int = 3) -> Path:
    for index in range(number):
        put(folder, f"good{index}")
    return folder


def check(folder: Path, ignore: int | None = None) -> Check:
    return check_pairs(find_pairs(folder), ignore=ignore)


def lines(found: Check) -> list[str]:
    return [f"{problem.severity} {problem.path.name}: {problem.message}" for problem in found.problems]


def only(found: Check) -> str:
    told = lines(found)
    assert len(told) == 1, told
    assert found.problems[0].remedy and "\n" not in found.problems[0].line
    return told[0]


def test_a_good_set_has_no_problem_and_a_summary(tmp_path: Path) -> None:
    found = check(good(tmp_path))
    assert found.problems == [] and found.errors == []
    found.raise_errors()
    assert found.legend is not None and found.legend.values == [0, 1]
    summary = found.summary
    assert (summary.images, summary.sizes, summary.channels) == (3, {"12 x 16": 3}, {1: 3})
    assert summary.dtypes == {"uint8": 3} and summary.without_foreground == 0
    assert summary.class_shares == pytest.approx((1 - 18 / 192, 18 / 192))
    assert [row.name for row in summary.rows] == ["good0", "good1", "good2"]
    assert summary.rows[0].shares == pytest.approx(summary.class_shares)


def test_an_unreadable_file(tmp_path: Path) -> None:
    put(good(tmp_path), "torn")
    path = tmp_path / "images" / "torn.png"
    path.write_bytes(path.read_bytes()[:60])
    found = check(tmp_path)
    assert only(found).startswith("error torn.png: ")
    assert found.problems[0].line.count(str(path)) == 1
    assert found.summary.images == 3


def test_an_unreadable_mask(tmp_path: Path) -> None:
    put(good(tmp_path), "colour", mask=picture(12, 16, 3))
    assert only(check(tmp_path)).startswith("error colour.png: ")


def test_a_mask_of_another_size(tmp_path: Path) -> None:
    put(good(tmp_path), "small", mask=MASK[:10])
    assert only(check(tmp_path)).startswith("error small.png: the mask is 10 x 16")


def test_mixed_channels_name_the_odd_one(tmp_path: Path) -> None:
    put(good(tmp_path), "rgb", picture(12, 16, 3))
    assert only(check(tmp_path)) == "error rgb.png: it has 3 channels, but 3 of 4 images have 1 channel"


def test_a_volume_is_not_decoded(tmp_path: Path) -> None:
    put(good(tmp_path), "stack", picture(5, 12, 16), np.stack([MASK] * 5))
    found = check(tmp_path)
    told = only(found)
    assert told.startswith("warning stack.tif: this is a volume of 5 x 12 x 16") and "is left out" in told
    assert [pair.name for pair in found.used] == ["good0", "good1", "good2"]


def test_an_image_among_volumes_is_left_out(tmp_path: Path) -> None:
    for name in "abc":
        put(tmp_path, name, picture(5, 12, 16), np.stack([MASK] * 5))
    put(tmp_path, "flat")
    found = check(tmp_path)
    assert only(found).startswith("warning flat.png: this is an image of 12 x 16")
    assert [pair.name for pair in found.used] == ["a", "b", "c"] and not found.errors


def test_an_unexpected_value(tmp_path: Path) -> None:
    mask = np.kron(MASK, np.ones((8, 8), np.uint8))
    for name in "abcd":
        put(tmp_path, name, picture(*mask.shape), mask)
    slip = mask.copy()
    slip[0, :5] = 7
    put(tmp_path, "e", picture(*mask.shape), slip)
    found = check(tmp_path)
    assert only(found).startswith("error e.png: the value 7 stands in 5 pixels")
    assert found.legend is None and found.summary.class_shares == ()
    assert check(tmp_path, ignore=7).errors == []


def test_a_single_image(tmp_path: Path) -> None:
    good(tmp_path, 1)
    assert "nothing would be left to judge with" in only(check(tmp_path))


def test_a_strip_of_a_single_image_judges(tmp_path: Path) -> None:
    put(tmp_path, "a", picture(64, 80), np.tile(np.array([0, 1], np.uint8), (64, 40)))
    found = check(tmp_path)
    assert found.errors == [] and only(found).startswith("warning a.png: there is only this one image")


def test_only_one_class_anywhere(tmp_path: Path) -> None:
    for name in "ab":
        put(tmp_path, name, mask=np.zeros_like(MASK))
    assert only(check(tmp_path)) == ("error masks: every annotated pixel of every mask is 0: there is only one class")


def test_empty_masks_are_counted_in_a_warning(tmp_path: Path) -> None:
    put(good(tmp_path), "empty", mask=np.zeros_like(MASK))
    found = check(tmp_path)
    assert only(found) == "warning masks: 1 of 4 masks hold only background (empty)"
    assert found.summary.without_foreground == 1
    found.raise_errors()


def test_a_constant_image(tmp_path: Path) -> None:
    put(good(tmp_path), "blank", np.full_like(MASK, 9))
    assert only(check(tmp_path)) == "error blank.png: every pixel is 9: there is nothing to see"


def test_non_finite_pixels(tmp_path: Path) -> None:
    for name in "abc":
        image = RNG.normal(size=MASK.shape).astype(np.float32)
        if name == "b":
            image[0, :2] = np.nan, np.inf
        put(tmp_path, name, image)
    found = check(tmp_path)
    assert only(found).startswith("error b.tif: 2 pixels are not finite")
    assert all(np.isfinite([row.low, row.high]).all() for row in found.summary.rows)


def test_not_annotated(tmp_path: Path) -> None:
    half = MASK.copy()
    half[6:] = 255
    put(good(tmp_path, 2), "half", mask=half)
    put(tmp_path, "none", mask=np.full_like(MASK, 255))
    assert "--ignore 255" in check(tmp_path).problems[0].remedy
    found = check(tmp_path, ignore=255)
    assert only(found) == "warning none.png: every pixel is 255, not annotated: it teaches nothing"
    assert found.summary.share_ignored == pytest.approx((0.5 + 1) / 4)
    assert found.summary.class_shares[1] == pytest.approx(3 * 18 / (2.5 * 192))


def test_an_ignore_value_that_no_mask_holds(tmp_path: Path) -> None:
    assert "no mask holds the value 9" in only(check(good(tmp_path), ignore=9))


def test_a_copy_is_found(tmp_path: Path) -> None:
    image = picture()
    put(good(tmp_path), "one", image)
    put(tmp_path, "two", image)
    assert only(check(tmp_path)) == "warning two.png: it has the same pixels as one.png"


def test_8_and_16_bit_mixed(tmp_path: Path) -> None:
    put(good(tmp_path), "deep", picture().astype(np.uint16) * 200)
    assert "3 x uint8 and 1 x uint16" in only(check(tmp_path))


def test_ranges_that_differ_within_one_type(tmp_path: Path) -> None:
    for name, factor in (("a", 1), ("b", 1), ("c", 200)):
        put(tmp_path, name, picture().astype(np.uint16) * factor)
    assert only(check(tmp_path)).startswith("warning ")


def test_objects_are_announced(tmp_path: Path) -> None:
    for name, number in (("a", 7), ("b", 9)):
        ids = np.zeros(MASK.shape, np.uint16)
        ids[2, 1 : 2 * number : 2] = np.arange(1, number + 1)[: len(ids[2, 1 : 2 * number : 2])]
        put(tmp_path, name, mask=ids)
    found = check(tmp_path)
    assert found.legend is not None and found.legend.kind == "instances"
    assert not found.problems
    assert (found.summary.objects, found.summary.touching) == (15, 15)  # a line of one pixel between them
    assert found.summary.class_shares[1] == pytest.approx((7 + 8) / (2 * 192))


def test_one_error_is_raised_and_the_others_are_counted(tmp_path: Path) -> None:
    put(good(tmp_path), "blank", np.full_like(MASK, 9))
    with pytest.raises(DataError, match=r"blank\.png: every pixel is 9.*; export it again$"):
        check(tmp_path).raise_errors()
    put(tmp_path, "blank2", np.full_like(MASK, 8))
    put(tmp_path, "rgb", picture(12, 16, 3))
    with pytest.raises(DataError, match=r"\(and 2 more: `useg check .*` lists them\)$") as caught:
        check(tmp_path).raise_errors()
    assert "\n" not in str(caught.value)


def test_progress_and_no_pairs(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    check_pairs(find_pairs(good(tmp_path)), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(DataError, match="no pair"):
        check_pairs([])


def test_errors_come_before_warnings(tmp_path: Path) -> None:
    image = picture()
    put(good(tmp_path), "copy1", image)
    put(tmp_path, "copy2", image)
    put(tmp_path, "empty", mask=np.zeros_like(MASK))
    put(tmp_path, "zblank", np.full_like(MASK, 9))
    put(tmp_path, "zsmall", mask=MASK[:10])
    assert [p.severity for p in check(tmp_path).problems] == ["error"] * 2 + ["warning"] * 2


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "ignore", "kind", "classes"),
    [
        ("camvid-12class", None, "classes", 12),
        ("camvid-12class", 11, "classes", 11),
        ("ctc-phc-c2dh-u373", None, "instances", 2),
        ("ctc-dic-c2dh-hela", None, "instances", 2),
    ],
)
def test_real_masks_are_understood(real_data: Path, name: str, ignore: int | None, kind: str, classes: int) -> None:
    found = check(real_data / name / "train", ignore)
    assert found.errors == [] and found.legend is not None
    assert (found.legend.kind, found.legend.classes) == (kind, classes)
