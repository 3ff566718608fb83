"""PNG, JPEG, BMP, GIF and WebP, through pillow; 16-bit colour PNG, which it halves, through imagecodecs (`codecs`).

What is done to the pixels, and nothing else:

- The EXIF orientation is applied, so that an image lies as people see it and as they drew its mask.
- Alpha is dropped, unless it is asked for: it says how to show a pixel, not what was measured there.
- A palette becomes RGB, or gray where all its entries are gray; CMYK becomes RGB. Gray as RGB stays RGB.
- Samples keep the number that the file stores. So a 1-bit image is 0 and 1, not 0 and 255, and a 4-bit one
  0..15: the image and the mask reading of one file agree, TIFF reads the same, and the brightness of an
  image is the normalisation's business, not the file reader's.
- An animation gives its first frame. (A stack belongs in a TIFF; GIF and WebP have no such notion.)
"""

from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image as Pillow
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from useg.errors import ImageError, extra
from useg.images.image import MAX_BYTES, About, Header, Image, check_claim, label_colours, oriented
from useg.images.polite import decoding, encoding

# The classes themselves rather than PIL.Image.open, whose limit on pixels is a global of the process; ours is
# checked on the header before a pixel is decoded.
_OPENERS: tuple[tuple[bytes, type[ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"\xff\xd8\xff", JpegImageFile),
    (b"GIF8", GifImageFile),
    (b"BM", BmpImageFile),
    (b"RIFF", WebPImageFile),
)

_ONE_CHANNEL = {"1", "L", "LA", "La", "I;16", "I", "F"}
_DTYPES: dict[str, type[np.generic]] = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
_ORIENTATION = 0x0112
_HEAD_BYTES = 26
_PNG_GRAY, _PNG_PALETTE, _PNG_GRAY_ALPHA = 0, 3, 4


class _PngDepth(NamedTuple):
    bits: int
    colour: int


def opens(path: Path, head: bytes) -> bool:
    """Whether the first bytes are those of one of these formats."""
    return head.startswith(tuple(start for start, _ in _OPENERS))


def read(path: Path, *, indices: bool = False, alpha: bool = False, max_bytes: int = MAX_BYTES) -> Image:
    """Decode a file.

    Args:
        path: the file.
        indices: give the palette's indices instead of its colours, as a mask wants.
        alpha: keep alpha as the last channel (not of a palette).
        max_bytes: largest decoded size allowed.

    Returns:
        The image, `C Y X`: uint8, uint16 for 16-bit PNG.

    Raises:
        ImageError: the file is damaged, truncated, or claims to be too large.
    """
    with decoding(path), path.open("rb") as stream:
        file, png = _open(path, stream)
        header = _header(file, png, indices=indices)
        check_claim(path, header, max_bytes=max_bytes, file_bytes=_bound(path, file))
        channels = header.channels + (alpha and _has_alpha(file, png))
        if png and png.bits == 16 and png.colour != _PNG_GRAY:
            stream.seek(0)
            array = _deep_png(path, stream.read(), channels)
        else:
            array = _pixels(file, png, channels, indices=indices)
        array = np.ascontiguousarray(oriented(array, _orientation(file)))
    return Image(array, header.axes, path=path)


def read_header(path: Path) -> Header:
    """What the file says of itself, without decoding a pixel.

    Raises:
        ImageError: the header is damaged.
    """
    with decoding(path), path.open("rb") as stream:
        return _header(*_open(path, stream), indices=False)


def write_labels(path: Path, labels: Integer[np.ndarray, "*space"], about: About) -> None:
    """Write label numbers as PNG: up to 255 as a palette image, up to 65535 as 16-bit gray.

    Raises:
        ImageError: the labels are a volume or greater.
    """
    if labels.ndim != 2 or labels.dtype.itemsize > 2:
        raise ImageError(f"{path}: PNG cannot hold labels of shape {labels.shape} up to {labels.max()}; write .tif")
    picture = Pillow.fromarray(labels)
    if labels.dtype == np.uint8:
        picture.putpalette([channel for colour in label_colours(about) for channel in colour])
    with encoding(path) as temporary:
        picture.save(temporary, "PNG")


def write_picture(path: Path, picture: UInt8[np.ndarray, "y x 3"] | UInt8[np.ndarray, "y x"]) -> None:
    """Write colour or gray as the suffix says: `.png`, or JPEG."""
    with encoding(path) as temporary:
        Pillow.fromarray(picture).save(temporary, "PNG" if path.suffix.lower() == ".png" else "JPEG", quality=92)


def _open(path: Path, stream: BinaryIO) -> tuple[ImageFile, _PngDepth | None]:
    """Read the header; pillow decodes later, on demand."""
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    for start, opener in _OPENERS:
        if head.startswith(start):
            try:
                return opener(stream, str(path)), _png_depth(head)
            except Pillow.DecompressionBombError as error:
                raise ImageError(f"{path}: is a decompression bomb ({error}); save it again") from None
    raise ImageError(f"{path}: is none of PNG, JPEG, GIF, BMP and WebP; save it as PNG")


def _bound(path: Path, file: ImageFile) -> int | None:
    # WebP writes a plain area of any size in a few bytes, but its format ends at 16384 x 16384.
    return None if isinstance(file, WebPImageFile) else path.stat().st_size


def _png_depth(head: bytes) -> _PngDepth | None:
    """Bits a sample and colour type of a PNG (its IHDR always comes first: PNG specification, 11.2.2)."""
    if head.startswith(_OPENERS[0][0]) and len(head) == _HEAD_BYTES:
        return _PngDepth(bits=head[24], colour=head[25])
    return None


def _header(file: ImageFile, png: _PngDepth | None, *, indices: bool) -> Header:
    dtype: type[np.generic] = _DTYPES.get(file.mode, np.uint8)
    if png and png.bits == 16:
        dtype = np.uint16
    if file.mode in _ONE_CHANNEL or (png and png.colour == _PNG_GRAY_ALPHA):
        channels = 1
    elif file.mode in ("P", "PA"):
        channels = 1 if indices or _is_gray(_palette(file)) else 3
    else:
        channels = 3
    width, height = file.size
    size = (width, height) if _orientation(file) >= 5 else (height, width)
    return Header(channels, size, np.dtype(dtype), "CYX")


def _has_alpha(file: ImageFile, png: _PngDepth | None) -> bool:
    return file.mode in ("LA", "RGBA") or bool(png and png.colour == _PNG_GRAY_ALPHA)


def _pixels(file: ImageFile, png: _PngDepth | None, channels: int, *, indices: bool) -> np.ndarray:
    if file.mode in ("P", "PA"):
        palette = _palette(file)
        index = np.asarray(file)
        index = index[..., 0] if index.ndim == 3 else index
        if indices:
            return index[None]
        colours: np.ndarray = np.moveaxis(palette[index], -1, 0)
        return colours[:1] if _is_gray(palette) else colours
    if file.mode not in _ONE_CHANNEL and file.mode not in ("RGB", "RGBA", "RGBX"):
        array = np.asarray(file.convert("RGB"))
    else:
        array = np.asarray(file)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.ndim == 2:
        # Pillow spreads 2- and 4-bit grays over 0..255; take the stored numbers back.
        if png and png.colour == _PNG_GRAY and png.bits in (2, 4):
            array = array // (255 // (2**png.bits - 1))
        return array[None]
    return np.moveaxis(array, -1, 0)[:channels]


def _deep_png(path: Path, data: bytes, channels: int) -> np.ndarray:
    with extra(path, "codecs"):
        from imagecodecs import png_decode
    array: np.ndarray = png_decode(data)
    array = array[..., None] if array.ndim == 2 else array
    return np.moveaxis(array, -1, 0)[:channels]


def _palette(file: ImageFile) -> np.ndarray:
    """The palette as 256 rows of RGB; entries that the file leaves out are black."""
    table = np.zeros((256, 3), np.uint8)
    stored = np.array(file.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    table[: len(stored)] = stored
    return table


def _is_gray(palette: np.ndarray) -> bool:
    return bool((palette == palette[:, :1]).all())


def _orientation(file: ImageFile) -> int:
    # PngImageFile.getexif decodes all pixels to find a late chunk; the plain one reads what came before them.
    try:
        value = Pillow.Image.getexif(file).get(_ORIENTATION, 1)
    # Damaged EXIF of a good image: viewers show it as stored, and pillow may raise anything here.
    except Exception:  # noqa: BLE001
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
