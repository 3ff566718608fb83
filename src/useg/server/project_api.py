"""Routes of project."""

from fastapi import APIRouter

router = APIRouter()
