"""Cropping, scaling and colour changes of uint8 RGB frames. Normalisation happens in the graph."""

import math

import cv2
import numpy as np
from PIL import Image

from datareader.clips.limits import DEFAULTS
from utils.errors import DataError

AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # of a resized crop (Szegedy et al., CVPR 2015)
TRIES = 10

YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])  # from RGB
# Principal components of ImageNet's RGB in 0..255, and their deviations (Krizhevsky et al., NIPS 2012).
LIGHT = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]) * [
    55.46,
    4.794,
    1.148,
]


def scaled_size(width: int, height: int, short_size: int, resize: str = "4:3") -> tuple[int, int]:
    """(width, height) after scaling: untouched where the short side fits already, else 4:3 or 3:4 whatever the source
    was (old zoo v1.3, kept because released weights were trained so), or `keep_ratio`."""
    if min(width, height) == short_size:
        return width, height
    if resize == "4:3":
        long_size = short_size * 4 // 3
        return (short_size, long_size) if width < height else (long_size, short_size)
    scale = short_size / min(width, height)
    return max(short_size, round(width * scale)), max(short_size, round(height * scale))


def centre_offset(size: int, target: int) -> int:
    """Rounded half to even, as Python 3 rounded for the published scores: 341 - 224 gives 58."""
    return int(round((size - target) / 2))


def windows(width: int, height: int, target: int, crops: int = 1) -> list[tuple[int, int, bool]]:
    """[(x, y, flip)] of the views of one frame.

    1 crop: the centre. 3 crops: along the long side, first, last, middle (TPN's authors). 10 crops: the corners and
    the centre, then the same mirrored (TSN paper, section 3.3).
    """
    x, y = centre_offset(width, target), centre_offset(height, target)
    if crops == 3:
        step = (max(width, height) - target) // 2
        along = (0, 2 * step, step)
        return [(x, at, False) for at in along] if height > width else [(at, y, False) for at in along]
    if crops == 10:
        right, bottom = width - target, height - target
        places = [(0, 0), (right, 0), (0, bottom), (right, bottom), (x, y)]
        return [(*place, flip) for flip in (False, True) for place in places]
    return [(x, y, False)]


