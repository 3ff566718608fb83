"""Samples: each a pure function of its address, rare classes favoured as asked, batches in order."""

import itertools
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from useg.data.augment import NO_AUGMENTATION, AugmentSettings, fold, resample_labels
from useg.data.dataset import Example
from useg.data.samples import Sample, Sampler, SampleSettings, class_shares, make_batches
from useg.labels import IGNORE
from useg.unet.borders import BorderSettings, border_fields, border_weights, part_objects
from useg.unet.normalise import NormaliseSettings, measure

few = settings(max_examples=25, deadline=None)


def make_examples(count: int = 3, seed: int = 0) -> list[Example]:
    """Images of different sizes; class 2 is a speck, a corner is not annotated."""
    rng = np.random.default_rng(seed)
    examples = []
    for index in range(count):
        height, width = 50 + 7 * index, 70 - 5 * index
        labels = np.zeros((height, width), np.uint8)
        labels[:, width // 2 :] = 1
        labels[20:23, 30:33] = 2
        labels[:10, :10] = IGNORE
        image = (1000 * rng.random((2, height, width))).astype(np.uint16)
        examples.append(Example(f"image{index}", image, labels))
    return examples


def make_sampler(
    examples: list[Example] | None = None,
    *,
    augment: AugmentSettings | None = None,
    classes: int = 3,
    margin: int = 0,
    seed: int = 0,
    **changes: object,
) -> Sampler:
    chosen = SampleSettings.model_validate({"crop": (24, 20), "batch": 3} | changes)
    return Sampler(
        make_examples() if examples is None else examples,
        chosen,
        AugmentSettings() if augment is None else augment,
        NormaliseSettings(),
        classes=classes,
        margins=[margin] * len(chosen.crop),
        seed=seed,
    )


def same(first: Sample, second: Sample) -> bool:
    images_equal = np.array_equal(first.image, second.image) and np.array_equal(first.labels, second.labels)
    return images_equal and first.name == second.name


@few
@given(
    seed=st.integers(0, 2**32),
    addresses=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 50)), min_size=1, max_size=4, unique=True),
)
def test_a_sample_is_a_function_of_its_address(seed: int, addresses: list[tuple[int, int]]) -> None:
    rare: dict[str, object] = {"rare_share": 0.5, "rare_classes": [2]}
    first, second = make_sampler(seed=seed, **rare), make_sampler(seed=seed, batch=7, **rare)
    found = {a: first.sample(*a) for a in addresses}
    second.shares(8)
    second.batch(3)
    for address in reversed(addresses):
        assert same(second.sample(*address), found[address])
        assert same(second.sample(*address), found[address])


def test_threads_change_nothing() -> None:
    sampler = make_sampler()
    alone = [sampler.sample(5, i) for i in range(8)]
    found: dict[int, tuple[np.ndarray, np.ndarray, str]] = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: sampler.sample(5, i)})) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(found[i], alone[i]) for i in range(8))


def test_other_addresses_give_other_samples() -> None:
    addresses = [(seed, step, index) for seed in (0, 1) for step in (0, 1, 2) for index in (0, 1)]
    images = {make_sampler(seed=seed).sample(step, index).image.tobytes() for seed, step, index in addresses}
    assert len(images) == len(addresses)


def test_a_batch_is_its_samples() -> None:
    sampler = make_sampler(batch=4, margin=3)
    batch = sampler.batch(9)
    assert batch.images.shape == (4, 2, 24, 20)
    assert batch.labels.shape == (4, 18, 14)
    for index in range(4):
        sample = sampler.sample(9, index)
        np.testing.assert_array_equal(batch.images[index], sample.image)
        np.testing.assert_array_equal(batch.labels[index], sample.labels)
        assert batch.names[index] == sample.name
    assert {name for step in range(20) for name in sampler.batch(step).names} == {"image0", "image1", "image2"}


@few
@given(step=st.integers(0, 999), margin=st.integers(0, 9))
def test_labels_lie_under_the_middle_of_the_image(step: int, margin: int) -> None:
    """The labels of a valid network are those of a same network, less the margin."""
    whole, inner = make_sampler(), make_sampler(margin=margin)
    all_of_it, middle = whole.sample(step, 0), inner.sample(step, 0)
    np.testing.assert_array_equal(all_of_it.image, middle.image)
    np.testing.assert_array_equal(middle.labels, all_of_it.labels[margin : 24 - margin, margin : 20 - margin])


def test_the_image_is_normalised_by_the_whole_image_it_is_from() -> None:
    examples = make_examples(1)
    sampler = make_sampler(examples, augment=NO_AUGMENTATION)
    whole = measure(examples[0].image, NormaliseSettings()).apply(examples[0].image)
    for step in range(5):
        image = sampler.sample(step, 0).image
        # Bilinear values lie between those of the image.
        assert whole.min() - 1e-4 <= image.min() <= image.max() <= whole.max() + 1e-4
        assert abs(image.mean()) < 0.3


