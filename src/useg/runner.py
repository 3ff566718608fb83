"""The engine of a prediction: one tile through the network, and how much memory that takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from useg import machine
from useg.errors import SettingsError
from useg.unet.model import ModelCard

if TYPE_CHECKING:
    from torch import Tensor

    from useg.unet.network import UNet

WORKSPACE = 100_000_000
"""Bytes that torch takes beside the tiles, whatever their size: scratch of the convolutions, gaps in the heap."""
LARGEST_TILE = 3072
"""Pixels along an axis of a 2-D tile beyond which a CPU gains nothing more."""


@runtime_checkable
class Runner(Protocol):
    """An engine: normalised float32 `C *size` -> probabilities float32 `K *kept`, corrected as the model's card says.

    Behind the classes there may be one plane more: the mean entropy of several networks, 0..1, in which they are sure
    of what they say even where they disagree.
    """

    def __call__(self, tile: Float[np.ndarray, "c *size"], keep: Sequence[slice]) -> Float[np.ndarray, "p *kept"]:
        """Run the network on one tile and return the window `keep` of its output."""


class TorchRunner:
    """Runs a `UNet`, or several whose probabilities are averaged, with torch, in channels-last memory."""

    def __init__(
        self,
        networks: UNet | Sequence[UNet],
        device: str = "auto",
        precision: str = "auto",
        *,
        shift: Sequence[float] = (),
        temperature: float = 1.0,
        spread: bool = False,
    ) -> None:
        """Make them ready.

        Args:
            networks: of the same settings.
            device, precision: see `useg.predict.PredictSettings`.
            shift, temperature: probabilities are softmax((scores + shift) / temperature).
            spread: also give the mean entropy.
        """
        from useg.unet.network import UNet, for_prediction

        machine.keep_freed_memory()
        networks = [networks] if isinstance(networks, UNet) else networks
        dims = networks[0].settings.dims
        found = machine.find_device(device)
        self.device = found.type
        self.precision = machine.probe_precision(found) if precision == "auto" else precision
        self.shift, self.temperature, self.spread = shift, temperature, spread
        self._layout = machine.memory_layout(dims)
        self.networks = [machine.place(for_prediction(each), found, dims) for each in networks]

    def __call__(self, tile: Float[np.ndarray, "c *size"], keep: Sequence[slice]) -> Float[np.ndarray, "p *kept"]:
        """Probabilities of the window `keep` of one tile."""
        import torch

        batch = torch.from_numpy(np.ascontiguousarray(tile))[None].to(self.device, memory_format=self._layout)
        with torch.inference_mode():
            total = self._planes(self._scores(self.networks[0], batch, keep))
            for network in self.networks[1:]:
                total += self._planes(self._scores(network, batch, keep))
            result: Float[np.ndarray, "p *kept"] = total.div_(len(self.networks)).cpu().numpy()
        return result

    def _scores(self, network: UNet, batch: Tensor, keep: Sequence[slice]) -> Tensor:
        import torch

        # GPUs of NVIDIA round the float32 of convolutions to 10 bits unless told not to, and tiles would show.
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with exact, torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bfloat16"):
            scores: Tensor = network(batch, keep)[0]
        return scores

    def _planes(self, scores: Tensor) -> Tensor:
        """Probabilities of one network, and behind them their entropy where it is asked for."""
        import torch

        # Class by class in memory, which makes the softmax thirty times as fast.
        scores = scores.to(torch.float32, memory_format=torch.contiguous_format)
        if any(self.shift):
            scores = scores + scores.new_tensor(self.shift).view(-1, *[1] * (scores.ndim - 1))
        if self.temperature != 1:
            scores = scores / self.temperature
        if not self.spread:
            return scores.softmax(0)
        scores, classes = scores.log_softmax(0), len(scores)
        planes = scores.new_empty((classes + 1, *scores.shape[1:]))
        torch.exp(scores, out=planes[:classes])
        planes[classes] = scores.mul_(planes[:classes]).sum(0).div_(-math.log(max(2, classes)))
        return planes


def largest_tile(card: ModelCard, size: Sequence[int], limit: int, precision: str = "float32") -> list[int]:
    """The most pixels that a tile may read along each axis so that the network stays below `limit` bytes.

    Raises:
        SettingsError: not even the smallest tile fits.
    """
    axes, dims = card.network.axes, len(size)
    whole = [axis.tiles(n, n)[0].length for axis, n in zip(axes, size, strict=True)]
    pixels = limit / bytes_per_pixel(card, precision)
    smallest = [axis.smallest_tile for axis in axes]
    if pixels < min(math.prod(smallest), math.prod(whole)):
        raise SettingsError(
            f"--max-memory leaves {max(0, limit) / 1e6:.0f} MB for the network, but one tile needs "
            f"{bytes_per_pixel(card, precision) * math.prod(smallest) / 1e6:.0f} MB; allow more memory"
        )
    # Least is read in vain where edges are as their halos; slices with few neighbours are read by few. Short axes are
    # read whole; what they leave is shared by the long ones.
    most = LARGEST_TILE if dims == 2 or card.network.neighbours is not None else LARGEST_TILE // 8
    widest = max(1, *(axis.halo for axis in axes))
    weights, largest = [max(1, axis.halo) / widest for axis in axes], list(whole)
    needed = [min(both) for both in zip(smallest, whole, strict=True)]
    order = sorted(range(dims), key=lambda a: whole[a] / weights[a])
    for rank, axis in enumerate(order):
        rest = order[rank:]
        edge = weights[axis] * (pixels / math.prod(weights[a] for a in rest)) ** (1 / len(rest))
        edge = min(most, edge, pixels / math.prod(needed[a] for a in rest[1:]))
        largest[axis] = min(whole[axis], max(smallest[axis], int(edge)))
        pixels /= largest[axis]
    return largest


def bytes_per_pixel(card: ModelCard, precision: str = "float32") -> float:
    """Memory that the network needs for each pixel of a tile (`benchmarks/speed.py` measures it)."""
    s, value = card.network, 2 if precision == "bfloat16" else 4
    # In widths of the finest level: with "same" padding it works in strips on the way up, and the level below holds the
    # most, beside the skip connection; else the finest holds two joined maps and two results. As much again is lost
    # in gaps between blocks that torch has freed.
    widths = {2: 6, 3: 5}[s.dims] if s.padding == "same" else 9
    return (
        value * widths * s.channels(0) / math.prod(axis.patch for axis in s.axes)
        + (4 + value) * s.in_channels
        + (12 + 4 * (card.members > 1)) * s.classes
    )
