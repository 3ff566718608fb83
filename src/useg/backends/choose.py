"""`--backend`: the file and the precision that a prediction takes, by what `useg benchmark` found on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from useg.backends.note import Measured, Note, read_note
from useg.backends.ways import CHOICES, SUFFIXES, file_of
from useg.errors import SettingsError
from useg.predict import PredictSettings
from useg.unet.model import digest, find_model, is_exported


class Choice(NamedTuple):
    """What to predict with.

    Attributes:
        model: the file to load, the model or an export of it. settings: with the precision that belongs to it.
        told: what was chosen and why, in one line; empty where nothing is to be said.
    """

    model: Path
    settings: PredictSettings
    told: str = ""


def choose_backend(model: Path, settings: PredictSettings, backend: str = "auto", begun: str | None = None) -> Choice:
    """The file and the settings to predict with.

    "auto" takes the fastest way that was measured of this model on this machine with these libraries, and torch where
    none was, or where chosen folds or a device leave only torch. int8 is taken only where it was found to keep
    `useg.backends.note.LEAST_AGREEMENT` of the labels.

    Args:
        model: a model file or run folder; an exported file has its own backend already.
        backend: one of `useg.backends.ways.CHOICES`.
        begun: checksum of the file with which the same work was begun; "auto" then goes on with that.

    Raises:
        MissingError: there is no such model. SettingsError: there is no such backend, or no export for it.
    """
    if backend not in CHOICES:
        raise SettingsError(f"--backend {backend}: use {', '.join(CHOICES)}")
    model = find_model(model)
    if is_exported(model):
        if backend != "auto":
            raise SettingsError(f"--backend {backend}: {model} is an export, which has its own backend; leave it out")
        return Choice(model, settings)
    if backend == "torch" or (backend == "auto" and (settings.folds or settings.device not in ("auto", "cpu"))):
        return Choice(model, settings)
    note = read_note(model)
    there = _there(model, note) if note else {}
    if backend != "auto":
        if backend not in there:
            raise SettingsError(f"--backend {backend}: {model} has no such export; make it with `useg benchmark`")
        return Choice(file_of(model, backend), settings)
    if note is None:
        return Choice(model, settings)
    for name, checksum in there.items():
        if checksum == begun:
            return Choice(file_of(model, name), settings, f"backend: {name}, with which the results here were begun")
    best = note.best
    if not there:
        changed: str | None = "before the model changed"
    elif best.backend not in there:
        changed = f"and the export for {best.backend} is not there as it was"
    else:
        changed = note.unfit()
    if changed:
        remedy = f"`useg benchmark {model}` does it anew"
        return Choice(model, settings, f"backend: torch, for others were measured {changed}; {remedy}")
    return Choice(file_of(model, best.backend), _in_its_precision(settings, best), _words(best))


def _there(model: Path, note: Note) -> dict[str, str]:
    """Checksums of the files that are there as they were when they were measured, by backend; none of another model."""
    if note.model != digest(model):
        return {}
    found = {"torch": note.model}
    for row in note.rows:
        path = file_of(model, row.backend)
        if row.export and row.backend in SUFFIXES and path.is_file() and digest(path) == row.export:
            found[row.backend] = row.export
    return found


def _in_its_precision(settings: PredictSettings, row: Measured) -> PredictSettings:
    """Settings that say the precision of a row. What an int8 network does beside its convolutions is not said."""
    if settings.precision != "auto" or row.precision == "int8":
        return settings
    return settings.model_copy(update={"precision": row.precision})


def _words(row: Measured) -> str:
    agreement = "" if row.agreement is None else f", {row.agreement:.2%} of the labels the same"
    return f"backend: {row.name}, measured here at {row.ratio:.1f} times the pace of torch in float32{agreement}"
