"""Without imagecodecs: what pillow and tifffile can do alone is read and written, what they cannot names the extra."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from imagecodecs import png_encode

from useg.images import read

ALONE = """
import sys
sys.modules["imagecodecs"] = None
from pathlib import Path
import numpy as np
from useg.errors import UsegError
from useg.images import read
from useg.images.image import About
from useg.images.tiff_windows import open_windows
from useg.images.tiff_write import write_labels, write_probabilities

folder = Path(sys.argv[1])
for path in sorted(folder.iterdir()):
    try:
        array = read(path).array
        if path.suffix == ".tif":
            with open_windows(path) as windows:
                part = (slice(3, 9), slice(5, 20))
                np.testing.assert_array_equal(windows.read(part), array[(slice(None), *part)])
        np.save(folder / f"{path.name}.npy", array)
    except UsegError as error:
        print(error)
about = About(like=read(folder / "plain.tif"))
write_labels(folder / "labels.tif", np.arange(1200, dtype=np.uint16).reshape(30, 40), about)
write_probabilities(folder / "probabilities.tif", np.linspace(0, 1, 2400, dtype=np.float32).reshape(2, 30, 40), about)
"""
GRAY, RGB = np.arange(1200).reshape(30, 40), np.arange(3600).reshape(30, 40, 3) * 7
READ = {
    "plain": (GRAY.astype("u2"), {}),
    "deflate": (GRAY.astype("u2"), {"compression": "zlib", "predictor": 2}),
    "packbits": (GRAY.astype("u1"), {"compression": "packbits"}),
    "lzw": (GRAY.astype("u1"), {"compression": "lzw", "rowsperstrip": 7}),
    "lzw16": (GRAY.astype(">u2"), {"compression": "lzw", "predictor": 2, "byteorder": ">"}),
    "bits": (GRAY % 3 == 0, {"compression": "zlib"}),
    "lzwrgb": (RGB.astype("u1"), {"compression": "lzw", "tile": (16, 16), "photometric": "rgb"}),
}
NOT_READ = {
    "zstd": (GRAY.astype("u2"), {"compression": "zstd"}),
    "bits-lzw": (GRAY % 3 == 0, {"compression": "lzw"}),
    "floats": (GRAY.astype("f4"), {"compression": "zlib", "predictor": 3}),
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder of files with what was read of them, and what was said of those that were not."""
    folder = tmp_path_factory.mktemp("codecs")
    for name, (array, options) in (READ | NOT_READ).items():
        tifffile.imwrite(folder / f"{name}.tif", array, **options)
    (folder / "deep.png").write_bytes(png_encode(RGB.astype(np.uint16)))
    done = subprocess.run([sys.executable, "-c", ALONE, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout.splitlines()


@pytest.mark.parametrize("name", READ)
def test_common_files_are_read_as_with_it(name: str, alone: tuple[Path, list[str]]) -> None:
    path = alone[0] / f"{name}.tif"
    np.testing.assert_array_equal(np.load(f"{path}.npy"), read(path).array)


def test_others_name_the_extra(alone: tuple[Path, list[str]]) -> None:
    folder, said = alone
    told = "needs imagecodecs, which is not here; pip install 'useg[codecs]'"
    assert said == [f"{folder / name}: {told}" for name in ("bits-lzw.tif", "deep.png", "floats.tif", "zstd.tif")]


def test_results_are_written(alone: tuple[Path, list[str]]) -> None:
    np.testing.assert_array_equal(read(alone[0] / "labels.tif").array[0], GRAY)
    found = read(alone[0] / "probabilities.tif").array
    np.testing.assert_array_equal(found, np.linspace(0, 1, 2400, dtype=np.float32).reshape(2, 30, 40))
