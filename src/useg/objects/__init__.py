"""Scores of a network -> separate objects, and what other programs open of them.

    separate.py   probability of objects -> one number an object; the thresholds found on known objects
    outlines.py   the objects' edges, and files of them for QuPath (GeoJSON) and ImageJ (ROI)
    table.py      sizes, places, shapes and intensities, one row an object; CSV

Numbers of objects are `Y X` or `Z Y X`, 0 for background. Importing this room loads numpy and pydantic only.
"""

from useg.objects.outlines import Polygon, outline, write_geojson, write_rois
from useg.objects.separate import SeparateSettings, find_settings, separate
from useg.objects.table import object_table, write_table

__all__ = [
    "Polygon",
    "SeparateSettings",
    "find_settings",
    "object_table",
    "outline",
    "separate",
    "write_geojson",
    "write_rois",
    "write_table",
]
