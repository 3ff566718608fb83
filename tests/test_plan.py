"""Planning: what is chosen for the data, that the user's word holds, and that settings survive their file."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import make_card
from useg.data.dataset import Example
from useg.data.legend import Legend
from useg.data.samples import Sampler
from useg.errors import SettingsError
from useg.plan import ENOUGH_STEPS, USABLE, make_plan
from useg.recipes import WIDTHS
from useg.settings import Settings, load_settings, override, save_settings
from useg.unet.borders import BorderSettings
from useg.unet.normalise import NormaliseSettings
from useg.unet.settings import UNetSettings

few = settings(max_examples=15, deadline=None)
TWO = Legend(values=[0, 1], names=["background", "foreground"])
THREE = Legend(values=[0, 1, 2], names=["background", "cell", "spot"])


def examples(size: tuple[int, int] = (96, 96), *, rare: bool = False, channels: int = 1) -> list[Example]:
    """Four images: the left two fifths are class 1; where `rare`, a spot of class 2 of under a percent."""
    rng = np.random.default_rng(7)
    found = []
    for index in range(4):
        labels = np.zeros(size, np.uint8)
        labels[:, : size[1] * 2 // 5] = 1
        if rare:
            labels[20:28, 60:68] = 2
        image = rng.integers(0, 50, (channels, *size)).astype(np.uint8) + labels * np.uint8(60)
        found.append(Example(f"image_{index}", image, labels))
    return found


@settings(max_examples=15, deadline=None)
@given(height=st.integers(8, 300), width=st.integers(8, 300), channels=st.integers(1, 4))
def test_a_plan_fits_the_images(height: int, width: int, channels: int) -> None:
    planned = make_plan(examples((height, width), channels=channels), TWO, Settings()).settings
    network, crop = planned.network, planned.samples.crop
    assert (network.in_channels, network.classes, network.dims) == (channels, 2, 2)
    assert all(network.geometry.fits(n) for n in crop)
    # Only norms that leave pixels independent at prediction time make tiles exact.
    assert network.norm in ("none", "batch", "batch_after_relu")
    assert planned.samples.batch >= 2
    # Stored settings give the same plan back.
    assert Settings.model_validate(planned.model_dump()) == planned


@pytest.mark.parametrize(("thick", "blocks", "patch"), [(2, 0, 1), (12, 0, 2), (2, 3, 2)])
def test_thin_structures_need_single_pixels(thick: int, blocks: int, patch: int) -> None:
    """Lines of class 1, every 40 pixels; the single thin class among thick `blocks` does not decide for all."""
    labels = np.zeros((320, 320), np.uint8)
    for start in range(0, 300, 40):
        labels[start : start + thick] = 1
    for block in range(blocks):
        labels[20:38, 100 * block : 100 * block + 60] = 2 + block
    train = [Example(f"{k}", labels[None] * np.uint8(9), labels) for k in range(3)]
    names = [f"class {k}" for k in range(2 + blocks)]
    plan = make_plan(train, Legend(values=list(range(2 + blocks)), names=names), Settings())
    assert plan.settings.network.patch == patch


def test_objects_that_touch_are_counted_and_their_borders_weighed() -> None:
    objects = np.zeros((96, 96), np.int32)
    objects[10:30, 10:30], objects[10:30, 30:50], objects[60:80, 60:80] = 1, 2, 3
    train = [replace(e, objects=objects, labels=(objects > 0).astype(np.uint8)) for e in examples()]
    legend = Legend(values=[0, 1], names=["background", "object"], kind="instances")
    for recipe, widen in (("auto", 1), ("paper", 0)):
        plan = make_plan(train, legend, Settings(recipe=recipe))
        assert plan.settings.loss.borders == BorderSettings(widen=widen)
        assert any("objects: 8 of 12 touch" in reason and "11 times" in reason for reason in plan.reasons)
    off = make_plan(train, legend, Settings(), {"loss.borders.weight": 0})
    assert "objects: 8 of 12 touch another one" in off.reasons
    assert make_plan(examples(), TWO, Settings()).settings.loss.borders.weight == 0


def test_a_plan_says_why() -> None:
    plan = make_plan(examples(rare=True), THREE, Settings())
    assert len(plan.reasons) >= 4
    assert all(reason and "\n" not in reason for reason in plan.reasons)
    assert any("spot" in reason or "class 2" in reason for reason in plan.reasons)


def test_the_paper_is_planned_as_it_was() -> None:
    plan = make_plan(examples(), TWO, Settings(recipe="paper")).settings
    # The defaults of the network are those of the paper, see tests/unet.
    assert plan.network == UNetSettings(in_channels=1, classes=2)
    assert (plan.network.depth, plan.network.width, plan.network.padding) == (4, 64, "valid")
    assert (plan.network.norm, plan.network.dropout) == ("none", 0.5)
    assert (plan.samples.crop, plan.samples.batch) == ((572, 572), 1)
    assert (plan.optimiser.kind, plan.optimiser.momentum) == ("sgd", 0.99)
    assert (plan.optimiser.schedule, plan.optimiser.warmup, plan.optimiser.weight_decay) == ("constant", 0, 0)
    assert plan.optimiser.average == 0
    assert (plan.augment.elastic_grid, plan.augment.elastic_sd) == (3, 10.0)
    assert plan.augment.rotate == 180
    assert (plan.loss.cross_entropy, plan.loss.dice) == (1.0, 0.0)
    # w_c balances the classes: the product with their shares is the same for all.
    balanced = np.array(plan.loss.class_weights) * [0.6, 0.4]
    assert balanced[0] == pytest.approx(balanced[1], rel=0.05)


@few
@given(seconds=st.floats(1e-3, 10), minutes=st.floats(0.1, 600))
def test_the_widest_network_that_still_takes_enough_steps(seconds: float, minutes: float) -> None:
    """Whatever the machine's pace: all narrower ones would take enough steps, and the next wider one would not."""

    def pace(asked: Settings) -> float:
        return seconds * (asked.network.width / 16) ** 1.5

    base = override(Settings(), {"budget.minutes": minutes})
    chosen = make_plan(examples(), TWO, base, None, pace).settings.network.width
    steps = {width: USABLE * 60 * minutes / (seconds * (width / 16) ** 1.5) for width in WIDTHS}
    assert chosen in WIDTHS
    assert chosen == 16 or steps[chosen] >= ENOUGH_STEPS
    assert all(steps[width] < ENOUGH_STEPS for width in WIDTHS if width > chosen)


