"""Small DICOM files for tests, made with pydicom."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SERIES = {name: generate_uid(entropy_srcs=[name]) for name in ("a", "b", "study", "frame")}


def save(file: Path, array: np.ndarray, *, position: Any = (1.5, -2.5, 3.0), series: str = "a", **tags: Any) -> Dataset:
    """Write `Y X`, `Y X 3` or (with NumberOfFrames in `tags`) `Z Y X`; tags of None are left out."""
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = CTImageStorage
    one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(file)])
    one.StudyInstanceUID, one.SeriesInstanceUID = SERIES["study"], SERIES[series]
    one.FrameOfReferenceUID = SERIES["frame"]
    one.PatientID, one.PatientName, one.PatientBirthDate, one.PatientSex = "1", "Doe^Jane", "", ""
    one.StudyID, one.AccessionNumber, one.StudyDate, one.StudyTime, one.ReferringPhysicianName = "1", "", "", "", ""
    one.Modality, one.Manufacturer, one.SeriesNumber, one.InstanceNumber = "CT", "", 1, 1
    frames = "NumberOfFrames" in tags
    one.Rows, one.Columns = array.shape[1 if frames else 0 :][:2]
    one.SamplesPerPixel = 3 if array.ndim == 3 and not frames else 1
    one.PhotometricInterpretation = "RGB" if one.SamplesPerPixel == 3 else "MONOCHROME2"
    if one.SamplesPerPixel == 3:
        one.PlanarConfiguration = 0
    one.BitsAllocated = one.BitsStored = array.dtype.itemsize * 8
    one.HighBit, one.PixelRepresentation = one.BitsStored - 1, int(array.dtype.kind == "i")
    one.PixelSpacing, one.SliceThickness = [0.5, 0.25], 2.0
    one.ImageOrientationPatient, one.ImagePositionPatient = [1, 0, 0, 0, 1, 0], list(position)
    for name, value in tags.items():
        if value is None:
            delattr(one, name)
        else:
            setattr(one, name, value)
    one.PixelData = array.tobytes() + b"\0" * (array.nbytes % 2)
    one.save_as(file, enforce_file_format=True)
    return one
