"""Long videos: memory, decoding, network time, and how right the segments are, on clips that are joined to any length.

    python benchmarks/long.py CLIPS.list --minutes 60
    python benchmarks/long.py CLIPS.list --weights checkpoints/TSN_best --clips 12 --window 2 --stride 1

The list names labelled clips. They are scaled to 340x256, encoded once as H.264 (a keyframe at least every 250 frames),
and joined in a drawn order without encoding again, so that the truth is known. Without --weights, a TSN of 3 frames at
112 pixels with random weights classifies windows of 4 s every 2 s, and each of these is measured in a process of its
own: peak memory for one minute and for all; CPU seconds of decoding and scaling, and of one sequential decode;
milliseconds in the network for a window and for a single clip. With --weights, segments of a joined video are scored;
neighbouring clips of one class are one true segment.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import PictureType

SIZE, RATE = (340, 256), 30
SETTINGS = {
    "MODEL.seg_num": 3,
    "MODEL.num_classes": 6,
    "INFER.short_size": 128,
    "INFER.target_size": 112,
    "INFER.batch_size": 4,
    "INFER.num_reader_threads": 1,
}
WINDOW, STRIDE = 4.0, 2.0


def frames(path: str) -> Iterator[av.VideoFrame]:
    """The frames of a clip at SIZE."""
    with av.open(path) as container:
        for frame in container.decode(video=0):
            yield frame.reformat(*SIZE, format="yuv420p")


def join(lines: list[tuple[str, str]], order: list[int], target: Path) -> list[tuple[float, float, str]]:
    """Write the clips of an order to `target`; returns the truth as (start, end, label).

    lines: (path, label) of each clip; order: their numbers, repeated at will
    """
    with av.open(str(target), "w") as output:
        options = {"crf": "23", "x264-params": "keyint=250:open-gop=0:scenecut=0:forced-idr=1"}
        stream = output.add_stream("libx264", rate=RATE, options=options)
        (stream.width, stream.height), stream.pix_fmt = SIZE, "yuv420p"
        groups = encode(stream, [lines[number][0] for number in sorted(set(order))])
        parts, truth, at = dict(zip(sorted(set(order)), groups, strict=True)), [], 0
        for number in order:
            first, packets = parts[number]
            for pts, dts, key, data in packets:
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.is_keyframe = at + pts - first, at + dts - first, key
                packet.time_base, packet.stream, packet.duration = Fraction(1, RATE), stream, 1
                output.mux(packet)
            truth.append((at / RATE, (at + len(packets)) / RATE, lines[number][1]))
            at += len(packets)
    return truth


def encode(stream: av.VideoStream, paths: list[str]) -> list[tuple[int, list[tuple[int, int, bool, bytes]]]]:
    """[(first timestamp, packets as (pts, dts, key, bytes))] of each clip, through one encoder; times in frames."""
    starts, count, packets = [], 0, []
    for path in paths:
        starts.append(count)
        for frame in frames(path):
            frame.pts, frame.time_base = count, Fraction(1, RATE)
            frame.pict_type = PictureType.I if count == starts[-1] else PictureType.NONE
            packets += stream.encode(frame)
            count += 1
    packets += stream.encode(None)
    kept = [(p.pts, p.dts, p.is_keyframe, bytes(p)) for p in packets]
    edges = [*starts, count]
    return [
        (first, [packet for packet in kept if first <= packet[0] < last])
        for first, last in zip(edges, edges[1:], strict=False)
    ]


def predictor():
    from inference import values

    from engine.configuration import configure
    from engine.graph.program import Graph
    from engine.predictor import Predictor

    model, config = configure("TSN", None, SETTINGS)
    return Predictor("TSN", weights=values(Graph(model(config, "infer")).shapes), overrides=SETTINGS, use_gpu=False)


class Timed:
    """A network that counts the seconds and samples of its runs, the first two of which are not counted."""

    def __init__(self, network):
        self.network, self.seconds, self.samples, self.runs = network, 0.0, 0, 0

    def __getattr__(self, name):
        return getattr(self.network, name)

    def run(self, feed, **settings):
        started = time.perf_counter()
        found = self.network.run(feed, **settings)
        self.runs += 1
        if self.runs > 2:
            self.seconds += time.perf_counter() - started
            self.samples += len(found[0])
        return found


def measure_memory(video: str) -> dict:
    """Peak memory of a whole timeline."""
    model = predictor()
    started = time.perf_counter()
    found = model.timeline(video, WINDOW, STRIDE)
    return {
        "windows": len(found.windows),
        "seconds": time.perf_counter() - started,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measure_decode(video: str) -> dict:
    """CPU seconds of a sequential decode of all frames, no picture converted."""
    started, count = time.process_time(), 0
    with av.open(video) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for _ in container.decode(video=0):
            count += 1
    return {"cpu_seconds": time.process_time() - started, "frames": count}


def measure_windows(video: str) -> dict:
    """CPU seconds of all windows' frames, decoded and scaled, without a network."""
    from datareader.clips.dataset import ClipDataset
    from datareader.long.looking import sampler
    from datareader.long.stream import file_windows
    from engine.configuration import configure

    dataset = ClipDataset(configure("TSN", None, SETTINGS)[1], "infer", [])
    started = time.process_time()
    count = sum(1 for _ in file_windows(video, 4_000_000, 2_000_000, sampler(dataset), dataset.limits))
    return {"cpu_seconds": time.process_time() - started, "windows": count}


