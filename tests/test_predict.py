"""Overlap-tile prediction: the same with any tile, for any network and any image size."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from models import make_card, make_network
from useg.data.spacing import resize
from useg.errors import ImageError, MissingError, SettingsError
from useg.images.image import Image
from useg.metrics.uncertainty import entropy
from useg.predict import (
    BLOCK_PIXELS,
    Prediction,
    Predictor,
    PredictSettings,
    in_blocks,
    most_probable,
    run_tiles,
)
from useg.runner import WORKSPACE, TorchRunner, bytes_per_pixel
from useg.unet.geometry import plan_tiles
from useg.unet.model import InputSeen, ModelCard, save_model
from useg.unet.network import UNet
from useg.unet.normalise import NormaliseSettings, measure
from useg.unet.settings import UNetSettings, article_settings
from useg.views import symmetric_views

TOLERANCE = 1e-5
PLENTY = PredictSettings(device="cpu", precision="float32", max_memory=10**10)


def make_image(settings: UNetSettings, size: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(settings.in_channels, *size)).astype(np.float32)


class Counting:
    """A runner that notes the tiles it is given."""

    def __init__(self, network: UNet) -> None:
        self.inner = TorchRunner(network, "cpu", "float32")
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, tile: np.ndarray, keep: Sequence[slice]) -> np.ndarray:
        self.shapes.append(tile.shape[1:])
        return self.inner(tile, keep)


def by_hand(network: UNet, image: np.ndarray) -> np.ndarray:
    """What the whole image gives, with numpy's padding and one run of the network: shares no code with the tiles."""
    sizes = list(zip(network.settings.axes, image.shape[1:], strict=True))
    if network.settings.padding == "same":
        pads = [(g.context, g.fit_up(n + 2 * g.context) - n - g.context) for g, n in sizes]
        offsets = [0 for _ in sizes]
    else:
        offsets = [g.lead for g, _ in sizes]
        pads = [
            (g.margin + g.lead, g.fit_up(n + g.shrink + g.lead + g.trail) - n - g.margin - g.lead) for g, n in sizes
        ]
    padded = np.pad(image, [(0, 0), *pads], mode="reflect")
    with torch.no_grad():
        scores = network(torch.from_numpy(padded)[None]).softmax(1)[0].numpy()
    return scores[(slice(None), *(slice(start, start + n) for start, (_, n) in zip(offsets, sizes, strict=True)))]


@st.composite
def networks(draw: st.DrawFn, dims: int, depth: int) -> UNetSettings:
    """The paper's, the article's and the planned kinds, and whatever lies between them."""
    shared = {
        "in_channels": draw(st.integers(1, 2)),
        "classes": draw(st.integers(2, 3)),
        "dims": dims,
        "depth": draw(st.integers(0, depth)),
        "width": draw(st.integers(2, 3)),
    }
    kind = draw(
        st.sampled_from(["paper", "article", "planned", "patches", "any", *(["flat", "slices"] if dims == 3 else [])])
    )
    match kind:
        case "paper":
            return UNetSettings(**shared)
        case "article":
            return article_settings(**shared)
        case "planned":
            return UNetSettings(**shared, padding="same", norm="batch")
        case "patches":
            shared["depth"] = min(shared["depth"], 2 if dims == 2 else 1)
            return UNetSettings(**shared, padding="same", norm="batch", patch=2)
        case "flat":
            levels = shared["depth"]
            flat = draw(st.integers(0, levels))
            halved = draw(st.integers(0, levels - flat))
            padding = draw(st.sampled_from(["valid", "same"]))
            return UNetSettings(**shared, padding=padding, flat=(flat, 0, 0), pools=(halved, levels, levels))
        case "slices":
            padding, patch = draw(st.sampled_from(["valid", "same"])), draw(st.sampled_from([1, 2]))
            return UNetSettings(**shared, padding=padding, patch=patch, neighbours=draw(st.integers(0, 2)))
    return UNetSettings(
        **shared,
        padding=draw(st.sampled_from(["valid", "same"])),
        norm=draw(st.sampled_from(["none", "batch", "batch_after_relu"])),
        up_kernel=draw(st.sampled_from([2, 3])),
        head=draw(st.sampled_from(["1x1", "3x3"])),
    )


