from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from useg.data.dataset import Example
from useg.data.splits import Split, series_of, split
from useg.errors import DataError, SettingsError
from useg.images import files
from useg.labels import IGNORE


def example(name: str, *classes: int, size: tuple[int, int] = (4, 4)) -> Example:
    labels = np.resize(np.array(classes or (0, 1), np.uint8), size)
    return Example(name, np.zeros((1, *size), np.uint8), labels)


def names(part: list[Example]) -> list[str]:
    return [each.name for each in part]


OCT = [f"s{s:02}_b{b}" for s in (1, 2, 3, 5, 7, 9) for b in range(10, 65, 5)]
ISBI = [f"{n:02}" for n in range(30)]
DRIVE = [f"{n}_training" for n in range(21, 41)]
CAMVID = (
    [f"test_0001TP_{n:06}" for n in range(8640, 10300, 330)]
    + [f"test_Seq05VD_f{n:05}" for n in range(210, 3000, 330)]
    + [f"train_0001TP_{n:06}" for n in range(6690, 7700, 330)]
    + [f"train_0006R0_f{n:05}" for n in range(1020, 3000, 330)]
)
HASHES = ["00071198d059", "00ae65c1c663", "0402a81e7526", "1400420310c9", "d52958107d0b", "edd36ed822e7"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("s01_b10", ("s01", 10)),
        ("07", ("", 7)),
        ("21_training", ("", 21)),
        ("test_0001TP_008640", ("0001TP", 8640)),
        ("train_0001TP_006690", ("0001TP", 6690)),
        ("test_Seq05VD_f00540", ("Seq05VD", 540)),
        ("01_t002", ("01", 2)),
        ("img12", ("img", 12)),
        ("train_3", ("train", 3)),
        ("Ganglioneuroma", ("Ganglioneuroma", None)),
    ],
)
def test_series(name: str, expected: tuple[str, int | None]) -> None:
    assert series_of(name) == expected


def test_subjects_are_not_divided() -> None:
    found = split([example(name) for name in OCT])
    subjects = {name[:3] for name in names(found.validation)}
    assert len(subjects) == 1 and len(found.validation) == 11 and len(found.train) == 55
    assert f"subject {subjects.pop()} (11 of 66 images)" in found.reason
    assert "images of one subject resemble each other" in found.reason


def test_the_seed_chooses_among_equal_subjects() -> None:
    chosen = {split([example(n) for n in OCT], seed=seed).validation[0].name[:3] for seed in range(12)}
    assert len(chosen) > 1


def test_films_of_camvid_stay_whole_though_named_train_and_test() -> None:
    found = split([example(name) for name in CAMVID])
    films = [{series_of(name)[0] for name in names(part)} for part in (found.train, found.validation)]
    assert not films[0] & films[1] and films[1]


def test_the_group_that_holds_every_class_is_preferred() -> None:
    examples = [example(name, 0, *([1] if name[:3] in ("s03", "s07") else [])) for name in OCT]
    for seed in range(5):
        assert {name[:3] for name in names(split(examples, seed=seed).validation)} <= {"s03", "s07"}


def test_many_groups() -> None:
    found = split([example(f"p{p}_{n}") for p in range(40) for n in range(3)])
    assert 22 <= len(found.validation) <= 26
    assert not {n.split("_")[0] for n in names(found.train)} & {n.split("_")[0] for n in names(found.validation)}


def test_the_end_of_a_stack_with_a_gap() -> None:
    found = split([example(name) for name in reversed(ISBI)])
    assert names(found.validation) == ISBI[24:]
    assert names(found.train) == ISBI[:23]
    assert "24 ... 29 (6 of 30 images)" in found.reason and "23 beside them is left out" in found.reason


def test_one_numbered_series_with_words_behind() -> None:
    found = split([example(name) for name in DRIVE])
    assert names(found.validation) == DRIVE[16:] and names(found.train) == DRIVE[:15]


