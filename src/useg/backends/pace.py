"""Runners timed in turn, so that whatever else this machine does disturbs all of them alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

from useg.runner import Runner

Name = TypeVar("Name", bound=Hashable)
PAUSE = 0.2
"""Seconds before each turn: the threads of the library before it have then ceased to wait busily for more."""
TURN = 0.1
"""Seconds that a turn takes at least; so long the tile is run again and again."""
LEAST_ROUNDS = 3


class Pace(NamedTuple):
    """How fast a runner is.

    Attributes:
        megapixels: million pixels of the window `keep` a second.
        ratio: of that to the first runner's, in the same round.
    """

    megapixels: float
    ratio: float


def measure_paces(
    runners: Mapping[Name, Runner],
    tile: Float[np.ndarray, "c *size"],
    keep: Sequence[slice],
    *,
    rounds: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, Pace]:
    """The pace of each runner on a tile: medians over the rounds, in each of which all of them have their turn.

    Args:
        rounds: at most so many, and at least `LEAST_ROUNDS`, while `seconds` have not passed.
        clock: in seconds, such as of the processor's time where others use it too.
    """
    begun = time.perf_counter()
    taken: list[list[float]] = []
    while len(taken) < LEAST_ROUNDS or (len(taken) < rounds and time.perf_counter() - begun < seconds):
        taken.append([_turn(runner, tile, keep, clock) for runner in runners.values()])
    times, pixels = np.array(taken), math.prod(part.stop - part.start for part in keep) / 1e6
    paces, ratios = pixels / np.median(times, 0), np.median(times[:, :1] / times, 0)
    return {name: Pace(float(pace), float(ratio)) for name, pace, ratio in zip(runners, paces, ratios, strict=True)}


def _turn(
    runner: Runner, tile: Float[np.ndarray, "c *size"], keep: Sequence[slice], clock: Callable[[], float]
) -> float:
    """Seconds that a runner takes for one tile."""
    time.sleep(PAUSE)
    begun, calls = clock(), 0
    while calls == 0 or clock() - begun < TURN:
        runner(tile, keep)
        calls += 1
    return (clock() - begun) / calls
