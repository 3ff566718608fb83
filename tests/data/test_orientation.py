"""What stands upright is found to, what does not is not, and few images make no bold claims."""

import dataclasses
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from useg.data import orientation
from useg.data.orientation import Symmetries, find_symmetries
from useg.errors import DataError

Image = np.ndarray[Any, Any]


def texture(seed: int, size: tuple[int, int] = (200, 200), sigma: tuple[float, float] = (3, 3)) -> Image:
    """Blurred noise: isotropic unless the blur is not."""
    noise = np.random.default_rng(seed).normal(size=size)
    blurred = ndimage.gaussian_filter(noise, sigma, mode="wrap")
    scaled: Image = (blurred / blurred.std())[None].astype(np.float32)
    return scaled


def layers(seed: int, size: tuple[int, int] = (200, 260)) -> Image:
    """A bright layer above a broad dim one, at a depth and slant of its own, in noise: a retina, roughly."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]] / size[0]
    y = y - random.uniform(0.3, 0.5) - random.uniform(-0.1, 0.1) * x
    shape = np.exp(-((y / 0.03) ** 2)) + 0.5 * np.exp(-(((y - 0.18) / 0.1) ** 2))
    noisy: Image = (shape + random.normal(0, 0.1, size))[None].astype(np.float32)
    return noisy


def scene(seed: int, size: tuple[int, int] = (150, 220)) -> tuple[Image, Image]:
    """A sky, houses of many sizes and a road, in colour as uint8; with their classes 0, 1, 2."""
    random = np.random.default_rng(seed)
    label = np.zeros(size, np.int64)
    horizon = int(size[0] * random.uniform(0.55, 0.7))
    for _ in range(12):
        left, height = random.integers(0, size[1]), random.integers(20, 90)
        label[max(0, horizon - height) : horizon, left : left + random.integers(10, 50)] = 1
    label[horizon:] = 2
    gray = np.array([0.9, 0.5, 0.35])[label] + random.normal(0, 1, size) * np.array([0.01, 0.12, 0.05])[label]
    tint = np.array([0.9, 1.0, 1.1])[:, None, None]
    return (gray[None] * tint * 220).clip(0, 255).astype(np.uint8), label


def kind(found: Symmetries) -> tuple[bool, bool, bool, float]:
    return found.mirror_x, found.mirror_y, found.transpose, found.turn


FREE = (True, True, True, 180.0)
UPRIGHT = (True, False, False, 15.0)
SIDEWAYS = (False, True, False, 15.0)
MIRRORED = (True, True, False, 15.0)


@pytest.mark.parametrize("n", [2, 5, 12])
def test_isotropic_texture_has_every_symmetry(n: int) -> None:
    found = find_symmetries([texture(i) for i in range(n)])
    assert kind(found) == FREE
    assert found.certain
    assert abs(found.order_y) < 0.15
    assert abs(found.order_x) < 0.15
    assert abs(found.anisotropy) < 0.1


@pytest.mark.parametrize("n", [1, 2, 6])
def test_layers_have_a_top(n: int) -> None:
    found = find_symmetries([layers(i) for i in range(n)])
    assert kind(found) == UPRIGHT
    assert found.certain
    assert found.order_y > 0.4


@pytest.mark.parametrize("n", [3, 8])
def test_scenes_have_a_sky(n: int) -> None:
    images, labels = zip(*(scene(i) for i in range(n)), strict=True)
    assert kind(find_symmetries(images)) == UPRIGHT
    assert kind(find_symmetries(images, labels)) == UPRIGHT


def test_a_quarter_turn_of_the_images_turns_the_answer() -> None:
    images = [layers(i) for i in range(6)]
    upright, turned = find_symmetries(images), find_symmetries([a.transpose(0, 2, 1) for a in images])
    assert kind(turned) == SIDEWAYS
    assert turned.order_x == pytest.approx(upright.order_y, abs=1e-6)
    assert turned.anisotropy == pytest.approx(-upright.anisotropy, abs=1e-6)


def test_layers_scanned_from_either_side_have_no_top() -> None:
    images = [layers(i)[:, :: 1 if i % 2 else -1] for i in range(12)]
    found = find_symmetries(images)
    assert found.order_y + found.order_y_error < 0.3
    assert kind(found) == MIRRORED  # the layers still lie, so quarter turns are not natural


def test_classes_tell_what_brightness_does_not() -> None:
    labels = [scene(i)[1] for i in range(6)]
    images = [texture(i, labels[i].shape) for i in range(6)]
    assert kind(find_symmetries(images)) == FREE
    assert not find_symmetries(images, labels).mirror_y


def test_numbered_objects_are_not_classes() -> None:
    images = [texture(i) for i in range(4)]
    ids = [np.arange(200 * 200).reshape(200, 200) // 400 for _ in range(4)]
    assert find_symmetries(images, ids) == find_symmetries(images)


def test_unannotated_pixels_are_not_a_class() -> None:
    labels = [np.where(np.arange(200)[:, None] < 100, 255, 0) * np.ones((1, 200), int) for _ in range(4)]
    half = [np.zeros((200, 200), int) for _ in range(4)]
    assert orientation._classes(labels) == orientation._classes(half) == [0]


def test_frames_of_one_film_are_not_upright_for_sharing_a_place() -> None:
    """Cells that hardly move: equal strips agree in all frames, and only a flip would disturb that."""
    random = np.random.default_rng(5)
    place = ndimage.gaussian_filter(random.normal(size=(256, 256)), 6, mode="wrap")
    film = [(place / place.std() + random.normal(0, 0.3, place.shape))[None] for _ in range(20)]
    assert kind(find_symmetries(film)) == FREE


def test_grain_along_one_axis_forbids_quarter_turns_only() -> None:
    found = find_symmetries([texture(i, sigma=(1.5, 6)) for i in range(6)])
    assert kind(found) == MIRRORED
    assert found.anisotropy > 0.4
    assert "one axis" in found.reason


def test_a_round_field_of_view_is_mirrored_and_turned_a_little() -> None:
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    disc = x**2 + y**2 < 0.95
    found = find_symmetries([np.where(disc, 5 + texture(i), 0) for i in range(5)])
    assert kind(found) == MIRRORED
    assert found.frame > 0.8
    assert "field of view" in found.reason


def test_one_image_that_does_not_tell_is_kept_upright() -> None:
    """A single edge across half of the image: neither all strips agree, nor do they all disagree."""
    image = np.zeros((1, 128, 128))
    image[:, :50, :70] = 1
    found = find_symmetries([image + 0.05 * texture(0, (128, 128))])
    assert kind(found) == UPRIGHT
    assert not found.certain
    assert "unknown" in found.reason


@pytest.mark.parametrize("seed", range(6))
def test_one_image_of_fine_texture_may_be_free_but_never_sideways(seed: int) -> None:
    found = find_symmetries([texture(seed, (256, 256))])
    assert found.mirror_x
    assert kind(found) in (FREE, UPRIGHT)


def test_constant_images_tell_nothing() -> None:
    found = find_symmetries([np.full((3, 40, 50), 7, np.uint8), np.zeros((1, 30, 30))])
    assert kind(found) == UPRIGHT
    assert not found.certain
    assert found.images == 0
    images = [layers(i) for i in range(4)]
    assert kind(find_symmetries([*images, np.zeros((1, 9, 9), np.float32)])) == UPRIGHT


def test_sizes_types_and_channels_may_differ() -> None:
    a, b, c = layers(0, (90, 400)), layers(1, (1200, 700)), layers(2, (64, 64))
    images: list[Image] = [
        (a * 9000 + 9000).clip(0, 65535).astype(np.uint16),
        np.repeat(b, 3, axis=0).astype(np.float64),
        c,
    ]
    assert kind(find_symmetries(images)) == UPRIGHT


def test_pixels_that_are_not_numbers_are_passed_over() -> None:
    images = [layers(i) for i in range(5)]
    for image in images:
        image[:, :20, :30] = np.nan
    assert kind(find_symmetries(images)) == UPRIGHT
    assert find_symmetries([np.full((1, 20, 20), np.nan)]).images == 0


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 4),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_any_images_give_a_group(seed: int, n: int, height: int, width: int, scale: float) -> None:
    """Two of left-right, upside-down and quarter turn make the third, so an answer must be consistent."""
    random = np.random.default_rng(seed)
    found = find_symmetries([random.exponential(scale, (2, height, width)) for _ in range(n)])
    assert found.transpose <= (found.mirror_x and found.mirror_y)
    assert found.turn == (180 if found.transpose else 15)
    assert found.mirror_x or found.mirror_y or found.certain
    assert found.reason
    assert "\n" not in found.reason


def test_brightness_and_contrast_do_not_matter() -> None:
    images = [layers(i) for i in range(4)]
    first, second = find_symmetries(images), find_symmetries([a * 40 + 1000 for a in images])
    for field in dataclasses.fields(Symmetries):
        one, two = getattr(first, field.name), getattr(second, field.name)
        assert one == (pytest.approx(two, abs=0.02) if isinstance(two, float) else two)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ([], None, "no images"),
        ([np.zeros((4, 4))], None, r"image 0 has shape \(4, 4\)"),
        ([np.zeros((1, 0, 4))], None, "no size of 0"),
        ([np.zeros((1, 4, 4))], [], "1 images but 0 label"),
        ([np.zeros((1, 4, 4))], [np.zeros((4, 5), int)], r"\(4, 5\), its image \(4, 4\)"),
    ],
)
def test_bad_input_is_named(images: list[Image], labels: list[Image] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_symmetries(images, labels)


REAL = {
    "isbi2012-em": FREE,
    "oct-dme": UPRIGHT,
    "ctc-phc-c2dh-u373": FREE,
    "ctc-dic-c2dh-hela": FREE,
    "nuclei-dsb2018": FREE,
    "retina-drive": MIRRORED,
    "camvid-12class": UPRIGHT,
}


def read_set(folder: Path) -> list[Image]:
    files = sorted((folder / "train" / "images").iterdir())
    arrays = [iio.imread(file) for file in files[:: max(1, len(files) // 16)]]
    return [np.moveaxis(a[..., :3], -1, 0) if a.ndim == 3 else a[None] for a in arrays]


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_real_sets(real_data: Path, name: str) -> None:
    images = read_set(real_data / name)
    whole = find_symmetries(images)
    assert kind(whole) == REAL[name]
    assert whole.certain
    for few in (images[:5], images[::5][:2], images[:1], images[-1:]):
        # Fewer images may only make the answer more careful: a symmetry that is not there is never claimed.
        found = find_symmetries(few)
        assert found.mirror_x
        assert found.mirror_y <= REAL[name][1]
        assert found.transpose <= REAL[name][2]
        assert len(few) < 5 or not found.certain or kind(found) == REAL[name]
