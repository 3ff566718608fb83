"""The network: the paper's numbers, the article's numbers, and what every form of it must do."""

import math
import weakref
from typing import Any, get_type_hints

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from useg import machine
from useg.errors import SizeError
from useg.unet.network import PairwiseMax, UNet, crop_and_concat, fold_batch_norm, for_prediction
from useg.unet.settings import UNetOptions, UNetSettings, article_settings, volume_settings


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_the_network_of_the_paper() -> None:
    with torch.device("meta"):
        network = UNet()
    assert parameters(network) == 31_030_658
    assert network(torch.empty(1, 1, 572, 572, device="meta")).shape == (1, 2, 388, 388)


def test_the_network_for_volumes_of_its_paper() -> None:
    """Its 19,069,955 parameters: convolutions, with biases but for the up-convolutions, and without normalisation."""
    with torch.device("meta"):
        network = UNet.from_settings(volume_settings(in_channels=3, classes=3))
        plain = UNet.from_settings(volume_settings(in_channels=3, classes=3, norm="none"))
    assert network(torch.empty(1, 3, 116, 132, 132, device="meta")).shape == (1, 3, 28, 44, 44)
    assert parameters(plain) - sum(up.bias.numel() for up in plain.up) == 19_069_955
    normalised = [m for m in network.modules() if isinstance(m, nn.BatchNorm3d)]
    biases = sum(m.bias.numel() for m in plain.modules() if isinstance(m, nn.Conv3d)) - 3  # the head keeps its own
    assert parameters(network) == parameters(plain) - biases + sum(parameters(m) for m in normalised)


def test_an_axis_can_be_left_alone() -> None:
    """Slices far apart: the finest level looks within them, and pools within them, only."""
    network = UNet(dims=3, depth=2, width=2, padding="same", flat=(1, 0, 0), pools=(1, 2, 2)).eval()
    assert [m.kernel_size for m in network.contracting[0] if isinstance(m, nn.Conv3d)] == [(1, 3, 3)] * 2
    assert [m.kernel_size for m in network.contracting[1] if isinstance(m, nn.Conv3d)] == [(3, 3, 3)] * 2
    assert [pool.kernel_size for pool in network.pools] == [(1, 2, 2), (2, 2, 2)]
    assert [axis.stride for axis in network.axes] == [2, 4, 4]
    assert network(torch.randn(1, 1, 6, 8, 12)).shape == (1, 2, 6, 8, 12)
    for wrong in ({"flat": (3, 0, 0)}, {"flat": (1, 0)}, {"flat": (1, 0, 0), "pools": (2, 2, 2)}):
        with pytest.raises(ValidationError, match="flat"):
            UNetSettings(dims=3, depth=2, **wrong)
    with pytest.raises(ValidationError, match="of volumes only"):
        UNetSettings(flat=(1, 0, 0))


def test_its_keywords_are_its_settings() -> None:
    keywords = get_type_hints(UNetOptions)
    fields = {name: field.annotation for name, field in UNetSettings.model_fields.items()}
    assert fields == {"in_channels": int, "classes": int, **keywords}


def test_the_network_of_the_article() -> None:
    with torch.device("meta"):
        network = UNet.from_settings(article_settings())
    assert network(torch.empty(1, 1, 284, 284, device="meta")).shape == (1, 2, 196, 196)
    up = network.up[0]
    assert isinstance(up, nn.ConvTranspose2d)
    assert (up.kernel_size, up.stride, up.padding, up.output_padding) == ((3, 3), (2, 2), (1, 1), (1, 1))
    block = [type(layer) for layer in network.contracting[0]]
    assert block == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d] * 2
    head = list(network.head)
    assert [type(layer) for layer in head] == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d]
    assert head[0].padding == (1, 1)


