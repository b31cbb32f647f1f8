"""Re-encode a folder of clips so that reading them takes less time: small H.264 with many keyframes, without sound.

    python dataset/transcode.py my_clips my_clips_256 --dry_run
    python dataset/transcode.py my_clips my_clips_256
    python train.py ... -o TRAIN.data_root=my_clips_256

A few clips are tried first, to say what the whole will cost and gain. The tree of folders is kept and every clip
becomes an .mp4; its frames are the same in number and order. What is already there is kept, so an interrupted run
continues; to encode with other settings choose another folder. Clips that cannot be read whole are listed in
TARGET_DIR/failed.csv. Exit status 1 says there were some.
"""

import logging
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from datareader.clips.container import FORMATS
from datareader.clips.sampling import segment_starts
from datareader.clips.transforms import scaled_size
from datareader.clips.video import probe, read_frames
from datareader.lists import CLIPS, files_in
from dataset.conversion import convert_all, write_failures, writing
from utils import cli
from utils.errors import ConfigError, DataError, VideoError

SAMPLES, REPEATS = 3, 3  # clips tried before, and how often each is read
SEGMENTS = 3  # of TSN in training: the reading that is timed
log = logging.getLogger("zoo")


class Settings(NamedTuple):
    short_size: int = 256  # of frames, in pixels; smaller ones stay as they are
    gop: int = 12  # frames from one keyframe to the next at most
    crf: int = 23  # quality of x264: 0 lossless, 51 worst


class Estimate(NamedTuple):
    clips: int  # that were tried
    size: float  # new bytes over old
    reading: float  # old reading time over new
    cost: float  # seconds of one processor core for each source byte


def find(source_dir: str | Path, target_dir: str | Path) -> list[tuple[Path, Path]]:
    """[(clip, mp4 to write)] of all clips below `source_dir`. Raises ConfigError, DataError."""
    source, target = Path(source_dir), Path(target_dir)
    if not source.is_dir():
        raise DataError(f"'{source}' is not a folder; expected one with clips in it")
    if target.resolve().is_relative_to(source.resolve()):
        raise ConfigError(f"target '{target}' lies in the source folder '{source}'; choose a folder beside it")
    found = [path for path in files_in(source) if path.suffix.lower() in CLIPS and not path.name.startswith(".")]
    if not found:
        raise DataError(f"'{source}' holds no clip ({', '.join(CLIPS)})")
    sources = {}
    for path in found:
        made = (target / path.relative_to(source)).with_suffix(".mp4")
        if made in sources:
            raise DataError(f"'{path}' and '{sources[made]}' would both become '{made}'; rename one of them")
        sources[made] = path
    return [(path, made) for made, path in sources.items()]


def transcode(source: Path, target: Path, settings: Settings) -> tuple[int, int]:
    """Write one clip; (bytes before, bytes after).

    Raises VideoError for a clip that cannot be read whole, DataError for the target.
    """
    expected = probe(source).frames
    with writing(target) as path:
        frames = _encode(source, path, settings)
        if frames != expected:
            raise VideoError(
                source, f"damaged: {frames} of its {expected} frames decode; fetch it again or take it off the list"
            )
    return os.path.getsize(source), os.path.getsize(target)


def _encode(source, path, settings):
    """Decode and encode every frame, at a constant rate: readers count frames. Returns how many."""
    # `file:` keeps a name with a colon from being a protocol.
    with (
        av.open(
            f"file:{os.fsdecode(source)}", container_options={"format_whitelist": FORMATS}, metadata_errors="ignore"
        ) as old,
        av.open(f"file:{os.fsdecode(path)}", "w", format="mp4") as new,
    ):
        stream, count = old.streams.best("video"), 0
        stream.codec_context.thread_count = 1
        encoder, reformatter = None, VideoReformatter()
        try:
            for count, frame in enumerate(_decoded(source, old, stream), 1):
                frame = _upright(frame)
                if encoder is None:
                    encoder = _encoder(new, stream, frame, settings)
                frame = reformatter.reformat(
                    frame, encoder.width, encoder.height, "yuv420p", interpolation="BICUBIC", threads=1
                )
                frame.pict_type = PictureType.NONE  # else x264 would put a keyframe wherever the source has one
                frame.pts, frame.time_base = count - 1, 1 / encoder.codec_context.framerate
                new.mux(encoder.encode(frame))
            if encoder:
                new.mux(encoder.encode(None))
        except OSError:  # some of PyAV's errors are one: a full disk is not the clip's fault
            raise
        except av.FFmpegError as error:
            raise VideoError(source, f"cannot be encoded ({error.strerror})") from error
        return count


def _decoded(source, container, stream):
    try:
        yield from container.decode(stream)
    except (av.FFmpegError, IndexError) as error:  # PyAV's IndexError: garbage taken for another stream
        reason = getattr(error, "strerror", error)
        raise VideoError(source, f"damaged ({reason}); fetch it again or take it off the list") from error


def _upright(frame):
    """A frame turned as its rotation asks, through RGB; most have none."""
    turns = round(frame.rotation / 90) % 4
    if not turns:
        return frame
    return av.VideoFrame.from_ndarray(
        np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns)), format="rgb24"
    )