def test_two_series_give_the_end_of_each() -> None:
    found = split([example(f"{film}_t{n:03}") for film in ("01", "02") for n in range(0, 50, 5)])
    assert names(found.validation) == ["01_t040", "01_t045", "02_t040", "02_t045"]
    assert "01_t035" not in names(found.train) and len(found.train) == 14


def test_the_start_where_the_end_is_empty() -> None:
    found = split([example(name, 0, *([1] if name < "20" else [])) for name in ISBI])
    assert names(found.validation) == ISBI[:6] and names(found.train) == ISBI[7:]
    assert "the first images" in found.reason


def test_two_eyes_of_one_number_stay_together() -> None:
    found = split([example(f"eye{n}_{side}") for n in range(10) for side in ("left", "right")])
    assert names(found.validation) == ["eye8_left", "eye8_right", "eye9_left", "eye9_right"]
    assert not any(name.startswith("eye7") for name in names(found.train))


def test_random_images_with_the_rarest_class_on_both_sides() -> None:
    for seed in range(20):
        found = split([example(n, 0, *([1] if n in HASHES[:2] else [])) for n in HASHES], seed=seed)
        for part in (found.train, found.validation):
            assert sum(n in HASHES[:2] for n in names(part)) == 1
        assert "at random" in found.reason


def test_absent_classes_are_named() -> None:
    examples = [example(name, 0, 1, *([2] if name == "13" else [])) for name in ISBI]
    assert split(examples).reason.endswith("; validation holds no class 2")
    assert split(examples, names=["a", "b", "rust"]).reason.endswith("; validation holds no rust")


def test_few_images_are_cut() -> None:
    found = split([example("a", size=(500, 300)), example("b", size=(100, 200))])
    assert names(found.train) == ["a[rows 0-379]", "b[columns 0-143]"]
    assert names(found.validation) == ["a[rows 400-499]", "b[columns 160-199]"]
    assert "each of the 2 images" in found.reason


def test_parts_are_views_and_image_and_labels_stay_together() -> None:
    labels = np.arange(100 * 50, dtype=np.uint16).reshape(100, 50)
    whole = Example("a", labels[None], (labels % 200).astype(np.uint8))
    found = split([whole])
    for part in (found.train[0], found.validation[0]):
        assert part.image.base is not None and np.shares_memory(part.image, whole.image)
        assert np.shares_memory(part.labels, whole.labels)
        np.testing.assert_array_equal(part.image[0] % 200, part.labels)


@pytest.mark.parametrize("rows", [slice(0, 50), slice(50, 100)])
def test_the_end_with_foreground_is_chosen(rows: slice) -> None:
    labels = np.zeros((100, 60), np.uint8)
    labels[rows] = 1
    labels[rows.start + 10 : rows.stop - 10 : 2] = 0
    found = split([Example("a", np.zeros((1, 100, 60), np.uint8), labels)])
    assert found.validation[0].name == ("a[rows 0-19]" if rows.start == 0 else "a[rows 80-99]")
    assert all((part[0].labels == 1).any() for part in (found.train, found.validation))


def test_images_too_small_to_cut() -> None:
    found = split([example("a", size=(20, 20)), example("b", size=(20, 20))])
    assert (names(found.train), names(found.validation)) == (["a"], ["b"])
    with pytest.raises(DataError, match=r"a: the only image is 20 x 20 pixels"):
        split([example("a", size=(20, 20))])


@given(st.integers(0, 60), st.integers(4, 60))
def test_a_strip_holds_some_of_what_is_annotated(top: int, height: int) -> None:
    labels = np.full((120, 40), IGNORE, np.uint8)
    labels[top : top + height, 10:30] = np.tile([0, 1], (height, 10))
    found = split([Example("a", np.zeros((1, 120, 40), np.uint8), labels)])
    (held,), (rest,) = found.validation, found.train
    assert (rest.labels != IGNORE).any()
    if height >= 40:  # of less, the gap would leave little to learn from
        assert 0.1 <= (held.labels != IGNORE).sum() / (20 * height) <= 0.3
        assert {0, 1} <= set(np.unique(held.labels)) & set(np.unique(rest.labels))