def test_shares_sum_to_1_and_follow_the_image() -> None:
    sampler = make_sampler(augment=NO_AUGMENTATION)
    shares = sampler.shares(400)
    assert shares.shape == (3,)
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(shares, class_shares(sampler.examples, 3), atol=0.06)


def test_class_shares_by_hand() -> None:
    labels = np.array([[0, 1, 1, IGNORE], [0, 0, 2, IGNORE]], np.uint8)
    example = Example("a", np.zeros((1, 2, 4), np.uint8), labels)
    np.testing.assert_allclose(class_shares([example, example], 3), [3 / 6, 2 / 6, 1 / 6])
    nothing = Example("b", np.zeros((1, 2, 4), np.uint8), np.full((2, 4), IGNORE, np.uint8))
    np.testing.assert_array_equal(class_shares([nothing], 3), [0, 0, 0])


@pytest.mark.parametrize("augment", [NO_AUGMENTATION, AugmentSettings()])
def test_the_share_of_a_rare_class_rises_with_rare_share(augment: AugmentSettings) -> None:
    found = [
        make_sampler(augment=augment, rare_share=share, rare_classes=[2]).shares(200)[2] for share in (0.0, 0.5, 1.0)
    ]
    assert found[0] < 0.7 * found[1] < 0.49 * found[2]


def test_with_rare_share_1_every_crop_shows_the_class() -> None:
    sampler = make_sampler(augment=NO_AUGMENTATION, rare_share=1.0, rare_classes=[2])
    assert all((sampler.sample(step, 0).labels == 2).any() for step in range(60))


def test_rare_classes_share_alike() -> None:
    """Class 1 has hundreds of times the pixels of class 2, yet half of the crops are put on each."""
    sampler = make_sampler(augment=NO_AUGMENTATION, rare_share=1.0, rare_classes=[1, 2])
    shows = np.mean([(sampler.sample(step, 0).labels == 2).any() for step in range(200)])
    assert 0.4 < shows < 0.8


def test_a_rare_class_that_nowhere_exists_is_no_reason_to_stop() -> None:
    sampler = make_sampler(classes=5, rare_share=1.0, rare_classes=[4])
    assert sampler.sample(0, 0).labels.shape == (24, 20)
    assert sampler.shares(10)[4] == 0


def test_a_rare_class_of_many_pixels_is_found_in_all_its_parts() -> None:
    labels = np.zeros((120, 120), np.uint8)
    labels[:, 20:] = 1  # 12,000 pixels, more than are remembered
    example = Example("a", np.arange(120 * 120, dtype=np.uint16).reshape(1, 120, 120), labels)
    sampler = make_sampler([example], augment=NO_AUGMENTATION, classes=2, rare_share=1.0, rare_classes=[1])
    rows = [sampler.sample(step, 0).image.mean() for step in range(200)]
    assert min(rows) < -1
    assert max(rows) > 1


class Counting(Sampler):
    """Samples that show their address; remembers who asked for them."""

    def __init__(self, batch: int = 2, bad: int | None = None) -> None:
        super().__init__(make_examples(), SampleSettings(batch=batch), NO_AUGMENTATION, NormaliseSettings(), classes=2)
        self.bad = bad
        self.made: list[tuple[int, int]] = []
        self.threads: set[int] = set()

    def sample(self, step: int, index: int) -> Sample:
        if step == self.bad:
            raise ValueError(f"step {step}")
        self.made.append((step, index))
        self.threads.add(threading.get_ident())
        return Sample(np.full((1, 2, 2), step, np.float32), np.zeros((2, 2), np.uint8), None, f"{step} {index}")


@pytest.mark.parametrize("ahead", [0, 1, 2, 9])
@pytest.mark.parametrize("threads", [1, 3])
def test_batches_come_in_order(threads: int, ahead: int) -> None:
    steps = [5, 3, 8, 0, 1, 7]
    found = [batch.names for batch in make_batches(Counting(), iter(steps), threads=threads, ahead=ahead)]
    assert found == [(f"{s} 0", f"{s} 1") for s in steps]
    assert list(make_batches(Counting(), iter([]), threads=threads, ahead=ahead)) == []


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_exception_is_raised_at_its_batch(ahead: int) -> None:
    batches = make_batches(Counting(bad=3), iter(range(9)), threads=2, ahead=ahead)
    assert [next(batches).names[0] for _ in range(3)] == ["0 0", "1 0", "2 0"]
    with pytest.raises(ValueError, match="step 3"):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)


def test_leaving_early_ends_the_threads_and_makes_no_more() -> None:
    sampler = Counting()
    batches = make_batches(sampler, itertools.count(), threads=2, ahead=2)
    assert next(batches).names == ("0 0", "0 1")
    batches.close()  # type: ignore[attr-defined]
    assert {step for step, _ in sampler.made} <= {0, 1, 2}
    assert not any(thread.name.startswith("samples") for thread in threading.enumerate())


