"""How confidences become objects: the numbers that `find_settings` finds and a model's file keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, model_validator

_SEED_SHARE = 10  # A seed has at least this part of the smallest object; below that it is a speck of noise.


class SeparateSettings(BaseModel):
    """How probabilities become objects. The defaults are plain connected pieces of the likely pixels.

    Attributes:
        threshold: pixels of a higher probability are pixels of objects, 0..1.
        seed_threshold: each connected piece of pixels of a higher probability is one object's seed, 0..1.
        smallest: pixels that an object has at least.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float = Field(default=0.5, ge=0, le=1)
    seed_threshold: float = Field(default=0.5, ge=0, le=1)
    smallest: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _seeds_are_inside(self) -> SeparateSettings:
        if self.seed_threshold < self.threshold:
            raise ValueError(f"seed_threshold {self.seed_threshold} is below threshold {self.threshold}; raise it")
        return self

    @property
    def cuts(self) -> tuple[int, int]:
        """Confidences in steps of 1/255, 0..255, above which pixels are an object's and a seed's."""
        return int(255 * self.threshold), int(255 * self.seed_threshold)

    @property
    def smallest_seed(self) -> int:
        """Pixels that a seed has at least."""
        return math.ceil(self.smallest / _SEED_SHARE)

    def calibrated(self, temperature: float, shift: Sequence[float]) -> SeparateSettings:
        """The settings that part the same objects of the same scores once these are calibrated.

        A probability p of two classes becomes p' with log(p' / (1 - p')) = (log(p / (1 - p)) + s) / temperature, where
        s is how much more `shift` adds to the scores of the objects than to those of the background.
        """
        background, objects = shift

        def moved(p: float) -> float:
            inside, outside = (math.exp(objects - background) * p) ** (1 / temperature), (1 - p) ** (1 / temperature)
            return inside / (inside + outside)

        return self.model_copy(
            update={"threshold": moved(self.threshold), "seed_threshold": moved(self.seed_threshold)}
        )
