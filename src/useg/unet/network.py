"""The U-Net: one body for images and volumes.

input ─ block ────────────── crop ───────────── concat ─ block ─ head ─ scores
          └ pool ─ block ─── crop ─── concat ─ block ─ up ┘
                     └ pool ─ block (bottleneck) ─ up ┘
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from useg.errors import SizeError
from useg.unet.geometry import Geometry, Rise
from useg.unet.settings import UNetOptions, UNetSettings

STRIP_ROWS, STRIP_PIXELS = 32, 1 << 17
"""A strip of a window has so many rows at least, and about so many pixels: they stay in the cache between layers."""


def crop_and_concat(
    upsampled: Float[Tensor, "n c1 *size1"], skip: Float[Tensor, "n c2 *size2"]
) -> Float[Tensor, "n c *size"]:
    """Crop `skip` at its centre to the size of `upsampled` and join the two, `skip` first.

    The skip connection of the paper (section 2): the contracting path lost fewer border pixels at this level.

    Raises:
        SizeError: the skip connection is smaller than the feature map that came up.
    """
    for axis in range(2, upsampled.ndim):
        have, want = skip.shape[axis], upsampled.shape[axis]
        if have < want:
            raise SizeError(f"cannot crop a skip connection of {tuple(skip.shape)} to {tuple(upsampled.shape)}")
        # Nothing is cropped where nothing is to be: its gradient would be zeros, filled in another memory layout.
        if have > want:
            skip = skip.narrow(axis, (have - want) // 2, want)
    return torch.cat([skip, upsampled], dim=1)


class UNet(nn.Module):
    """U-Net (Ronneberger, Fischer, Brox 2015; Çiçek et al. 2016 in three dimensions).

    `UNet()` is the paper's network: 31,030,658 parameters, 572x572 -> 388x388. All other forms are values of
    `UNetSettings`, given as keywords: `UNet(3, 5, padding="same", norm="batch", width=16)`.

    Takes float `N C Y X` (or `N C Z Y X`) and returns scores (logits) `N K Y' X'`; `settings.geometry` knows the
    sizes. Channels-last memory is the faster one on a CPU.

    Raises:
        SizeError: (when called) a size does not fit; the message names the nearest ones that do.
        pydantic.ValidationError: a keyword is not a setting or has a value that it cannot have.
    """

    settings: UNetSettings
    geometry: Geometry
    axes: tuple[Geometry, ...]

    if TYPE_CHECKING:  # torch leaves open what calling a module gives

        def __call__(self, image: Tensor, keep: Sequence[slice] | None = None) -> Tensor:
            """Scores, see `forward`."""

    def __init__(self, in_channels: int = 1, classes: int = 2, **settings: Unpack[UNetOptions]) -> None:
        super().__init__()
        s = self.settings = UNetSettings(in_channels=in_channels, classes=classes, **settings)
        self.geometry, self.axes = s.geometry, s.axes
        self.stem = _stem(s)
        inputs = [s.in_channels if s.patch == 1 else s.width, *(s.channels(level) for level in range(s.depth))]
        down = [
            _block(s, k, inputs[k], s.inner_channels(k), s.channels(k), first=k == 0 and s.patch == 1)
            for k in range(s.depth + 1)
        ]
        self.contracting, self.bottleneck = nn.ModuleList(down[:-1]), down[-1]
        levels = list(reversed(range(s.depth)))
        raised = [s.channels(k if s.doubling == "after_pool" else k + 1) for k in range(s.depth)]
        self.up = nn.ModuleList(_up(s, k, s.channels(k + 1), raised[k]) for k in levels)
        self.expansive = nn.ModuleList(
            _block(s, k, s.channels(k) + raised[k], s.channels(k), s.channels(k)) for k in levels
        )
        self.head = _head(s)
        pool = nn.MaxPool2d if s.dims == 2 else _MaxPool3d
        self.pools = nn.ModuleList(pool(_factors(s, k)) for k in range(s.depth))
        # Both of the deepest feature maps, as in the authors' own network files.
        self.dropout = nn.Dropout(s.dropout)
        self.apply(_initialise)
        if s.patch > 1:
            _same_for_all_pixels(self.head)

    @classmethod
    def from_settings(cls, settings: UNetSettings) -> UNet:
        """The network that `settings` describe."""
        return cls(**settings.model_dump())

    def forward(
        self, image: Float[Tensor, "n c *size"], keep: Sequence[slice] | None = None
    ) -> Float[Tensor, "n k *out"]:
        """Scores of every class for every output pixel.

        With `keep`, a slice an axis, for that window of the output only. It costs less than the whole: see `_window`.
        """
        for axis, size in zip(self.axes, image.shape[2:], strict=True):
            axis.output_size(size)
        features, skips = self.stem(image), []
        for level, (block, pool) in enumerate(zip(self.contracting, self.pools, strict=True), start=1):
            features = block(features)
            if level == self.settings.depth:
                features = self.dropout(features)
            skips.append(features)
            features = pool(features)
        features = self.dropout(self.bottleneck(features))
        if keep is not None and self.settings.padding == "same" and self.settings.depth:
            return self._window(features, skips, image.shape[2:], keep)
        for up, block in zip(self.up, self.expansive, strict=True):
            features = block(crop_and_concat(up(features), skips.pop()))
        scores: Tensor = self.head(features)
        return scores if keep is None else scores[_within(keep)]

    def _window(
        self, bottleneck: Tensor, skips: list[Tensor], size: Sequence[int], keep: Sequence[slice]
    ) -> Float[Tensor, "n k *out"]:
        """The expansive path for a window of the output, of a network with "same" padding; `skips` are used up.

        Each level computes what the window depends on, so that a halo costs the contracting path only. The finest level
        holds most of the memory, so it works on strips of the window, one after the other. Blocks are called layer by
        layer: called as a whole, each would hold what goes into it until its end.
        """

        def rise(step: int, below: Tensor, begin: Sequence[int], rises: Sequence[Rise], skip: Tensor) -> Tensor:
            came_up = self.up[step](below[_within([r.below for r in rises], begin)])
            read = [r.read for r in rises]
            came_up = came_up[_within(read, [r.factor * r.below.start for r in rises])]
            return crop_and_concat(came_up, skip[_within(read)])

        ways = [axis.expansive(n, part) for axis, n, part in zip(self.axes, size, keep, strict=True)]
        levels = list(zip(*ways, strict=True))  # the finest first
        features, begin = bottleneck, [0] * len(size)
        for step, rises in enumerate(reversed(levels[1:])):
            features = rise(step, features, begin, rises, skips.pop())
            for layer in self.expansive[step].children():
                features = layer(features)
            begin = [r.read.start for r in rises]
        scores = []
        rows = max(STRIP_ROWS, STRIP_PIXELS // math.prod(part.stop - part.start for part in keep[1:]))
        for start in range(keep[0].start, keep[0].stop, rows):
            strip = [slice(start, min(start + rows, keep[0].stop)), *keep[1:]]
            rises = [axis.expansive(n, part)[0] for axis, n, part in zip(self.axes, size, strip, strict=True)]
            found = rise(-1, features, begin, rises, skips[0])
            for layer in (*self.expansive[-1].children(), self.head):
                found = layer(found)
            begin_of = [axis.patch * r.read.start for axis, r in zip(self.axes, rises, strict=True)]
            scores.append(found[_within(strip, begin_of)])
        return torch.cat(scores, dim=2)


def _within(window: Sequence[slice], begin: Sequence[int] | None = None) -> Any:
    """The index of a window in a feature map whose first pixel is `begin`."""
    begin = begin or [0] * len(window)
    return (..., *(slice(part.start - b, part.stop - b) for part, b in zip(window, begin, strict=True)))


def fold_batch_norm(network: UNet) -> UNet:
    """A copy for prediction: a batch normalisation right behind a convolution becomes part of its weights.

    Scores differ by rounding only; each layer passes once less over memory.
    """
    folded = copy.deepcopy(network).eval()
    for block in (module for module in folded.modules() if isinstance(module, nn.Sequential)):
        for place, (layer, norm) in enumerate(pairwise(block)):
            if isinstance(layer, nn.Conv2d | nn.Conv3d) and isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
                block[place], block[place + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()
    return folded


def for_prediction(network: UNet) -> UNet:
    """A copy that takes less time and memory: batch normalisation folded, and pools that note no places."""
    lean = fold_batch_norm(network)
    lean.pools = nn.ModuleList(PairwiseMax(_factors(lean.settings, k)) for k in range(lean.settings.depth))
    return lean


class _MaxPool3d(nn.MaxPool3d):
    """Max pooling in the numbers that it is given: autocast on a CPU would copy them to float32, and their gradient."""

    def forward(self, features: Float[Tensor, "n c *size"]) -> Float[Tensor, "n c *out"]:
        if not torch.is_autocast_enabled("cpu"):  # an exported program would keep the context
            return super().forward(features)
        with torch.autocast("cpu", enabled=False):
            return super().forward(features)


class PairwiseMax(nn.Module):
    """Max pooling axis by axis, for prediction: what `nn.MaxPool2d` and `nn.MaxPool3d` give, in less memory.

    These also note where each maximum was, in 8 bytes. In bfloat16 it is faster too. Not for training: of two equal
    values both would get a share of the gradient.
    """

    def __init__(self, factors: Sequence[int]) -> None:
        """By how much each axis shrinks: 1 or 2."""
        super().__init__()
        self.factors = tuple(factors)

    def forward(self, features: Float[Tensor, "n c *size"]) -> Float[Tensor, "n c *out"]:
        """The highest value of each 2 x 2 (x 2) pixels."""
        for axis, factor in enumerate(self.factors, start=2):
            if factor == 2:
                even, odd = (features[(slice(None),) * axis + (slice(start, None, 2),)] for start in (0, 1))
                features = torch.maximum(even, odd)
        return features


def _factors(s: UNetSettings, level: int) -> tuple[int, ...]:
    """By how much pooling behind `level` shrinks each axis."""
    return tuple(axis.factor(level) for axis in s.axes)


def _block(s: UNetSettings, level: int, inputs: int, inner: int, outputs: int, *, first: bool = False) -> nn.Sequential:
    """Two 3x3 convolutions, each with its ReLU; those of the network's first layer see neighbouring slices."""
    return nn.Sequential(
        *_convolution(s, level, inputs, inner, first=first), *_convolution(s, level, inner, outputs, first=False)
    )


