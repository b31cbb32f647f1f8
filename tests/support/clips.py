"""Small clips made on the fly: any codec, container, GOP, rotation or defect that a reader has to live with."""

from fractions import Fraction

import av
import numpy as np
import pytest

SIZE = 64, 48  # width, height


def picture(index, size=SIZE):
    """RGB uint8 [H, W, 3], unlike that of any other index below 250: a moving ramp and a square that jumps about."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    image = np.stack([3 * x + 7 * index, 3 * y + 11 * index, 2 * (x + y) - 5 * index], axis=-1).astype(np.uint8)
    left, top = 37 * index % (width - 8), 23 * index % (height - 8)
    image[top : top + 8, left : left + 8] = index * 83 % 251
    return image


def write_clip(
    path,
    frames=24,
    codec="libx264",
    options=None,
    size=SIZE,
    pix_fmt="yuv420p",
    rate=30,
    rotation=0,
    retouch=None,
    muxer=None,
):
    """Write pictures 0.. to `path`, in the container of its suffix; returns `path`. Skips the test without the encoder.

    `options`: of the encoder; `muxer`: of the container; `rotation`: counterclockwise degrees that set it upright;
    `retouch(packets)`: returns the packets to write instead, times in frames.
    """
    with av.open(str(path), "w", options=muxer or {}) as container:
        try:
            stream = container.add_stream(codec, rate=rate, options=options or {})
        except av.codec.codec.UnknownCodecError:
            pytest.skip(f"this build of FFmpeg has no encoder '{codec}'")
        stream.width, stream.height = size
        stream.pix_fmt, stream.thread_count = pix_fmt, 1
        if rotation:
            stream.set_display_rotation(rotation)
        packets = encode(stream.codec_context, range(frames))
        for packet in retouch(packets) if retouch else packets:
            packet.stream = stream
            container.mux(packet)
    return path


def encode(encoder, indices):
    """Packets of the pictures `indices`, timed in frames."""
    packets = []
    for index in indices:
        frame = av.VideoFrame.from_ndarray(picture(index, (encoder.width, encoder.height)))
        frame.pts, frame.time_base = index, 1 / Fraction(encoder.framerate)
        packets += encoder.encode(frame)
    return packets + encoder.encode(None)


def damage(path, first, last, part=1.0):
    """Overwrite the packets first..last-1 of a file, or the last `part` of each."""
    with av.open(str(path)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    with path.open("r+b") as file:
        for position, size in spans[first:last]:
            length = int(size * part)
            file.seek(position + size - length)
            file.write(b"\xff" * length)
