"""DICOM SEG: labels come back as they went, in the place of the image, and highdicom agrees."""

from pathlib import Path

import highdicom
import numpy as np
import pytest
from dicoms import save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom import dcmread
from pydicom.uid import UltrasoundImageStorage

from useg.errors import ImageError
from useg.images import Image, read, read_mask, write_labels

in_tmp = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def make_series(folder: Path, planes: int) -> None:
    folder.mkdir(exist_ok=True)
    for z in range(planes):
        save(folder / f"{planes - z}.dcm", np.full((6, 8), z, "<i2"), position=(1.25, -2.5, 1.5 * z))


@in_tmp
@given(st.integers(1, 4), st.data())
def test_labels_come_back_in_their_place(tmp_path: Path, planes: int, data: st.DataObject) -> None:
    folder = tmp_path / str(planes)
    make_series(folder, planes)
    image = read(folder if planes > 1 else folder / "1.dcm")
    labels = data.draw(arrays(np.int64, image.size, elements=st.integers(0, 3)))
    write_labels(tmp_path / "a.dcm", labels, names=["background", "Leber", "Milz"], like=image)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.dcm"), labels)
    back = read(tmp_path / "a.dcm")
    assert (back.place, back.spacing, back.unit, back.axes) == (image.place, image.spacing, image.unit, image.axes)


def test_what_highdicom_sees(tmp_path: Path) -> None:
    make_series(tmp_path / "in", 3)
    labels = np.zeros((3, 6, 8), int)
    labels[0, 1, 2], labels[2, 3, 4] = 1, 2
    names, colours = ["background", "liver", "spine"], [(0, 0, 0), (255, 0, 0), (0, 0, 255)]
    write_labels(tmp_path / "a.dcm", labels, names=names, colours=colours, like=read(tmp_path / "in"))
    seg = highdicom.seg.segread(tmp_path / "a.dcm")
    described = [seg.get_segment_description(number) for number in (1, 2)]
    assert [d.segment_label for d in described] == names[1:]
    assert [d.algorithm_type.value for d in described] == ["AUTOMATIC"] * 2
    source = dcmread(tmp_path / "in/1.dcm")
    assert (seg.PatientID, seg.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    volume = seg.get_volume(combine_segments=True)
    # highdicom stacks from superior to inferior.
    np.testing.assert_array_equal(volume.array[::-1], labels)
    again = tmp_path / "b.dcm"
    write_labels(again, labels, names=names, colours=colours, like=read(tmp_path / "in"))
    assert dcmread(again).SOPInstanceUID == seg.SOPInstanceUID


def test_pictures_without_a_place(tmp_path: Path) -> None:
    gone = dict.fromkeys(["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID"])
    gone |= {"SpecificCharacterSet": "", "SOPClassUID": UltrasoundImageStorage}
    save(tmp_path / "us.dcm", np.zeros((6, 8, 3), np.uint8), **gone)
    labels = np.arange(48).reshape(6, 8) % 3
    write_labels(tmp_path / "a.dcm", labels, like=read(tmp_path / "us.dcm"))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.dcm"), labels)


def test_what_a_seg_cannot_be(tmp_path: Path) -> None:
    make_series(tmp_path / "in", 1)
    image = read(tmp_path / "in/1.dcm")
    with pytest.raises(ImageError, match="must refer to a DICOM image, and this image is none"):
        write_labels(tmp_path / "a.dcm", np.ones((6, 8), int), like=Image(image.array, "CYX"))
    write_labels(tmp_path / "in/seg.dcm", np.ones((6, 8), int), like=image)
    with pytest.raises(ImageError, match=r"in/seg\.dcm is a segmentation itself"):
        write_labels(tmp_path / "a.dcm", np.ones((6, 8), int), like=read(tmp_path / "in/seg.dcm"))
    with pytest.raises(ImageError, match="256 segments are too many"):
        write_labels(tmp_path / "a.dcm", np.full((6, 8), 256), like=image)
    with pytest.raises(ImageError, match="cannot be written"):
        write_labels(tmp_path / "a.dcm", np.ones((5, 5), int), like=image)
    assert [f.name for f in tmp_path.iterdir()] == ["in"]


def test_fractions_and_overlaps_are_no_labels(tmp_path: Path) -> None:
    make_series(tmp_path / "in", 1)
    write_labels(tmp_path / "a.dcm", np.ones((6, 8), int), like=read(tmp_path / "in/1.dcm"), names=["", "a", "b"])
    one = dcmread(tmp_path / "a.dcm")
    one.PixelData = b"\xff" * len(one.PixelData)
    one.save_as(tmp_path / "overlap.dcm")
    with pytest.raises(ImageError, match="segments overlap"):
        read(tmp_path / "overlap.dcm")


@pytest.mark.real
def test_segmentations_of_others(real_data: Path) -> None:
    folder = real_data / "dicom-ct-seg"
    file = folder / "masks_dicom_seg/ct3_liver_seg.dcm"
    volume = highdicom.seg.segread(file).get_volume(combine_segments=True)
    np.testing.assert_array_equal(read_mask(file), volume.array[::-1])
    small = folder / "small_ct2"
    assert read_mask(small / "seg_image_ct_binary_fractional.dcm").max() == 1
    for name, said in (("overlap", "segments overlap"), ("true_fractional", "of fractions")):
        (file,) = small.glob(f"*{name}.dcm")
        with pytest.raises(ImageError, match=said):
            read(file)
