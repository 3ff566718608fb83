"""Other people's libraries: what they raise is one line, their warnings are not heard, a missing one is named."""

import builtins
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from useg.errors import ImageError, MissingExtraError, OutputError
from useg.images import read, write_labels
from useg.images.image import Image, OnMap
from useg.images.polite import decoding, encoding


def test_whatever_a_decoder_raises_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(ImageError, match=r"bad\.png: cannot be decoded \(one two\)") as caught,
        decoding(tmp_path / "bad.png"),
    ):
        raise RuntimeError("one\n two")
    assert "\n" not in str(caught.value)


def test_warnings_are_silent_inside_and_back_outside_from_any_thread() -> None:
    before = list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with decoding(Path("a")):
            inside.set()
            leave.wait(10)
            warnings.warn("unheard", stacklevel=1)

    thread = threading.Thread(target=other)
    with decoding(Path("b")):
        thread.start()
        inside.wait(10)
        warnings.warn("unheard", stacklevel=1)
    leave.set()
    thread.join()
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)


def test_whatever_an_encoder_raises_is_one_line_and_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.dcm"
    file.write_bytes(b"old")
    said = r"a\.dcm: cannot be written \(no patient\); choose another"
    with pytest.raises(ImageError, match=said), encoding(file) as new:
        new.write_bytes(b"half")
        raise AttributeError("no\npatient")
    assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "a.zarr"
    for text in ("one", "two"):
        with encoding(folder, folder=True) as new:
            new.mkdir()
            (new / text).write_text(text)
        assert [f.name for f in folder.iterdir()] == [text] and list(tmp_path.iterdir()) == [folder]
    with pytest.raises(OutputError, match="free the disk"), encoding(folder, folder=True) as new:
        new.mkdir()
        raise OSError(28, "No space left on device")
    assert [f.name for f in folder.iterdir()] == ["two"] and list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [
        ("a.nii.gz", "nibabel", "medical"),
        ("a.dcm", "pydicom", "medical"),
        ("a.tif", "rasterio", "geo"),
        ("a.ome.zarr", "zarr", "zarr"),
    ],
)
def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str, extra: str
) -> None:
    file = tmp_path / name
    place = OnMap((1.0, 0.0, 0.0, 0.0, -1.0, 0.0), "") if extra == "geo" else None
    image = Image(np.zeros((1, 4, 5), np.uint8), "CYX", place=place)
    if library == "pydicom":
        file.write_bytes(bytes(128) + b"DICM")
    else:
        write_labels(file, np.ones((4, 5), int), like=image)
    imported: Callable[..., Any] = builtins.__import__

    def without(module: str, *args: Any, **kwargs: Any) -> Any:
        if module.split(".")[0] == library:
            raise ImportError(f"No module named {module!r}", name=library)
        return imported(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=rf"{library}.*pip install 'useg\[{extra}\]'") as caught:
        read(file)
    assert os.fspath(file) in str(caught.value)
    if library != "pydicom":
        with pytest.raises(MissingExtraError, match=rf"pip install 'useg\[{extra}\]'"):
            write_labels(file, np.ones((4, 5), int), like=image)
