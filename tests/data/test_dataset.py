from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from useg.data.dataset import (
    Pair,
    find_pairs,
    find_partners,
    load_example,
    load_examples,
    natural_key,
    stem_of,
)
from useg.data.judge import Seen, legend_of, survey
from useg.data.legend import Legend, count_values, to_classes
from useg.errors import DataError, MissingError
from useg.images import write_labels
from useg.labels import IGNORE

HERE = Path("m.png")


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def make(folder: Path, *names: str, size: tuple[int, int] = (6, 8)) -> Path:
    for name in names:
        save(folder / "images" / f"{name}.png", np.arange(size[0] * size[1], dtype=np.uint8).reshape(size))
        save(folder / "masks" / f"{name}.png", np.eye(*size, dtype=np.uint8))
    return folder


def seen(name: str, counts: dict[int, int], bits: int = 8, whole: float = 0.0) -> Seen:
    return Seen(Path(name), bits, counts, whole)


# --- folders ---


def test_pairs_are_in_natural_order_and_other_files_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "img10", "img2", "img1")
    for other in (".hidden.png", "Thumbs.db", ".DS_Store", "notes.txt"):
        (tmp_path / "images" / other).write_bytes(b"x")
    assert [pair.name for pair in find_pairs(tmp_path)] == ["img1", "img2", "img10"]


def test_suffixes_may_differ_and_umlauts_may_be_composed_either_way(tmp_path: Path) -> None:
    grey = np.zeros((4, 4), np.uint8)
    image = save(tmp_path / "images" / "zo\u0308.tif", grey)
    mask = save(tmp_path / "masks" / "zö.png", grey)
    assert find_pairs(tmp_path) == [Pair("zö", image, mask)]


@pytest.mark.parametrize(
    ("name", "stem"), [("a.nii.gz", "a"), ("b.ome.tif", "b"), ("c.1.png", "c.1"), ("D.OME.TIFF", "D")]
)
def test_stem(name: str, stem: str) -> None:
    assert stem_of(Path(name)) == stem


@given(st.lists(st.text(alphabet="ab01 _é", max_size=8), unique=True), st.randoms())
def test_natural_order_does_not_depend_on_the_order_before(names: list[str], random: Random) -> None:
    shuffled = random.sample(names, len(names))
    assert sorted(shuffled, key=natural_key) == sorted(names, key=natural_key)


def test_natural_order_counts() -> None:
    numbers = [f"x{n}_y" for n in range(12)]
    assert sorted(numbers[6:] + numbers[:6], key=natural_key) == numbers


@pytest.mark.parametrize(("gone", "kind"), [("masks/b.png", "mask"), ("images/b.png", "image")])
def test_a_missing_partner_names_the_file_that_is_alone(tmp_path: Path, gone: str, kind: str) -> None:
    make(tmp_path, "a", "b")
    (tmp_path / gone).unlink()
    with pytest.raises(MissingError, match=rf"b\.png: there is no {kind} for it in .*; ") as caught:
        find_pairs(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_common_name_shows_one_of_each(tmp_path: Path) -> None:
    make(tmp_path, "a")
    (tmp_path / "masks" / "a.png").rename(tmp_path / "masks" / "b.png")
    with pytest.raises(MissingError, match=r"images/a\.png, masks/b\.png"):
        find_pairs(tmp_path)
    (tmp_path / "masks" / "b.png").rename(tmp_path / "masks" / "a_mask.png")
    assert [pair.name for pair in find_pairs(tmp_path)] == ["a"]


def test_two_files_of_one_stem(tmp_path: Path) -> None:
    make(tmp_path, "a")
    save(tmp_path / "images" / "a.tif", np.zeros((6, 8), np.uint8))
    with pytest.raises(DataError, match=r"a\.tif: a\.png has the same name; keep one"):
        find_pairs(tmp_path)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such folder"):
        find_pairs(tmp_path / "nowhere")
    (tmp_path / "images").mkdir()
    with pytest.raises(MissingError, match=r"masks: there is no such folder"):
        find_pairs(tmp_path)
    (tmp_path / "masks").mkdir()
    (tmp_path / "images" / "scan.h5").touch()
    with pytest.raises(DataError, match=r"no image that useg reads .*1 x \.h5"):
        find_pairs(tmp_path)


def test_partners(tmp_path: Path) -> None:
    pairs = find_pairs(make(tmp_path, "a", "b"))
    first = save(tmp_path / "fov" / "a.tif", np.ones((6, 8), np.uint8))
    with pytest.raises(MissingError, match=r"no region for b"):
        find_partners(tmp_path / "fov", [p.name for p in pairs], "region")
    second = save(tmp_path / "fov" / "b.png", np.ones((6, 8), np.uint8))
    save(tmp_path / "fov" / "other.png", np.ones((6, 8), np.uint8))
    assert find_partners(tmp_path / "fov", [p.name for p in pairs], "region") == {"a": first, "b": second}


# --- values ---


@given(st.lists(st.integers(-3, 300), min_size=1, max_size=40), st.sampled_from([np.int16, np.int32]))
def test_count_values_is_unique(values: list[int], dtype: type[np.signedinteger]) -> None:
    array = np.array(values, dtype)
    assert count_values(array) == dict(zip(*(a.tolist() for a in np.unique(array, return_counts=True)), strict=True))
    unsigned = (array + 3).astype(np.uint16)
    assert count_values(unsigned) == {value + 3: count for value, count in count_values(array).items()}


def test_survey_tells_ids_from_classes_by_their_pieces() -> None:
    ids = np.zeros((8, 8), np.uint16)
    ids[0, 0], ids[2:4, 2:4], ids[6, 6], ids[7, 5] = 1, 2, 3, 3  # the two pixels of 3 touch at a corner
    assert survey(ids, HERE) == Seen(HERE, 16, {0: 57, 1: 1, 2: 4, 3: 2}, 1.0)
    ids[0, 7] = 1  # now 1 is in two pieces
    assert survey(ids, HERE).whole == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("values", "ignore", "expected"),
    [
        ([0, 1], None, [0, 1]),
        ([0, 255], None, [0, 255]),
        (list(range(12)), None, list(range(12))),
        (list(range(12)), 11, list(range(11))),
        ([0, 128, 255], None, [0, 128, 255]),
        ([1, 2, 3], None, [1, 2, 3]),
        ([0, 1, 255], 255, [0, 1]),
        ([0, 1, 2, 3, 255], 255, [0, 1, 2, 3]),
        ([0, 65535], None, [0, 65535]),
        (list(range(64)), None, list(range(64))),
        ([-1, 0, 1], -1, [0, 1]),
    ],
)
def test_values_that_have_one_meaning(values: list[int], ignore: int | None, expected: list[int]) -> None:
    legend = legend_of([seen("a.png", dict.fromkeys(values, 100))], ignore)
    assert (legend.values, legend.ignore, legend.kind) == (expected, ignore, "classes")
    assert legend.classes == len(expected) == len(legend.names)


