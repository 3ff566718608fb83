"""The one mark that label images share in every room."""

IGNORE = 255
"""Label of a pixel that nobody annotated: it costs nothing in a loss and counts in no score.

Internal only. It is never assumed of a file: a mask of {0, 255} is binary.
"""
