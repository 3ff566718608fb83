"""Pyramids that are open: the last few stay so, and each is built once, whoever asks first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from useg.viewing.build import Outline, build, is_built, open_built, outline
from useg.viewing.pyramid import Pyramid, version_of

_OPEN = 4
"""Pyramids that stay open; one holds at most 128 MB of decoded pixels."""


class Pyramids:
    """The open pyramids of a process. Safe to use from several threads.

    Args:
        cache: folder of stored levels; it may be deleted while no process uses it.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._open: OrderedDict[Path, _Opened] = OrderedDict()
        self._lock = threading.Lock()
        self._building: dict[Path, threading.Lock] = {}
        self._shares: dict[Path, float] = {}

    @contextmanager
    def borrow(self, path: Path) -> Iterator[Pyramid]:
        """The pyramid of an image, built first where it must be; it stays open inside this block.

        Raises:
            MissingError, MissingExtraError, ImageError: as for `useg.images.open_windows`.
            OutputError: the disk is full, or may not be written.
        """
        opened = self._take(path, version_of(path))
        try:
            yield opened.pyramid
        finally:
            with self._lock:
                opened.users -= 1
                closing = opened.dropped and not opened.users
            if closing:
                opened.pyramid.close()

    def share(self, path: Path) -> float | None:
        """How much of an image's building is done, 0..1; None while it is not being built."""
        return self._shares.get(path)

    def is_ready(self, path: Path) -> bool:
        """Whether an image can be borrowed without building."""
        with self._lock:
            opened = self._open.get(path)
        if opened and opened.pyramid.version == version_of(path):
            return True
        return is_built(outline(path), self._cache)

    def close(self) -> None:
        """Close what is not borrowed at the moment, and the others when they come back."""
        with self._lock:
            opened = list(self._open.values())
            self._open.clear()
            closing = [each for each in opened if each.drop()]
        for each in closing:
            each.pyramid.close()

    def _take(self, path: Path, version: str) -> _Opened:
        found = self._known(path, version)
        if found:
            return found
        with self._lock:
            building = self._building.setdefault(path, threading.Lock())
        with building:
            found = self._known(path, version)
            if found:
                return found
            wanted = outline(path)
            if not is_built(wanted, self._cache):
                self._build(wanted)
            return self._keep(path, _Opened(open_built(wanted, self._cache)))

    def _known(self, path: Path, version: str) -> _Opened | None:
        with self._lock:
            found = self._open.get(path)
            if found is None or found.pyramid.version != version:
                return None
            self._open.move_to_end(path)
            found.users += 1
            return found

    def _build(self, wanted: Outline) -> None:
        def report(share: float) -> None:
            self._shares[wanted.path] = share

        report(0.0)
        try:
            build(wanted, self._cache, report)
        finally:
            self._shares.pop(wanted.path, None)

    def _keep(self, path: Path, opened: _Opened) -> _Opened:
        opened.users = 1
        with self._lock:
            old = self._open.pop(path, None)
            self._open[path] = opened
            gone = [old] if old else []
            while len(self._open) > _OPEN:
                gone.append(self._open.popitem(last=False)[1])
            closing = [each for each in gone if each.drop()]
        for each in closing:
            each.pyramid.close()
        return opened


class _Opened:
    """A pyramid, how many use it, and whether it is to be closed after the last of them."""

    def __init__(self, pyramid: Pyramid) -> None:
        self.pyramid = pyramid
        self.users = 0
        self.dropped = False

    def drop(self) -> bool:
        """Mark it; True where nobody uses it, so that it is to be closed now."""
        self.dropped = True
        return not self.users
