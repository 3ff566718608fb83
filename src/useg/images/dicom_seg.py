"""DICOM SEG: label images that name their patient, study and frames; read with pydicom, written by highdicom.

Label k is segment k, 0 is what no segment covers. The planes are sorted as those of a series are.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer

import useg
from useg.errors import ImageError, extra
from useg.images.dicom_place import depth, frames_of, pixel_size, place, shared_group, step
from useg.images.image import About, Header, label_colours
from useg.images.polite import encoding

_SOP_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # segments, and label maps
_MOST_SEGMENTS = 255


class _Frames(NamedTuple):
    """The planes of a SEG, and which frame holds which segment of which plane."""

    frames: list[tuple[int, int]]  # of each frame its segment and its plane
    positions: list[tuple[float, ...] | None]  # of each plane, sorted
    orientation: Sequence[Any] | None


def is_segmentation(one: Any) -> bool:
    """Whether a data set is a SEG."""
    return str(one.get("SOPClassUID")) in _SOP_CLASSES


def header_of(path: Path, one: Any) -> Header:
    """What a SEG says of itself.

    Raises:
        ImageError: it describes fewer frames than it has.
    """
    found, edge = _frames(path, one), pixel_size(one)
    planes = len(found.positions)
    between = step(found.orientation, found.positions)
    size = (int(one.Rows), int(one.Columns))
    spacing: tuple[float, ...] | None = edge
    if planes > 1:
        spacing = (between, *edge) if between and edge else None
    highest = max(int(segment.SegmentNumber) for segment in one.SegmentSequence)
    return Header(
        1,
        size if planes == 1 else (planes, *size),
        np.dtype(np.uint8 if highest < 256 else np.uint16),
        "CYX" if planes == 1 else "CZYX",
        spacing,
        "mm" if spacing else None,
        place(found.orientation, found.positions[0], edge, between or 1.0),
    )


def labels_of(path: Path, one: Any) -> Integer[np.ndarray, "z y x"]:
    """The segments of a SEG as one label image.

    Raises:
        ImageError: the segments overlap, or hold fractions.
    """
    found = _frames(path, one)
    stored = one.pixel_array.reshape(-1, int(one.Rows), int(one.Columns))
    labels = np.zeros((len(found.positions), *stored.shape[1:]), np.uint16)
    full = int(one.MaximumFractionalValue) if one.SegmentationType == "FRACTIONAL" else 1
    for mask, (number, plane) in zip(stored, found.frames, strict=True):
        if one.SegmentationType == "LABELMAP":
            labels[plane] = mask
            continue
        if not np.isin(mask, (0, full)).all():
            raise ImageError(f"{path}: is a DICOM segmentation of fractions; save it as a binary one")
        inside = mask > 0
        if labels[plane][inside].any():
            raise ImageError(f"{path}: its segments overlap (number {number} lies on others); keep one a pixel")
        labels[plane][inside] = number
    return labels


def write_segmentation(path: Path, labels: Integer[np.ndarray, "*space"], about: About, slices: Sequence[Any]) -> None:
    """Write binary segments under the names of their classes.

    All planes are written, empty ones too, so that what is read back has the shape of the image.

    Args:
        path: where to.
        labels: `Y X` or `Z Y X`, 0..255.
        about: names and colours of the segments.
        slices: the data sets of the image, a plane each (or one with all), without pixels.

    Raises:
        MissingExtraError: highdicom is not installed.
        ImageError: the image lacks what a SEG needs, or there are too many labels.
    """
    if labels.max() > _MOST_SEGMENTS:
        raise ImageError(f"{path}: {labels.max()} segments are too many for a DICOM segmentation; write .nii.gz")
    with extra(path, "medical"):
        from highdicom.seg import Segmentation
        from pydicom.uid import generate_uid
    for one in slices:
        # The standard allows an empty value here and means the default; highdicom looks it up and fails.
        if "SpecificCharacterSet" in one and not one.SpecificCharacterSet:
            del one.SpecificCharacterSet
    count = max(int(labels.max()), len(about.names) - 1, 1)
    # Identifiers made from what they name: the same prediction has the same identity.
    seeds = [*(str(one.SOPInstanceUID) for one in slices), hashlib.sha256(labels.tobytes()).hexdigest()]
    with encoding(path) as temporary:
        Segmentation(
            source_images=slices,
            pixel_array=labels.reshape(-1, *labels.shape[-2:]),
            segmentation_type="BINARY",
            segment_descriptions=[_segment(number, about) for number in range(1, count + 1)],
            series_instance_uid=generate_uid(entropy_srcs=[*seeds, "series"]),
            series_number=1000,
            sop_instance_uid=generate_uid(entropy_srcs=[*seeds, "instance"]),
            instance_number=1,
            manufacturer="useg",
            manufacturer_model_name="useg",
            software_versions=useg.__version__,
            device_serial_number="0",
            omit_empty_frames=False,
            series_description="useg",
        ).save_as(temporary)


def _segment(number: int, about: About) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    return SegmentDescription(
        segment_number=number,
        segment_label=about.names[number] if number < len(about.names) else f"class {number}",
        # What the classes are nobody has told us in SNOMED's words; this is the widest one.
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=codes.SCT.AnatomicalStructure,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name="useg", version=useg.__version__, family=codes.DCM.ArtificialIntelligence
        ),
        display_color=CIELabColor.from_rgb(*label_colours(about)[number]),
    )


def _frames(path: Path, one: Any) -> _Frames:
    shared = shared_group(one)
    # A file may describe more frames than it kept.
    described = one.PerFrameFunctionalGroupsSequence[: frames_of(one)]
    if len(described) != frames_of(one):
        raise ImageError(f"{path}: describes {len(described)} of its {frames_of(one)} frames; it is incomplete")
    orientation = None
    frames: list[tuple[int, Any]] = []
    positions: dict[Any, tuple[float, ...] | None] = {}
    seen: dict[int, int] = {}
    for frame in described:
        number = 0
        if one.SegmentationType != "LABELMAP":
            named = frame if "SegmentIdentificationSequence" in frame else shared
            number = int(named.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        turned = (frame if "PlaneOrientationSequence" in frame else shared).get("PlaneOrientationSequence")
        where = (frame if "PlanePositionSequence" in frame else shared).get("PlanePositionSequence")
        position = None
        if turned and where:
            orientation = turned[0].ImageOrientationPatient
            position = tuple(float(n) for n in where[0].ImagePositionPatient)
        # Without a position (photographs, ultrasound) the frames of a segment follow each other.
        seen[number] = seen.get(number, -1) + 1
        key = position or seen[number]
        frames.append((number, key))
        positions[key] = position
    planes = sorted(positions, key=lambda key: depth(orientation, key) if orientation and positions[key] else key)
    order = {key: plane for plane, key in enumerate(planes)}
    return _Frames([(number, order[key]) for number, key in frames], [positions[key] for key in planes], orientation)
