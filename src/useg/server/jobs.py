"""Long work in child processes: command lines that are started, watched and stopped."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(tags=["jobs"])


class Jobs:
    """Placeholder."""

    def close(self) -> None:
        """Stop all."""