def test_a_budget_of_steps_asks_no_clock() -> None:
    def pace(asked: Settings) -> float:
        raise AssertionError("steps are the same on every machine")

    widths = [
        make_plan(examples(), TWO, override(Settings(), {"budget.steps": steps}), None, pace).settings.network.width
        for steps in (1, ENOUGH_STEPS, 2 * ENOUGH_STEPS, 10**6)
    ]
    assert widths == [16, 16, 32, 64]


def test_the_users_width_and_the_papers_ask_no_clock() -> None:
    def pace(asked: Settings) -> float:
        raise AssertionError("the width is given")

    base = override(Settings(), {"budget.minutes": 10})
    assert make_plan(examples(), TWO, base, {"network.width": 20}, pace).settings.network.width == 20
    paper = override(base, {"recipe": "paper"})
    assert make_plan(examples(), TWO, paper, None, pace).settings.network.width == 64


def test_without_rare_classes_scores_are_not_shifted() -> None:
    plan = make_plan(examples(), TWO, Settings()).settings
    assert plan.samples.rare_classes == []
    assert plan.score_shift == [0.0, 0.0]


@pytest.mark.parametrize("weights", [[], [1.0, 2.0, 5.0]])
def test_the_bias_towards_rare_classes_is_taken_out(weights: list[float]) -> None:
    train = examples(rare=True)
    plan = make_plan(train, THREE, Settings(), {"loss.class_weights": weights}).settings
    assert plan.samples.rare_classes == [2]
    # What training sees, counted from the samples themselves.
    sampler = Sampler(train, plan.samples, plan.augment, plan.normalise, classes=3, seed=11)
    labels = np.concatenate([sampler.batch(step).labels.ravel() for step in range(40)])
    seen = np.bincount(labels, minlength=3) * (weights or [1.0] * 3)
    true = np.bincount(np.concatenate([e.labels.ravel() for e in train]), minlength=3)
    expected = np.log(true / true.sum()) - np.log(seen / seen.sum())
    assert seen[2] / seen.sum() > 1.3 * true[2] / true.sum()
    assert np.allclose(plan.score_shift, expected - expected[0], atol=0.2)
    assert plan.score_shift[2] < -0.2


