"""Augmentation: where pixels come from, that labels follow the image, and what is left as it was."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from useg.data.augment import (
    NO_AUGMENTATION,
    AugmentSettings,
    fold,
    resample_image,
    resample_labels,
    vary_gray_values,
    warp_field,
)
from useg.labels import IGNORE
from useg.unet.geometry import mirror

few = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32)


def field_of(seed: int, centre: tuple[float, float], shape: tuple[int, int], **changes: object) -> np.ndarray:
    """A warp with nothing in it but `changes`."""
    chosen = AugmentSettings.model_validate(NO_AUGMENTATION.model_dump() | changes)
    return warp_field(np.random.default_rng(seed), centre, shape, chosen)


@few
@given(top=st.integers(-9, 20), left=st.integers(-9, 20), height=st.integers(1, 12), width=st.integers(1, 12))
def test_without_augmentation_it_is_the_crop_mirrored_at_the_border(
    top: int, left: int, height: int, width: int
) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 60_000, (2, 14, 11)).astype(np.uint16)
    labels = rng.integers(0, 4, (14, 11)).astype(np.uint8)
    centre = (top + (height - 1) / 2, left + (width - 1) / 2)
    field = field_of(1, centre, (height, width))
    rows, columns = mirror(np.arange(top, top + height), 14), mirror(np.arange(left, left + width), 11)
    crop = resample_image(image, fold(field, image.shape[1:]))
    assert crop.dtype == np.float32
    np.testing.assert_allclose(crop, image[:, rows][:, :, columns], atol=0.1)
    np.testing.assert_array_equal(resample_labels(labels, fold(field, labels.shape)), labels[rows][:, columns])


def test_without_augmentation_gray_values_stay() -> None:
    image = np.random.default_rng(0).normal(size=(2, 9, 9)).astype(np.float32)
    before = image.copy()
    np.testing.assert_array_equal(vary_gray_values(np.random.default_rng(1), image, NO_AUGMENTATION), before)


@few
@given(seed=seeds, values=st.sets(st.sampled_from([0, 1, 2, 7, 254, IGNORE]), min_size=1))
def test_labels_only_take_values_that_exist(seed: int, values: set[int]) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(sorted(values), (20, 24)).astype(np.uint8)
    warped = resample_labels(labels, fold(warp_field(rng, (10.0, 12.0), (30, 26), AugmentSettings()), labels.shape))
    assert set(np.unique(warped).tolist()) <= values


@few
@given(seed=seeds)
def test_image_and_labels_move_together(seed: int) -> None:
    """A label image warped as an image: the nearest of four pixels has at least a quarter of the bilinear weight."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((24, 20)) < 0.5).astype(np.uint8)
    field = warp_field(rng, (12.0, 10.0), (28, 28), AugmentSettings())
    as_image = resample_image(labels[None], fold(field, labels.shape))[0]
    as_labels = resample_labels(labels, fold(field, labels.shape))
    assert as_image[as_labels == 1].min(initial=1) >= 0.25 - 1e-4
    assert as_image[as_labels == 0].max(initial=0) <= 0.75 + 1e-4


@few
@given(seed=seeds)
def test_the_field_says_where_pixels_come_from(seed: int) -> None:
    """An image that holds its own coordinates gives the field back, mirrored at the border."""
    image = np.stack(np.meshgrid(np.arange(30.0), np.arange(40.0), indexing="ij")).astype(np.float32)
    field = warp_field(np.random.default_rng(seed), (14.2, 20.7), (16, 18), AugmentSettings())
    found = resample_image(image, fold(field, image.shape[1:]))
    for axis, size in enumerate((30, 40)):
        folded = np.abs(field[axis].astype(float)) % (2 * size - 2)
        np.testing.assert_allclose(found[axis], np.minimum(folded, 2 * size - 2 - folded), atol=1e-3)


@pytest.mark.parametrize("grid", [2, 3, 5])
def test_elastic_displacements_have_the_asked_deviation_at_the_grid_points(grid: int) -> None:
    edge, sd = 16 * (grid - 1) + 1, 10.0
    plain = field_of(0, (0.0, 0.0), (edge, edge))
    at_points = np.stack(
        [
            (field_of(seed, (0.0, 0.0), (edge, edge), elastic_sd=sd, elastic_grid=grid) - plain)[:, ::16, ::16]
            for seed in range(600)
        ]
    )
    assert at_points.shape[1:] == (2, grid, grid)
    # 600 draws: the deviation of each point is known to about 3 %.
    np.testing.assert_allclose(at_points.std(0), sd, rtol=0.15)
    np.testing.assert_allclose(at_points.std(), sd, rtol=0.03)
    np.testing.assert_allclose(at_points.mean(0), 0, atol=5 * sd / np.sqrt(600))
    # Points and axes are drawn apart from each other.
    correlation = np.corrcoef(at_points.reshape(600, -1).T) - np.eye(2 * grid**2)
    assert np.abs(correlation).max() < 0.25


