"""Kinetics pickles: (video_id, label, [encoded frames]), or in the order (video_id, [encoded frames], label).

Written by the old zoo's tools, and by dataset/kinetics/video2pkl.py, under Python 2 or 3.
"""

import io
import os

import cv2
import numpy as np
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from datareader.clips.limits import DEFAULTS, Limits
from storage import addresses
from storage.files import not_a_file
from utils.errors import DataError, ObjectError, VideoError, shown
from utils.pickles.safe import load

__all__ = ["decode_image", "is_clip", "read_pickle"]

HEADERS = {b"\xff\xd8\xff": JpegImageFile, b"\x89PNG": PngImageFile, b"BM": BmpImageFile}  # by the first bytes
LABELS = range(-(2**31), 2**31)  # that fit the graph's feed


def is_clip(content: object) -> bool:
    """Whether an unpickled object has the form of a Kinetics clip, in either order."""
    return (
        isinstance(content, tuple | list)
        and len(content) == 3
        and sum(isinstance(part, tuple | list) for part in content[1:]) == 1
    )


def read_pickle(path: str | os.PathLike) -> tuple[str, int, list[bytes]]:
    """(video_id, label, encoded frames) of a Kinetics pickle. Raises VideoError."""
    try:
        with addresses.reading(path) as file:
            if not file.is_file():
                raise VideoError(path, not_a_file(file))
            content = load(file, encoding="bytes", what=str(path))
    except VideoError:
        raise
    except ObjectError as error:
        raise VideoError(path, error.reason) from error
    except DataError as error:
        raise VideoError(path, str(error).removeprefix(f"'{path}'").lstrip(": ")) from error
    if not is_clip(content):
        raise VideoError(
            path,
            f"expected a (video_id, label, frames) tuple, found {type(content).__name__}; "
            "YouTube-8M feature pickles belong to the feature models",
        )
    name, label, frames = content
    if isinstance(label, tuple | list):
        label, frames = frames, label
    if not frames:
        raise VideoError(path, "frame length 0 less than 1")
    if not isinstance(label, int | np.integer) or not all(isinstance(frame, bytes) for frame in frames):
        raise VideoError(path, "expected an integer label and frames that are encoded images (bytes)")
    if int(label) not in LABELS:
        raise VideoError(path, f"label '{shown(label, 40)}' is too large for any list of classes")
    name = name.decode("utf-8", "replace") if isinstance(name, bytes) else shown(name)
    return name, int(label), list(frames)


def decode_image(data: bytes, path: str | os.PathLike, index: int, limits: Limits = DEFAULTS) -> np.ndarray:
    """An encoded JPEG, PNG or BMP image as RGB uint8 [H, W, 3]. Raises VideoError.

    The size in the header is checked first: a decoder allocates what the header claims.
    """
    try:
        width, height = _size(data)
        if width * height > limits.pixels:
            raise VideoError(
                path,
                f"frame {index} has {width}x{height} pixels, more than MODEL.max_pixels '{limits.pixels}'; "
                "scale the frames down, or raise the limit",
            )
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except (SyntaxError, OSError, ValueError, cv2.error) as error:
        raise VideoError(path, f"frame {index} is not a readable image (JPEG, PNG or BMP)") from error
    if image is None:
        raise VideoError(path, f"frame {index} is not a readable image (JPEG, PNG or BMP)")
    return image


def _size(data: bytes) -> tuple[int, int]:
    """(width, height) by the header of an image, nothing decoded. Raises ValueError, SyntaxError, OSError."""
    for start, reader in HEADERS.items():
        if data.startswith(start):
            return reader(io.BytesIO(data)).size
    raise ValueError("not a JPEG, PNG or BMP image")