def test_a_batch_is_not_made_before_it_is_asked_for() -> None:
    sampler = Counting()
    batches = make_batches(sampler, itertools.count(), threads=2)
    for step in range(4):
        next(batches)
        assert {s for s, _ in sampler.made} == set(range(step + 1))


def test_samples_are_made_in_threads_of_their_own() -> None:
    sampler = Counting(batch=8)
    assert len(list(make_batches(sampler, iter(range(5)), threads=3))) == 5
    assert 1 <= len(sampler.threads) <= 3
    assert threading.get_ident() not in sampler.threads


TASKS = Path("/proc/self/task")


@pytest.mark.skipif(not TASKS.is_dir(), reason="this system does not list the threads of a process")
@pytest.mark.parametrize(("size", "crop"), [((300, 300), (400, 400)), ((40, 60, 60), (64, 64, 64))])
def test_samples_start_no_threads_of_torch(size: tuple[int, ...], crop: tuple[int, ...]) -> None:
    """Torch's threads of a training wait awake for the next layer, and asleep where there are more than cores."""
    rng = np.random.default_rng(0)
    labels = (rng.random(size) < 0.5).astype(np.uint8)
    example = Example("a", rng.random((3, *size), np.float32), labels, objects=labels.astype(np.int32))
    sampler = make_sampler([example], crop=crop, batch=2, classes=2)
    sampler.fields = [rng.random((2, *size), np.float32)]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before = len(list(TASKS.iterdir()))
        batches = make_batches(sampler, itertools.count(), threads=2)
        for _ in range(6):  # a fifth is blurred
            next(batches)
        assert len(list(TASKS.iterdir())) <= before + 2
        batches.close()  # type: ignore[attr-defined]
    finally:
        torch.set_num_threads(threads)


def touching_squares() -> Example:
    """Two objects side by side without a gap, a third one far off; a strip that nobody annotated."""
    objects = np.zeros((60, 60), np.int32)
    objects[10:40, 10:25] = 7
    objects[10:40, 25:40] = 300
    objects[50:58, 50:58] = 2
    labels = (objects > 0).astype(np.uint8)
    labels[:, :4] = IGNORE
    return Example("a", np.random.default_rng(0).random((1, 60, 60), np.float32), labels, objects=objects)


@few
@given(step=st.integers(0, 999))
def test_touching_objects_are_parted_after_the_warp(step: int) -> None:
    """However the crop is turned and stretched, what is left of each object is a piece of its own."""
    example = touching_squares()
    sampler = make_sampler([example], crop=(64, 64), batch=1, classes=2)
    labels = sampler.sample(step, 0).labels
    alone = make_sampler([replace(example, objects=None)], crop=(64, 64), batch=1, classes=2).sample(step, 0).labels
    cut = (labels == 0) & (alone == 1)
    assert set(np.unique(labels)) <= {0, 1, IGNORE}
    assert np.array_equal(labels == IGNORE, alone == IGNORE)
    assert np.array_equal(labels[~cut], alone[~cut])
    pieces, count = ndimage.label(labels == 1, np.ones((3, 3)))
    assert example.objects is not None
    ids = resample_labels(example.objects, fold(sampler._draw(step, 0)[2], example.objects.shape))
    assert all(len(np.unique(ids[pieces == piece])) == 1 for piece in range(1, count + 1))


@few
@given(step=st.integers(0, 999))
def test_weights_stand_on_the_background_between_objects(step: int) -> None:
    example, borders = touching_squares(), BorderSettings()
    assert example.objects is not None
    plain = make_sampler([example], crop=(64, 64), batch=1, classes=2)
    assert plain.sample(step, 0).weights is None
    sampler = make_sampler([example], crop=(64, 64), batch=1, classes=2)
    sampler.fields = [border_fields(example.objects, borders)]
    sample = sampler.sample(step, 0)
    assert sample.weights is not None
    assert np.array_equal(sample.labels, plain.sample(step, 0).labels)
    assert (sample.weights[sample.labels != 0] == 1).all()
    assert sample.weights.min() >= 1
    assert sample.weights.max() <= 11.001


def test_unwarped_weights_are_those_of_the_image() -> None:
    example = touching_squares()
    assert example.objects is not None
    sampler = make_sampler([example], augment=NO_AUGMENTATION, crop=(48, 48), batch=1, classes=2)
    fields = border_fields(example.objects, BorderSettings())
    sampler.fields = [fields]
    whole = border_weights(part_objects(example.objects), BorderSettings())
    sample = sampler.sample(0, 0)
    assert sample.weights is not None
    # The gap lies where the objects met, and counts in full there.
    assert sample.weights.max() == pytest.approx(11, abs=0.5)
    assert whole.max() == pytest.approx(11, abs=1)