def test_wrong_requests() -> None:
    with pytest.raises(DataError):
        split([])
    for share in (0.0, 1.0, -0.5):
        with pytest.raises(SettingsError, match=r"data\.share"):
            split([example("a")], share=share)


@given(st.integers(60, 400), st.integers(1, 400), st.floats(0.1, 0.4), st.integers(1, 4))
def test_strips_respect_gap_and_share(length: int, other: int, share: float, number: int) -> None:
    shape = (length, min(other, length - 1))
    labels = np.full(shape, IGNORE, np.uint8)
    position = np.broadcast_to(np.arange(length, dtype=np.uint16)[:, None], shape)
    found = split([Example(f"x{n}", position[None], labels) for n in range(number)], share=share)
    if "too small" in found.reason:
        return
    for train, validation in zip(found.train, found.validation, strict=True):
        learned, judged = train.image[0, :, 0].astype(int), validation.image[0, :, 0].astype(int)
        assert np.abs(learned[:, None] - judged[None]).min() > max(16, round(0.04 * length))
        assert abs(len(judged) - share * length) <= 0.5
        assert len(learned) + len(judged) + max(16, round(0.04 * length)) == length


NAME_SETS = st.one_of(
    st.sampled_from([OCT, ISBI, DRIVE, CAMVID, HASHES]),
    st.lists(st.from_regex(r"[a-c]?[0-3]?_?[tb]?[0-9]{1,2}", fullmatch=True), min_size=5, max_size=25, unique=True),
    st.lists(st.text(alphabet="ab1_", min_size=1, max_size=5), min_size=5, max_size=20, unique=True),
)


@settings(max_examples=60, deadline=None)
@given(NAME_SETS, st.floats(0.1, 0.4), st.integers(0, 2**32 - 1))
def test_any_names_give_two_sides(chosen: list[str], share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    examples = [example(name, *rng.integers(0, 4, rng.integers(1, 4)).tolist()) for name in chosen]
    found: Split = split(examples, share=share, seed=seed)
    train, validation = set(names(found.train)), set(names(found.validation))
    assert train and validation and not train & validation
    assert train | validation <= set(chosen)
    assert "\n" not in found.reason
    again = split(examples[::-1], share=share, seed=seed)
    assert (names(again.train), names(again.validation), again.reason) == (
        names(found.train),
        names(found.validation),
        found.reason,
    )
    if "at random" in found.reason:
        assert len(found.train) + len(found.validation) == len(chosen)
        assert abs(len(found.validation) - share * len(chosen)) <= 1.5


@pytest.mark.parametrize("count", [6, 14])
@pytest.mark.parametrize("step", [1, 7])
def test_numbered_volumes_are_a_series_where_neighbours_resemble_one_another(count: int, step: int) -> None:
    """Patients have numbers too; frames of a film change little by little."""
    rng, labels = np.random.default_rng(count), np.resize(np.array([0, 1], np.uint8), (3, 40, 40))

    def told(volumes: np.ndarray) -> str:
        return split([Example(f"v_{step * i:03}", image, labels) for i, image in enumerate(volumes)]).reason

    patients = [told(rng.normal(size=(count, 1, 3, 40, 40)).astype(np.float32)) for _ in range(10)]
    films = [told(rng.normal(size=(count, 1, 3, 40, 40)).cumsum(0).astype(np.float32)) for _ in range(10)]
    assert all("images of the series" in reason for reason in films)
    # One time in twenty strangers look like neighbours.
    assert sum("chosen at random, because neighbouring numbers resemble" in reason for reason in patients) >= 8


@pytest.mark.real
def test_patients_with_numbers_are_held_out_at_random(real_data: Path) -> None:
    folder = real_data / "mri-hippocampus-3d" / "train" / "images"
    images = [(path, files.read(path).array) for path in sorted(folder.iterdir())]
    found = split([Example(path.name[:-7], image, (image[0] > 50).astype(np.uint8)) for path, image in images])
    assert "3 of 14 images, chosen at random, because neighbouring numbers resemble" in found.reason
