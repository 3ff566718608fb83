"""DICOM through pydicom (extra `medical`): one file, or a folder of slices as one volume; segmentations (SEG) too.

CT numbers become Hounsfield units: where slope and intercept are whole numbers they stay integers, else they are
float32. Black-is-white pictures (MONOCHROME1) are turned so that more is brighter, as every viewer shows them;
palettes and YBR become RGB. A file of many frames is a volume, one of a single frame a `C Y X` image.

The slices of a folder are sorted by their positions along the normal of their plane (axial ones from inferior to
superior), whatever their names are. A SEG gives the numbers of its segments as labels.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer

from useg.errors import ImageError, extra
from useg.images.dicom_place import depth, frames_of, pixel_size, place, shared_group, step
from useg.images.dicom_seg import header_of, is_segmentation, labels_of, write_segmentation
from useg.images.image import MAX_BYTES, MAX_PIXELS_PER_BYTE, About, Header, Image, check_claim
from useg.images.polite import decoding

_SUFFIXES = (".dcm", ".dicom", ".ima")
_UNEVEN = 0.1  # part of the slice distance by which one may differ
_HEAD_BYTES = 132


class _Rescale(NamedTuple):
    slope: float
    intercept: float


def opens(path: Path, head: bytes) -> bool:
    """Whether this is a DICOM file, or a folder with one in it."""
    if path.is_dir():
        return is_dicom(path)
    return head[128:132] == b"DICM" or path.name.lower().endswith(_SUFFIXES)


def is_dicom(path: Path) -> bool:
    """Whether a file says that it is DICOM, or a folder holds one that does."""
    return any(_says_dicom(file) for file in path.iterdir()) if path.is_dir() else _says_dicom(path)


def read(path: Path, *, indices: bool = False, max_bytes: int = MAX_BYTES) -> Image:
    """Decode a file, or the slices of a folder.

    Args:
        path: the file or folder.
        indices: give the palette's indices instead of its colours, as a mask wants.
        max_bytes: largest decoded size allowed.

    Returns:
        The image, `C Y X` or `C Z Y X`, with its place in the patient as `InBody` where the file says.

    Raises:
        MissingExtraError: pydicom is not installed.
        ImageError: the file is damaged, has no pixels, needs a decoder that is not there, or is too large; the
            folder holds several series, or its slices do not lie evenly.
    """
    with decoding(path):
        slices = _headers(path)
        header = _header(path, slices, indices=indices)
        check_claim(path, header, max_bytes=max_bytes, file_bytes=None)
        if is_segmentation(slices[0]):
            array = labels_of(path, _whole(slices[0]))[None]
        else:
            planes = [_pixels(path, _whole(one), indices=indices).astype(header.dtype) for one in slices]
            array = np.concatenate(planes, axis=1)
        array = np.ascontiguousarray(array.reshape(header.channels, *header.size), dtype=header.dtype)
    return Image(array, header.axes, header.spacing, header.unit, path, header.place)


def read_header(path: Path) -> Header:
    """What the file or folder says of itself, without decoding a pixel.

    Raises:
        MissingExtraError: pydicom is not installed.
        ImageError: the header is damaged, or as for `read`.
    """
    with decoding(path):
        return _header(path, _headers(path), indices=False)


def write_labels(path: Path, labels: Integer[np.ndarray, "*space"], about: About) -> None:
    """Write a DICOM SEG that refers to the image that the labels belong to; see `write_segmentation`.

    Raises:
        MissingExtraError: highdicom is not installed.
        ImageError: the image is no DICOM, or lacks what a SEG needs; or there are too many labels.
    """
    source = about.like.path if isinstance(about.like, Image) else None
    if source is None or not is_dicom(source):
        raise ImageError(
            f"{path}: a DICOM segmentation must refer to a DICOM image, and {source or 'this image'} is none; "
            "write another format"
        )
    with decoding(source):
        slices = _headers(source)
    if is_segmentation(slices[0]):
        raise ImageError(f"{path}: {source} is a segmentation itself, which another cannot refer to; give its images")
    write_segmentation(path, labels, about, slices)


def _headers(path: Path) -> list[Any]:
    """The data sets of a file, or of the slices of a folder sorted by position, without their pixels."""
    with extra(path, "medical"):
        from pydicom import dcmread
    if not path.is_dir():
        one = dcmread(path, stop_before_pixels=True)
        _check_pixels(path, one)
        return [one]
    found = [dcmread(file, stop_before_pixels=True) for file in sorted(path.iterdir()) if _says_dicom(file)]
    slices = [one for one in found if not is_segmentation(one)]
    for one in slices:
        _check_pixels(Path(str(one.filename)), one)
    series = {str(one.get("SeriesInstanceUID")): Path(str(one.filename)).name for one in slices}
    if len(series) != 1:
        names = ", ".join(sorted(series.values())[:3]) or "none but segmentations"
        raise ImageError(f"{path}: holds {len(series)} DICOM series ({names}); put each into a folder of its own")
    return _sorted(path, slices) if len(slices) > 1 else slices


def _sorted(path: Path, slices: list[Any]) -> list[Any]:
    if any("ImagePositionPatient" not in one or "ImageOrientationPatient" not in one for one in slices):
        raise ImageError(f"{path}: its slices lack a position in the patient; give single files")
    kinds = {(_shape(one), *(round(float(n), 3) for n in one.ImageOrientationPatient)) for one in slices}
    if len(kinds) > 1:
        raise ImageError(f"{path}: its slices differ in size or orientation; put each kind into a folder of its own")
    places = [depth(one.ImageOrientationPatient, one.ImagePositionPatient) for one in slices]
    order = np.argsort(places, kind="stable")
    steps = np.diff(np.array(places)[order])
    if steps.min() <= 0 or np.abs(steps - np.median(steps)).max() > _UNEVEN * np.median(steps):
        raise ImageError(
            f"{path}: its slices lie {steps.min():.4g} to {steps.max():.4g} mm apart; some are missing or twice there, "
            "add or remove them, or give single files"
        )
    return [slices[i] for i in order]


def _shape(one: Any) -> tuple[int, int, int, int]:
    return frames_of(one), int(one.Rows), int(one.Columns), int(one.SamplesPerPixel)


def _check_pixels(path: Path, one: Any) -> None:
    """Hold the size that the header claims against the file."""
    if "Rows" not in one or "Columns" not in one:
        kind = getattr(one.get("SOPClassUID"), "name", "of an unknown kind")
        raise ImageError(f"{path}: is DICOM without pixels ({kind}); give the images that it belongs to")
    samples, there = math.prod(_shape(one)), path.stat().st_size
    if one.file_meta.TransferSyntaxUID.is_compressed:
        least = samples // MAX_PIXELS_PER_BYTE
    else:
        least = samples * int(one.BitsAllocated) // 8
        # Retired but alive: 4:2:2 colour stores two samples a pixel instead of three.
        least = least * 2 // 3 if one.PhotometricInterpretation == "YBR_FULL_422" else least
    if least > there:
        raise ImageError(f"{path}: its header says {samples} samples, the file has {there} bytes; it is incomplete")


def _whole(header: Any) -> Any:
    from pydicom import dcmread

    return dcmread(header.filename)


def _header(path: Path, slices: list[Any], *, indices: bool) -> Header:
    first = slices[0]
    if is_segmentation(first):
        return header_of(path, first)
    planes = len(slices) * frames_of(first)
    coloured = first.PhotometricInterpretation == "PALETTE COLOR" and not indices
    orientation, edge = first.get("ImageOrientationPatient"), pixel_size(first)
    between = step(orientation, [one.get("ImagePositionPatient") for one in slices])
    if between is None and planes > 1:
        between = float(first.get("SpacingBetweenSlices") or 0) or None
    size, spacing = (int(first.Rows), int(first.Columns)), edge
    return Header(
        3 if coloured else int(first.SamplesPerPixel),
        size if planes == 1 else (planes, *size),
        _dtype(path, slices, coloured=coloured),
        "CYX" if planes == 1 else "CZYX",
        spacing if planes == 1 else (between, *spacing) if between and spacing else None,
        "mm" if spacing and (planes == 1 or between) else None,
        place(orientation, first.get("ImagePositionPatient"), edge, between or 1.0),
    )


def _pixels(path: Path, one: Any, *, indices: bool) -> np.ndarray:
    """The frames of a data set, `C Z Y X`, rescaled."""
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    try:
        array: np.ndarray = pixel_array(one)
    except (RuntimeError, NotImplementedError) as error:
        name = one.file_meta.TransferSyntaxUID.name
        raise ImageError(f"{path}: cannot decode {name}; save it uncompressed, or install a pylibjpeg") from error
    array = array.reshape(frames_of(one), int(one.Rows), int(one.Columns), -1)
    kind = one.PhotometricInterpretation
    if kind == "PALETTE COLOR" and not indices:
        array = apply_color_lut(array[..., 0], one)[..., :3]
    if kind == "MONOCHROME1":
        array = (sum(_stored_range(one)) - array.astype(np.int64)).astype(array.dtype)
    scale = _rescale(one)
    if scale != (1.0, 0.0):
        array = array.astype(np.float64) * scale.slope + scale.intercept
    return np.moveaxis(array, -1, 0)


def _dtype(path: Path, slices: Sequence[Any], *, coloured: bool) -> np.dtype[Any]:
    """The number type that holds every rescaled number that the slices can have."""
    first = slices[0]
    if coloured:
        return np.dtype(np.uint8 if int(first.RedPaletteColorLookupTableDescriptor[2]) == 8 else np.uint16)
    bits = int(first.BitsAllocated)
    if bits not in (1, 8, 16, 32):
        raise ImageError(f"{path}: holds {bits}-bit samples; save it with 8 or 16 bits")
    scales = {_rescale(one) for one in slices}
    if scales == {_Rescale(1.0, 0.0)}:
        return np.dtype(f"{'i' if first.get('PixelRepresentation') else 'u'}{max(1, bits // 8)}")
    if bits == 32 or any(not number.is_integer() for scale in scales for number in scale):
        return np.dtype(np.float32)
    ends = [end * scale.slope + scale.intercept for scale in scales for one in slices for end in _stored_range(one)]
    return np.dtype(np.int16 if min(ends) >= -(2**15) and max(ends) < 2**15 else np.int32)


def _stored_range(one: Any) -> tuple[int, int]:
    bits = int(one.get("BitsStored") or one.BitsAllocated)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if one.get("PixelRepresentation") else (0, 2**bits - 1)


def _rescale(one: Any) -> _Rescale:
    """Slope and intercept: of the data set, or of all frames of an enhanced one."""
    where = one if "RescaleSlope" in one else (shared_group(one).get("PixelValueTransformationSequence") or [{}])[0]
    found = _Rescale(float(where.get("RescaleSlope") or 1), float(where.get("RescaleIntercept") or 0))
    return found if all(map(math.isfinite, found)) else _Rescale(1.0, 0.0)


def _says_dicom(file: Path) -> bool:
    if not file.is_file() or file.name.startswith("."):
        return False
    with file.open("rb") as stream:
        return stream.read(_HEAD_BYTES)[128:] == b"DICM"
