"""How good is a segmentation? One measure a file, each with its paper.

    bootstrap.py    95 % intervals                              how much would other images differ?
    calibration.py  reliability, ECE, temperature, biases       do probabilities mean what they say?
    learning.py     score against number of training images     would more of them help?
    objects.py      SEG, AP, F1, PQ, splits, merges                is every object found, whole and alone?
    overlap.py      confusion matrix, accuracy, Dice, IoU          labels against labels
    rand.py         V_rand, V_info, Rand error of ISBI 2012        are regions split or merged?
    surface.py      95 % Hausdorff distance, ASSD               how far apart are the surfaces, in mm?
    uncertainty.py  entropy, expected Dice                      what do probabilities say of their own errors?
    warping.py      warping error                               is the topology right?

Every measure takes the truth first. Importing this room loads numpy only.
"""

from useg.metrics.bootstrap import Intervals, bootstrap
from useg.metrics.learning import Ahead, LearningFit, fit_learning
from useg.metrics.objects import IOU_THRESHOLDS, ObjectMatch, ObjectScores, match_objects, object_scores
from useg.metrics.overlap import IGNORE, OverlapScores, confusion_matrix, overlap_scores
from useg.metrics.rand import (
    THRESHOLDS,
    RegionScores,
    at_threshold,
    best_over_thresholds,
    grow_regions,
    rand_error,
    region_scores,
)
from useg.metrics.surface import SurfaceDistance, SurfaceScores, surface_distances, surface_scores
from useg.metrics.warping import warp, warping_error

__all__ = [
    "IGNORE",
    "IOU_THRESHOLDS",
    "THRESHOLDS",
    "Ahead",
    "Intervals",
    "LearningFit",
    "ObjectMatch",
    "ObjectScores",
    "OverlapScores",
    "RegionScores",
    "SurfaceDistance",
    "SurfaceScores",
    "at_threshold",
    "best_over_thresholds",
    "bootstrap",
    "confusion_matrix",
    "fit_learning",
    "grow_regions",
    "match_objects",
    "object_scores",
    "overlap_scores",
    "rand_error",
    "region_scores",
    "surface_distances",
    "surface_scores",
    "warp",
    "warping_error",
]
