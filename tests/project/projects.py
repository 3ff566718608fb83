"""Small projects for the tests of the rooms that know them."""

from pathlib import Path

import numpy as np
from PIL import Image

from useg.project import Project, open_project

SIZE = (48, 64)


def picture(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A bright rectangle on noise."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, size).astype(np.uint8)
    image[10:30, 8 + seed % 8 : 40] += 120
    return image


def truth(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[10:30, 8 + seed % 8 : 40] = 1
    return mask


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def make_project(folder: Path, images: int = 3, kept: int = 0) -> Project:
    """`image 0`, `image 1` ..., of which the first ones are kept."""
    project = open_project(folder / "project")
    for k in range(images):
        project.add_image(f"image {k}.png", save(folder / "given" / f"{k}.png", picture(k)))
    for k in range(kept):
        project.keep(f"image {k}", truth(k), "0")
    return project
