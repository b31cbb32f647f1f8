"""Whatever the codec, the container and the timestamps: the frames are those of a plain sequential decode, to the
pixel.
"""

import weakref

import av
import cv2
import numpy as np
import pytest
from av.packet import PacketSideData

from datareader.clips.video import probe, read_frames
from support.clips import SIZE, damage, encode, picture, write_clip
from utils.errors import VideoError


def sequential(path):
    """Every frame as it comes out of the decoder, upright; packets that do not decode are passed over."""
    frames = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1  # several conceal the lost part of a picture in another way
        for packet in container.demux(stream):
            try:
                frames += [
                    np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90) for frame in stream.decode(packet)
                ]
            except av.FFmpegError:
                continue
    return frames


def x264(gop, b_frames=3, more="", **encoding):
    return {"options": {"x264-params": f"keyint={gop}:bframes={b_frames}:scenecut=0:{more}"}, **encoding}


def x265(gop, more="", **encoding):
    return {
        "codec": "libx265",
        "options": {"x265-params": f"keyint={gop}:scenecut=0:log-level=none:{more}"},
        **encoding,
    }


def other(codec, gop, **encoding):
    return {"codec": codec, "options": {"g": str(gop)}, **encoding}


# What muxers, cutters and damage do to packets. Times are in frames.


def shifted(frames):
    def retouch(packets):
        for packet in packets:
            packet.pts, packet.dts = packet.pts + frames, packet.dts + frames
        return packets

    return retouch


def stretched(packets):
    """A frame rate that varies."""
    for packet in packets:
        packet.pts, packet.dts = (5 * t + 3 * (t % 3 == 0) for t in (packet.pts, packet.dts))
    return packets


def timed_in_decode_order(packets):
    for packet in packets:
        packet.pts = packet.dts + 2
    return packets


def timed_in_pairs(packets):
    for packet in packets:
        packet.pts, packet.dts = packet.pts - packet.pts % 2, packet.dts - 1
    return packets


