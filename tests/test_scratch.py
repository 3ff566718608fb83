"""Arrays on a disk: they hold what is written, leave no file behind, and say when the disk is full."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from useg import scratch as room
from useg.errors import OutputError
from useg.scratch import Scratch

few = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(
    shapes=st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=3), min_size=1, max_size=9),
    dtypes=st.lists(st.sampled_from(["u1", "i4", "f8"]), min_size=9, max_size=9),
)
def test_arrays_hold_what_is_written(
    shapes: list[list[int]], dtypes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_FIRST", 1024)
    monkeypatch.setattr(room, "_MOST", 4096)
    scratch, rng = Scratch(tmp_path / "not" / "there yet"), np.random.default_rng(0)
    made = [scratch.new(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=False)]
    wanted = [rng.integers(0, 99, each.shape).astype(each.dtype) for each in made]
    assert all(not each.any() for each in made)
    for each, numbers in zip(made, wanted, strict=True):
        each[...] = numbers
    assert all(np.array_equal(each, numbers) for each, numbers in zip(made, wanted, strict=True))
    assert [each.shape for each in made] == [tuple(shape) for shape in shapes]


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps the name until the file is closed")
def test_nothing_is_left_behind(tmp_path: Path) -> None:
    array = Scratch(tmp_path).new((1000,), np.uint8)
    array[:] = 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system reserves no room")
def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match="No space left"):
        Scratch(tmp_path).new((1000,), np.uint8)