def test_weights_of_the_paper_are_taken_out_too() -> None:
    plan = make_plan(examples(), TWO, Settings(recipe="paper"), {"samples.crop": [188, 188]}).settings
    # Balanced weights make both classes count alike, so the odds are those of the shares.
    assert plan.score_shift == pytest.approx([0, np.log(0.4 / 0.6)], abs=0.2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network.wdth": 3}, "network.wdth: there is no such setting"),
        ({"nope": 1}, "nope: there is no such setting"),
        ({"seed.deep": 1}, "seed.deep: there is no such setting"),
        ({"seed.deep.er": 1}, "seed.deep.er: there is no such setting"),
        ({"nope.deep.er": 1}, "there is no such setting"),
        ({"network.width": "banana"}, "network.width"),
        ({"network.width": 0}, "network.width"),
        ({"network.norm": "instance"}, "network.norm"),
        ({"network": 3}, "network"),
        ({"samples.crop": [64]}, "samples.crop"),
        ({"samples.crop": [66, 64]}, "samples.crop"),
        ({"network.in_channels": 2}, "network.in_channels"),
        ({"network.classes": 5}, "network.classes"),
        ({"network.dims": 3}, "network.dims"),
        ({"loss.class_weights": [1.0, 2.0, 3.0]}, "loss.class_weights"),
        ({"loss.class_weights": [1.0, -2.0]}, "loss.class_weights"),
        ({"loss.class_weights": [0.0, 0.0]}, "loss.class_weights"),
        ({"loss.cross_entropy": 0, "loss.dice": 0}, "loss.cross_entropy and loss.dice"),
        ({"score_shift": [1.0]}, "score_shift"),
        ({"loss.deep": 0.5, "network.padding": "valid", "samples.crop": [92, 92]}, "loss.deep"),
        ({"normalise.kind": "fixed"}, "normalise.mean: 0 entries"),
        ({"normalise.clip": [80, 20]}, "normalise.clip"),
        ({"normalise.clip": [-5, 200]}, "normalise.clip"),
        ({"samples.rare_classes": [7]}, "samples.rare_classes: there is no class 7"),
        ({"samples.crop": [16, 16], "samples.batch": 1, "network.depth": 4}, "samples.crop"),
        ({"machine.threads": 100_000}, "machine.threads"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=r"^--set ") as caught:
        make_plan(examples(), TWO, Settings(), changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_coarser_levels_are_asked_where_they_have_labels() -> None:
    planned = make_plan(examples(), TWO, Settings()).settings
    valid = {"network.padding": "valid", "network.depth": 2, "samples.crop": [92, 92]}
    assert planned.network.padding == "same" and planned.loss.deep > 0
    assert make_plan(examples(), TWO, Settings(), valid).settings.loss.deep == 0
    assert make_plan(examples(), TWO, Settings(recipe="paper")).settings.loss.deep == 0


def test_the_users_shift_holds() -> None:
    changes = {"score_shift": [0.0, 2.0, 1.0]}
    assert make_plan(examples(rare=True), THREE, Settings(), changes).settings.score_shift == [0.0, 2.0, 1.0]


def test_the_users_word_holds() -> None:
    changes = {"network.width": 5, "network.depth": 1, "samples.crop": [32, 48], "optimiser.learning_rate": 0.5}
    plan = make_plan(examples(), TWO, Settings(), changes).settings
    assert (plan.network.width, plan.network.depth) == (5, 1)
    assert plan.samples.crop == (32, 48)
    assert plan.optimiser.learning_rate == 0.5


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    rate=st.floats(1e-9, 1e3),
    steps=st.none() | st.integers(1, 10**9),
    folder=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
def test_settings_survive_their_file(
    seed: int, rate: float, steps: int | None, folder: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("settings") / "settings.toml"
    changes = {"seed": seed, "optimiser.learning_rate": rate, "budget.steps": steps, "data.folder": folder}
    kept = override(Settings(), changes)
    save_settings(path, kept)
    assert load_settings(path) == kept


@pytest.mark.parametrize("text", ["not toml", "nope = 1\n", "[network]\nwidth = 'wide'\n", "\xff\xfe"])
def test_a_damaged_settings_file_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"settings\.toml") as caught:
        load_settings(path)
    assert "\n" not in str(caught.value)


@cache
def fresh_settings(recipe: str) -> Settings:
    """What is planned without an earlier model."""
    return make_plan(examples(), TWO, Settings.model_validate({"recipe": recipe})).settings


@few
@given(st.data(), st.sampled_from(["auto", "paper"]))
def test_an_earlier_model_decides_its_own_network(data: st.DataObject, recipe: str) -> None:
    patch = data.draw(st.sampled_from([1, 2]))
    network = UNetSettings(
        in_channels=data.draw(st.sampled_from([1, 3])),
        classes=data.draw(st.integers(2, 4)),
        depth=data.draw(st.integers(1, 3)),
        width=data.draw(st.integers(2, 20)),
        padding=data.draw(st.sampled_from(["same", "valid"])),
        norm=data.draw(st.sampled_from(["none", "batch"])),
        patch=patch,
    )
    fixed = NormaliseSettings(kind="fixed", mean=[5.0] * network.in_channels, std=[2.0] * network.in_channels)
    start = make_card(network, normalise=fixed)
    asked = {"score_shift": [0.0, 0.0]}  # which else takes a second to be found
    plan = make_plan(examples(), TWO, Settings.model_validate({"recipe": recipe}), asked, lambda _: 1 / 0, start)
    found, fresh = plan.settings, fresh_settings(recipe)
    assert found.network == network.model_copy(update={"in_channels": 1, "classes": 2})
    assert all(found.network.geometry.fits(n) for n in found.samples.crop)
    # Gray values are read as before, unless it knew other channels.
    assert found.normalise == (fixed if network.in_channels == 1 else fresh.normalise)
    assert found.optimiser.learning_rate < fresh.optimiser.learning_rate
    assert plan.reasons[0].startswith(f"network: that of the earlier model, depth {network.depth}")


def test_the_users_word_holds_against_an_earlier_model() -> None:
    start = make_card(UNetSettings(depth=2, width=6, padding="same"))
    asked = {"network.depth": 1, "optimiser.learning_rate": 0.5, "normalise.kind": "none"}
    plan = make_plan(examples(), TWO, Settings(), asked, None, start)
    assert (plan.settings.network.depth, plan.settings.network.width) == (1, 6)
    assert (plan.settings.optimiser.learning_rate, plan.settings.normalise.kind) == (0.5, "none")


@settings(max_examples=10, deadline=None)
@given(size=st.tuples(st.integers(6, 40), st.integers(6, 90), st.integers(6, 90)), channels=st.integers(1, 2))
def test_a_plan_fits_the_volumes(size: tuple[int, int, int], channels: int) -> None:
    rng = np.random.default_rng(3)
    labels = np.zeros(size, np.uint8)
    labels[:, : size[1] // 2] = 1
    images = [rng.integers(0, 50, (channels, *size)).astype(np.uint8) for _ in range(3)]
    planned = make_plan([Example(str(i), image, labels) for i, image in enumerate(images)], TWO, Settings()).settings
    network, crop = planned.network, planned.samples.crop
    assert (network.in_channels, network.dims, len(crop)) == (channels, 3, 3)
    assert all(axis.fits(n) for axis, n in zip(network.axes, crop, strict=True))
    assert Settings.model_validate(planned.model_dump()) == planned


def test_an_order_of_classes_is_not_mirrored_away() -> None:
    """Two classes, one always behind the other along the rows: a mirrored image would be labelled wrongly."""
    rng, train = np.random.default_rng(5), []
    for index in range(8):
        labels = np.zeros((96, 96), np.uint8)
        y, x = rng.integers(4, 50, 2)
        labels[y : y + 16, x : x + 30], labels[y + 16 : y + 32, x : x + 30] = 1, 2
        train.append(Example(str(index), rng.integers(0, 9, (1, 96, 96)).astype(np.uint8), labels))
    plan = make_plan(train, THREE, Settings())
    augment = plan.settings.augment
    assert (augment.mirror_x, augment.mirror_y, augment.transpose) == (True, False, False) and augment.rotate < 90
    assert any("keep their order along y" in reason for reason in plan.reasons)


@pytest.mark.parametrize(("dims", "size"), [(3, (96, 96)), (2, (12, 40, 40))])
def test_images_and_volumes_do_not_start_from_one_another(dims: int, size: tuple[int, ...]) -> None:
    start = make_card(UNetSettings.model_validate({"dims": dims, "depth": 1, "width": 2, "padding": "same"}))
    labels = np.zeros(size, np.uint8)
    labels[..., :9] = 1
    train = [Example(str(i), np.full((1, *size), i, np.uint8) + labels, labels) for i in range(3)]
    kind = {2: "images", 3: "volumes"}[dims]
    with pytest.raises(SettingsError, match=f"is a model of {kind}, but these are"):
        make_plan(train, TWO, Settings(), None, None, start)