def measure_network(video: str) -> dict:
    """Seconds in the network for a window of a video, and for a clip of a list; the two take turns."""
    from engine.predictor import Predictor

    network = predictor().network
    windows, clips = Timed(network), Timed(network)
    paths = [line.split()[0] for line in Path(video).with_suffix(".clips").read_text().splitlines()]
    stream = Predictor.of(windows).stream(video, WINDOW, STRIDE)
    for _ in range(6):
        for _ in zip(range(48), stream, strict=False):
            continue
        Predictor.of(clips).predict(paths)
    return {"window_ms": 1000 * windows.seconds / windows.samples, "clip_ms": 1000 * clips.seconds / clips.samples}


MEASURES = {
    "memory": measure_memory,
    "decode": measure_decode,
    "windows": measure_windows,
    "network": measure_network,
}


def measured(name: str, video: Path) -> dict:
    """What MEASURES[name] gives in a process of its own."""
    command = [sys.executable, __file__, "--measure", name, str(video)]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(found.splitlines()[-1])


def measure_all(lines: list[tuple[str, str]], minutes: float, folder: Path) -> None:
    """Print all measurements of one minute and of `minutes`."""
    rng = random.Random(0)
    for length in (1, minutes):
        video, order, seconds = folder / f"{length:g}min.mp4", [], 0.0
        while seconds < 60 * length:
            order.append(rng.randrange(len(lines)))
            with av.open(lines[order[-1]][0]) as container:
                seconds += container.streams.video[0].frames / RATE
        if not video.exists():
            join(lines, order, video)
        video.with_suffix(".clips").write_text("\n".join(path for path, _ in lines[:48]))
        print(f"{length:g} min, {video.stat().st_size >> 20} MB:", flush=True)
        for name in ("memory", "decode", "windows") if length == 1 else MEASURES:
            print(f"  {name}: {measured(name, video)}", flush=True)


def score(args: argparse.Namespace, lines: list[tuple[str, str]], folder: Path) -> None:
    """Print the scores of a checkpoint's segments on a video of `--clips` joined clips."""
    from engine.predictor import Predictor
    from metrics import detection

    order = random.Random(args.seed).sample(range(len(lines)), args.clips)
    video = folder / "known.mp4"
    truth = join(lines, order, video)
    model = Predictor(weights=args.weights, use_gpu=False)
    named = []
    for start, end, label in truth:
        if named and named[-1][2] == model.names[int(label)]:  # nothing tells where one ends and the next begins
            start = named.pop()[0]
        named.append((start, end, model.names[int(label)]))
    found = model.timeline(video, args.window, args.stride, args.threshold, args.min_seconds, args.smooth)
    annotations = [{"label": name, "segment": [start, end]} for start, end, name in named]
    (folder / "truth.json").write_text(json.dumps({"database": {"known": {"annotations": annotations}}}))
    spans = [detection.Span(s.start, s.end, s.name, s.score) for s in found.segments]
    result = detection.scores({"known": [detection.Span(*span) for span in named]}, {"known": spans})
    print(f"{video}: {len(truth)} clips, {len(found.windows)} windows, {len(spans)} segments")
    print({name: round(value, 1) for name, value in result.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips_list", help="list of labelled clips (or, with --measure, the video)")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/long_videos"), help="where joined videos are kept")
    parser.add_argument("--weights", help="checkpoint whose segments are scored instead")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--window", type=float, default=2.0)
    parser.add_argument("--stride", type=float, default=1.0)
    parser.add_argument("--threshold", type=float, default=0.0)
    parser.add_argument("--min_seconds", type=float, default=0.0)
    parser.add_argument("--smooth", type=int, default=1)
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(MEASURES[args.measure](args.clips_list)))
        return
    args.folder.mkdir(parents=True, exist_ok=True)
    base = Path(args.clips_list).parent
    lines = [line.rsplit(maxsplit=1) for line in Path(args.clips_list).read_text().splitlines()]
    lines = [(str(base / path), label) for path, label in lines]
    if args.weights:
        score(args, lines, args.folder)
    else:
        measure_all(lines, args.minutes, args.folder)


if __name__ == "__main__":
    import utils.main_program  # noqa: F401  (process settings, before Paddle is imported)

    main()