def test_elastic_deformation_is_smooth() -> None:
    plain = field_of(0, (0.0, 0.0), (65, 65))
    moved = field_of(3, (0.0, 0.0), (65, 65), elastic_sd=10.0) - plain
    assert np.abs(moved).max() > 5
    # Bicubic between points 32 pixels apart: no jump and no kink.
    assert np.abs(np.diff(moved, axis=1)).max() < 3
    assert np.abs(np.diff(moved, 2, axis=2)).max() < 0.3


@few
@given(seed=seeds, rotate=st.floats(0, 180), scale=st.floats(0, 0.5))
def test_without_elasticity_the_warp_keeps_angles(seed: int, rotate: float, scale: float) -> None:
    field = field_of(seed, (5.0, 7.0), (9, 11), rotate=rotate, scale=scale, mirror_x=True, transpose=True).astype(float)
    down, right = field[:, 1, 0] - field[:, 0, 0], field[:, 0, 1] - field[:, 0, 0]
    assert np.hypot(*down) == pytest.approx(np.hypot(*right), rel=1e-3)
    assert down @ right == pytest.approx(0, abs=1e-2 * np.hypot(*down) ** 2)
    np.testing.assert_allclose(field[:, 4, 5], (5, 7), atol=1e-4)
    if scale == 0:
        assert np.hypot(*down) == pytest.approx(1, rel=1e-3)


@few
@given(seed=seeds, rotate=st.floats(0, 90))
def test_rotation_stays_within_its_limit(seed: int, rotate: float) -> None:
    down = np.diff(field_of(seed, (0.0, 0.0), (2, 2), rotate=rotate)[:, :, 0], axis=1)[:, 0]
    assert np.degrees(np.arctan2(abs(down[1]), down[0])) <= rotate + 1e-3


def orientations(**changes: object) -> set[bytes]:
    """The different pictures that many draws make of one that has no symmetry."""
    image = np.arange(9, dtype=np.uint8).reshape(3, 3)
    return {
        resample_labels(image, fold(field_of(seed, (1.0, 1.0), (3, 3), **changes), image.shape)).tobytes()
        for seed in range(80)
    }


def test_flips_and_turns() -> None:
    image = np.arange(9, dtype=np.uint8).reshape(3, 3)
    assert orientations() == {image.tobytes()}
    assert orientations(mirror_x=True) == {image.tobytes(), image[:, ::-1].tobytes()}
    assert orientations(mirror_y=True) == {image.tobytes(), image[::-1].tobytes()}
    assert orientations(transpose=True) == {image.tobytes(), image.T.tobytes()}
    all_eight = {np.rot90(picture, k).tobytes() for picture in (image, image.T) for k in range(4)}
    assert orientations(mirror_x=True, mirror_y=True, transpose=True) == all_eight


