"""What the routes share: settings, project, model, the queue, and the jobs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from fastapi import HTTPException
from jaxtyping import Float
from starlette.requests import Request

from useg.errors import UsegError
from useg.objects.separate import separate
from useg.predict import Predictor, PredictSettings
from useg.runner import Runner
from useg.server.jobs import Jobs
from useg.server.settings import ServeSettings
from useg.server.turns import CLIENT_LEFT, Turns
from useg.unet.model import ModelCard, find_model, read_card

if TYPE_CHECKING:
    from useg.project import Project

NO_MODEL = "there is no model yet; keep corrected images and improve, or start with `useg serve MODEL`"


class Services:
    """What there is one of in a server: `request.app.state.useg`, or `services_of(request)`."""

    def __init__(self, settings: ServeSettings) -> None:
        """Open the project, or begin it.

        Raises:
            UsegError: its folder or the model cannot be used.
        """
        self.settings, self.project = settings, _project_of(settings)
        self.turns = Turns(settings.queue)
        self.jobs = Jobs()
        self.upload_bytes = 0
        self._lock, self._loading = threading.Lock(), threading.Lock()
        self._loaded: tuple[_Stamp, Predictor] | None = None
        self._card: tuple[_Stamp, ModelCard] | None = None

    def model_path(self) -> Path | None:
        """The file of the current model, the project's if there is one; None where there is none.

        Raises:
            MissingError: it is gone.
        """
        if self.project:
            return self.project.model
        return find_model(self.settings.model) if self.settings.model else None

    def card(self) -> ModelCard:
        """What the current model says of itself; needs no torch.

        Raises:
            HTTPException: 503, there is none. ModelError: its file cannot be read.
        """
        path = self.model_path()
        if path is None:
            raise HTTPException(503, NO_MODEL)
        with self._lock:
            stamp = _stamp(path)
            if self._card is None or self._card[0] != stamp:
                self._card = (stamp, read_card(path))
            return self._card[1]

    def predictor(self) -> Predictor | None:
        """The current model, loaded once, and again when it is another one; None when there is none.

        Takes a second or more the first time: to be called where work is done, in a turn.

        Raises:
            MissingError, ModelError, SettingsError: see `Predictor.load`.
        """
        path = self.model_path()
        if path is None:
            return None
        with self._loading:  # whoever comes meanwhile waits for the same
            stamp = _stamp(path)
            if self._loaded is None or self._loaded[0] != stamp:
                self._loaded = None  # before the next one is read, so that there are never two
                settings = PredictSettings(
                    device=self.settings.device,
                    max_memory=self.settings.max_memory,
                    uncertainty=read_card(path).members > 1,  # where several networks disagree is worth a look
                )
                self._loaded = (stamp, Predictor.load(path, settings))
            return self._loaded[1]

    def require_predictor(self, left: threading.Event | None = None) -> Predictor:
        """As `predictor`; once `left` is set, its next tile raises, and so ends the prediction.

        Raises:
            HTTPException: 503, there is none.
        """
        found = self.predictor()
        if found is None:
            raise HTTPException(503, NO_MODEL)
        return found if left is None else Predictor(found.card, _UntilLeft(found.runner, left), found.settings)

    def warm(self) -> None:
        """Load the model before the first image comes; what is wrong with it is told to whoever then asks."""

        def load(left: threading.Event) -> None:
            with suppress(UsegError):
                predictor = self.predictor()
                if predictor:
                    _rehearse(predictor)

        self.turns.submit(load)

    def hurry(self) -> None:
        """Have those end soon whom a server that stops would wait for: event streams, and the running prediction."""
        self.jobs.closing.set()
        self.turns.hurry()

    def close(self) -> None:
        """Stop all that runs."""
        self.jobs.close()
        self.turns.close()


def _rehearse(predictor: Predictor) -> None:
    """Do with a few pixels of noise what loads libraries, so that the first image need not wait for that."""
    card = predictor.card
    noise = np.random.default_rng(0).random((card.network.in_channels, *[32] * card.network.dims), np.float32)
    predictor.predict(noise)
    if card.objects:
        separate(noise[0], card.objects)


class _UntilLeft:
    """A runner that works as long as somebody waits for it."""

    def __init__(self, runner: Runner, left: threading.Event) -> None:
        self.runner, self.left = runner, left

    def __call__(self, tile: Float[np.ndarray, "c *size"], keep: Sequence[slice]) -> Float[np.ndarray, "p *kept"]:
        if self.left.is_set():
            raise HTTPException(CLIENT_LEFT, "nobody waits for this prediction any more")
        return self.runner(tile, keep)


def services_of(request: Request) -> Services:
    """Those of the app that a request came to; a dependency of routes."""
    return cast(Services, request.app.state.useg)


def _project_of(settings: ServeSettings) -> Project | None:
    if settings.project is None:
        return None
    from useg.project import open_project

    return open_project(settings.project, settings.model)


_Stamp = tuple[Path, int, int]


def _stamp(path: Path) -> _Stamp:
    state = path.stat()
    return path, state.st_mtime_ns, state.st_size
