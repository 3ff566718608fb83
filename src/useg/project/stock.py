"""The images of a project: listed, looked up by name, and what each file says of itself."""

from __future__ import annotations

from pathlib import Path

from useg.data.dataset import IMAGE_FOLDERS, folder_of, natural_key, stem_of
from useg.errors import ImageError, MissingError, UsegError
from useg.images import Header, is_image_file, read_header


class Stock:
    """The images in a project's folder. Names come from listing it: none is ever made a path."""

    def __init__(self, folder: Path) -> None:
        self._project = folder
        self._headers: dict[Path, tuple[tuple[int, int], Header]] = {}

    @property
    def folder(self) -> Path:
        """Where they are."""
        return folder_of(self._project, IMAGE_FOLDERS) or self._project / "images"

    def paths(self) -> dict[str, Path]:
        """The files by stem, in their order; of two of one stem the first."""
        found: dict[str, Path] = {}
        for path in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            if is_image_file(path):
                found.setdefault(stem_of(path), path)
        return dict(sorted(found.items(), key=lambda item: natural_key(item[0])))

    def path(self, name: str) -> Path:
        """The file of an image.

        Raises:
            MissingError: there is no such image.
        """
        path = self.paths().get(name)
        if path is None:
            raise MissingError(f"{name}: there is no such image in this project; was it renamed or taken away?")
        return path

    def header(self, path: Path) -> Header:
        """What a file says of itself; remembered while the file is the same.

        Raises:
            ImageError, MissingError: it cannot be read.
        """
        try:
            stat = path.stat()
            state = (stat.st_size, stat.st_mtime_ns)
            known = self._headers.get(path)
            if known is None or known[0] != state:
                known = self._headers[path] = state, read_header(path)
        except OSError as error:
            raise ImageError(f"{path}: cannot be read ({error.strerror}); see that it may be") from error
        return known[1]

    def header_or_error(self, path: Path) -> tuple[Header | None, str | None]:
        """What a file says of itself, or what is wrong with it."""
        try:
            return self.header(path), None
        except UsegError as error:
            return None, str(error)
