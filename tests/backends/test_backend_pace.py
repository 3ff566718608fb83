"""Runners are timed in turn, and as often as asked for."""

import time

import numpy as np
import pytest

from useg.backends import pace
from useg.backends.pace import measure_paces

TILE = np.zeros((1, 8, 10), np.float32)
KEEP = [slice(2, 6), slice(0, 10)]


def test_all_have_their_turn_in_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "PAUSE", 0)
    monkeypatch.setattr(pace, "TURN", 0)
    called: list[str] = []

    def runner(name: str, clock: float) -> object:
        def run(tile: np.ndarray, keep: object) -> np.ndarray:
            assert tile is TILE and keep is KEEP
            called.append(name)
            now[0] += clock
            return tile

        return run

    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = time.perf_counter
    runners = {"slow": runner("slow", 4.0), "fast": runner("fast", 1.0)}
    found = measure_paces(runners, TILE, KEEP, rounds=5, seconds=1000.0, clock=clock)  # type: ignore[arg-type]
    assert called == ["slow", "fast"] * 5
    assert found["slow"] == (pytest.approx(40 / 4e6), 1)
    assert found["fast"] == (pytest.approx(40 / 1e6), 4)
    called.clear()
    measure_paces(runners, TILE, KEEP, rounds=50, seconds=1.0, clock=clock)  # type: ignore[arg-type]
    assert called == ["slow", "fast"] * pace.LEAST_ROUNDS
