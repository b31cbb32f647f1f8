"""`infer.py --window_seconds`: files that other programs read, going on, a video with names drawn in, its scores."""

import json
import types
from fractions import Fraction

import av
import numpy as np
import pysubs2
import pytest

from engine.timelines import kept
from metrics.timeline import Window
from storage.tables import read_csv
from support import networks, pages, tiny
from support.clips import picture, write_clip
from support.drivers import status
from utils.errors import DataError

SECONDS, RATE = 5, 10
NAMES = ["run & <jump>", "拥抱"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, flags): a video of five seconds with sound, weights, class names."""
    folder = tmp_path_factory.mktemp("long")
    with av.open(str(folder / "match (é).mp4"), "w") as output:
        video, sound = output.add_stream("libx264", rate=RATE), output.add_stream("aac", rate=16000)
        (video.width, video.height), video.pix_fmt = (96, 64), "yuv420p"
        for index in range(SECONDS * RATE):
            frame = av.VideoFrame.from_ndarray(picture(index, (96, 64)) // (1 + index // 25))
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            output.mux(video.encode(frame))
        noise = np.random.default_rng(0).normal(0, 0.1, (1, SECONDS * 16000)).astype(np.float32)
        tone = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
        tone.rate, tone.pts = 16000, 0
        output.mux(sound.encode(tone) + sound.encode(None))
        output.mux(video.encode(None))
    (folder / "names.txt").write_text("\n".join(f"{i} {name}" for i, name in enumerate(NAMES)), encoding="utf-8")
    settings = {**tiny.TINY, "MODEL.class_names": str(folder / "names.txt")}
    np.savez(folder / "weights.npz", **networks.weights("TINYNET", settings))
    words = ["--model_name=TINYNET", f"--weights={folder / 'weights.npz'}", *tiny.flags(settings)]
    return folder, [*words, f"--video_path={folder / 'match (é).mp4'}"]


@pytest.fixture(scope="module")
def result(made, tmp_path_factory):
    """The folder that a run has written to."""
    folder, words = made
    target = tmp_path_factory.mktemp("result")
    flags = ("--window_seconds=1", "--stride_seconds=0.5", f"--save_dir={target}", f"--draw={target / 'drawn.mp4'}")
    code, output = status(Printed(), "infer.py", *words, *flags)
    assert code == 0, output
    return target


class Printed:
    """What `status` takes for `capsys`, which a fixture of a module cannot have."""

    def readouterr(self):
        return types.SimpleNamespace(out="", err="")


def segments(folder):
    rows = read_csv(folder / "match (é)_timeline.csv")
    return [(float(row["start"]), float(row["end"]), row["name"], float(row["score"])) for row in rows]


def test_the_table_covers_the_video_without_a_gap(result):
    found = segments(result)
    assert found[0][0] == 0 and found[-1][1] == SECONDS
    assert all(one[1] == other[0] and one[2] != other[2] for one, other in zip(found, found[1:], strict=False))
    scores = np.load(result / "match (é)_scores.npz")
    assert scores["scores"].shape == (9, 2) and scores["start"].tolist() == [k / 2 for k in range(9)]


@pytest.mark.parametrize("ending", ["srt", "vtt"])
def test_subtitles_are_read_by_pysubs2(result, ending):
    read = pysubs2.load(str(result / f"match (é).{ending}"))
    expected = [(round(1000 * start), round(1000 * end)) for start, end, _, _ in segments(result)]
    assert [(line.start, line.end) for line in read] == expected
    texts = [line.plaintext.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">") for line in read]
    assert [text.rpartition(" ")[0].rpartition(" ")[0] for text in texts] == [
        name for _, _, name, _ in segments(result)
    ]


def test_json_has_the_documented_forms(result):
    found = json.loads((result / "TINYNET_timelines.json").read_text(encoding="utf-8"))
    assert set(found) == {"version", "results", "external_data"}
    assert found["results"]["match (é)"] == [
        {"label": name, "score": score, "segment": [start, end]} for start, end, name, score in segments(result)
    ]
    (task,) = json.loads((result / "TINYNET_label_studio.json").read_text(encoding="utf-8"))
    assert task["data"]["video"].endswith("match (é).mp4")
    regions = task["predictions"][0]["result"]
    assert {(r["type"], r["from_name"], r["to_name"]) for r in regions} == {("timelinelabels", "label", "video")}
    ranges = [r["value"]["ranges"][0] for r in regions]
    assert ranges[0]["start"] == 1 and ranges[-1]["end"] == SECONDS * RATE
    assert [r["value"]["timelinelabels"] for r in regions] == [[name] for _, _, name, _ in segments(result)]


def test_the_page_plays_the_drawn_video(result):
    page = pages.Page(result / "match (é)_timeline.html")
    assert [values["src"] for tag, values in page.tags if tag == "video"] == ["drawn.mp4"]
    places = [float(values["data-at"]) for tag, values in page.tags if tag == "button" and "style" in values]
    assert sorted(places) == [start for start, *_ in segments(result)]
    assert (result / "match (é)_timeline.png").read_bytes().startswith(b"\x89PNG")


def packets(path, kind):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(**{kind: 0}) if packet.size]


def test_the_drawn_video_keeps_frames_times_and_sound(made, result):
    source, drawn = made[0] / "match (é).mp4", result / "drawn.mp4"
    assert packets(drawn, "audio") == packets(source, "audio")
    with av.open(str(source)) as one, av.open(str(drawn)) as other:
        assert other.streams.video[0].codec_context.pix_fmt == "yuv420p" and other.streams.video[0].codec.name == "h264"
        pairs = list(zip(one.decode(video=0), other.decode(video=0), strict=True))
    assert [frame.time for frame, _ in pairs] == [frame.time for _, frame in pairs]
    before, after = (frame.to_ndarray(format="gray").astype(int) for frame in pairs[0])
    changed = np.abs(before - after)
    assert np.median(changed[-8:]) < 4 and np.median(changed[:16, :40]) > 16


def test_what_was_interrupted_goes_on(made, result, tmp_path, capsys):
    """Four windows are there already; the last is scored again, and the result is that of a run in one go."""
    whole = np.load(result / "match (é)_scores.npz")
    windows = [Window(*row) for row in zip(whole["start"], whole["end"], whole["scores"], strict=True)]
    path = tmp_path / "match (é)_scores.npz"
    kept.write(path, windows[:4], NAMES, 1_000_000, 500_000)
    flags = ("--window_seconds=1", "--stride_seconds=0.5", f"--save_dir={tmp_path}", "--resume_windows", "--no_report")
    code, output = status(capsys, "infer.py", *made[1], *flags)
    assert code == 0 and "going on at 00:00:01.500" in output, output
    np.testing.assert_allclose(np.load(path)["scores"], whole["scores"], atol=1e-6)
    assert segments(tmp_path) == segments(result) and not (tmp_path / "match (é)_timeline.html").exists()
    kept.write(path, [Window(w.start, w.end, w.probabilities[::-1]) for w in windows[:4]], NAMES, 1_000_000, 500_000)
    code, output = status(capsys, "infer.py", *made[1], *flags)
    assert code == 1 and "was made by other weights: its window at 1.5 s" in output


def test_other_windows_are_not_gone_on_with(tmp_path):
    path = tmp_path / "scores.npz"
    kept.write(path, [Window(0, 1, np.zeros(2))], NAMES, 1_000_000, 500_000)
    with pytest.raises(DataError, match="windows of '1' s every '0.5' s, not '2' s every '1' s; leave out --resume"):
        kept.restart(path, NAMES, 2_000_000, 1_000_000)
    with pytest.raises(DataError, match="other classes"):
        kept.restart(path, ["a", "b"], 1_000_000, 500_000)
    path.write_bytes(b"PK")
    with pytest.raises(DataError, match="cannot be read"):
        kept.restart(path, NAMES, 1_000_000, 500_000)


def test_a_timeline_is_scored(result, tmp_path, capsys):
    truth = {"database": {"match (é)": {"annotations": []}}}
    for start, end, name, _ in segments(result):
        truth["database"]["match (é)"]["annotations"].append({"label": name, "segment": [start, end]})
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth), encoding="utf-8")
    found = f"--predicted={result / 'TINYNET_timelines.json'}"
    code, output = status(capsys, "test.py", f"--timeline={path}", found, f"--save_dir={tmp_path}")
    assert code == 0 and "mAP at overlap 0.5            100.00 %" in output
    assert json.loads((tmp_path / "timeline_scores.json").read_text())["seconds"] == 100
    path.write_text('{"database": {"a": {"annotations": [{"label": "run", "segment": [2, 1]}]}}}', encoding="utf-8")
    code, output = status(capsys, "test.py", f"--timeline={path}", found, f"--save_dir={tmp_path}")
    assert code == 2 and "of video 'a' is no segment; expected" in output


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--window_seconds=auto"], "which these weights do not tell"),
        (["--stride_seconds=1"], "--stride_seconds '1.0' is for long videos; give --window_seconds too"),
        (["--window_seconds=1", "--stride_seconds=2"], "--stride_seconds '2' is longer than --window_seconds '1'"),
        (["--window_seconds=1", "--smooth_windows=2"], "is even; a median needs an odd number"),
        (["--window_seconds=1", "--draw=out.avi"], "--draw 'out.avi' ends with '.avi'; expected .mp4, .mov, .mkv"),
        (["--window_seconds=-1"], "'-1' is not a number from 0.01 to 86400"),
    ],
)
def test_flags_that_do_not_go_together(made, tmp_path, capsys, flags, message):
    code, output = status(capsys, "infer.py", *made[1], f"--save_dir={tmp_path}", *flags)
    assert code == 2 and message in output, output


def test_files_that_have_no_timeline(made, tmp_path, capsys):
    (tmp_path / "empty.mp4").touch()
    write_clip(tmp_path / "one.mp4", frames=1)
    words = [word for word in made[1] if not word.startswith("--video_path")]
    flags = (f"--video_path={tmp_path}", "--window_seconds=1", f"--save_dir={tmp_path / 'out'}", "--no_report")
    code, output = status(capsys, "infer.py", *words, *flags)
    assert code == 1 and "classified 1 of 2" in output and "empty.mp4': empty, 0 bytes" in output
    assert "one.mp4: 1 window, 1 segment" in output
