"""Files <-> arrays: the only room that opens image files."""

from useg.images.files import (
    LABEL_SUFFIXES,
    SUFFIXES,
    is_image,
    is_image_file,
    is_series,
    label_suffix,
    read,
    read_header,
    read_mask,
    write_labels,
    write_picture,
    write_probabilities,
)
from useg.images.image import MAX_BYTES, Header, Image, as_labels

__all__ = [
    "LABEL_SUFFIXES",
    "MAX_BYTES",
    "SUFFIXES",
    "Header",
    "Image",
    "as_labels",
    "is_image",
    "is_image_file",
    "is_series",
    "label_suffix",
    "read",
    "read_header",
    "read_mask",
    "write_labels",
    "write_picture",
    "write_probabilities",
]
