"""NIfTI-1 and NIfTI-2, plain or gzipped, through nibabel (extra `medical`).

The file's axes x, y, z become Z Y X; one slice along z is a `C Y X` image. The fourth axis (in the Medical
Segmentation Decathlon the contrasts of a scan) becomes C, and so do the samples of a colour image. Numbers stay as
stored, unless the header scales them: then they are float32. Pixels keep their order: nothing is turned towards a
standard orientation, the affine says which way they lie.
"""

import gzip
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import Integer
from numpy.lib.recfunctions import structured_to_unstructured

from useg.errors import ImageError, extra
from useg.images.image import MAX_BYTES, About, Header, Image, InBody, check_claim
from useg.images.polite import decoding, encoding
from useg.images.windows import Window, Windows, of_image

_GZIP = b"\x1f\x8b"
_GZIP_RATIO = 1032  # the most that deflate can shrink
_UNITS = {"mm": "mm", "meter": "m", "micron": "µm"}


def opens(path: Path, head: bytes) -> bool:
    """Whether this is a NIfTI file: by its magic, or gzipped and called .nii.gz."""
    zipped = head.startswith(_GZIP) and path.name.lower().endswith((".nii.gz", ".nii"))
    return zipped or head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"


def read(path: Path, *, indices: bool = False, max_bytes: int = MAX_BYTES) -> Image:
    """Decode a file.

    Args:
        path: the file.
        indices: no difference here: a NIfTI mask holds plain numbers.
        max_bytes: largest decoded size allowed.

    Returns:
        The image, `C Y X` or `C Z Y X`, with its affine as `InBody`.

    Raises:
        MissingExtraError: nibabel is not installed.
        ImageError: the file is damaged, too large, or has more than four axes.
    """
    with decoding(path), _opened(path) as file:
        header = _header(path, file)
        check_claim(path, header, max_bytes=max_bytes, file_bytes=None)
        array = np.asanyarray(file.dataobj)
        array = structured_to_unstructured(array) if array.dtype.fields else array[..., None]
        x, y, z, c, samples = (*array.shape[:-1], 1, 1, 1)[:4] + array.shape[-1:]
        array = array.reshape(x, y, z, c * samples).transpose(3, 2, 1, 0)
        array = np.ascontiguousarray(array.reshape(header.channels, *header.size), dtype=header.dtype)
    return Image(array, header.axes, header.spacing, header.unit, path, header.place)


def read_header(path: Path) -> Header:
    """What the file says of itself.

    Raises:
        MissingExtraError: nibabel is not installed.
        ImageError: the header is damaged, or has more than four axes.
    """
    with decoding(path), _opened(path) as file:
        return _header(path, file)


def open_once(path: Path, *, indices: bool = False, alpha: bool = False) -> Windows:
    """Open a file to be read once, slices of it at a time, from the first to the last.

    Args:
        path: the file.
        indices, alpha: no difference here.

    Raises:
        MissingExtraError, ImageError: as for `read_header`; or several channels are gzipped, which lie one behind the
            other, and are too large to be read whole.
    """
    with decoding(path), ExitStack() as opened:
        file = opened.enter_context(_opened(path))
        header = _header(path, file)
        check_claim(path, header, max_bytes=None, file_bytes=None)
        plain = len(header.size) == 3 and not file.get_data_dtype().fields
        if not plain or (header.channels > 1 and _is_zipped(file)):
            return of_image(read(path))
        chunk = (1, *header.size[1:])
        lock, close = Lock(), opened.pop_all().close

    def fetch(window: Window) -> np.ndarray:
        # As the file has its axes: x first, and one of channels where there are any.
        channels = (slice(None),) * (file.ndim - 3)
        with lock:
            part = np.asanyarray(file.dataobj[(*reversed(window), *channels)])
        return part.reshape(*part.shape[:3], header.channels).transpose(3, 2, 1, 0)

    return Windows(path, header, chunk, (header,), fetch, close, in_order=True)


