"""Contact sheets: pictures side by side with captions, for image | truth | prediction | errors."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from useg.errors import SizeError

Captioned = tuple[str, UInt8[np.ndarray, "_ _ 3"]]

_PAPER = (255, 255, 255)
_INK = (38, 42, 51)
_FRAME = (214, 217, 224)


def contact_sheet(
    rows: Sequence[Sequence[Captioned]],
    *,
    tile: int = 256,
    lines: int = 1,
    legend: Sequence[tuple[str, tuple[int, int, int]]] | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """Lay pictures out in rows and columns, each under its caption.

    Every picture is scaled to fit a square of `tile` pixels, its proportions kept: averaged when made
    smaller, pixels repeated when made larger. Captions that are too long go on in the next of their lines; the last
    ends in "…".

    Args:
        rows: for each row its (caption, picture uint8 `Y X 3`); rows may differ in length.
        tile: side of a picture's square in pixels, at least 64.
        lines: that there are for each caption.
        legend: (name, RGB) pairs, drawn at the foot.

    Raises:
        SizeError: there is no picture, one is empty, or `tile` is too small to read a caption.
    """
    if tile < 64:
        raise SizeError(f"tiles of {tile} pixels leave no room for a caption; use 64 or more")
    if not any(rows):
        raise SizeError("a contact sheet without a picture; give at least one row with one picture")
    if any(0 in picture.shape for row in rows for _, picture in row):
        raise SizeError("a picture without pixels on the contact sheet; leave it out")
    pictures = [[(caption, _fitted(picture, tile)) for caption, picture in row] for row in rows if row]
    font = ImageFont.load_default(size=max(11, round(tile / 17)))
    gap = max(8, tile // 20)
    line = _line_height(font)

    columns = max(len(row) for row in pictures)
    widths = [max(row[i][1].width for row in pictures if i < len(row)) for i in range(columns)]
    widths = [max(width, tile // 2) for width in widths]  # a very narrow picture still has a readable caption
    heights = [max(picture.height for _, picture in row) for row in pictures]
    width = sum(widths) + gap * (columns + 1)
    entries = _flowed(legend or (), font, width - 2 * gap, line)
    foot = line * (entries[-1][1] + 1) + gap if entries else 0
    above = lines * line
    height = gap + sum(above + each + gap for each in heights) + foot

    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    top = gap
    for row, row_height in zip(pictures, heights, strict=True):
        left = gap
        for (caption, picture), column in zip(row, widths, strict=False):
            for step, words in enumerate(_wrapped(caption, font, column, lines)):
                draw.text((left, top + step * line), words, font=font, fill=_INK)
            sheet.paste(picture, (left, top + above))
            corner = (left + picture.width, top + above + picture.height)
            draw.rectangle(((left - 1, top + above - 1), corner), outline=_FRAME)
            left += column + gap
        top += above + row_height + gap
    for (name, colour), (x, step) in zip(legend or (), entries, strict=True):
        _draw_entry(draw, font, (gap + x, top + step * line), name, colour)
    return np.asarray(sheet)


_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _fitted(picture: UInt8[np.ndarray, "_ _ 3"], tile: int) -> Image.Image:
    height, width = picture.shape[:2]
    scale = tile / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST
    return Image.fromarray(np.ascontiguousarray(picture)).resize(size, method)


def _line_height(font: _Font) -> int:
    return round(1.35 * font.getbbox("Ågj")[3])


def _wrapped(caption: str, font: _Font, width: int, lines: int) -> list[str]:
    """The caption in at most so many lines, broken between words."""
    words = caption.split()
    found: list[str] = []
    while len(found) < lines - 1 and words:
        count = next((n for n in range(len(words), 1, -1) if font.getlength(" ".join(words[:n])) <= width), 1)
        found.append(_shortened(" ".join(words[:count]), font, width))
        words = words[count:]
    return [*found, _shortened(" ".join(words), font, width)] if words else found


def _shortened(caption: str, font: _Font, width: int) -> str:
    if font.getlength(caption) <= width:
        return caption
    kept = caption
    while kept and font.getlength(kept + "…") > width:
        kept = kept[:-1]
    return kept.rstrip() + "…"


def _swatch(font: _Font) -> int:
    return round(font.getbbox("X")[3])


def _flowed(
    legend: Sequence[tuple[str, tuple[int, int, int]]], font: _Font, width: int, line: int
) -> list[tuple[int, int]]:
    """Where each entry of the legend goes: x in pixels and line number, wrapped at the width."""
    places, x, step = [], 0, 0
    for name, _ in legend:
        needed = round(1.5 * _swatch(font) + font.getlength(name)) + line
        if x and x + needed - line > width:
            x, step = 0, step + 1
        places.append((x, step))
        x += needed
    return places


def _draw_entry(
    draw: ImageDraw.ImageDraw, font: _Font, place: tuple[int, int], name: str, colour: tuple[int, int, int]
) -> None:
    x, y = place
    side = _swatch(font)
    draw.rounded_rectangle((x, y, x + side, y + side), radius=side // 4, fill=colour)
    draw.text((x + round(1.5 * side), y + side / 2), name, font=font, fill=_INK, anchor="lm")
