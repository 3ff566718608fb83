"""The images of a run, as it was trained on them."""

from __future__ import annotations

from pathlib import Path

from useg.data.prepare import prepare, reader_of
from useg.data.splits import Split
from useg.settings import load_settings


def images_of_run(run: Path) -> Split | None:
    """What a run was trained on and judged with; None where that cannot be found: its data have gone, or it is no run
    folder, or one of several folds, each with images of its own.

    Raises:
        SettingsError, DataError, ImageError: its settings or its data cannot be read any more.
    """
    if not (run / "settings.toml").is_file():
        return None
    s = load_settings(run / "settings.toml").data
    if not Path(s.folder).is_dir():
        return None
    return prepare(Path(s.folder), **s.how_to_read(), read=reader_of(run, s.max_memory)).parts