def test_a_class_may_be_missing_in_some_files() -> None:
    assert legend_of([seen("a", {0: 9, 2: 9}), seen("b", {0: 9, 1: 9, 3: 9})]).values == [0, 1, 2, 3]


@pytest.mark.parametrize("values", [[0, 1, 255], [0, 1, 2, 255]])
def test_255_beside_classes_is_ambiguous(values: list[int]) -> None:
    masks = [seen("a.png", {0: 9}), seen("b.png", dict.fromkeys(values, 100))]
    with pytest.raises(DataError, match=r"^b\.png: .*--ignore 255"):
        legend_of(masks)


def test_a_slip_of_the_brush_is_named_with_file_value_and_count() -> None:
    masks = [seen("a.png", {0: 50_000, 1: 9_000}), seen("b.png", {0: 50_000, 1: 9_000, 7: 12})]
    with pytest.raises(DataError, match=r"^b\.png: the value 7 stands in 12 pixels.*0, 1; .*--ignore 7"):
        legend_of(masks)
    masks = [seen("a.png", {0: 50_000, 255: 9_000}), seen("b.png", {0: 50_000, 1: 3, 255: 9_000})]
    with pytest.raises(DataError, match=r"^b\.png: the value 1 stands in 3 pixels"):
        legend_of(masks)


def test_ids_of_objects_are_recognised_even_where_they_count_0_to_7() -> None:
    frames = [seen(f"{n}", dict.fromkeys(range(n), 100), bits=16, whole=1.0) for n in (7, 8, 8)]
    legend = legend_of(frames)
    assert (legend.kind, legend.values, legend.names) == ("instances", [0, 1], ["background", "object"])
    assert legend_of(frames, kind="classes").values == list(range(8))
    in_pieces = [seen(s.path.name, s.counts, bits=16, whole=0.2) for s in frames]
    assert legend_of(in_pieces).kind == "classes"
    assert legend_of([seen("a", dict.fromkeys(range(0, 900, 3), 5), 16, 0.9)]).kind == "instances"


def test_a_jpeg_mask_is_neither() -> None:
    with pytest.raises(DataError, match=r"a\.jpg: the 256 values 0, 1 \.\.\. 255 are neither"):
        legend_of([seen("a.jpg", dict.fromkeys(range(256), 50), whole=0.1)])


def test_nothing_annotated() -> None:
    with pytest.raises(DataError, match=r"every pixel is 255, not annotated"):
        legend_of([seen("a.png", {255: 100})], 255)