@pytest.mark.parametrize(("settings", "size"), [(UNetSettings(width=2), 188), (article_settings(width=2), 100)])
def test_both_run_for_real_at_small_width(settings: UNetSettings, size: int) -> None:
    network = UNet.from_settings(settings)
    scores = network(torch.randn(2, 1, size, size))
    assert scores.shape[2:] == (settings.geometry.output_size(size),) * 2
    assert torch.isfinite(scores).all()
    scores.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_article_settings_can_be_changed() -> None:
    settings = article_settings(classes=9, width=4)
    assert (settings.classes, settings.width, settings.depth, settings.head) == (9, 4, 3, "3x3")


@st.composite
def all_kinds(draw: st.DrawFn) -> UNetSettings:
    patch, dims, depth = draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from([2, 2, 3])), draw(st.integers(0, 2))
    flat = draw(st.integers(0, depth))
    apart: dict[str, Any] = {"flat": (flat, 0, 0), "pools": (draw(st.integers(0, depth - flat)), depth, depth)}
    apart = draw(st.sampled_from([apart, {"neighbours": flat}, {}]))
    return UNetSettings(
        in_channels=draw(st.integers(1, 2)),
        classes=draw(st.integers(2, 3)),
        dims=dims,
        depth=depth,
        width=3,
        padding=draw(st.sampled_from(["same", "same", "valid"])),
        norm=draw(st.sampled_from(["none", "batch", "batch_after_relu"])),
        up_kernel=draw(st.sampled_from([2, 3])),
        head=draw(st.sampled_from(["1x1", "3x3"])) if patch == 1 else "1x1",
        patch=patch,
        doubling=draw(st.sampled_from(["after_pool", "before_pool"])),
        **(apart if dims == 3 else {}),
    )


def trained(settings: UNetSettings) -> UNet:
    """A network with statistics that are not those of a fresh one."""
    network = UNet.from_settings(settings).eval()
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_()
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
    return network


def image_for(network: UNet, extra: list[int]) -> torch.Tensor:
    sizes = (axis.fit_up(axis.smallest + n) for axis, n in zip(network.axes, extra, strict=False))
    return torch.randn(1, network.settings.in_channels, *sizes)


@settings(max_examples=80)
@given(all_kinds(), st.lists(st.integers(0, 24), min_size=3, max_size=3), st.data())
def test_a_window_of_the_output_is_what_the_whole_output_has_there(
    chosen: UNetSettings, extra: list[int], data: st.DataObject
) -> None:
    network = trained(chosen)
    image = image_for(network, extra)
    with torch.inference_mode():
        whole = network(image)
        ends = [sorted(data.draw(st.tuples(st.integers(0, n - 1), st.integers(1, n)))) for n in whole.shape[2:]]
        window = [slice(start, max(stop, start + 1)) for start, stop in ends]
        part = network(image, window)
    torch.testing.assert_close(part, whole[(..., *window)], atol=1e-5, rtol=1e-5)


def test_a_window_costs_less() -> None:
    network = UNet(padding="same", depth=2, width=2).eval()
    seen: list[int] = []
    network.expansive[-1][-1].register_forward_hook(lambda module, given, result: seen.append(result.shape[-1]))
    with torch.inference_mode():
        network(torch.zeros(1, 1, 64, 64), [slice(20, 36), slice(20, 36)])
    assert seen == [20]  # two pixels around the window, for the two convolutions


def test_a_window_gives_back_what_it_needs_no_more() -> None:
    """While the second convolution of a level works, neither the joined maps nor those that were joined are held."""
    network = UNet(padding="same", depth=2, width=2).eval()
    maps: list[weakref.ref[torch.Tensor]] = []
    held: list[int] = []
    first, second = (layer for layer in network.expansive[0] if isinstance(layer, nn.Conv2d))
    for source in (network.contracting[1][-1], network.up[0]):
        source.register_forward_hook(lambda module, given, result: maps.append(weakref.ref(result)))
    first.register_forward_pre_hook(lambda module, given: maps.append(weakref.ref(given[0])))
    second.register_forward_pre_hook(lambda module, given: held.append(sum(each() is not None for each in maps)))
    with torch.inference_mode():
        network(torch.zeros(1, 1, 64, 64), [slice(20, 36), slice(20, 36)])
    assert len(maps) == 3 and held == [0]


