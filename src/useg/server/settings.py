"""What can be chosen of a server."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from useg.errors import SettingsError

PORT = 8440
"""Where nothing else is asked for, and the first that is tried."""

LEAST_TOKEN = 16
"""Letters of a token."""


class ServeSettings(BaseModel):
    """What to serve, to whom, and within which bounds.

    Attributes:
        project: its folder. model: a model file or run folder, which is used where the project has none of its own.
        host: the address to listen on. port: None takes `PORT`, or one of the next ten that is free.
        token: that a client must know; None lets all in where `host` is this machine alone, and makes one elsewhere.
        max_upload: bytes of a request's body. max_pixels: of an image that is uploaded, as its header claims.
        max_predict: pixels of one that is uploaded to be predicted at once, for whose end all others wait.
        queue: predictions that may wait while one runs.
        patience: seconds that a client may let pass without sending, or be behind the least pace.
        device, max_memory: see `useg.predict.PredictSettings`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: Path | None = None
    model: Path | None = None
    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=1, le=65535)
    token: str | None = None
    max_upload: int = Field(default=2**31, gt=0)
    max_pixels: int = Field(default=16384 * 16384, gt=0)
    max_predict: int = Field(default=8192 * 8192, gt=0)
    queue: int = Field(default=4, ge=0)
    patience: float = Field(default=30.0, gt=0)
    device: str = "auto"
    max_memory: int | None = Field(default=None, gt=0)

    def require_token(self) -> None:
        """See that none but this machine is let in without a token.

        Raises:
            SettingsError: there is none, or it is soon guessed.
        """
        if self.token is None and not self.is_local:
            raise SettingsError(f"--host {self.host}: others can reach it, and it has no token; give one with --token")
        if self.token is not None and len(self.token) < LEAST_TOKEN:
            raise SettingsError(
                f"--token: has {len(self.token)} letters and is soon guessed; give {LEAST_TOKEN} or more"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