@pytest.mark.parametrize(
    "wrong",
    [
        {"values": [0, 0], "names": ["a", "b"]},
        {"values": [0, 1], "names": ["a"]},
        {"values": [0, 1], "names": ["a", "b"], "ignore": 1},
        {"values": [0, 2], "names": ["a", "b"], "kind": "instances"},
        {"values": [0, 1], "names": ["a", "b"], "colour": "red"},
    ],
)
def test_a_legend_that_contradicts_itself(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Legend.model_validate(wrong)


BINARY, WHITE = Legend(values=[0, 1], names=["a", "b"]), Legend(values=[0, 255], names=["a", "b"])


@given(
    st.lists(st.integers(-1, 70_000), min_size=1, max_size=12, unique=True),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_to_classes_maps_value_k_to_k(values: list[int], seed: int, last_is_ignore: bool) -> None:
    last_is_ignore = last_is_ignore and len(values) > 1
    index = np.random.default_rng(seed).integers(0, len(values), (5, 6))
    known = values[:-1] if last_is_ignore else values
    legend = Legend(values=known, names=[str(v) for v in known], ignore=values[-1] if last_is_ignore else None)
    expected = np.where(last_is_ignore & (index == len(values) - 1), IGNORE, index)
    if known[0] == 0 and len(known) == 2:
        return  # two classes are read more generously, below
    np.testing.assert_array_equal(to_classes(np.array(values, np.int32)[index], legend, HERE), expected)
    if min(values) >= 0 and max(values) < 2**16:
        np.testing.assert_array_equal(to_classes(np.array(values, np.uint16)[index], legend, HERE), expected)


@pytest.mark.parametrize("legend", [BINARY, WHITE])
@pytest.mark.parametrize("white", [1, 255])
def test_two_classes_may_be_0_1_or_0_255(legend: Legend, white: int) -> None:
    mask = np.array([[0, white], [white, 0]], np.uint8)
    np.testing.assert_array_equal(to_classes(mask, legend, HERE), [[0, 1], [1, 0]])


def test_255_stays_not_annotated_where_the_legend_says_so() -> None:
    legend = Legend(values=[0, 1], names=["a", "b"], ignore=255)
    np.testing.assert_array_equal(to_classes(np.array([[0, 255]], np.uint8), legend, HERE), [[0, IGNORE]])
    np.testing.assert_array_equal(to_classes(np.array([[1, 255]], np.uint8), legend, HERE), [[1, IGNORE]])


@pytest.mark.parametrize(("values", "odd"), [([0, 1, 255], 255), ([0, 128], 128), ([0, 1, 7, 7], 7)])
def test_a_value_that_the_legend_does_not_know(values: list[int], odd: int) -> None:
    number = values.count(odd)
    with pytest.raises(DataError, match=rf"^m\.png: the value {odd} stands in {number} pixels"):
        to_classes(np.array([values], np.uint8), BINARY, HERE)


def test_ids_become_one_class() -> None:
    legend = Legend(values=[0, 1], names=["a", "b"], kind="instances", ignore=9)
    mask = np.array([[0, 300, 9, 1]], np.uint16)
    np.testing.assert_array_equal(to_classes(mask, legend, HERE), [[0, 1, IGNORE, 1]])


# --- pixels ---


def test_an_example_keeps_the_number_type_of_its_file(tmp_path: Path) -> None:
    grey = np.arange(12, dtype=np.uint16).reshape(3, 4) * 1000
    image = save(tmp_path / "images" / "a.png", grey)
    mask = save(tmp_path / "masks" / "a.png", (grey > 5000).astype(np.uint8) * 255)
    example = load_example(Pair("a", image, mask), WHITE)
    assert example.image.dtype == np.uint16 and example.labels.dtype == np.uint8
    np.testing.assert_array_equal(example.image[0], grey)
    np.testing.assert_array_equal(example.labels, grey > 5000)


def test_sizes_that_differ_are_both_told(tmp_path: Path) -> None:
    image = save(tmp_path / "images" / "a.png", np.zeros((3, 4), np.uint8))
    mask = save(tmp_path / "masks" / "a.png", np.zeros((4, 3), np.uint8))
    with pytest.raises(DataError, match=r"masks/a\.png: the mask is 4 x 3 .* its image 3 x 4 .*turn"):
        load_example(Pair("a", image, mask), BINARY)


def test_progress_is_told_after_each(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    pairs = find_pairs(make(tmp_path, "a", "b"))
    examples = load_examples(pairs, BINARY, lambda done, total: told.append((done, total)))
    assert [example.name for example in examples] == ["a", "b"]
    assert told == [(1, 2), (2, 2)]


def test_a_folder_of_dicom_slices_is_an_image(tmp_path: Path) -> None:
    for name in ("scan.1", "scan.2"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "0001").write_bytes(bytes(128) + b"DICM")
        write_labels(tmp_path / "masks" / f"{name}.nii.gz", np.zeros((2, 3, 4), int))
    (tmp_path / "images" / "notes").mkdir()
    found = find_pairs(tmp_path)
    assert [(pair.name, pair.image.is_dir()) for pair in found] == [("scan.1", True), ("scan.2", True)]