def resized_window(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """(x, y, width, height) of a window of random area and ratio inside a frame.

    If ten draws do not fit, it is the largest square in the centre.
    """
    for _ in range(TRIES):
        area, ratio = rng.uniform(*AREA) * width * height, math.exp(rng.uniform(*map(math.log, RATIO)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1)), w, h
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side


class CropResize:
    """One geometry for all frames of a clip: scale to `short_size`, cut `target_size`, perhaps flip. uint8 in and out.

    With `rng` (training) the window and the flip are drawn, in the old zoo's order: x, y, flip; without it there are
    `crops` windows, see `windows`. Without `flip` that draw is made, and ignored. `resized` draws the window in the
    unscaled frame instead, and its size with it; `jitter` draws colours, see `colour_matrix`. The draw happens at the
    first frame, whose size fixes the geometry.
    """

    def __init__(
        self,
        short_size: int,
        target_size: int,
        resize: str = "4:3",
        kernel: str = "linear",
        rng: np.random.Generator | None = None,
        crops: int = 1,
        resized: bool = False,
        jitter: bool = False,
        flip: bool = True,
    ):
        self.short_size, self.target_size, self.resize, self.kernel = short_size, target_size, resize, kernel
        self.rng, self.crops, self.resized, self.jitter, self.flip = rng, crops, resized, jitter, flip
        self.plan = self.colours = None

    def __call__(self, frame):
        """RGB uint8 [H, W, 3] -> [size, size, 3] or, for several crops, [crops, size, size, 3]; size = target_size."""
        if self.plan is None:
            self.plan = self._draw(*frame.shape[1::-1])
            self.colours = colour_matrix(self.rng) if self.jitter else None
        size, source, places = self.plan
        frame = scale(frame, size, self.kernel)
        if source:
            x, y, width, height = source
            frame = scale(frame[y : y + height, x : x + width], (self.target_size,) * 2, self.kernel)
        cuts = [
            frame[y : y + self.target_size, x : x + self.target_size][:, :: -1 if flip else 1] for x, y, flip in places
        ]
        if self.crops > 1:
            return np.stack(cuts)
        cut = np.ascontiguousarray(cuts[0])
        return cut if self.colours is None else cv2.transform(cut, self.colours)

    @property
    def flipped(self) -> bool:
        """Whether the clip is mirrored; known after its first frame."""
        return self.crops == 1 and self.plan[2][0][2]

    def _draw_flip(self):
        return bool(self.rng.random() < 0.5) and self.flip

    def _draw(self, width, height):
        """(size to scale to, window to scale to target_size or None, [(x, y, flip)] to cut)."""
        rng, target = self.rng, self.target_size
        if self.resized:
            source = resized_window(width, height, rng)
            return (width, height), source, [(0, 0, self._draw_flip())]
        given = f"{width}x{height} pixels"
        if self.resize == "squash":  # the whole frame, nothing is cut off
            width = height = target
        else:
            width, height = scaled_size(width, height, self.short_size, self.resize)
        size = width, height
        if width * height > DEFAULTS.pixels:
            raise DataError(
                f"frames of {given} would become {width}x{height} pixels, more than '{DEFAULTS.pixels}'; "
                "crop them first"
            )
        if min(size) < target:
            raise DataError(
                f"frames scaled to {width}x{height} are smaller than target_size '{target}'; "
                "raise short_size or lower target_size"
            )
        if rng is None:
            return size, None, windows(width, height, target, self.crops)
        x, y = int(rng.integers(0, width - target + 1)), int(rng.integers(0, height - target + 1))
        return size, None, [(x, y, self._draw_flip())]


def colour_matrix(rng: np.random.Generator) -> np.ndarray:
    """A random affine map [3, 4] of RGB in 0..255, with the ranges of TPN's authors.

    Brightness +-32, contrast and saturation 0.6 to 1.4, hue +-18 degrees, each in half of the clips; contrast comes
    before or after saturation and hue. Lighting 0.1 in all clips.

    Contrast turns about mid-grey, not about each frame's mean, so that one map serves all frames.
    """

    def affine(matrix, offset=0.0):
        square = np.eye(4)
        square[:3, :3], square[:3, 3] = matrix, offset
        return square if rng.random() < 0.5 else np.eye(4)

    brightness = affine(np.eye(3), rng.uniform(-32, 32))
    c, s, angle = rng.uniform(0.6, 1.4), rng.uniform(0.6, 1.4), math.radians(rng.uniform(-18, 18))
    contrast = affine(c * np.eye(3), (1 - c) * 127.5)
    saturation = affine(s * np.eye(3) + (1 - s) * YIQ[0])
    turn = [[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]]
    hue = affine(np.linalg.inv(YIQ) @ turn @ YIQ)
    drawn = hue @ saturation @ contrast if rng.random() < 0.5 else contrast @ hue @ saturation
    colours = (drawn @ brightness)[:3]
    colours[:, 3] += LIGHT @ rng.normal(0, 0.1, 3)
    return colours


def scale(frame: np.ndarray, size: tuple[int, int], kernel: str = "linear") -> np.ndarray:
    """Scale to `size` (width, height).

    kernel "linear": OpenCV's bilinear, smoothed first if the frame shrinks, for it weighs only the nearest two pixels.
    kernel "pil": Pillow's bilinear, which weighs all pixels that a new one covers; bit for bit what the old zoo fed.
    """
    height, width = frame.shape[:2]
    if (width, height) == tuple(size):
        return frame
    if kernel == "pil":
        return np.asarray(Image.fromarray(frame).resize(size, Image.BILINEAR))
    while min(width / size[0], height / size[1]) >= 2:
        width, height = width // 2, height // 2
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    (across, spread_across), (down, spread_down) = smoothing(width / size[0]), smoothing(height / size[1])
    if max(across, down) > 1:
        frame = cv2.GaussianBlur(frame, (across, down), sigmaX=spread_across, sigmaY=spread_down)
    return cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)


def smoothing(shrink: float) -> tuple[int, float]:
    """(taps, sigma in pixels) of the Gaussian that makes linear interpolation most like Pillow's at this ratio.

    Pillow's triangle has a variance of shrink^2 / 6, and the interpolation brings some of it; how much was fitted.
    """
    sigma = math.sqrt(max(shrink**2 - 0.5, 0) / 6) if shrink > 1 else 0.0
    taps = 2 * round(2 * sigma) + 1
    return taps, max(sigma, 1e-3)  # OpenCV would put a sigma of its own in place of 0