def timed_with_gops_swapped(packets):
    """Timestamps that say the second and third GOP of 10 are shown in the other order."""
    for packet in packets:
        packet.pts, packet.dts = packet.pts + {1: 10, 2: -10}.get(packet.pts // 10, 0), packet.dts - 10
    return packets


def all_keyframes(packets):
    for packet in packets:
        packet.is_keyframe = True
    return packets


def without_first(packets):
    return packets[1:]


def from_second_keyframe(packets):
    """Begins with a keyframe followed by frames shown before it, whose other reference is cut off."""
    _, second, *_ = (number for number, packet in enumerate(packets) if packet.is_keyframe)
    return packets[second:]


def some_hidden(packets):
    """VP8 frames that are decoded and never shown, as two-pass encoders write them."""
    for packet in packets[3::5]:
        memoryview(packet)[0] &= ~0x10
    return packets


def with_other_encoder(packets):
    """Goes on with the packets of an encoder of another quality, whose headers say so, as concatenation does."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = *SIZE, "yuv420p", 30
    encoder.options = x264(5, 0, "no-cabac=1:qp=40")["options"]
    encoder.flags |= av.codec.context.Flags.global_header
    more = encode(encoder, range(20, 40))
    header = PacketSideData(1, len(encoder.extradata))  # 1: AV_PKT_DATA_NEW_EXTRADATA
    memoryview(header)[:] = encoder.extradata
    more[0].set_sidedata(header)
    return packets + more


CLIPS = {
    "gop 1": ("a.mp4", x264(1)),
    "gop 12": ("a.mp4", x264(12, 0, frames=40)),
    "gop 12, B": ("a.mp4", x264(12, frames=40)),
    "gop 50": ("a.mp4", x264(50, 0, frames=110)),
    "gop 50, B": ("a.mp4", x264(50, frames=110)),
    "gop 250": ("a.mp4", x264(250, 0, frames=60)),
    "gop 250, B": ("a.mp4", x264(250, 8, "ref=6", frames=60)),
    "open gop": ("a.mp4", x264(12, 3, "open-gop=1:b-pyramid=normal", frames=50)),
    "intra refresh": ("a.mp4", x264(15, 0, "intra-refresh=1", frames=50)),
    "slices": ("a.mp4", x264(12, 2, "slices=4")),
    "edit list": ("a.mp4", x264(12, frames=50, retouch=shifted(-17))),
    "start offset": ("a.mp4", x264(12, retouch=shifted(17))),
    "fragmented mp4": ("a.mp4", x264(12, muxer={"movflags": "frag_keyframe+empty_moov"})),
    "mov": ("a.mov", x264(12)),
    "mkv": ("a.mkv", x264(12)),
    "mpegts": ("a.ts", x264(12)),
    "raw": ("a.h264", x264(12)),
    "h264 in avi": ("a.avi", x264(12)),
    "variable rate": ("a.mp4", x264(12, retouch=stretched)),
    "10 bit": ("a.mp4", x264(12, pix_fmt="yuv420p10le")),
    "odd size, 4:4:4": ("a.mp4", x264(12, pix_fmt="yuv444p", size=(61, 47))),
    "interlaced": ("a.mp4", x264(12, 2, "tff=1")),
    "rotated 90": ("a.mp4", x264(12, rotation=90)),
    "one frame": ("a.mp4", x264(12, frames=1)),
    "three frames": ("a.mp4", x264(12, frames=3)),
    "hevc": ("a.mp4", x265(12, "bframes=4:open-gop=0", frames=40)),
    "hevc open gop": ("a.mkv", x265(12, "bframes=4:open-gop=1", frames=40)),
    "vp8": ("a.webm", other("libvpx", 12)),
    "vp8 hidden frames": ("a.webm", other("libvpx", 12, retouch=some_hidden)),
    "vp9": ("a.webm", other("libvpx-vp9", 12)),
    "av1": ("a.mp4", other("libsvtav1", 12, frames=40)),
    "mpeg4 in avi, B": ("a.avi", {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}}),
    "mpeg4 in mp4": ("a.mp4", other("mpeg4", 12)),
    "mjpeg": ("a.avi", other("mjpeg", 1, pix_fmt="yuvj420p")),
    "decode order times": ("a.mkv", x264(12, retouch=timed_in_decode_order)),
    "doubled times": ("a.mkv", x264(12, 0, retouch=timed_in_pairs)),
    "swapped times": ("a.mkv", x264(10, frames=30, retouch=timed_with_gops_swapped)),
    "shuffled times": ("a.mkv", x264(10, 0, frames=30, retouch=timed_with_gops_swapped)),
    "all called keyframes": ("a.mkv", x265(40, "bframes=0", retouch=all_keyframes)),
    "first keyframe lost": ("a.mkv", x264(10, 0, frames=30, retouch=without_first)),
    "open gop cut": ("a.mkv", x264(12, 3, "open-gop=1:b-pyramid=normal", frames=40, retouch=from_second_keyframe)),
    "hevc open gop cut": ("a.mkv", x265(12, "bframes=4:open-gop=1", frames=40, retouch=from_second_keyframe)),
    "two headers": ("a.mp4", x264(5, 0, "no-cabac=1:qp=20", frames=20, retouch=with_other_encoder)),
}

PICKS = [
    lambda n: [n // 6, n // 2, 5 * n // 6],
    lambda n: range(n),
    lambda n: [n - 1, 0, n - 1],
    lambda n: [(n - 2 + i) % n for i in range(5)],
    *[lambda n, seed=seed: np.random.default_rng(seed).integers(0, n, 5) for seed in range(6)],
]


@pytest.mark.parametrize("name", CLIPS)
def test_frames_are_those_of_a_sequential_decode(name, tmp_path):
    file, how = CLIPS[name]
    path = write_clip(tmp_path / file, **how)
    reference = np.stack(sequential(path))
    assert probe(path).frames == len(reference)
    for pick in PICKS:
        np.testing.assert_array_equal(read_frames(path, pick), reference[pick(len(reference))])


@pytest.mark.parametrize(
    "file, muxer", [("a.mp4", {"movflags": "faststart"}), ("a.mkv", {}), ("a.ts", {}), ("a.avi", {})]
)
def test_a_file_cut_short_gives_what_is_left(file, muxer, tmp_path):
    path = write_clip(tmp_path / file, frames=60, muxer=muxer, **x264(12))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    reference = np.stack(sequential(path))
    assert 10 < len(reference) < 50
    for pick in PICKS:
        np.testing.assert_array_equal(read_frames(path, pick), reference[pick(len(reference))])


def test_only_what_the_picked_frames_need_is_decoded(tmp_path):
    path = write_clip(tmp_path / "a.mp4", frames=60, **x264(12))
    whole = np.stack(sequential(path))
    damage(path, 36, 48)  # the fourth of five GOPs
    asked = []
    indices = [*range(3, 30, 2), 59]
    np.testing.assert_array_equal(read_frames(path, lambda n: asked.append(n) or indices), whole[indices])
    assert asked == [60]


def test_a_picked_frame_that_does_not_decode_makes_all_be_counted(tmp_path):
    path = write_clip(tmp_path / "a.mp4", frames=60, **x264(12))
    damage(path, 36, 48)
    asked = []
    frames = read_frames(path, lambda n: asked.append(n) or [40])
    assert asked == [60, 48]
    np.testing.assert_array_equal(frames, np.stack(sequential(path))[[40]])


def test_what_is_patched_up_is_patched_up_as_in_a_sequential_decode(tmp_path):
    path = write_clip(tmp_path / "a.mp4", frames=40, **x264(12, 0))
    damage(path, 24, 25, part=0.5)  # a keyframe, whose lost half is taken from the frame before
    reference = np.stack(sequential(path))
    for pick in PICKS:
        np.testing.assert_array_equal(read_frames(path, pick), reference[pick(len(reference))])


@pytest.mark.parametrize("file", ["a.mp4", "a.avi"])
def test_convert_sees_each_picked_frame_once_and_one_at_a_time(file, tmp_path):
    path = write_clip(tmp_path / file, **x264(12))
    seen, copies = [], []

    def convert(frame):
        assert not any(earlier() is not None for earlier in seen), "an earlier full-size frame is still held"
        seen.append(weakref.ref(frame))
        copies.append(frame.copy())
        return frame[::2, ::2].astype(np.float32)

    asked = []
    frames = read_frames(path, lambda n: asked.append(n) or np.array([19, 2, 19, 4]), convert)
    reference = np.stack(sequential(path))
    assert asked == [24]
    np.testing.assert_array_equal(copies, reference[[2, 4, 19]])
    np.testing.assert_array_equal(frames, reference[[19, 2, 19, 4], ::2, ::2])
    assert frames.dtype == np.float32


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotated_frames_stand_upright_as_in_opencv(rotation, tmp_path):
    path = write_clip(tmp_path / "a.mp4", frames=5, rotation=rotation, **x264(12))
    capture = cv2.VideoCapture(str(path))
    expected = np.stack([capture.read()[1][..., ::-1] for _ in range(5)])
    frames = read_frames(path, range)
    np.testing.assert_array_equal(frames, expected)
    assert (probe(path).height, probe(path).width) == frames.shape[1:3]


def test_interlaced_frames_are_not_garbage(tmp_path):
    path = write_clip(tmp_path / "a.mp4", **x264(12, 2, "tff=1"))
    error = np.abs(read_frames(path, range) - np.stack([picture(i) for i in range(24)]).astype(float))
    assert error.mean() < 10  # levels; 85 between unlike pictures


@pytest.mark.parametrize("indices", [[24], [-1], [0, 99]])
def test_picks_outside_the_video_are_a_programming_error(indices, tmp_path):
    path = write_clip(tmp_path / "a.mp4")
    with pytest.raises(IndexError, match="of a video of 24 frames"):
        read_frames(path, lambda n: indices)


@pytest.mark.parametrize(
    "file, how, container, codec",
    [
        ("a.mp4", x264(12), "mov,mp4,m4a,3gp,3g2,mj2", "h264"),
        ("a.mkv", x265(12), "matroska,webm", "hevc"),
        ("a.webm", other("libvpx-vp9", 12), "matroska,webm", "vp9"),
        ("a.avi", other("mpeg4", 12), "avi", "mpeg4"),
    ],
)
def test_probe(file, how, container, codec, tmp_path):
    info = probe(write_clip(tmp_path / file, **how))
    assert (info.frames, info.width, info.height, info.container, info.codec) == (24, 64, 48, container, codec)
    assert info.fps == pytest.approx(30) and info.duration == pytest.approx(0.8)


def with_larger_frames(packets):
    encoder = av.CodecContext.create("libvpx-vp9", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = 96, 64, "yuv420p", 30
    return packets + encode(encoder, range(24, 48))


def test_frames_of_two_sizes_are_left_to_convert(tmp_path):
    path = write_clip(tmp_path / "a.webm", retouch=with_larger_frames, **other("libvpx-vp9", 12))
    with pytest.raises(VideoError, match=r"\(48, 64, 3\), \(64, 96, 3\).*scale them to one size"):
        read_frames(path, lambda n: [0, 40])
    frames = read_frames(path, lambda n: [0, 40], lambda frame: cv2.resize(frame, (32, 24)))
    reference = sequential(path)
    np.testing.assert_array_equal(frames, [cv2.resize(reference[i], (32, 24)) for i in (0, 40)])
