"""The project that a request is about."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException

from useg.project import Project
from useg.server.services import Services, services_of


def project_of(services: Annotated[Services, Depends(services_of)]) -> Project:
    """The server's project; a dependency of routes.

    Raises:
        HTTPException: 404, it has none.
    """
    if services.project is None:
        raise HTTPException(404, "this server has no project; start it with `useg serve` in a folder of images")
    return services.project


ProjectOf = Annotated[Project, Depends(project_of)]