@given(
    factors=st.lists(st.sampled_from([1, 2]), min_size=2, max_size=3),
    size=st.lists(st.integers(1, 5), min_size=3, max_size=3),
    precision=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_maxima_of_pairs_are_those_of_pooling(factors: list[int], size: list[int], precision: torch.dtype) -> None:
    edges = [factor * n for factor, n in zip(factors, size, strict=False)]
    features = torch.randint(-3, 4, (2, 3, *edges)).to(precision)
    pool = nn.MaxPool2d if len(factors) == 2 else nn.MaxPool3d
    assert torch.equal(PairwiseMax(factors)(features), pool(tuple(factors))(features))


@settings(max_examples=30)
@given(all_kinds(), st.lists(st.integers(0, 24), min_size=3, max_size=3))
def test_a_copy_for_prediction_gives_the_same(chosen: UNetSettings, extra: list[int]) -> None:
    network = trained(chosen)
    image = image_for(network, extra)
    with torch.inference_mode():
        torch.testing.assert_close(for_prediction(network)(image), network(image), atol=1e-4, rtol=1e-4)
    assert not any(isinstance(pool, PairwiseMax) for pool in network.pools)


@settings(max_examples=30)
@given(all_kinds(), st.lists(st.integers(0, 24), min_size=3, max_size=3))
def test_folding_batch_normalisation_changes_rounding_only(chosen: UNetSettings, extra: list[int]) -> None:
    network = trained(chosen)
    image, before = image_for(network, extra), {k: v.clone() for k, v in network.state_dict().items()}
    folded = fold_batch_norm(network)
    with torch.inference_mode():
        torch.testing.assert_close(folded(image), network(image), atol=1e-4, rtol=1e-4)
    if network.settings.norm == "batch":
        assert not any(isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d) for m in folded.contracting.modules())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize("norm", ["none", "batch", "batch_after_relu"])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_one_body_for_volumes(norm: str, padding: str) -> None:
    network = UNet(2, 3, dims=3, depth=1, width=2, norm=norm, padding=padding)
    size = [network.geometry.smallest + 2 * n for n in range(3)]
    scores = network(torch.randn(2, 2, *size))
    assert scores.shape == (2, 3, *(network.geometry.output_size(n) for n in size))