def write_labels(path: Path, labels: Integer[np.ndarray, "*space"], about: About) -> None:
    """Write label numbers; the affine is that of the image, or else its pixel size on the diagonal.

    Raises:
        MissingExtraError: nibabel is not installed.
        ImageError: the file cannot be written.
    """
    with extra(path, "medical"):
        import nibabel
    spacing = about.spacing(labels.ndim) or (1.0,) * labels.ndim
    affine, frame = np.diag([*spacing[::-1], *[1.0] * (4 - labels.ndim)]), "unknown"
    if isinstance(about.place, InBody):
        affine, frame = np.array(about.place.affine), about.place.frame
    image = nibabel.Nifti1Image(labels.T, affine)
    image.set_sform(affine, frame)
    image.set_qform(affine, frame)
    names = {ours: theirs for theirs, ours in _UNITS.items()}
    image.header.set_xyzt_units(names.get(about.unit or "", "unknown"))
    data = image.to_bytes()
    with encoding(path) as temporary:
        # Without a time in it, the same labels are the same bytes.
        temporary.write_bytes(gzip.compress(data, 6, mtime=0) if path.name.lower().endswith(".gz") else data)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file as nibabel sees it: its header is read, its pixels are not."""
    with extra(path, "medical"):
        import nibabel
    with path.open("rb") as plain:
        zipped = plain.read(2) == _GZIP
    with gzip.open(path) if zipped else path.open("rb") as stream:
        head = stream.read(8)
        stream.seek(0)
        second = head[4:7] in (b"n+2", b"ni2")
        yield (nibabel.Nifti2Image if second else nibabel.Nifti1Image).from_stream(stream)


def _header(path: Path, file: Any) -> Header:
    from nibabel.affines import voxel_sizes

    shape = [int(n) for n in file.shape]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise ImageError(f"{path}: has the shape {tuple(file.shape)}; an image is x y, x y z or x y z channel")
    dtype, samples = file.get_data_dtype(), 1
    if dtype.fields:
        samples, dtype = len(dtype.fields), np.dtype(np.uint8)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ImageError(f"{path}: holds {dtype} numbers; save real numbers or integers")
    _check_bytes(path, file, math.prod(shape) * samples * dtype.itemsize)
    scaled = (file.dataobj.slope, file.dataobj.inter) != (1.0, 0.0)
    x, y, z, c = (*shape, 1, 1)[:4]
    axes, size = ("CYX", (y, x)) if z == 1 else ("CZYX", (z, y, x))
    # The file's numbers have 32 bits; rounded to them, what is written and read again is equal.
    affine = np.asarray(file.affine, np.float64).astype(np.float32)
    steps = [float(f"{step:.6g}") for step in voxel_sizes(affine)[::-1][-len(size) :]]
    known = all(math.isfinite(step) and step > 0 for step in steps)
    unit = _UNITS.get(file.header.get_xyzt_units()[0]) if known else None
    place = InBody(tuple(tuple(float(n) for n in row) for row in affine), _frame(file.header))
    number = np.dtype(np.float32) if scaled else dtype.newbyteorder("=")
    spacing = tuple(steps) if known else None
    return Header(c * samples, size, number, axes, spacing, unit, place)


def _check_bytes(path: Path, file: Any, stored: int) -> None:
    """Hold the size that the header claims against the file."""
    there = path.stat().st_size
    ends = int(file.dataobj.offset) + stored
    if ends > there * (_GZIP_RATIO if _is_zipped(file) else 1):
        raise ImageError(f"{path}: its header says {ends} bytes of pixels, the file has {there}; it is incomplete")


def _is_zipped(file: Any) -> bool:
    return file.dataobj.file_like.__class__.__name__ == "GzipFile"


def _frame(header: Any) -> str:
    """The name of the coordinates that nibabel's affine is in: those of the sform, else of the qform."""
    code = int(header["sform_code"]) or int(header["qform_code"])
    return {1: "scanner", 2: "aligned", 3: "talairach", 4: "mni"}.get(code, "unknown")