def _encoder(container, stream, frame, settings):
    """The H.264 stream for frames like this one: of even sizes, with the same tags of colour."""
    width, height = scaled_size(
        frame.width, frame.height, min(settings.short_size, frame.width, frame.height), "keep_ratio"
    )
    options = {"g": str(settings.gop), "crf": str(settings.crf), "preset": "medium"}
    encoder = container.add_stream("libx264", rate=stream.average_rate or stream.guessed_rate or 25, options=options)
    encoder.width, encoder.height, encoder.pix_fmt = (
        max(2, round(width / 2) * 2),
        max(2, round(height / 2) * 2),
        "yuv420p",
    )
    context = encoder.codec_context
    context.thread_count = 1  # the workers are the parallelism
    context.color_range = frame.color_range
    if frame.colorspace:  # 0: no YUV
        context.colorspace = frame.colorspace
    return encoder


def reading_seconds(path: str | Path) -> float:
    """Processor time of reading the frames that TSN sees of a clip, the best of a few times."""

    def once():
        start = time.thread_time()
        read_frames(path, lambda frames: segment_starts(frames, SEGMENTS, 1))
        return time.thread_time() - start

    return min(once() for _ in range(REPEATS))


def estimate(sources: Sequence[Path], settings: Settings) -> Estimate | None:
    """The Estimate of a few clips, spread over the list, or None where none of them can be read."""
    chosen = [sources[i] for i in sorted({len(sources) * (2 * n + 1) // (2 * SAMPLES) for n in range(SAMPLES)})]
    before, after, old, new, spent, clips = 0, 0, 0.0, 0.0, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for source in chosen:
            target, start = Path(folder, "clip.mp4"), time.thread_time()
            try:
                sizes = transcode(source, target, settings)
            except VideoError as error:
                log.warning("not tried: %s", error)
                continue
            spent += time.thread_time() - start
            before, after, clips = before + sizes[0], after + sizes[1], clips + 1
            old, new = old + reading_seconds(source), new + reading_seconds(target)
    return Estimate(clips, after / before, old / new, spent / before) if clips else None


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(prog="dataset/transcode.py", description=__doc__)
    parser.add_argument("source_dir", help="folder of clips, searched with all its subfolders")
    parser.add_argument("target_dir", help="folder for the mp4s")
    defaults = Settings()
    parser.add_argument(
        "--short_size", type=int, default=defaults.short_size, help="shrink frames to this short side (default: 256)"
    )
    parser.add_argument(
        "--gop",
        type=int,
        default=defaults.gop,
        help="frames from keyframe to keyframe, 1: only keyframes (default: 12)",
    )
    parser.add_argument("--crf", type=int, default=defaults.crf, help="quality, 0 lossless to 51 worst (default: 23)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="clips encoded at a time (default: one a CPU core)"
    )
    parser.add_argument("--dry_run", action="store_true", help="only say what it would cost and gain")
    args = parser.parse_args(argv)
    for flag, low, high in (("short_size", 2, 8192), ("gop", 1, 1000), ("crf", 0, 51), ("workers", 1, 1024)):
        if not low <= getattr(args, flag) <= high:
            parser.error(f"--{flag} is '{getattr(args, flag)}'; expected {low} to {high}")
    settings = Settings(args.short_size, args.gop, args.crf)
    clips = find(args.source_dir, args.target_dir)
    jobs = [(source, target) for source, target in clips if not target.is_file()]
    log.info(
        "%d clips in %s, %d are in %s already", len(clips), args.source_dir, len(clips) - len(jobs), args.target_dir
    )
    if jobs:
        size = sum(os.path.getsize(source) for source, _ in jobs if source.exists())  # a link may lead nowhere
        _announce(estimate([source for source, _ in jobs], settings), size, args.workers)
    return 0 if args.dry_run else _run(jobs, settings, args.workers, args.target_dir)


def _announce(guess, size, workers):
    if guess is None:
        log.warning("none of the clips that were tried can be read, so cost and gain are not known")
        return
    log.info(
        "by %d of them: %.1f MB become %.1f MB (%+.0f %%), TSN's frames are read %.1f times as fast, encoding takes "
        "about %.1f min with %d at a time",
        guess.clips,
        size / 1e6,
        guess.size * size / 1e6,
        100 * (guess.size - 1),
        guess.reading,
        guess.cost * size / workers / 60,
        workers,
    )


def _run(jobs, settings, workers, target_dir):
    sizes, failures = convert_all(lambda job: transcode(*job, settings), jobs, workers, "transcode")
    write_failures(Path(target_dir) / "failed.csv", failures)
    before, after = (sum(column) for column in zip(*sizes, strict=True)) if sizes else (0, 0)
    log.info(
        "%d clips written to %s, %.1f MB became %.1f MB; %d could not be read%s",
        len(sizes),
        target_dir,
        before / 1e6,
        after / 1e6,
        len(failures),
        f": see {Path(target_dir) / 'failed.csv'}" if failures else "",
    )
    return 1 if failures else 0


if __name__ == "__main__":
    cli.run(main)
