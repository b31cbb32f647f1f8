"""White text on a dark box, as what has to be mixed into the brightness of a video's frames."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reports.plots import chinese_fonts

__all__ = ["Box", "box"]

DARK = 0.7  # how much of the box hides the picture behind it
SMALLEST = 10  # pixels of the smallest text
BLACK, WHITE = 16, 235  # brightness in video range


@dataclass(frozen=True)
class Box:
    """Brightness uint8 [h, w] and how much it covers, float32 [h, w] in 0..1; h and w are even."""

    brightness: np.ndarray
    cover: np.ndarray


def box(title: str, lines: Sequence[tuple[str, float]], width: int, height: int) -> Box:
    """The box of a moment for frames of this size: a title, which may be empty, and (name, share) with bars."""
    base = min(height, width * 3 // 4)
    large, small = max(SMALLEST + 4, base // 16), max(SMALLEST, base // 24)
    pad, gap = small // 2, small // 3
    rows = [(title, large, None)] if title else []
    rows += [(f"{name} {100 * share:.0f} %", small, share) for name, share in lines]
    if not rows:
        return Box(np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.float32))
    fonts = [_font(text, size) for text, size, _ in rows]
    room = width - 4 * pad
    texts = [_cut(text, font, room) for (text, _, _), font in zip(rows, fonts, strict=True)]
    across = max(int(font.getlength(text)) for text, font in zip(texts, fonts, strict=True))
    full = min(width, _even(across + 2 * pad)), min(height, _even(sum(size + gap for _, size, _ in rows) + 2 * pad))
    image = Image.new("L", full, 0)
    draw = ImageDraw.Draw(image)
    y = pad
    for (_, size, share), text, font in zip(rows, texts, fonts, strict=True):
        if share is not None:
            draw.rectangle((pad, y, pad + share * (full[0] - 2 * pad), y + size + gap // 2), fill=70)
        draw.text((pad + 2, y), text, font=font, fill=255)
        y += size + gap
    ink = np.asarray(image, np.float32) / 255
    return Box(np.round(BLACK + (WHITE - BLACK) * ink).astype(np.uint8), np.maximum(DARK, ink))


def _even(size: int) -> int:
    return size + size % 2


def _cut(text: str, font: ImageFont.FreeTypeFont, room: int) -> str:
    """`text`, its name cut until it fits."""
    while len(text) > 2 and font.getlength(text) > room:
        text = f"{text[:-2]}…"
    return text


@functools.lru_cache(maxsize=64)
def _open(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@functools.cache
def _fonts() -> list[tuple[str, set[int]]]:
    """(file, code points) of the fonts that are used, in order."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    files = [findfont(FontProperties(family=name)) for name in ("DejaVu Sans", *chinese_fonts()[:1])]
    return [(file, set(get_font(file).get_charmap())) for file in files]


def _font(text: str, size: int) -> ImageFont.FreeTypeFont:
    """The first font that has all letters of the text, else the one that has most."""
    wanted = set(map(ord, text))
    file, _ = max(_fonts(), key=lambda font: len(wanted & font[1]))
    return _open(file, size)
