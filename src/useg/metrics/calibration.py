"""Do probabilities mean what they say? Reliability and expected calibration error.

Guo, Pleiss, Sun, Weinberger 2017, "On calibration of modern neural networks", arXiv 1706.04599: equations 2 to 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, one entry a bin of confidence; NaN in bins without a pixel.

    Attributes:
        counts: pixels. confidence: mean probability of the predicted class. accuracy: share that has it.
    """

    counts: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def error(self) -> float:
        """Expected calibration error, 0..1 (equation 5); NaN without a pixel."""
        counts = np.array(self.counts, float)
        gaps = np.abs(np.array(self.accuracy) - np.array(self.confidence))
        return float(np.nansum(counts * gaps) / counts.sum()) if counts.sum() else math.nan