def tiled_and_whole(chosen: UNetSettings, size: list[int], largest: list[int], seed: int) -> None:
    network, image = make_network(chosen, seed).double(), make_image(chosen, tuple(size), seed)
    intensity, runner = measure(image, NormaliseSettings(kind="none")), TorchRunner(network, "cpu", "float32")

    def in_double(tile: np.ndarray, keep: Sequence[slice]) -> np.ndarray:
        """Random weights can give scores so large that the rounding of float32 alone is more than 1e-5."""
        return runner(tile.astype(np.float64), keep)

    tiles = plan_tiles(chosen.axes, size, largest)
    tiled = run_tiles(image, tiles, intensity, in_double, chosen.classes)
    expected = by_hand(network, image.astype(np.float64))
    assert tiled.shape == (chosen.classes, *size)
    assert np.abs(tiled - expected).max() <= 1e-6  # probabilities are given in float32
    # Where the margin between classes is above the rounding, the labels are equal.
    ordered = np.sort(expected, 0)
    clear = ordered[-1] - ordered[-2] > 2e-6
    np.testing.assert_array_equal(tiled.argmax(0)[clear], expected.argmax(0)[clear])


@settings(max_examples=50, deadline=None)
@given(
    chosen=networks(dims=2, depth=3),
    size=st.lists(st.integers(1, 60), min_size=2, max_size=2),
    largest=st.lists(st.integers(1, 140), min_size=2, max_size=2),
    seed=st.integers(0, 999),
)
def test_tiled_equals_whole(chosen: UNetSettings, size: list[int], largest: list[int], seed: int) -> None:
    tiled_and_whole(chosen, size, largest, seed)


@settings(max_examples=20, deadline=None)
@given(
    chosen=networks(dims=3, depth=1),
    size=st.lists(st.integers(1, 9), min_size=3, max_size=3),
    largest=st.lists(st.integers(1, 30), min_size=3, max_size=3),
    seed=st.integers(0, 999),
)
def test_tiled_equals_whole_in_three_dimensions(
    chosen: UNetSettings, size: list[int], largest: list[int], seed: int
) -> None:
    tiled_and_whole(chosen, size, largest, seed)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3), (45, 101)])
@pytest.mark.parametrize(
    "chosen",
    [UNetSettings(width=2), article_settings(width=2), UNetSettings(width=2, padding="same", norm="batch")],
)
def test_awkward_sizes_at_full_depth(chosen: UNetSettings, size: tuple[int, int]) -> None:
    tiled_and_whole(chosen, list(size), [chosen.geometry.smallest + 64] * 2, seed=1)


def test_a_deep_volume() -> None:
    chosen = UNetSettings(dims=3, depth=2, width=2, padding="same", norm="batch")
    tiled_and_whole(chosen, [3, 50, 61], [4, 48, 48], seed=2)


def memory_for(card: ModelCard, image: np.ndarray, pixels: int, sums: int = 1) -> int:
    """What `max_memory` must be for the network to get `pixels` pixels at once."""
    beside = image.nbytes + 4 * card.network.classes * image[0].size * sums
    return int(np.ceil(pixels * bytes_per_pixel(card))) + beside + WORKSPACE + 1


@settings(max_examples=8, deadline=None)
@given(
    padding=st.sampled_from(["valid", "same"]),
    depth=st.integers(1, 2),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    extra=st.floats(0, 1),
    seed=st.integers(0, 999),
)
def test_prediction_is_the_same_with_any_memory(
    padding: str, depth: int, height: int, width: int, extra: float, seed: int
) -> None:
    chosen = UNetSettings.model_validate({"depth": depth, "width": 2, "padding": padding, "norm": "batch"})
    network, card = make_network(chosen, seed), make_card(chosen)
    image = make_image(chosen, (height, width), seed)
    g = chosen.geometry
    least = g.smallest_tile**2
    limit = memory_for(card, image, int(least * (1 + extra)))
    runner = Counting(network)
    little = Predictor(card, runner, PLENTY.model_copy(update={"max_memory": limit})).predict(image)
    much = Predictor(card, TorchRunner(network, "cpu", "float32"), PLENTY).predict(image)
    assert np.abs(little.probabilities - much.probabilities).max() <= TOLERANCE
    beside = memory_for(card, image, 0)
    for shape in runner.shapes:
        assert np.prod(shape) * bytes_per_pixel(card) + beside <= limit + 1


