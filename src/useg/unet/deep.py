"""Deep supervision: while it learns, a network is asked for its answer at the coarser levels too.

Lee et al. 2015, arXiv 1409.5185. A level that is asked itself learns from the first step on, and not only what finer
levels, which have learned nothing yet, hand down to it. Prediction does not need the heads of these levels: they are
kept in the state of a run, not in its models.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float, Integer
from torch import Tensor, nn

from useg.unet.losses import LossSettings, Total, segmentation_loss, whole
from useg.unet.network import UNet


class DeeplySupervised(nn.Module):
    """A U-Net with "same" padding, and a 1x1 convolution for each level of its expansive path but the finest.

    Attributes:
        body: the network. heads: of the levels, the coarsest first; none where `deep` is False.
    """

    def __init__(self, body: UNet, *, deep: bool = True) -> None:
        super().__init__()
        s = body.settings
        conv = nn.Conv2d if s.dims == 2 else nn.Conv3d
        self.body = body
        self.heads = nn.ModuleList(conv(s.channels(k), s.classes, 1) for k in range(s.depth - 1, 0, -1) if deep)

    def forward(self, image: Float[Tensor, "n c *size"]) -> list[Tensor]:
        """Scores `N K *size`, those of the network first, then of ever coarser levels."""
        maps: list[Tensor] = []
        levels = zip(self.body.expansive, self.heads, strict=False)
        hooks = [level.register_forward_hook(lambda _, given, found: maps.append(found)) for level, _ in levels]
        try:
            scores = self.body(image)
        finally:
            for hook in hooks:
                hook.remove()
        coarse = [head(found) for head, found in zip(self.heads, maps, strict=True)]
        return [scores, *reversed(coarse)]


def supervised_loss(
    scores: Sequence[Float[Tensor, "n k ..."]],
    labels: Integer[Tensor, "n *size"],
    settings: LossSettings,
    weights: Float[Tensor, "n *size"] | None = None,
    *,
    total: Total = whole,
) -> Float[Tensor, ""]:
    """The mean loss of all levels, each weighing `settings.deep` of the next finer one.

    A pixel of a coarse level is held against the pixel in its middle. `weights` count at the finest level only.

    Args:
        scores: of the finest level first, as `DeeplySupervised` gives them; the others as in `segmentation_loss`.
    """
    loss = segmentation_loss(scores[0], labels, settings, weights, total=total)
    share, shares = 1.0, 1.0
    for coarse in scores[1:]:
        steps = [n // m for n, m in zip(labels.shape[1:], coarse.shape[2:], strict=True)]
        seen = labels[(slice(None), *(slice(step // 2, None, step) for step in steps))]
        share *= settings.deep
        shares += share
        loss = loss + share * segmentation_loss(coarse, seen, settings, total=total)
    return loss / shares
