"""Routes of tiles."""

from fastapi import APIRouter

router = APIRouter()
