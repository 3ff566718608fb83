"""NRRD, `.nrrd` or `.nhdr` with its data beside it, through pynrrd (extra `medical`).

The axes that lie in space become [Z] Y X, the first one X; one slice along z is a `C Y X` image. An axis that does not
(a vector, a colour, a list of volumes) becomes C. Numbers stay as stored, and pixels keep their order: the affine says
which way they lie. Labels are written in the space of their image, gzipped.

pynrrd reads and writes headers. The pixels are decoded here, for it expands whatever a file holds, however much.
"""

import bz2
import gzip
import io
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from useg.errors import ImageError, extra
from useg.images.image import MAX_BYTES, About, Header, Image, InBody, check_claim
from useg.images.polite import decoding, encoding

_MAGIC = b"NRRD000"
_MOST_HEADER = 2**20  # bytes; those of real files have some hundreds
_GZIP_RATIO = 1032  # the most that deflate can shrink
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
_ENCODINGS |= dict.fromkeys(("ascii", "text", "txt"), "ascii")
_LPS = "left-posterior-superior"
_TO_RAS = {_LPS: (-1, -1, 1), "right-anterior-superior": (1, 1, 1), "left-anterior-superior": (-1, 1, 1)}
_SHORT = {"LPS": _LPS, "RAS": "right-anterior-superior", "LAS": "left-anterior-superior"}
_UNITS = {"mm": "mm", "millimeter": "mm", "cm": "cm", "m": "m", "nm": "nm"}
_UNITS |= dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer"), "µm")


class _Known(NamedTuple):
    """A header, and where its pixels are."""

    header: Header
    sizes: tuple[int, ...]  # as stored, the fastest first
    channel: int | None  # which of these is C
    stored: np.dtype[Any]
    encoding: str
    data: Path
    offset: int  # bytes of the header before them
    lines: int  # to skip before they are decoded
    skip: int  # bytes to skip after; -1 is all but the pixels


def opens(path: Path, head: bytes) -> bool:
    """Whether the first bytes are those of an NRRD header."""
    return head.startswith(_MAGIC)


def read(path: Path, *, indices: bool = False, max_bytes: int = MAX_BYTES) -> Image:
    """Decode a file.

    Args:
        path: the file; of a `.nhdr` the data file lies in the same folder.
        indices: no difference here: an NRRD mask holds plain numbers.
        max_bytes: largest decoded size allowed.

    Returns:
        The image, `C Y X` or `C Z Y X`, with its place as `InBody` where the file has directions in space.

    Raises:
        MissingExtraError: pynrrd is not installed.
        ImageError: the file is damaged, too large, or of axes that make no image; its data lie elsewhere.
    """
    with decoding(path):
        known = _known(path)
        header = known.header
        check_claim(path, header, max_bytes=max_bytes, file_bytes=None)
        array = _pixels(path, known).reshape(known.sizes[::-1])
        if known.channel is not None:
            array = np.moveaxis(array, len(known.sizes) - 1 - known.channel, 0)
        array = np.ascontiguousarray(array.reshape(header.channels, *header.size), dtype=header.dtype)
    return Image(array, header.axes, header.spacing, header.unit, path, header.place)


def read_header(path: Path) -> Header:
    """What the file says of itself.

    Raises:
        MissingExtraError: pynrrd is not installed.
        ImageError: as for `read`.
    """
    with decoding(path):
        return _known(path).header


def write_labels(path: Path, labels: Integer[np.ndarray, "*space"], about: About) -> None:
    """Write label numbers in the space of their image; without one, with its pixel size alone.

    Raises:
        MissingExtraError: pynrrd is not installed.
        ImageError: the file cannot be written.
    """
    with extra(path, "medical"):
        import nrrd
    spacing, fields = about.spacing(labels.ndim), {}
    unit = "um" if about.unit == "µm" else about.unit  # a header is ASCII
    if isinstance(about.place, InBody):
        space = about.place.space or _LPS
        dims = int(space) if space.isdigit() else 3
        # In three dimensions a slice is a volume of one, which more programs read.
        labels = labels.reshape((-1, *labels.shape[-2:])) if dims == 3 else labels
        affine = np.array(about.place.affine)[:3] * np.array(_TO_RAS.get(space, (1, 1, 1)))[:, None]
        # Adding 0 turns -0 into 0.
        fields = {"space directions": affine[:dims, :dims].T + 0.0, "space origin": affine[:dims, 3] + 0.0}
        fields |= {"space dimension": dims} if space.isdigit() else {"space": space}
        fields |= {"space units": [unit] * dims} if unit else {}
    elif spacing:
        fields = {"spacings": list(spacing[::-1])} | ({"units": [unit] * labels.ndim} if unit else {})
    with encoding(path) as temporary:
        written = io.BytesIO()
        kinds = {"kinds": ["domain"] * labels.ndim, "encoding": "gzip"}
        nrrd.write(written, labels.T, {**fields, **kinds}, compression_level=6)
        # Without the time in its comments, the same labels are the same bytes.
        head, _, body = written.getvalue().partition(b"\n\n")
        lines = [line for line in head.split(b"\n") if not line.startswith(b"#")]
        temporary.write_bytes(b"\n".join(lines) + b"\n\n" + body)