def test_little_memory_means_many_tiles() -> None:
    chosen = UNetSettings(depth=1, width=2, padding="same")
    network, card, image = make_network(chosen, 0), make_card(chosen), make_image(chosen, (100, 90))
    many, one = Counting(network), Counting(network)
    Predictor(card, many, PLENTY.model_copy(update={"max_memory": memory_for(card, image, 900)})).predict(image)
    Predictor(card, one, PLENTY).predict(image)
    assert one.shapes == [(100, 90)]
    assert len(many.shapes) > 9
    assert max(np.prod(shape) for shape in many.shapes) <= 900


def test_too_little_memory_is_said() -> None:
    chosen = UNetSettings(depth=2, width=4)
    predictor = Predictor(
        make_card(chosen), Counting(make_network(chosen, 0)), PLENTY.model_copy(update={"max_memory": 1000})
    )
    with pytest.raises(SettingsError, match="--max-memory leaves 0 MB"):
        predictor.predict(make_image(chosen, (40, 40)))


@pytest.mark.parametrize("flips", [[], ["x"], ["y"], ["x", "y"], ["x", "y", "transpose"], ["transpose"]])
@pytest.mark.parametrize("dims", [2, 3])
def test_tta_is_the_mean_over_turned_images(flips: list[str], dims: int) -> None:
    chosen = UNetSettings(dims=dims, depth=1, width=2, classes=3, padding="same", norm="batch")
    network = make_network(chosen, 3)
    card = make_card(chosen, flips=flips)
    image = make_image(chosen, (5, 14, 11)[3 - dims :], 4)
    plain = Predictor(card, TorchRunner(network, "cpu", "float32"), PLENTY)
    several = Predictor(card, TorchRunner(network, "cpu", "float32"), PLENTY.model_copy(update={"tta": True}))
    turned = []
    for transpose in {False, "transpose" in flips}:
        for x in {1, -1 if "x" in flips else 1}:
            for y in {1, -1 if "y" in flips else 1}:
                view = (np.swapaxes(image, -1, -2) if transpose else image)[..., ::y, ::x]
                back = plain.predict(np.ascontiguousarray(view)).probabilities[..., ::y, ::x]
                turned.append(np.swapaxes(back, -1, -2) if transpose else back)
    assert len(turned) == 2 ** len(flips)
    prediction = several.predict(image)
    np.testing.assert_allclose(prediction.probabilities, np.mean(turned, 0), atol=TOLERANCE)
    np.testing.assert_array_equal(prediction.labels, prediction.probabilities.argmax(0))
    # An image that is turned gives the prediction turned.
    if "x" in flips:
        again = several.predict(image[..., ::-1])
        np.testing.assert_allclose(again.probabilities, prediction.probabilities[..., ::-1], atol=TOLERANCE)


def test_tta_in_tiles() -> None:
    chosen = UNetSettings(depth=1, width=2, padding="same", norm="batch")
    network, card = make_network(chosen, 3), make_card(chosen, flips=["x", "y", "transpose"])
    image = make_image(chosen, (61, 83))
    runner = Counting(network)
    tight = PredictSettings(
        device="cpu", precision="float32", tta=True, max_memory=memory_for(card, image, 1500, sums=2)
    )
    little = Predictor(card, runner, tight).predict(image)
    much = Predictor(card, Counting(network), PLENTY.model_copy(update={"tta": True})).predict(image)
    assert len(runner.shapes) > 8
    np.testing.assert_allclose(little.probabilities, much.probabilities, atol=TOLERANCE)


def test_labels_are_the_most_probable_class_and_probabilities_sum_to_1() -> None:
    chosen = UNetSettings(depth=1, width=3, classes=4, padding="same")
    predictor = Predictor(make_card(chosen), TorchRunner(make_network(chosen, 0), "cpu", "float32"), PLENTY)
    prediction = predictor.predict(make_image(chosen, (13, 9)))
    assert prediction.labels.shape == (13, 9)
    assert prediction.labels.dtype == np.uint8
    assert prediction.probabilities.dtype == np.float32
    np.testing.assert_allclose(prediction.probabilities.sum(0), 1, atol=1e-6)
    assert 0 <= prediction.probabilities.min() <= prediction.probabilities.max() <= 1
    np.testing.assert_array_equal(prediction.labels, prediction.probabilities.argmax(0))
    assert len(np.unique(prediction.labels)) > 1


