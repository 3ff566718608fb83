"""A folder becomes a project: an empty one, or one that holds images/ and perhaps masks/ already."""

from __future__ import annotations

from pathlib import Path

from useg.atomic import telling
from useg.data.check import Check, check_pairs
from useg.data.dataset import IMAGE_FOLDERS, MASK_FOLDERS, folder_of
from useg.data.layouts import read_kept
from useg.data.legend import Entry
from useg.data.legend_file import find_legend
from useg.data.project_file import ProjectFile
from useg.errors import DataError, OutputError, SettingsError
from useg.images import is_image_file
from useg.project.classes import Classes, new_classes, of_entries
from useg.project.masks import DRAFTS
from useg.unet.model import ModelCard


def begin(folder: Path, card: ModelCard | None = None) -> None:
    """Make a folder a project: nothing that is there is changed but `legend.csv`, which names what is not annotated.

    What the masks hold is found out from a legend file and the masks that are there, else from a model's card.

    Raises:
        OutputError: the folder holds other things. DataError: its masks cannot be used.
        SettingsError: the model is of other classes than the masks.
    """
    if folder.exists() and (others := _others(folder)) and not folder_of(folder, IMAGE_FOLDERS):
        more = " ..." if len(others) > 4 else ""
        raise OutputError(
            f"{folder}: is no project, and holds {', '.join(others[:4])}{more}; name an empty folder, or put the "
            "images into images/ there"
        )
    masks = folder_of(folder, MASK_FOLDERS) if folder.exists() else None
    legend = find_legend(folder) if folder.exists() else None
    if masks and any(map(is_image_file, masks.iterdir())):
        classes = _of_masks(folder, masks, legend[1] if legend else [])
    elif legend:
        classes = of_entries(card.masks if card else "classes", legend[1], legend[0])
    else:
        classes = _of_model(card) if card else new_classes()
    if card is not None:
        require_fitting(classes, card, "the model")
    with telling(folder):
        for name in (
            *(() if folder_of(folder, IMAGE_FOLDERS) else ("images",)),
            *(() if masks else ("masks",)),
            DRAFTS,
        ):
            (folder / name).mkdir(parents=True, exist_ok=True)
    classes.save(folder)
    ProjectFile(kind=classes.kind).save(folder)  # last: until then it is no project


def require_fitting(classes: Classes, card: ModelCard, model: str) -> None:
    """See that a model says nothing that a project has no class for.

    Raises:
        SettingsError: it does.
    """
    if card.masks != classes.kind:
        raise SettingsError(f"{model}: is of {card.masks}, the project of {classes.kind}; use it in another project")
    if len(card.classes) > len(classes.entries):
        raise SettingsError(
            f"{model}: knows {len(card.classes)} classes ({', '.join(c.name for c in card.classes)}), the project "
            f"{len(classes.entries)}; add those to the project first, or use it in another one"
        )


def _others(folder: Path) -> list[str]:
    """What a folder holds, but for what systems hide in every folder."""
    hidden = ("thumbs.db", "desktop.ini")
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith(".") and p.name.lower() not in hidden)


def _of_masks(folder: Path, masks: Path, entries: list[Entry]) -> Classes:
    """What the masks that are there hold, as training would understand them."""
    found: Check = check_pairs(read_kept(folder), entries=entries, unlabelled="background", folder=folder)
    legend = found.legend
    if legend is None:
        raise DataError(found.errors[0].line)
    known = [
        Entry(value, name, colour)
        for value, name, colour in zip(legend.values, legend.names, legend.palette, strict=True)
    ]
    void = [] if legend.ignore is None else [Entry(legend.ignore, "void", None, True)]
    return of_entries(legend.kind, [*known, *void], masks)


def _of_model(card: ModelCard) -> Classes:
    return new_classes(card.masks, [(each.name, each.colour) for each in card.classes])