def _known(path: Path) -> _Known:
    with extra(path, "medical"):
        import nrrd
    lines, offset = _lines(path)
    fields = nrrd.read_header(iter(lines))
    for name in ("type", "dimension", "sizes", "encoding"):
        if name not in fields:
            raise ImageError(f"{path}: its header has no {name!r}; save it again")
    sizes = tuple(int(n) for n in fields["sizes"])
    if len(sizes) != fields["dimension"] or min(sizes) < 1:
        raise ImageError(f"{path}: has the sizes {sizes} of dimension {fields['dimension']}; save it again")
    code = next((code for code, names in _TYPES.items() if fields["type"] in names), None)
    packed = _ENCODINGS.get(fields["encoding"].lower())
    if code is None:
        raise ImageError(f"{path}: holds {fields['type']} numbers; save real numbers or integers")
    if packed is None:
        raise ImageError(f"{path}: is encoded as {fields['encoding']}, which is not read; save it as gzip or raw")
    dtype = np.dtype(code)
    big = dtype.itemsize > 1 and packed != "ascii" and fields["endian"] == "big"
    stored = dtype.newbyteorder(">" if big else "<")
    named = fields.get("data file", fields.get("datafile"))
    skipped = [int(fields.get(name, fields.get(name.replace(" ", ""), 0))) for name in ("line skip", "byte skip")]
    if skipped[0] < 0 or skipped[1] < -1 or (skipped[1] == -1 and packed != "raw"):
        raise ImageError(f"{path}: skips {skipped[0]} lines and {skipped[1]} bytes; save it again as one .nrrd file")
    data = _beside(path, named) if named is not None else path
    header, channel = _header(path, fields, sizes, dtype)
    found = _Known(header, sizes, channel, stored, packed, data, 0 if named is not None else offset, *skipped)
    _check_bytes(path, found)
    return found


def _lines(path: Path) -> tuple[list[str], int]:
    """The lines of the header, and where it ends. pynrrd would leave out the µ of a unit."""
    with path.open("rb") as stream:
        head = stream.read(_MOST_HEADER)
    lines, offset = [], 0
    for line in head.splitlines(keepends=True):
        offset += len(line)
        if not line.strip():
            break
        lines.append(line.decode("utf-8", "replace"))
    else:
        if len(head) == _MOST_HEADER:
            raise ImageError(f"{path}: its header does not end within {_MOST_HEADER} bytes; it is damaged")
    return lines, offset


def _beside(path: Path, named: str) -> Path:
    """The data file of a header; only one in the same folder is read."""
    data = path.parent / named
    if Path(named).name != named or data.resolve().parent != path.parent.resolve():
        raise ImageError(
            f"{path}: its data are {named!r}; only one file in the same folder is read, save it as one .nrrd file"
        )
    if not data.is_file():
        raise ImageError(f"{path}: its data file {named} is not beside it; copy it there")
    return data