def test_a_volume_that_does_not_change_along_z_is_treated_as_its_image() -> None:
    """The 3-D body with kernels that only look at their middle plane is the 2-D body, plane by plane."""
    flat = UNet(1, 2, depth=1, width=2, padding="same").eval()
    deep = UNet(1, 2, dims=3, depth=1, width=2, padding="same").eval()
    with torch.no_grad():
        for (name, volume), (other, image) in zip(deep.named_parameters(), flat.named_parameters(), strict=True):
            assert name == other
            if volume.ndim == image.ndim:  # biases
                volume.copy_(image)
            elif volume.shape[2] == 2:  # the up-convolution, the same for both planes
                volume.copy_(image[:, :, None].expand_as(volume))
            else:
                volume.zero_()
                volume[:, :, volume.shape[2] // 2] = image
        picture = torch.randn(1, 1, 6, 8)
        scores = deep(picture[:, :, None].expand(-1, -1, 4, -1, -1))
        for plane in range(4):
            torch.testing.assert_close(scores[:, :, plane], flat(picture))


@settings(max_examples=20)
@given(
    neighbours=st.integers(0, 2),
    channels=st.integers(1, 2),
    patch=st.sampled_from([1, 2]),
    padding=st.sampled_from(["same", "valid"]),
    depth=st.integers(0, 2),
)
def test_neighbouring_slices_are_channels_of_a_network_of_images(
    neighbours: int, channels: int, patch: int, padding: str, depth: int
) -> None:
    """With the same weights, a volume is answered as each slice is, with its neighbours as further channels."""
    both: dict[str, Any] = {"depth": depth, "width": 3, "padding": padding, "norm": "batch", "patch": patch}
    volumes = trained(UNetSettings(in_channels=channels, dims=3, neighbours=neighbours, **both))
    seen = 2 * neighbours + 1
    images = UNet(channels * seen, 2, **both).eval()
    images.load_state_dict(
        {
            name: value.reshape(images.state_dict()[name].shape) if value.ndim == 5 else value
            for name, value in volumes.state_dict().items()
        }
    )
    volume = image_for(volumes, [seen + 1, 5, 8]).double()  # sums in another order differ by less than in float32
    volumes.double()
    images.double()
    with torch.inference_mode():
        found = volumes(volume)
        for middle in range(neighbours, volume.shape[2] - neighbours):
            around = volume[:, :, middle - neighbours : middle + neighbours + 1].flatten(1, 2)
            place = middle - volumes.axes[0].margin
            torch.testing.assert_close(found[:, :, place], images(around), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("up_kernel", [2, 3])
def test_he_initialisation(dims: int, up_kernel: int) -> None:
    torch.manual_seed(0)
    network = UNet(1, 2, dims=dims, depth=1, width=32, up_kernel=up_kernel)
    checked = 0
    for name, layer in network.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            continue
        assert layer.bias is not None
        assert not layer.bias.any()
        # Values that reach one neuron: every tap of a convolution, one tap in 2**dims of an up-convolution.
        taps = layer.weight[0, 0].numel() / (2**dims if name.startswith("up.") else 1)
        if name == "up.0" and up_kernel == 2:
            assert taps == 1
        if layer.weight.numel() > 1000:
            assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / (taps * layer.in_channels)), rel=0.05)
            checked += 1
    assert checked >= 5


@pytest.mark.parametrize("dims", [2, 3])
def test_all_pixels_of_a_patch_begin_with_one_answer(dims: int) -> None:
    network = UNet(1, 3, dims=dims, depth=1, width=4, padding="same", patch=2).eval()
    with torch.no_grad():
        scores = network(torch.randn(1, 1, *[8] * dims))
    blocks = scores.reshape(1, 3, *[n for _ in range(dims) for n in (4, 2)])
    for axis in range(dims):
        first, second = blocks.unbind(3 + 2 * axis)
        assert torch.equal(first, second)
    assert scores.std() > 0


@settings(max_examples=40, deadline=None)
@given(
    size=st.lists(st.integers(1, 6), min_size=2, max_size=3),
    extra=st.lists(st.integers(0, 5), min_size=3, max_size=3),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_crop_and_concat_takes_the_centre(size: list[int], extra: list[int], channels: tuple[int, int]) -> None:
    upsampled = torch.rand(2, channels[0], *size)
    skip = torch.rand(2, channels[1], *(n + e for n, e in zip(size, extra, strict=False)))
    joined = crop_and_concat(upsampled, skip)
    window = tuple(slice(e // 2, e // 2 + n) for n, e in zip(size, extra, strict=False))
    assert torch.equal(joined[:, : channels[1]], skip[(slice(None), slice(None), *window)])
    assert torch.equal(joined[:, channels[1] :], upsampled)


def test_a_skip_connection_that_is_too_small_is_refused() -> None:
    with pytest.raises(SizeError, match=r"\(1, 1, 4, 3\) to \(1, 1, 4, 4\)"):
        crop_and_concat(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 3))


def test_a_size_that_does_not_fit_is_refused_on_any_axis() -> None:
    network = UNet(depth=1, width=2)
    for size in ((19, 18), (18, 19)):
        with pytest.raises(SizeError, match="18 or 20"):
            network(torch.zeros(1, 1, *size))


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_dropout_while_training_only(depth: int) -> None:
    torch.manual_seed(0)
    network = UNet(depth=depth, width=8, padding="same", dropout=0.5)
    image = torch.randn(1, 1, 8, 8)
    network.train()
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))
    still = UNet(depth=depth, width=8, padding="same", dropout=0.0).train()
    assert torch.equal(still(image), still(image))


