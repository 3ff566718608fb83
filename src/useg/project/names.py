"""Names of images: what a user, or a stranger, called a file -> a stem that is safe on any disk."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from itertools import count

from useg.data.dataset import DOUBLE_SUFFIXES
from useg.images import SUFFIXES

LONGEST = 100
"""Characters of a stem; UTF-8 has at most 4 bytes for each, and disks allow 255 bytes for a whole name."""
BYTES = 200
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³")}
"""Devices of Windows, whatever their suffix."""
PLAIN = "image"
"""What is called so where nothing of its name is left."""


def clean_name(given: str) -> str:
    """A stem made of letters and digits of any script, space and `-_.`, at most `LONGEST` characters.

    The suffix of an image, and all that stands before the last slash or backslash, are left out; every other
    character becomes `_`. It begins and ends with neither dot nor space, is no device of Windows, and is its own clean
    name.

    >>> clean_name("../../etc/pass wd.png"), clean_name("C:\\\\a\\\\zelle ü.ome.tif"), clean_name("con.png")
    ('pass wd', 'zelle ü', 'con_')
    """
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", given)[-1])
    ends = sorted({*SUFFIXES, *DOUBLE_SUFFIXES}, key=len, reverse=True)
    kept = "".join(letter if _is_plain(letter) else "_" for letter in name)
    while True:
        before = kept
        suffix = next((end for end in ends if kept.lower().endswith(end)), "")
        kept = kept[: len(kept) - len(suffix)][:LONGEST].strip(". ")
        kept = kept.encode()[:BYTES].decode(errors="ignore").strip(". ")
        if kept.partition(".")[0].rstrip().lower() in RESERVED:
            kept = kept.replace(".", "_") + "_"
        if kept == before:
            return kept or PLAIN


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, or with the first number behind it under which it is not taken; upper and lower case are one."""
    there = {each.casefold() for each in taken}
    if name.casefold() not in there:
        return name
    return next(each for n in count(2) if (each := f"{name}_{n}").casefold() not in there)


def _is_plain(letter: str) -> bool:
    return letter in " -_." or unicodedata.category(letter)[0] in "LN"
