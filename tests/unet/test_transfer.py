"""What goes from an earlier model into a new network: equal ones answer alike, classes and channels find their own."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models import make_card, make_model, make_network
from useg.errors import MissingError, ModelError, SettingsError
from useg.unet.model import ClassInfo, save_model
from useg.unet.network import UNet
from useg.unet.settings import UNetSettings
from useg.unet.transfer import NEW_BIAS, Transfer, load_start, match_classes, transfer

few = settings(max_examples=25)


@st.composite
def networks(draw: st.DrawFn, **fixed: object) -> UNetSettings:
    patch = draw(st.sampled_from([1, 2]))
    chosen = {
        "in_channels": draw(st.integers(1, 4)),
        "classes": draw(st.integers(2, 4)),
        "depth": draw(st.integers(0, 3)),
        "width": draw(st.integers(2, 3)),
        "doublings": draw(st.sampled_from([None, 1])),
        "padding": "same",
        "norm": draw(st.sampled_from(["none", "batch", "batch_after_relu"])),
        "up_kernel": draw(st.sampled_from([2, 3])),
        "head": draw(st.sampled_from(["1x1", "3x3"])) if patch == 1 else "1x1",
        "patch": patch,
        "dropout": 0.0,
    }
    return UNetSettings.model_validate(chosen | fixed)


def infos(*names: str) -> list[ClassInfo]:
    return [ClassInfo(name=name, colour=(k, 0, 0), value=k) for k, name in enumerate(names)]


def go_on(
    old: UNetSettings,
    new: UNetSettings,
    *,
    names: tuple[list[str], list[str]] | None = None,
    shifts: tuple[list[float], list[float]] | None = None,
) -> tuple[UNet, UNet, Transfer]:
    """An earlier network, a new one that has what fits of it, and what is said of that."""
    names = names or ([f"kind {k}" for k in range(old.classes)], [f"kind {k}" for k in range(new.classes)])
    shifts = shifts or ([0.0] * old.classes, [0.0] * new.classes)
    card = make_card(old, classes=infos(*names[0]), score_shift=shifts[0])
    earlier = make_network(old, seed=1)
    torch.manual_seed(2)
    network = UNet.from_settings(new).eval()
    return earlier, network, transfer(card, earlier, network, infos(*names[1]), shifts[1])


def image(channels: int) -> Tensor:
    return torch.randn(1, channels, 32, 48, generator=torch.Generator().manual_seed(4))


@few
@given(networks())
def test_equal_networks_answer_alike(chosen: UNetSettings) -> None:
    earlier, network, found = go_on(chosen, chosen)
    assert torch.equal(network(image(chosen.in_channels)), earlier(image(chosen.in_channels)))
    assert found.taken == list(network.state_dict())
    assert found.classes == list(range(chosen.classes))
    assert found.words.startswith(f"all {len(found.taken)} tensors taken")


@few
@given(networks(), networks())
def test_every_tensor_is_named_once(old: UNetSettings, new: UNetSettings) -> None:
    try:
        earlier, network, found = go_on(old, new)
    except SettingsError as error:
        assert "nothing of the earlier model fits" in str(error)
        assert (old.norm, old.patch, old.width, old.head) != (new.norm, new.patch, new.width, new.head)
        return
    assert sorted([*found.taken, *found.adapted, *found.fresh]) == sorted(network.state_dict())
    torch.manual_seed(2)
    fresh = UNet.from_settings(new)
    for name, value in network.state_dict().items():
        assert torch.isfinite(value).all()
        if name in found.fresh:
            assert torch.equal(value, fresh.state_dict()[name])
    # Nothing is shared: what is trained on leaves the earlier one alone.
    mine, theirs = ({v.data_ptr() for v in each.state_dict().values()} for each in (network, earlier))
    assert not mine & theirs


@few
@given(networks(classes=4), st.permutations(range(4)))
def test_classes_find_their_names(chosen: UNetSettings, order: list[int]) -> None:
    names = ["sky", "road", "car", "tree"]
    earlier, network, found = go_on(chosen, chosen, names=(names, [names[k].upper() for k in order]))
    assert found.classes == order
    torch.testing.assert_close(network(image(chosen.in_channels)), earlier(image(chosen.in_channels))[:, order])


@few
@given(networks(classes=3), st.lists(st.floats(-3, 3), min_size=7, max_size=7))
def test_probabilities_outlast_another_way_of_sampling(chosen: UNetSettings, shifts: list[float]) -> None:
    """Also where a class is given up, those that are left keep their odds; a new one begins behind them."""
    more = chosen.model_copy(update={"classes": 4})
    names = (["a", "b", "c"], ["c", "a", "new", "b"])
    earlier, network, found = go_on(chosen, more, names=names, shifts=(shifts[:3], shifts[3:]))
    assert found.classes == [2, 0, None, 1]
    shape = (1, -1, 1, 1)
    before = earlier(image(chosen.in_channels)) + torch.tensor(shifts[:3]).view(shape)
    after = network(image(chosen.in_channels)) + torch.tensor(shifts[3:]).view(shape)
    torch.testing.assert_close(after[:, [1, 3, 0]], before, rtol=1e-4, atol=1e-4)
    last = "head.2.bias" if chosen.head == "3x3" else "head.bias"
    biases = network.state_dict()[last] + torch.tensor(shifts[3:])
    torch.testing.assert_close(biases[2], biases[[0, 1, 3]].mean() + NEW_BIAS, rtol=1e-4, atol=1e-4)
    assert "'new' is new" in found.words


@few
@given(networks(in_channels=1))
def test_gray_and_rgb_answer_a_gray_image_alike(gray: UNetSettings) -> None:
    rgb = gray.model_copy(update={"in_channels": 3})
    for old, new in ((gray, rgb), (rgb, gray)):
        earlier, network, found = go_on(old, new)
        seen = image(1)
        before, after = (each(seen.expand(-1, each.settings.in_channels, -1, -1)) for each in (earlier, network))
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
        assert list(found.adapted.values()) in (["gray spread over 3 channels"], ["3 channels summed to gray"])


@few
@given(networks(in_channels=2), st.integers(3, 5))
def test_further_channels_say_nothing_at_first(two: UNetSettings, channels: int) -> None:
    more = two.model_copy(update={"in_channels": channels})
    earlier, network, found = go_on(two, more)
    seen = image(channels)
    torch.testing.assert_close(network(seen), earlier(seen[:, :2]), rtol=1e-3, atol=1e-3)
    assert list(found.adapted.values()) == [f"the first 2 of {channels} channels from the earlier model"]
    # And the other way round the first ones go on.
    _, network, found = go_on(more, two)
    assert not found.fresh
    assert len(found.adapted) == 1


@few
@given(networks(depth=3, doublings=1, up_kernel=2), st.sampled_from([1, 2]))
def test_levels_keep_their_place_in_a_network_of_another_depth(chosen: UNetSettings, depth: int) -> None:
    earlier, network, found = go_on(chosen, chosen.model_copy(update={"depth": depth}))
    for level in range(1, depth):
        old, new = (n.expansive[n.settings.depth - 1 - level].state_dict() for n in (earlier, network))
        assert all(torch.equal(new[name], value) for name, value in old.items() if "num_batches" not in name)
    # Where there are no doublings below, the bottleneck fits as well.
    assert not any(name.startswith("head") for name in found.fresh)


def test_another_norm_is_another_network() -> None:
    old = UNetSettings(depth=1, width=2, norm="batch")
    with pytest.raises(SettingsError, match="nothing of the earlier model fits"):
        go_on(old, old.model_copy(update={"norm": "none"}))


def test_what_does_not_fit_says_why() -> None:
    old = UNetSettings(depth=1, width=2, doublings=0, norm="batch", padding="same")
    *_, found = go_on(old, old.model_copy(update={"depth": 2, "doublings": 1}))
    assert found.fresh["contracting.1.0.weight"] == "the earlier network has no such layer"
    assert found.fresh["bottleneck.1.running_mean"] == "weights of 4, in the earlier network of 2"
    assert found.fresh["up.1.bias"] == "weights of 4x2x2x2, in the earlier network of 2x2x2x2"
    assert "fresh, because they fit nothing: contracting.1, bottleneck.0" in found.words
    assert {name.partition(".")[0] for name in found.taken} == {"contracting", "expansive", "head"}


def value_info(name: str, value: int) -> ClassInfo:
    return ClassInfo(name=name, colour=(0, 0, 0), value=value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # A name of the user's is a name; class 0 is background, whatever it is called.
        ([("background", 0), ("vessel", 1)], [("nothing", 0), ("lesion", 1), ("Vessel", 2)], [0, None, 1]),
        # A name that useg gave says no more than the mask value does.
        ([("background", 0), ("foreground", 255)], [("background", 0), ("vessel", 1)], [0, 1]),
        ([("background", 0), ("object", 1)], [("background", 0), ("foreground", 255)], [0, 1]),
        ([("class 0", 0), ("class 1", 1), ("class 2", 2)], [("soil", 0), ("plant", 2)], [0, 2]),
        ([("class 0", 0), ("class 1", 1), ("class 2", 2)], [("soil", 0), ("plant", 7)], [0, None]),
        # Names come before places: what was class 0 is class 1 now.
        ([("soil", 0), ("plant", 1)], [("plant", 0), ("soil", 1)], [1, 0]),
        ([("soil", 0), ("plant", 1)], [("sky", 0), ("soil", 1)], [None, 0]),
        ([("soil", 0), ("plant", 1)], [("soil", 0), ("house", 1)], [0, None]),
    ],
)
def test_classes_that_go_on(old: list[tuple[str, int]], new: list[tuple[str, int]], expected: list[int | None]) -> None:
    assert match_classes([value_info(*each) for each in old], [value_info(*each) for each in new]) == expected


@given(st.data())
def test_no_class_goes_on_twice(data: st.DataObject) -> None:
    names = st.sampled_from(["background", "foreground", "object", "class 1", "class 2", "vessel", "#ff0000"])
    sides = []
    for _ in range(2):
        chosen = data.draw(st.lists(names, min_size=2, max_size=5, unique=True))
        values = data.draw(st.lists(st.integers(0, 6), min_size=len(chosen), max_size=len(chosen), unique=True))
        sides.append([value_info(name, value) for name, value in zip(chosen, values, strict=True)])
    found = match_classes(*sides)
    assert len(found) == len(sides[1])
    known = [k for k in found if k is not None]
    assert len(set(known)) == len(known)
    assert all(0 <= k < len(sides[0]) for k in known)
    for k, info in zip(found, sides[1], strict=True):
        if info.name in {each.name for each in sides[0]}:
            assert k is not None
            assert sides[0][k].name == info.name


def test_models_that_cannot_be_started_from(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        load_start(tmp_path / "nothing")
    cut = make_model(tmp_path, seed=1)
    cut.write_bytes(cut.read_bytes()[:-9])
    with pytest.raises(ModelError, match="cut short"):
        load_start(cut)

    card, network = load_start(make_model(tmp_path, seed=2))
    weights = {f"{member}.{name}": value for member in (0, 1) for name, value in network.state_dict().items()}
    save_model(tmp_path / "ensemble.safetensors", card.model_copy(update={"members": 2}), weights)
    with pytest.raises(ModelError, match=r"holds the networks of 2 folds.*name the folder of one, such as fold-0"):
        load_start(tmp_path / "ensemble.safetensors")
