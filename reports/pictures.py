"""Frames as small pictures: what the model saw of a clip, as one JPEG that fits into a page."""

import base64

import cv2
import numpy as np
from markupsafe import Markup

SIDE = 112  # pixels of the longer side of a frame in a strip
GAP = 3  # pixels between frames
ROW = 5  # frames up to which a strip has one row
QUALITY = 80


def strip(frames: np.ndarray, most: int = 8) -> bytes:
    """JPEG of up to `most` frames spread evenly over a clip: up to five in a row, more in two rows of equal length.

    frames: RGB uint8 [T, H, W, 3].
    """
    count = min(most, len(frames))
    rows = 1 if count <= ROW else 2
    columns = count // rows
    chosen = frames[np.linspace(0, len(frames) - 1, rows * columns).round().astype(int)]
    scale = SIDE / max(chosen.shape[1:3])
    width, height = (max(1, round(size * scale)) for size in chosen.shape[2:0:-1])
    canvas = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 128, np.uint8)
    for number, frame in enumerate(chosen):
        y, x = number // columns * (height + GAP), number % columns * (width + GAP)
        canvas[y : y + height, x : x + width] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return jpeg(canvas)


def jpeg(image: np.ndarray) -> bytes:
    """JPEG of an RGB image uint8 [H, W, 3]."""
    _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes()


def pixels(data: bytes) -> np.ndarray:
    """The RGB image uint8 [H, W, 3] of a PNG or JPEG made here."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


def data_uri(data: bytes) -> Markup:
    """A PNG or JPEG as an address that holds the picture itself, so that a page needs no other file."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return Markup(f"data:image/{kind};base64,") + base64.b64encode(data).decode("ascii")