def _convolution(s: UNetSettings, level: int, inputs: int, outputs: int, *, first: bool) -> list[nn.Module]:
    kernel = tuple(axis.kernel(level) + 2 * axis.context * first for axis in s.axes)
    padding = tuple(0 if s.padding == "valid" else axis.kernel(level) // 2 for axis in s.axes)
    # A shift in front of a batch normalisation would be taken out again by it.
    layer = _conv(s)(inputs, outputs, kernel, padding=padding, bias=s.norm != "batch")
    match s.norm:
        case "none":
            return [layer, nn.ReLU(inplace=True)]
        case "batch":
            return [layer, _batch_norm(s, outputs), nn.ReLU(inplace=True)]
        case "batch_after_relu":
            return [layer, nn.ReLU(inplace=True), _batch_norm(s, outputs)]


def _up(s: UNetSettings, level: int, inputs: int, outputs: int) -> nn.Module:
    conv: Any = nn.ConvTranspose2d if s.dims == 2 else nn.ConvTranspose3d
    stride = _factors(s, level)
    if s.up_kernel == 2:
        layer: nn.Module = conv(inputs, outputs, stride, stride=stride)
        return layer
    # Along an axis that is not halved, a kernel of 1.
    extra = tuple(f - 1 for f in stride)
    wide: nn.Module = conv(
        inputs, outputs, tuple(2 * f - 1 for f in stride), stride=stride, padding=extra, output_padding=extra
    )
    return wide


def _stem(s: UNetSettings) -> nn.Module:
    if s.patch == 1:
        return nn.Identity()
    kernel = tuple(axis.patch + 2 * axis.context for axis in s.axes)
    layer: nn.Module = _conv(s)(s.in_channels, s.width, kernel, stride=tuple(axis.patch for axis in s.axes))
    return layer


def _head(s: UNetSettings) -> nn.Module:
    if s.patch > 1:
        up: Any = nn.ConvTranspose2d if s.dims == 2 else nn.ConvTranspose3d
        patch = tuple(axis.patch for axis in s.axes)
        spread: nn.Module = up(s.channels(0), s.classes, patch, stride=patch)
        return spread
    kernel = tuple(axis.head_kernel for axis in s.axes)
    last: nn.Module = _conv(s)(s.channels(0), s.classes, kernel, padding=tuple(n // 2 for n in kernel))
    return last if s.head == "1x1" else nn.Sequential(last, nn.ReLU(inplace=True), _batch_norm(s, s.classes))


def _conv(s: UNetSettings) -> Any:
    return nn.Conv2d if s.dims == 2 else nn.Conv3d


@torch.no_grad()
def _same_for_all_pixels(head: nn.Module) -> None:
    """Begin with one answer for all pixels of a patch: with weights of its own, each pixel would learn at its own pace
    and the labels would be a checkerboard (Aitken et al. 2017, arXiv 1707.02937)."""
    weight = head.weight
    assert isinstance(weight, torch.Tensor)
    first = weight.flatten(2)[:, :, :1]
    weight.copy_(first.expand(-1, -1, weight[0, 0].numel()).reshape(weight.shape))


def _batch_norm(s: UNetSettings, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if s.dims == 2 else nn.BatchNorm3d(channels)


def _initialise(module: nn.Module) -> None:
    """He initialisation: standard deviation sqrt(2 / N), N the values that reach one neuron (paper, section 3)."""
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        fan_in = float(module.in_channels * math.prod(module.kernel_size))
    elif isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d):
        # With stride 2, a kernel of 2 lets each output pixel see every input channel once.
        fan_in = module.in_channels * math.prod(module.kernel_size) / math.prod(module.stride)
    else:
        return
    if module.weight.is_meta:  # no numbers to draw; torch would load for a second what makes none of them
        return
    nn.init.normal_(module.weight, std=math.sqrt(2 / fan_in))
    if module.bias is not None:
        nn.init.zeros_(module.bias)
