"""Whether the gray values of a file are CT numbers, by what the file says of itself."""

from __future__ import annotations

from pathlib import Path

from useg.images.dicom import is_dicom


def in_hounsfield(path: Path) -> bool:
    """Whether a DICOM file, or a folder of its slices, is of a CT scanner, whose rescaled numbers are Hounsfield units.

    Other formats do not say. The file has been read before, so it is not damaged.
    """
    if not is_dicom(path):
        return False
    from pydicom import dcmread

    first = (
        next(file for file in sorted(path.iterdir()) if file.is_file() and is_dicom(file)) if path.is_dir() else path
    )
    header = dcmread(first, stop_before_pixels=True, specific_tags=["Modality", "RescaleType"])
    return header.get("Modality") == "CT" and str(header.get("RescaleType") or "HU").upper() == "HU"