def test_score_shift_moves_the_scores() -> None:
    chosen = UNetSettings(depth=1, width=2, classes=3, padding="same")
    network, tile = make_network(chosen, 0), make_image(chosen, (8, 8))
    whole = [slice(0, 8)] * 2
    plain = TorchRunner(network, "cpu", "float32")(tile, whole)
    shifted = TorchRunner(network, "cpu", "float32", shift=[0.5, -1.0, 2.0], temperature=3.0)(tile, whole)
    expected = (plain * np.exp([0.5, -1.0, 2.0])[:, None, None]) ** (1 / 3.0)
    np.testing.assert_allclose(shifted, expected / expected.sum(0), atol=TOLERANCE)


@settings(max_examples=40)
@given(
    values=npst.arrays(
        np.float32,
        npst.array_shapes(min_dims=3, max_dims=4, max_side=9),
        elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    ),
    block=st.integers(1, 30),
)
def test_the_most_probable_class_is_the_first_of_equal_ones(values: np.ndarray, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("useg.predict.BLOCK_PIXELS", block)
        np.testing.assert_array_equal(most_probable(values), values.argmax(0))


def test_what_fails_in_a_block_is_raised() -> None:
    def work(rows: slice) -> None:
        if rows.start > 0:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_blocks(work, (2 * BLOCK_PIXELS, 1))


def predictor_of(dims: int, channels: int) -> Predictor:
    chosen = UNetSettings(dims=dims, in_channels=channels, depth=1, width=2, padding="same")
    return Predictor(make_card(chosen), TorchRunner(make_network(chosen, 0), "cpu", "float32"), PLENTY)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_channels_may_come_first_last_or_not_at_all(dims: int, channels: int) -> None:
    predictor = predictor_of(dims, channels)
    image = make_image(predictor.card.network, (4, 7, 6)[3 - dims :])
    expected = predictor.predict(image)
    forms = [np.moveaxis(image, 0, -1), Image(image, "CYX" if dims == 2 else "CZYX")]
    if channels == 1:
        forms.append(image[0])
    for form in forms:
        found = predictor.predict(form)
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)
        assert found.labels.shape == image.shape[1:]


@pytest.mark.parametrize(
    ("dims", "channels", "shape", "says"),
    [
        (2, 1, (3, 8, 9), "has 3 channels, but the model was trained on 1"),
        (2, 3, (8, 9), "has 1 channels, but the model was trained on 3"),
        (2, 3, (2, 8, 9), "has 2 channels, but the model was trained on 3"),
        (2, 1, (1, 5, 8, 9), "has 3 axes besides channels, but the model works on 2-D images"),
        (3, 1, (8, 9), "has 1 axes besides channels, but the model works on 3-D images"),
        (2, 1, (1, 0, 9), "has no pixels"),
    ],
)
def test_an_image_that_the_model_cannot_take(dims: int, channels: int, shape: tuple[int, ...], says: str) -> None:
    predictor = predictor_of(dims, channels)
    with pytest.raises(ImageError, match=says):
        predictor.predict(np.zeros(shape, np.float32))


def test_the_message_names_the_file() -> None:
    image = Image(np.zeros((3, 8, 8), np.uint8), "CYX", path=Path("folder/cells.tif"))
    with pytest.raises(ImageError, match=r"cells\.tif: has 3 channels"):
        predictor_of(2, 1).predict(image)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float16", "float64", "bool"])
def test_any_number_type_goes_in(dtype: str) -> None:
    image = (np.random.default_rng(0).random((1, 9, 9)) * 2).astype(dtype)
    prediction = predictor_of(2, 1).predict(image)
    assert np.isfinite(prediction.probabilities).all()
    # A mask in memory counts as the 1-bit file that it would be read from.
    told = "uint8" if dtype == "bool" else dtype
    assert any(f"its pixels are {told}" in line for line in prediction.warnings)


def seen_in_micrometres() -> InputSeen:
    return InputSeen(dtype="uint8", low=[0.0], high=[100.0], spacing=[0.5, 0.5], unit="µm")


def test_pixels_that_are_not_finite_give_a_warning_and_a_prediction() -> None:
    image = np.linspace(0, 1, 400, dtype=np.float32).reshape(1, 20, 20).copy()
    image[0, 3, 4] = np.nan
    prediction = predictor_of(2, 1).predict(image)
    assert np.isfinite(prediction.probabilities).all()
    assert any("not finite" in line for line in prediction.warnings)


