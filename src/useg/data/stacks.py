"""Two multi-page TIFFs, a stack and its masks -> a pair a page: of one stack, none would be left to judge with.

Where it is asked for, the pages of a stack are one volume instead, of which a part is left to judge with.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from useg.data.dataset import IMAGE_FOLDERS, MARKS, MASK_FOLDERS, Pair, describe_size, folder_of, stem_of
from useg.data.problem import Problem
from useg.errors import DataError, UsegError
from useg.images import files

Pages = Literal["images", "volume"]
MASK_WORDS = {*MARKS, *MASK_FOLDERS}
"""One of these in the name of a stack says that it holds masks: `train-labels.tif`."""


def find_stacks(folder: Path) -> list[tuple[Path, Path]]:
    """A stack and its masks, and maybe a second pair to test on; [] where a folder is arranged in another way.

    They are the only images of images/ and masks/, or of `folder`, where words in their names tell them apart. A
    stack to test on, which challenges give without masks, is passed over.
    """
    if not folder.is_dir():
        return []
    images, masks = folder_of(folder, IMAGE_FOLDERS), folder_of(folder, MASK_FOLDERS)
    if images and masks:
        parts = [(_images_in(images), _images_in(masks))]
    else:
        there = _images_in(folder)
        if len(there) > 4:
            return []
        learn, test = ([p for p in there if ("test" in _words(p)) is chosen] for chosen in (False, True))
        parts = [
            ([p for p in part if not MASK_WORDS & _words(p)], [p for p in part if MASK_WORDS & _words(p)])
            for part in ((learn, test) if learn else (test,))
        ]
    found = [(image[0], mask[0]) for image, mask in parts if len(image) == len(mask) == 1]
    alone = len(parts[0][0]) == len(parts[0][1]) == 1
    return found if alone and all(_are_stacks(*pair) for pair in found) else []


def read_stacks(folder: Path) -> tuple[str, list[Pair]]:
    """Words for what was found, and a pair for every page: stack_000, stack_001 ... of stack.tif.

    Raises DataError where a stack and its masks differ in the number of pages or in their sizes.
    """
    stacks = find_stacks(folder)
    pairs = [_pages_of(*stack) for stack in stacks]
    named = " and ".join(f"{image.relative_to(folder)} + {mask.relative_to(folder)}" for image, mask in stacks)
    kind = f"pages of {named}, each an image ({' and '.join(str(len(each)) for each in pairs)} images)"
    kind += "; --set data.pages=volume trains on them as on a volume"
    return kind, pairs[0] + [replace(pair, split="test") for each in pairs[1:] for pair in each]


def is_volume(pair: Pair) -> bool:
    """Whether its image is a whole volume; one that cannot be read is none."""
    try:
        return pair.page is None and len(files.read_header(pair.image).size) == 3
    except UsegError:
        return False


def whole_stacks(pairs: Sequence[Pair]) -> list[Pair]:
    """A pair for each stack, all its pages together one volume; other pairs as they are."""
    found: dict[tuple[Path, Path | str], Pair] = {}
    for pair in pairs:
        if pair.page is None:
            found[pair.image, pair.name] = pair
        else:
            found[pair.image, pair.mask] = replace(pair, name=stem_of(pair.image), page=None, group=None)
    return list(found.values())


def annotated_pages(pair: Pair, void: int | None) -> list[Pair]:
    """A pair for every page of a stack that is annotated, if only in part, all of one group; else the pair itself.

    Args:
        pair: an image and its mask. void: the mask value of pixels that nobody annotated.

    Raises DataError as `read_stacks`, ImageError where the mask cannot be read.
    """
    if not _are_stacks(pair.image, pair.mask):
        return [pair]
    pages = _pages_of(pair.image, pair.mask)
    annotated = [bool((page != void).any()) for page in files.read_mask(pair.mask)]
    kept = [each for each, known in zip(pages, annotated, strict=True) if known] or pages
    return [replace(each, group=pair.name) for each in kept]


def warn_of_one_stack(pairs: Sequence[Pair]) -> list[Problem]:
    """That neighbours in a stack resemble each other: a score on one part of it says little of another stack."""
    if pairs[0].page is None or len({pair.image for pair in pairs}) > 1:
        return []
    told = (
        f"all {len(pairs)} images are pages of this one stack and resemble their neighbours: the score of a part held "
    )
    told += "out says how well this stack is learned, not how well another one would come out"
    return [Problem("warning", pairs[0].image, told, "annotate some pages of another stack to test on")]


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if files.is_image_file(path))


def _words(path: Path) -> set[str]:
    return set(re.findall("[a-z]+", stem_of(path).lower()))


def _are_stacks(image: Path, mask: Path) -> bool:
    """Whether an image has several pages of one size (levels of a pyramid differ), and its mask too.

    Where the image can only be a volume, the mask need not: that it has too few pages is said when it is read.
    """
    try:
        sizes = files.page_sizes(image)
        several = len(sizes) > 1 and len(set(sizes)) == 1
        return several and (len(files.page_sizes(mask)) > 1 or len(files.read_header(image).size) == 3)
    except UsegError:
        return False  # whoever reads it as a file of its own says what is wrong


def _pages_of(image: Path, mask: Path) -> list[Pair]:
    sizes, of_masks = files.page_sizes(image), files.page_sizes(mask)
    if len(sizes) != len(of_masks):
        has = f"it has {len(of_masks)} pages" if of_masks else "it is no TIFF of several pages"
        raise DataError(
            f"{mask}: {has}, its image {image.name} has {len(sizes)}; save one mask for each page, in their order"
        )
    for page, (size, of_mask) in enumerate(zip(sizes, of_masks, strict=True), 1):
        if size != of_mask:
            raise DataError(
                f"{mask}: its page {page} is {describe_size(of_mask)}, that of {image.name} is "
                f"{describe_size(size)}; save the masks in the size of their images"
            )
    return [Pair(f"{stem_of(image)}_{page:03}", image, mask, page=page) for page in range(len(sizes))]