def _header(
    path: Path, fields: Mapping[str, Any], sizes: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[Header, int | None]:
    """What the fields say of the image, and which axis is C."""
    directions, spacings, kinds = (fields.get(name) for name in ("space directions", "spacings", "kinds"))
    if directions is not None:
        rows = [np.full(1, np.nan) if row is None else np.asarray(row, float) for row in directions]
        inside = [bool(np.isfinite(row).all()) for row in rows]
    elif kinds is not None:
        inside = [kind in ("domain", "space", "???", "none") for kind in kinds]
    else:
        inside = [True] * len(sizes)
    outside = [axis for axis, there in enumerate(inside) if not there]
    if len(inside) != len(sizes) or len(outside) > 1 or not 2 <= sum(inside) <= 3:
        raise ImageError(
            f"{path}: has the sizes {' x '.join(map(str, sizes))}, of which {sum(inside)} lie in space; an image has "
            "two or three, and at most one axis besides"
        )
    channel = outside[0] if outside else None
    there = [axis for axis in range(len(sizes)) if axis != channel]
    size = tuple(sizes[axis] for axis in reversed(there))
    steps = None
    if directions is not None:
        steps = [float(np.linalg.norm(rows[axis])) for axis in there]
    elif spacings is not None:
        steps = [float(spacings[axis]) for axis in there]
    place = _place([rows[axis] for axis in there], fields) if directions is not None else None
    if len(size) == 3 and size[0] == 1:
        size, steps = size[1:], steps[:2] if steps else None
    known = steps is not None and all(math.isfinite(step) and step > 0 for step in steps)
    spacing = tuple(float(f"{step:.6g}") for step in reversed(steps)) if steps and known else None
    axes = "CYX" if len(size) == 2 else "CZYX"
    count = 1 if channel is None else sizes[channel]
    return Header(count, size, dtype, axes, spacing, _unit(fields, there) if spacing else None, place), channel


def _place(rows: list[Float[np.ndarray, "_"]], fields: Mapping[str, Any]) -> InBody | None:
    """Where the pixels lie; None in a space of more than three dimensions."""
    space = str(fields.get("space", len(rows[0])))
    space = _SHORT.get(space, space)
    if any(len(row) != len(rows[0]) for row in rows) or not 2 <= len(rows[0]) <= 3:
        return None
    origin = fields.get("space origin")
    start = np.zeros(len(rows[0])) if origin is None or not np.isfinite(origin).all() else np.asarray(origin, float)
    affine = np.eye(4)
    for column, vector in zip((*range(len(rows)), 3), (*rows, start), strict=True):
        affine[: len(vector), column] = vector
    if len(rows) == 2 and len(rows[0]) == 3:
        normal = np.cross(rows[0], rows[1])
        affine[:3, 2] = normal / (np.linalg.norm(normal) or 1.0)
    affine[:3] *= np.array(_TO_RAS.get(space, (1, 1, 1)))[:, None]
    frame = "scanner" if space in _TO_RAS else "unknown"
    return InBody(tuple(tuple(float(n) + 0.0 for n in row) for row in affine), frame, space)


def _unit(fields: Mapping[str, Any], there: list[int]) -> str | None:
    """Of the pixel size; in the body it is mm where nothing is said."""
    named = fields.get("space units")
    if named is None and (units := fields.get("units")) is not None:
        named = [units[axis] for axis in there if axis < len(units)]
    if named is None:
        space = str(fields.get("space", ""))
        return "mm" if _SHORT.get(space, space) in _TO_RAS else None
    found = {_UNITS.get(str(unit).strip().lower()) for unit in named}
    return found.pop() if len(found) == 1 else None


def _check_bytes(path: Path, known: _Known) -> None:
    """Hold the size that the header claims against the file."""
    there, samples = known.data.stat().st_size - known.offset, math.prod(known.sizes)
    least = {
        "raw": samples * known.stored.itemsize,
        "gzip": samples * known.stored.itemsize // _GZIP_RATIO,
        "ascii": 2 * samples - 1,
        "bzip2": 1,  # it may shrink a millionfold; no more is read than the header says
    }[known.encoding]
    if least > there:
        raise ImageError(
            f"{path}: its header says {samples} samples, {known.encoding}, and the file has {there} bytes of them; "
            "it is incomplete"
        )


def _pixels(path: Path, known: _Known) -> np.ndarray:
    """The samples in the order of the file."""
    count = math.prod(known.sizes)
    with _opened(known) as stream:
        if known.encoding == "ascii":
            array = np.fromstring(stream.read().decode("ascii"), known.stored, sep=" ")
        else:
            array = np.frombuffer(stream.read(count * known.stored.itemsize), np.uint8)
            array = array[: array.size // known.stored.itemsize * known.stored.itemsize].view(known.stored)
    if array.size < count:
        raise ImageError(f"{path}: its header says {count} samples, the file has {array.size}; it is incomplete")
    return array[:count]


@contextmanager
def _opened(known: _Known) -> Iterator[IO[bytes]]:
    """The data, decompressed, at the first sample."""
    with known.data.open("rb") as plain:
        plain.seek(known.offset)
        for _ in range(known.lines):
            plain.readline()
        if known.skip == -1:
            plain.seek(-math.prod(known.sizes) * known.stored.itemsize, io.SEEK_END)
        stream: Any = plain
        if known.encoding == "gzip":
            stream = gzip.GzipFile(fileobj=plain)
        elif known.encoding == "bzip2":
            stream = bz2.BZ2File(plain)
        if known.skip > 0:
            stream.seek(known.skip, io.SEEK_CUR)
        yield stream
