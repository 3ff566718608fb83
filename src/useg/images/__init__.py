"""Files <-> arrays: the only room that opens image files."""

from useg.images.files import (
    image_suffix,
    is_image,
    is_image_file,
    is_series,
    label_suffix,
    level_headers,
    open_windows,
    read,
    read_header,
    read_mask,
    write_image,
    write_labels,
    write_picture,
    write_probabilities,
)
from useg.images.formats import LABEL_SUFFIXES, SUFFIXES
from useg.images.image import MAX_BYTES, Header, Image, as_labels
from useg.images.store import LabelStore
from useg.images.stored import write_labels_from, write_probabilities_from
from useg.images.windows import Windows, windows_of

__all__ = [
    "LABEL_SUFFIXES",
    "MAX_BYTES",
    "SUFFIXES",
    "Header",
    "Image",
    "LabelStore",
    "Windows",
    "as_labels",
    "image_suffix",
    "is_image",
    "is_image_file",
    "is_series",
    "label_suffix",
    "level_headers",
    "open_windows",
    "read",
    "read_header",
    "read_mask",
    "windows_of",
    "write_image",
    "write_labels",
    "write_labels_from",
    "write_picture",
    "write_probabilities",
    "write_probabilities_from",
]
