"""What border weights are made of is computed once, and kept beside the run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import useg.data.border_fields as room
from useg.data.border_fields import kept_fields
from useg.data.dataset import Example
from useg.unet.borders import PLUGIN, BorderSettings, border_fields


def examples(count: int = 12) -> list[Example]:
    rng = np.random.default_rng(0)
    found = []
    for index in range(count):
        objects = np.kron(rng.integers(0, 4, (4, 5)), np.ones((7, 6 + index))).astype(np.int32)
        labels = (objects > 0).astype(np.uint8)
        found.append(Example(f"{index}", labels[None], labels, objects=objects))
    return found


@pytest.mark.parametrize("settings", [BorderSettings(), PLUGIN])
def test_fields_are_those_of_each_image_and_are_kept(
    settings: BorderSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, folder = examples(), tmp_path / "borders"
    fields = kept_fields(train, settings, folder)
    assert fields is not None
    assert len(fields) == len(train)
    assert not folder.exists()
    for example, field in zip(train, fields, strict=True):
        assert example.objects is not None
        np.testing.assert_allclose(field, border_fields(example.objects, settings), rtol=1e-3, atol=1e-4)
    calls: list[object] = []
    monkeypatch.setattr(room, "border_fields", lambda *a: calls.append(a) or border_fields(*a))
    again = kept_fields(train, settings, folder)
    assert again is not None
    assert all(np.array_equal(a, b) for a, b in zip(fields, again, strict=True))
    assert not calls
    # Other objects, other settings, or a file that was cut short: computed anew.
    assert train[0].objects is not None
    other = replace(train[0], objects=train[0].objects[::-1])
    (_,) = kept_fields([other], settings, folder) or [None, None]
    (_,) = kept_fields(train[:1], settings.model_copy(update={"sigma": 2.0}), folder) or [None, None]
    assert len(calls) == 2
    for path in folder.iterdir():
        short = path.read_bytes()[:-9]
        path.unlink()  # the arrays of the first ones are of that file
        path.write_bytes(short)
    anew = kept_fields(train, settings, folder)
    assert anew is not None
    assert all(np.array_equal(a, b) for a, b in zip(fields, anew, strict=True))
    assert len(calls) == 2 + len(train)


def test_without_weights_nothing_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "borders"
    assert kept_fields(examples(), BorderSettings(weight=0), folder) is None
    classes = [Example("a", np.zeros((1, 9, 9)), np.zeros((9, 9), np.uint8))]
    assert kept_fields(classes, BorderSettings(), folder) is None
    assert not folder.exists()
