"""A project: a folder of ordinary files in which images get their masks, and a model gets better, step by step.

folder.py       the folder: opened or begun, its images, classes, model
masks.py        masks and drafts: whole files, no change lost
lock.py         one writer at a time
classes.py      what the numbers in masks mean, in files and outside
names.py        what images may be called
predicting.py   one image predicted, in memory or in blocks
predictions.py  what models say, kept
runs.py         the runs
improve.py      a training from the masks that were kept
begun.py        which trainings a server waits for
suggestions.py  which image to annotate next
downloads.py    masks and objects as files to take away
"""

from useg.project.folder import Project, open_project

__all__ = ["Project", "open_project"]