@pytest.mark.parametrize("size", [(24, 30), (6, 24, 30)])
def test_an_image_of_other_pixels_is_scaled_and_its_result_back(size: tuple[int, ...]) -> None:
    """Twice as large pixels: what comes out is what the image gives that has the pixels of the training."""
    predictor, dims, axes = predictor_of(len(size), 1), len(size), {2: "CYX", 3: "CZYX"}[len(size)]
    seen = seen_in_micrometres().model_copy(update={"spacing": [0.5] * dims})
    predictor = Predictor(predictor.card.model_copy(update={"input": seen}), predictor.runner, PLENTY)
    array, double = np.random.default_rng(0).integers(0, 100, (1, *size)).astype(np.uint8), [2 * n for n in size]
    found = predictor.predict(Image(array, axes, spacing=(1.0,) * dims, unit="µm"))
    assert any(f"pixel size is {' x '.join('1' * dims)} µm" in line for line in found.warnings)
    by_hand = predictor.predict(Image(resize(array, double), axes, spacing=(0.5,) * dims, unit="µm"))
    np.testing.assert_allclose(found.probabilities, resize(by_hand.probabilities, size), atol=1e-6)
    assert found.labels.shape == size
    np.testing.assert_allclose(found.probabilities.sum(0), 1, atol=1e-5)


def test_the_image_is_left_alone() -> None:
    image = make_image(UNetSettings(), (9, 9))
    image[0, 0, 0] = np.nan
    before = image.copy()
    predictor_of(2, 1).predict(image)
    np.testing.assert_array_equal(image, before)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(SettingsError, match="device 'abacus' is not known"):
        TorchRunner(make_network(UNetSettings(depth=1, width=2), 0), "abacus")


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no model\.safetensors"):
        Predictor.load(tmp_path)


@pytest.mark.parametrize("dims", [2, 3])
def test_several_networks_are_averaged(tmp_path: Path, dims: int) -> None:
    chosen = UNetSettings(dims=dims, depth=1, width=2, classes=3, padding="same", norm="batch")
    networks = [make_network(chosen, seed) for seed in range(3)]
    image = make_image(chosen, (5, 14, 11)[3 - dims :], 4)
    each = [by_hand(network, measure(image, NormaliseSettings()).apply(image)) for network in networks]
    card = make_card(chosen, members=3)
    weights = {f"{i}.{name}": value for i, n in enumerate(networks) for name, value in n.state_dict().items()}
    save_model(tmp_path / "m.safetensors", card, weights)
    for folds in ((), (1,), (0, 2)):
        asked = PLENTY.model_copy(update={"folds": folds, "uncertainty": True})
        prediction = Predictor.load(tmp_path / "m.safetensors", asked).predict(image)
        of = [each[m] for m in folds or range(3)]
        np.testing.assert_allclose(prediction.probabilities, np.mean(of, 0), atol=TOLERANCE)
        expect_uncertainty(prediction, of)
    with pytest.raises(SettingsError, match="has no fold 3; it has 3, counted from 0"):
        Predictor.load(tmp_path / "m.safetensors", PLENTY.model_copy(update={"folds": (0, 3)}))


@settings(max_examples=10)
@given(flips=st.sets(st.sampled_from(["x", "y", "transpose"])), size=st.tuples(*[st.integers(5, 40)] * 2))
def test_uncertainty_of_views(flips: set[str], size: tuple[int, int]) -> None:
    chosen = UNetSettings(depth=1, width=2, classes=3, padding="same", norm="batch")
    card, network = make_card(chosen, flips=sorted(flips)), make_network(chosen, 3)
    asked = PLENTY.model_copy(update={"tta": True, "uncertainty": True})
    image = make_image(chosen, size)
    plain = Predictor(card, TorchRunner(network, "cpu", "float32"), PLENTY)
    seen = []
    for view in symmetric_views(sorted(flips), 2):
        seen.append(view.undo(plain.predict(np.ascontiguousarray(view.apply(image))).probabilities))
    runner = TorchRunner(network, "cpu", "float32", spread=True)
    expect_uncertainty(Predictor(card, runner, asked).predict(image), seen)


def expect_uncertainty(prediction: Prediction, each: Sequence[np.ndarray]) -> None:
    """Entropy of the mean, and behind it that without the mean of the entropies, where there are several."""
    total = entropy(np.mean(each, 0))
    expected = [total, total - np.mean([entropy(p) for p in each], 0)][: 2 if len(each) > 1 else 1]
    assert prediction.uncertainty is not None
    np.testing.assert_allclose(prediction.uncertainty, expected, atol=1e-4)


def test_no_uncertainty_unless_asked() -> None:
    assert predictor_of(2, 1).predict(np.zeros((8, 8), np.float32)).uncertainty is None
