"""Scores of a network -> separate objects, and what other programs open of them.

    separate.py   probability of objects -> one number an object; the thresholds found on known objects

Nothing is read here. Importing this room loads numpy and pydantic only.
"""

from useg.objects.separate import SeparateSettings, find_settings, separate

__all__ = ["SeparateSettings", "find_settings", "separate"]
