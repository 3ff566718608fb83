"""Images that are unlike those of the training, and those scaled to their pixel size."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.transform import resize as skimage_resize

from useg.data.dataset import Example
from useg.data.spacing import resize
from useg.images.windows import windows_of
from useg.inputs import describe_input, detail, glance, size_as_in_training, unlike_training
from useg.unet.model import InputSeen


def seen_by(**changes: object) -> InputSeen:
    fields: dict[str, object] = {"dtype": "uint8", "low": [10.0], "high": [100.0], "spacing": [0.5, 0.5]}
    return InputSeen.model_validate(fields | changes)


def told(seen: InputSeen, image: np.ndarray, *size: object) -> list[str]:
    return unlike_training(seen, glance(windows_of(image)), *size)  # type: ignore[arg-type]


def gray(low: int, high: int, dtype: str = "uint8") -> np.ndarray:
    return np.linspace(low, high, 400).reshape(1, 20, 20).astype(dtype)


def test_an_image_like_those_of_the_training_gives_no_warning() -> None:
    assert told(seen_by(), gray(0, 150), [0.5, 0.52]) == []
    assert told(seen_by(spacing=None), gray(20, 90), [7.0, 7.0]) == []
    assert told(seen_by(), gray(20, 90), None) == []


@pytest.mark.parametrize(
    ("image", "spacing", "says"),
    [
        (gray(20, 90, "uint16"), None, "its pixels are uint16, those of the training images uint8"),
        (gray(20, 255), None, "its gray values go from"),
        (gray(50, 50), None, "it is constant"),
        (gray(20, 90), [0.5, 0.7], "its pixel size is 0.5 x 0.7, that of the training images 0.5 x 0.5"),
        (gray(20, 90), [0.2, 0.2], "its pixel size"),
    ],
)
def test_an_image_that_is_unlike_them_gives_one(image: np.ndarray, spacing: list[float] | None, says: str) -> None:
    (warning,) = told(seen_by(), image, spacing)
    assert says in warning


def test_pixels_that_are_not_finite_are_told() -> None:
    image = gray(20, 90, "float32")
    image[0, 3, 4] = np.nan
    image[0, 5, 6] = np.inf
    (warning,) = told(seen_by(dtype="float32"), image)
    assert "not finite" in warning


def test_the_channel_of_a_warning_is_named() -> None:
    seen = InputSeen(dtype="uint8", low=[0, 0], high=[100, 100])
    (warning,) = told(seen, np.concatenate([gray(0, 100), gray(0, 250)]))
    assert "in channel 1 go from" in warning


def cells(seed: int, blur: float = 1.0, noise: float = 5.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    blobs = gaussian_filter(rng.random((256, 256)) > 0.995, 4) * 2000
    return (gaussian_filter(blobs + rng.normal(0, 20, blobs.shape), blur) + rng.normal(0, noise, blobs.shape))[None]


def examples(count: int = 3) -> list[Example]:
    return [Example(str(i), cells(i), np.zeros((256, 256), np.uint8), (0.5, 0.5), unit="µm") for i in range(count)]


@pytest.mark.parametrize("factor", [0.1, 1.0, 30.0])
def test_detail_does_not_depend_on_contrast(factor: float) -> None:
    found, scaled = detail(cells(0)), detail(factor * cells(0) + 7)
    assert found is not None
    assert scaled == pytest.approx(found, rel=1e-3)


def test_blur_takes_detail_and_noise_gives_it() -> None:
    values = [detail(cells(0, blur, noise)) for blur, noise in ((4, 0), (1, 0), (1, 50))]
    assert None not in values
    assert values == sorted(values)  # type: ignore[type-var]
    assert detail(np.random.default_rng(0).normal(size=(1, 300, 300))) == pytest.approx(3**0.5, abs=0.02)
    assert detail(np.zeros((1, 9, 9))) is None
    assert detail(np.zeros((1, 9, 1))) is None


def test_blurred_images_are_told() -> None:
    seen = describe_input(examples())
    assert (seen.spacing, seen.unit) == ([0.5, 0.5], "µm")
    assert told(seen, cells(9)) == []
    (blurred,) = told(seen, gaussian_filter(cells(9), (0, 3, 3)))
    assert "blurred" in blurred


@given(st.tuples(st.floats(0.1, 3), st.floats(0.1, 3)), st.tuples(st.integers(1, 900), st.integers(1, 900)))
def test_images_are_scaled_to_the_pixels_of_the_training(spacing: tuple[float, float], size: tuple[int, int]) -> None:
    seen = seen_by(unit="µm")
    found = size_as_in_training(seen, size, spacing, "µm")
    if all(1 / 1.1 <= s / 0.5 <= 1.1 for s in spacing):
        assert found == size
    else:
        assert all(abs(n - max(1, m * s / 0.5)) <= 0.5 + 1e-9 for n, m, s in zip(found, size, spacing, strict=True))
    # Nothing is assumed of a unit that was not told, or is another.
    assert size_as_in_training(seen, size, spacing, None) == size
    assert size_as_in_training(seen, size, spacing, "mm") == size
    assert size_as_in_training(seen_by(), size, spacing, "µm") == size


def test_pixels_beyond_comparison_are_left() -> None:
    assert size_as_in_training(seen_by(unit="µm"), (90, 90), (5.0, 5.0), "µm") == (90, 90)
    (warning,) = told(seen_by(unit="µm"), gray(20, 90), (5.0, 5.0), "µm")
    assert "will not be as learned" in warning


def test_resized_images_keep_their_gray_values() -> None:
    image = gray(20, 90, "uint16")
    for size in ((40, 40), (7, 13), (20, 20)):
        found = resize(image, size)
        assert found.shape == (1, *size)
        assert 19.9 <= found.min() <= found.max() <= 90.1
    np.testing.assert_allclose(resize(image, (20, 20)), image)


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=2, max_size=3), st.integers(0, 9))
def test_images_are_resized_as_scikit_image_does_it(sizes: list[tuple[int, int]], seed: int) -> None:
    before, after = zip(*sizes, strict=True)
    image = np.random.default_rng(seed).normal(size=(2, *before)).astype(np.float32)
    expected = skimage_resize(image, (2, *after), order=1, mode="edge", preserve_range=True)
    np.testing.assert_array_equal(resize(image, after), expected)


def test_any_type_that_training_saw_is_no_surprise() -> None:
    kinds = ("uint8", "float32", "uint8")
    train = [replace(e, image=e.image.clip(0).astype(kind)) for e, kind in zip(examples(), kinds, strict=True)]
    seen = describe_input(train)
    assert (seen.dtype, seen.dtypes) == ("uint8", ["float32", "uint8"])
    assert not any("its pixels are" in said for e in train for said in told(seen, e.image))
    assert any(
        "uint16, those of the training images float32 or uint8" in w for w in told(seen, cells(0).clip(0).astype("u2"))
    )
