"""useg: from a handful of annotated images to a segmentation of all the others."""

__version__ = "0.1.0"
