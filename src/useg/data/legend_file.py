"""Legend files: names, colours and the void entry of a data set, from `legend.csv`, `legend.json` or `classes.txt`."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from useg.data.legend import Entry, parse_value
from useg.errors import DataError
from useg.images.image import COLOUR

NAMES = ("legend.csv", "legend.tsv", "legend.json", "classes.txt")
VOID = {"ignore", "ignored", "void", "unlabelled", "unlabeled", "not annotated"}
"""Names that mean: nobody annotated these pixels."""
SPLITS = {"train", "val", "valid", "validation", "test"}

_YES = {"1", "true", "yes", "x", "ignore", "void"}
_REMEDY = "write one line an entry: value,name or #rrggbb,name, and name the one that does not count void"


def find_legend(folder: Path) -> tuple[Path, list[Entry]] | None:
    """The legend file of a data set and its entries: in the folder, or beside a `train/`, `val/` or `test/`.

    Raises DataError for a legend file that cannot be understood.
    """
    for place in [folder, *([folder.resolve().parent] if folder.resolve().name in SPLITS else [])]:
        for name in NAMES:
            if (place / name).is_file():
                return place / name, read_legend(place / name)
    return None


def read_legend(path: Path) -> list[Entry]:
    """Read a legend file, entries in the order of their values.

    - `.csv`, `.tsv`: columns `value` and/or `colour` (or `r`, `g`, `b`), `name`, and if you like `ignore`; without
      a heading, `value,name`.
    - `.json`: `{"0": "sky"}`, `{"sky": 0}`, or a list of `{"value": 0, "name": "sky", "colour": "#80c0ff"}`.
    - `.txt`: a name a line (the first is 0), or `value name`, or `r g b name`.

    Raises DataError for anything else, two entries of one value, or two that mean not annotated.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            entries = from_json(json.loads(text))
        elif path.suffix == ".txt":
            entries = [_from_line(k, line) for k, line in enumerate(filter(str.strip, text.splitlines()))]
        else:
            entries = _from_table(text.splitlines(), "\t" if path.suffix == ".tsv" else ",")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise DataError(f"{path}: this legend cannot be understood ({error}); {_REMEDY}") from error
    values = [e.value for e in entries]
    twice = [e for e in entries if values.count(e.value) > 1]
    if twice:
        raise DataError(f"{path}: {twice[0].name} and {twice[1].name} have the same value; give each its own")
    void = [e.name for e in entries if e.ignore]
    if len(void) > 1:
        raise DataError(f"{path}: {void[0]} and {void[1]} both mean not annotated; give them one value, one line")
    if len(entries) - len(void) < 1:
        raise DataError(f"{path}: there is no class in this legend; {_REMEDY}")
    return sorted(entries, key=lambda e: e.value)


def from_json(document: Any) -> list[Entry]:
    """Entries of a JSON legend; also the `labels` of nnU-Net. Raises ValueError, KeyError or TypeError."""
    if isinstance(document, Mapping):
        document = document.get("classes", document.get("labels", document))
    if isinstance(document, Mapping):
        is_value = re.compile(r"\d+|#[0-9a-fA-F]{6}").fullmatch
        return [
            _entry(str(key), str(name)) if is_value(str(key)) else _entry(str(name), str(key))
            for key, name in document.items()
        ]
    if isinstance(document, Sequence) and not isinstance(document, str):
        return [
            _entry(str(k), each)
            if isinstance(each, str)
            else _from_fields({str(key).lower(): value for key, value in each.items()})
            for k, each in enumerate(document)
        ]
    raise ValueError("it is neither a list nor a table of names")


def _from_table(lines: list[str], delimiter: str) -> list[Entry]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter) if any(row)]
    if not rows:
        raise ValueError("it is empty")
    heading = [cell.lower() for cell in rows[0]]
    if not {"name", "class", "label"} & set(heading):
        return [_entry(row[0], row[1]) for row in rows]
    return [_from_fields(dict(zip(heading, row, strict=False))) for row in rows[1:]]


def _from_fields(fields: Mapping[str, Any]) -> Entry:
    name = _first(fields, "name", "class", "label")
    value, colour = _first(fields, "value", "index", "id"), _first(fields, "colour", "color", "rgb")
    rgb = [_first(fields, *names) for names in (("r", "red"), ("g", "green"), ("b", "blue"))]
    if colour in (None, "") and None not in rgb:
        colour = rgb
    flag = str(fields.get("ignore", fields.get("void", ""))).strip().lower() in _YES
    return _entry(value, str(name), None if colour in (None, "") else _colour(colour), flag)


def _first(fields: Mapping[str, Any], *names: str) -> Any:
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)


def _from_line(number: int, line: str) -> Entry:
    line = line.strip()
    if found := re.fullmatch(r"(\d+)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(\S.*)", line):
        return _entry(None, found[4], _colour(found.groups()[:3]))
    if found := re.fullmatch(r"(\d+|#[0-9a-fA-F]{6})[\s,:=]+(\S.*)", line):
        return _entry(found[1], found[2])
    return _entry(str(number), line)


def _entry(value: Any, name: str, colour: tuple[int, int, int] | None = None, ignore: bool = False) -> Entry:
    """An entry; without a value the colour is what stands in the masks."""
    if value is None and colour is None:
        raise ValueError(f"{name} has neither a value nor a colour")
    if not name.strip() or name == "None":
        raise ValueError(f"the entry {value} has no name")
    if value is None and colour is not None:
        rgb = colour[0] << 16 | colour[1] << 8 | colour[2]
        number = COLOUR + rgb if rgb else 0
    else:
        number = parse_value(str(value))
    if colour is None and number >= COLOUR:
        colour = (number >> 16) & 255, (number >> 8) & 255, number & 255
    return Entry(number, name.strip(), colour, ignore or name.strip().lower() in VOID)


def _colour(given: Any) -> tuple[int, int, int]:
    """`#rrggbb`, "r g b" or three numbers, 0..255 each."""
    if isinstance(given, str) and given.startswith("#"):
        number = parse_value(given)
        return (number >> 16) & 255, (number >> 8) & 255, number & 255
    parts = [int(part) for part in (re.split(r"[\s,;]+", given.strip("()[] ")) if isinstance(given, str) else given)]
    if len(parts) != 3 or not all(0 <= part <= 255 for part in parts):
        raise ValueError(f"{given} is no colour; write #rrggbb")
    return parts[0], parts[1], parts[2]