@few
@given(seed=seeds)
def test_the_same_draw_gives_the_same_gray_values(seed: int) -> None:
    image = np.random.default_rng(0).normal(size=(2, 8, 8)).astype(np.float32)
    first, second = (vary_gray_values(np.random.default_rng(seed), image, AugmentSettings()) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.float32
    assert first.shape == image.shape
    assert np.isfinite(first).all()


def varied(seed: int, image: np.ndarray, **changes: object) -> np.ndarray:
    chosen = AugmentSettings.model_validate(NO_AUGMENTATION.model_dump() | changes)
    return vary_gray_values(np.random.default_rng(seed), image, chosen)


def test_each_variation_does_what_its_name_says() -> None:
    image = np.random.default_rng(0).normal(size=(1, 32, 32)).astype(np.float32)
    factor, offset, exponent, noise = [], [], [], []
    for seed in range(300):
        factor.append(np.log(varied(seed, image, contrast=0.2).std() / image.std()))
        offset.append((varied(seed, image, brightness=0.3) - image).mean())
        gamma = varied(seed, image, gamma=0.2)
        # Gamma keeps the darkest and the brightest value; the exponent shows at any other.
        assert gamma.min() == pytest.approx(image.min(), abs=1e-4)
        assert gamma.max() == pytest.approx(image.max(), abs=1e-4)
        low, span = image.min(), image.max() - image.min()
        exponent.append(np.log(np.log((gamma[0, 3, 3] - low) / span) / np.log((image[0, 3, 3] - low) / span)))
        noise.append((varied(seed, image, noise=0.5) - image).std())
    assert np.std(factor) == pytest.approx(0.2, rel=0.2)
    assert np.std(offset) == pytest.approx(0.3, rel=0.2)
    assert np.std(exponent) == pytest.approx(0.2, rel=0.2)
    assert 0.4 < max(noise) < 0.55
    assert min(noise) < 0.05


def test_a_fifth_of_the_samples_is_blurred() -> None:
    image = np.random.default_rng(0).normal(size=(2, 32, 32)).astype(np.float32)
    image[1] = 1
    results = [varied(seed, image, blur=2.0) for seed in range(400)]
    blurred = [r for r in results if not np.array_equal(r, image)]
    assert 0.13 < len(blurred) / len(results) < 0.27
    assert all(r[0].std() <= image[0].std() for r in blurred)
    # Channels do not run into each other.
    assert all(np.allclose(r[1], 1) for r in blurred)


def test_a_constant_image_stays_finite() -> None:
    image = np.zeros((1, 5, 5), np.float32)
    for seed in range(50):
        assert np.isfinite(vary_gray_values(np.random.default_rng(seed), image, AugmentSettings())).all()


def test_the_work_is_as_large_as_the_crop() -> None:
    """A small crop of a large image (a view, as a part of an image is) takes no memory in the size of the image."""
    image = np.zeros((1, 4000, 3000), np.uint8)[:, :, ::2]
    field = warp_field(np.random.default_rng(0), (2000.0, 700.0), (32, 32), AugmentSettings())
    resample_image(image[:, :50, :50], fold(field, (50, 50)))  # loads what is loaded once
    tracemalloc.start()
    try:
        resample_image(image, fold(field, image.shape[1:]))
        resample_labels(image[0], fold(field, image.shape[1:]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < image.nbytes / 20


@few
@given(shape=st.tuples(st.integers(3, 12), st.integers(3, 12), st.integers(3, 12)), seed=st.integers(0, 99))
def test_without_augmentation_a_volume_is_cut_out(shape: tuple[int, int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    volume = rng.normal(size=(2, 14, 15, 16)).astype(np.float32)
    start = [int(rng.integers(0, n - m + 1)) for n, m in zip(volume.shape[1:], shape, strict=True)]
    centre = [s + (m - 1) / 2 for s, m in zip(start, shape, strict=True)]
    field = warp_field(rng, centre, shape, NO_AUGMENTATION)
    cut = tuple(slice(s, s + m) for s, m in zip(start, shape, strict=True))
    np.testing.assert_allclose(
        resample_image(volume, fold(field, volume.shape[1:])), volume[(slice(None), *cut)], atol=1e-5
    )
    labels = rng.integers(0, 5, volume.shape[1:]).astype(np.uint8)
    np.testing.assert_array_equal(resample_labels(labels, fold(field, labels.shape)), labels[cut])


@few
@given(seed=st.integers(0, 999), edge=st.floats(1, 6))
def test_turns_of_a_volume_keep_lengths_in_space(seed: int, edge: float) -> None:
    """However flat the voxels are, a turn moves points as a rigid body: neighbours stay as far apart as they were."""
    settings = NO_AUGMENTATION.model_copy(
        update={"rotate": 180.0, "tilt": 180.0, "mirror_z": True, "spacing": (edge, 1.0, 1.0)}
    )
    field = warp_field(np.random.default_rng(seed), (0.0, 0.0, 0.0), (4, 5, 6), settings)
    edges = np.array([edge, 1, 1], np.float32)
    for axis in range(3):
        moved = np.diff(field, axis=axis + 1) * edges[:, None, None, None]
        np.testing.assert_allclose(np.sqrt((moved**2).sum(0)), edges[axis], rtol=1e-4)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), depth=st.integers(1, 5), middle=st.floats(-2, 20))
def test_within_slices_each_slice_of_a_sample_is_one_of_the_volume(seed: int, depth: int, middle: float) -> None:
    chosen = AugmentSettings(within_slices=True, tilt=40, mirror_z=True, elastic_sd=8, scale=0.3)
    field = warp_field(np.random.default_rng(seed), [middle, 9.0, 9.0], (depth, 12, 14), chosen)
    slices = field[0].reshape(depth, -1)
    assert (slices == slices[:, :1]).all()  # nothing is bent out of them
    steps = np.diff(slices[:, 0])
    assert (steps == 1).all() or (steps == -1).all()
    assert abs(slices[:, 0].mean() - middle) <= 0.5 + 1e-3
