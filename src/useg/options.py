"""What people write behind options -> values, or one line that says how to write them."""

from __future__ import annotations

from typing import Any, Literal

from useg.errors import SettingsError

PROGRAM = 500_000_000
"""Bytes that a process of useg takes with torch loaded and nothing predicted (0.45 to 0.5 GB were measured)."""


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """`name=value` words to a dictionary; values as in TOML, bare words as text."""
    import tomllib

    found = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise SettingsError(f"--set {pair}: write name=value, such as network.width=32")
        try:
            found[name.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            found[name.strip()] = text
    return found


def parse_format(name: str | None) -> str | None:
    """ "nii.gz" to the suffix ".nii.gz", if it is one that label images can have."""
    from useg.images.formats import LABEL_SUFFIXES

    if name is None:
        return None
    suffix = "." + name.lower().removeprefix(".")
    if suffix not in LABEL_SUFFIXES:
        known = ", ".join(each.removeprefix(".") for each in LABEL_SUFFIXES)
        raise SettingsError(f"--format {name}: label images are written as {known}")
    return suffix


def parse_unlabelled(text: str) -> Literal["auto", "background", "ignore"]:
    """The three words of --unlabelled."""
    if text not in ("auto", "background", "ignore"):
        raise SettingsError(f"--unlabelled {text}: use background, ignore or auto")
    return text  # type: ignore[return-value]


def parse_ignore(text: str | None) -> int | None:
    """A mask value: `11`, or `#rrggbb` for a colour."""
    from useg.data.legend import parse_value

    try:
        return None if text is None else parse_value(text)
    except ValueError as error:
        raise SettingsError(f"--ignore {text}: write a mask value such as 255, or a colour such as #ff0000") from error


def parse_folds(text: str | None) -> tuple[int, ...]:
    """ "0,2" to (0, 2); nothing is all of them."""
    try:
        return tuple(int(word) for word in text.split(",")) if text else ()
    except ValueError as error:
        raise SettingsError(f"--folds {text}: write their numbers, such as 0,2") from error


def parse_track(text: str) -> list[str]:
    """ "tensorboard,wandb" to a list, if there are such trackers."""
    from useg.settings import TRACKERS

    names = [word.strip() for word in text.split(",")]
    for name in names:
        if name not in TRACKERS:
            raise SettingsError(f"--track {text}: there is no {name!r}; use {', '.join(TRACKERS)}, commas between them")
    return names


def parse_memory(text: str | None, processes: int = 1) -> int | None:
    """ "4GB", "500 MB" or a number of bytes, less what so many processes of useg take before they predict anything.

    People read --max-memory as the size of the whole program, as their system shows it.

    Raises:
        SettingsError: this is no amount of memory, or nothing is left of it.
    """
    if text is None:
        return None
    asked, program = parse_bytes(text), processes * PROGRAM
    if asked <= program:
        where = "itself" if processes == 1 else f"in {processes} processes"
        raise SettingsError(f"--max-memory {text}: useg {where} takes {program / 1e6:.0f} MB; allow more memory")
    return asked - program


def parse_bytes(text: str) -> int:
    """ "4GB", "500 MB" or a number of bytes."""
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    number = text.strip().rstrip("BbKkMmGgTt ")
    unit = text.strip()[len(number) :].strip().upper()
    try:
        count = int(float(number) * units[unit])
    except (ValueError, KeyError, OverflowError) as error:
        raise SettingsError(f"--max-memory {text}: write it as 4GB or 500MB") from error
    if count <= 0:
        raise SettingsError(f"--max-memory {text}: that is no memory; write it as 4GB or 500MB")
    return count