def test_dropout_is_at_the_end_of_the_contracting_path() -> None:
    """The skip connection of the deepest level and the bottleneck lose values; the levels above lose none."""
    network = UNet(depth=2, width=16, padding="same", dropout=0.5).train()
    seen: list[torch.Tensor] = []
    network.dropout.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    network(torch.rand(1, 1, 16, 16))
    assert [tuple(features.shape[1:]) for features in seen] == [(32, 8, 8), (64, 4, 4)]


def test_batch_normalisation_leaves_pixels_independent_when_predicting() -> None:
    network = UNet(depth=1, width=4, padding="same", norm="batch").eval()
    images = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        together = network(images)
        for index in range(3):
            torch.testing.assert_close(network(images[index : index + 1])[0], together[index])


def test_channels_double_with_each_level() -> None:
    network = UNet(3, 5, depth=3, width=4)
    assert [block[0].out_channels for block in network.contracting] == [4, 8, 16]
    assert network.bottleneck[0].out_channels == 32
    assert [up.out_channels for up in network.up] == [16, 8, 4]
    assert network.contracting[0][0].in_channels == 3
    assert network.head.out_channels == 5


def test_channels_may_stop_doubling() -> None:
    network = UNet(3, 5, depth=4, width=4, doublings=2, padding="same")
    assert [block[0].out_channels for block in network.contracting] == [4, 8, 16, 16]
    assert network.bottleneck[0].out_channels == 16
    assert network(torch.zeros(1, 3, 16, 32)).shape == (1, 5, 16, 32)


@pytest.mark.parametrize("wrong", [{"widht": 3}, {"depth": 9}, {"classes": 1}, {"padding": "full"}, {"dropout": 1.0}])
def test_settings_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        UNet(**wrong)  # type: ignore[arg-type]


def test_a_network_is_rebuilt_from_its_settings() -> None:
    settings = UNetSettings(in_channels=2, classes=4, depth=1, width=2, norm="batch", up_kernel=3, head="3x3")
    network = UNet.from_settings(settings)
    assert network.settings == settings
    twin = UNet.from_settings(network.settings)
    twin.load_state_dict(network.state_dict())


@pytest.mark.parametrize("dims", [2, 3])
def test_all_features_of_a_training_in_bfloat16_are_bfloat16(dims: int) -> None:
    network = UNet(dims=dims, depth=2, width=4, padding="same", norm="batch")
    found = []
    for layer in network.modules():
        if layer is not network and not isinstance(layer, nn.Identity | nn.ModuleList):
            layer.register_forward_hook(lambda _, given, features: found.append(features.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.randn(2, 1, *[16] * dims))
    assert set(found) == {torch.bfloat16}


@pytest.mark.parametrize("dims", [2, 3])
def test_gradients_of_skip_connections_lie_in_memory_as_features_do(dims: int) -> None:
    """Else what comes behind them passes over two layouts at once, which takes several times as long."""
    network = UNet(dims=dims, depth=2, width=4, padding="same", norm="batch")
    network, layout = machine.place(network, torch.device("cpu"), dims), machine.memory_layout(dims)
    found = []

    def watch(_block: nn.Module, _given: object, features: Tensor) -> None:
        features.register_hook(lambda gradient: found.append(gradient.is_contiguous(memory_format=layout)))

    for block in network.contracting:
        block.register_forward_hook(watch)
    network(torch.randn(2, 1, *[16] * dims).to(memory_format=layout)).square().mean().backward()
    assert found == [True, True]
