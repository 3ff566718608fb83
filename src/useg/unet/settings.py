"""What a U-Net is made of, as values. Apart from `network.py` so that reading a model's header needs no torch."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field, model_validator

from useg.unet.geometry import Geometry

_geometry = cache(Geometry)
"""Of axes that are alike one is made, which then works out each of its numbers once."""


class UNetSettings(BaseModel):
    """Settings of `UNet`. The defaults are the network of Ronneberger, Fischer and Brox (2015, figure 1).

    Attributes:
        in_channels: channels of the input image.
        classes: channels of the output, one score a class.
        dims: 2 for images, 3 for volumes.
        depth: number of 2x2 max poolings.
        width: channels after the first block; every level down has twice as many.
        doubling: "after_pool", the 2-D paper's: the first convolution of a block doubles the channels, up-convolutions
            halve them; "before_pool", the 3-D paper's, against bottlenecks: the second convolution of a block in the
            contracting path doubles them, up-convolutions keep them.
        doublings: levels that have twice the channels of the one above, the deeper ones have no more; None: all.
        padding: "valid" loses a pixel at each convolution and needs mirrored surroundings; "same" pads with zeros.
        norm: "batch" puts batch normalisation between convolution and ReLU, "batch_after_relu" behind the ReLU.
        up_kernel: 2, the paper's 2x2 up-convolution; 3, 3x3 with stride 2, padding 1 and output padding 1.
        head: "1x1", the paper's last convolution; "3x3", a padded 3x3 convolution, ReLU and batch normalisation.
        patch: 1, the paper's; 2 or 4, a convolution of this kernel and stride comes first and an up-convolution
            like it last, so that all between works on that many times fewer pixels along each axis.
        flat, pools: of volumes, for each axis (z, y, x) `Geometry.flat` and `Geometry.pools`; () is none and all.
        neighbours: of volumes, makes them 2.5-D: a network of images, whose channels are those of a slice and of so
            many slices to either side of it; None works in space.
        dropout: share of the values dropped at the end of the contracting path while training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    in_channels: int = Field(default=1, ge=1)
    classes: int = Field(default=2, ge=2, le=255)
    dims: Literal[2, 3] = 2
    depth: int = Field(default=4, ge=0, le=8)
    width: int = Field(default=64, ge=1)
    doubling: Literal["after_pool", "before_pool"] = "after_pool"
    doublings: int | None = Field(default=None, ge=0)
    padding: Literal["valid", "same"] = "valid"
    norm: Literal["none", "batch", "batch_after_relu"] = "none"
    up_kernel: Literal[2, 3] = 2
    head: Literal["1x1", "3x3"] = "1x1"
    patch: Literal[1, 2, 4] = 1
    flat: tuple[int, ...] = ()
    pools: tuple[int, ...] = ()
    neighbours: int | None = Field(default=None, ge=0, le=8)
    dropout: float = Field(default=0.5, ge=0, lt=1)

    @model_validator(mode="after")
    def _one_way_out(self) -> UNetSettings:
        if self.patch > 1 and self.head != "1x1":
            raise ValueError(f"patch {self.patch} has a head of its own; leave head at 1x1")
        return self

    @model_validator(mode="after")
    def _levels_of_each_axis(self) -> UNetSettings:
        for name in ("flat", "pools"):
            given = getattr(self, name)
            if given and (len(given) != self.dims or self.dims == 2 or not all(0 <= n <= self.depth for n in given)):
                raise ValueError(
                    f"{name} is {given}; give three numbers (z, y, x) from 0 to {self.depth}, of volumes only"
                )
        if self.flat and self.pools and any(sum(both) > self.depth for both in zip(self.flat, self.pools, strict=True)):
            raise ValueError(f"flat {self.flat} and pools {self.pools} are more than the {self.depth} levels of depth")
        if self.neighbours is not None and (self.dims == 2 or self.flat or self.pools):
            raise ValueError(f"neighbours is {self.neighbours}: of volumes only, and then flat and pools are not asked")
        return self

    @property
    def axes(self) -> tuple[Geometry, ...]:
        """The sizes of this network along each axis, (y, x) or (z, y, x)."""
        head: Literal[1, 3] = 1 if self.head == "1x1" else 3
        flat, pools = self.flat or (0,) * self.dims, self.pools or (None,) * self.dims
        axes = [
            _geometry(self.depth, self.padding, self.up_kernel, head, self.patch, levels, halved)
            for levels, halved in zip(flat, pools, strict=True)
        ]
        if self.neighbours is not None:  # nothing but the first layer, not even the bottleneck, looks beyond a slice
            axes[0] = _geometry(self.depth, self.padding, flat=self.depth + 1, pools=0, context=self.neighbours)
        return tuple(axes)

    @property
    def geometry(self) -> Geometry:
        """The sizes of this network along x, and so, but in volumes, along every axis."""
        return self.axes[-1]

    def channels(self, level: int) -> int:
        """Channels that leave the block of `level`: 0 is the finest, `depth` the bottleneck."""
        return self.inner_channels(level) * (2 if self.doubling == "before_pool" else 1)

    def inner_channels(self, level: int) -> int:
        """Channels between the two convolutions of the contracting block, or of the bottleneck, of `level`."""
        return self.width * 2 ** (level if self.doublings is None else min(level, self.doublings))


class UNetOptions(TypedDict, total=False):
    """The settings of `UNetSettings` as keywords, so that editors and type checkers know them."""

    dims: Literal[2, 3]
    depth: int
    width: int
    doubling: Literal["after_pool", "before_pool"]
    doublings: int | None
    padding: Literal["valid", "same"]
    norm: Literal["none", "batch", "batch_after_relu"]
    up_kernel: Literal[2, 3]
    head: Literal["1x1", "3x3"]
    patch: Literal[1, 2, 4]
    flat: tuple[int, ...]
    pools: tuple[int, ...]
    neighbours: int | None
    dropout: float


def article_settings(**changes: Any) -> UNetSettings:
    """The network of the article "UNet: introducing symmetry in segmentation": depth 3, 284x284 -> 196x196."""
    article = UNetSettings(depth=3, norm="batch_after_relu", up_kernel=3, head="3x3", dropout=0.0)
    return UNetSettings(**(article.model_dump() | changes))


def volume_settings(**changes: Any) -> UNetSettings:
    """The network of Çiçek et al. 2016 (arXiv 1606.06650, section 2, figure 2): 132x132x116 -> 44x44x28.

    Their 19,069,955 parameters, of 3 channels and 3 classes, are those of its convolutions: weights, and biases but for
    the up-convolutions. Here batch normalisation takes the place of the biases in front of it.
    """
    paper = UNetSettings(dims=3, depth=3, width=32, doubling="before_pool", norm="batch", dropout=0.0)
    return UNetSettings(**(paper.model_dump() | changes))
