"""Frames as small pictures: what the model saw of a clip, as one JPEG that fits into a page."""

import base64

import cv2
import numpy as np
from markupsafe import Markup

SIDE = 112  # pixels of the longer side of a frame in a strip
GAP = 3  # pixels between frames
QUALITY = 80


def strip(frames: np.ndarray, count: int = 8, columns: int = 4, side: int = SIDE) -> bytes:
    """JPEG of up to `count` frames spread evenly over a clip, in rows of `columns`, to be read like text.

    frames: RGB uint8 [T, H, W, 3].
    """
    chosen = frames[np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)]
    height, width = chosen.shape[1:3]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in chosen]
    columns = min(columns, len(small))
    rows = -(-len(small) // columns)
    step_x, step_y = size[0] + GAP, size[1] + GAP
    canvas = np.full((rows * step_y - GAP, columns * step_x - GAP, 3), 128, np.uint8)
    for number, image in enumerate(small):
        y, x = number // columns * step_y, number % columns * step_x
        canvas[y : y + size[1], x : x + size[0]] = image
    return jpeg(canvas)


def jpeg(image: np.ndarray) -> bytes:
    """JPEG of an RGB image uint8 [H, W, 3]."""
    _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes()


def data_uri(data: bytes) -> Markup:
    """A PNG or JPEG as an address that holds the picture itself, so that a page needs no other file."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return Markup(f"data:image/{kind};base64,") + base64.b64encode(data).decode("ascii")
