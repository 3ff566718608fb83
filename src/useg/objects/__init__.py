"""Scores of a network -> separate objects, and what other programs open of them.

    separate.py   probability of objects -> one number an object; the thresholds found on known objects
    settings.py   these thresholds
    seams.py      the same objects of an image in chunks, with no seams between them
    passes.py     what is done with one chunk
    chunks.py     where chunks lie, what is stored of them, and the numbers that each gives by itself
    grow.py       seeds that share a region grow until they meet
    outlines.py   the objects' edges, and files of them for QuPath (GeoJSON) and ImageJ (ROI)
    table.py      sizes, places, shapes and intensities, one row an object; CSV

Numbers of objects are `Y X` or `Z Y X`, 0 for background. Importing this room loads numpy and pydantic only.
"""

from useg.objects.chunks import Grid, Held, Source, Store
from useg.objects.grow import REACH
from useg.objects.outlines import Polygon, outline, write_geojson, write_rois
from useg.objects.seams import separate_chunked
from useg.objects.separate import confidence, find_settings, separate
from useg.objects.settings import SeparateSettings
from useg.objects.table import object_table, write_table

__all__ = [
    "REACH",
    "Grid",
    "Held",
    "Polygon",
    "SeparateSettings",
    "Source",
    "Store",
    "confidence",
    "find_settings",
    "object_table",
    "outline",
    "separate",
    "separate_chunked",
    "write_geojson",
    "write_rois",
    "write_table",
]
