"""The contact sheet of an inference."""

import types

import cv2
import numpy as np
import pytest

from reports.pages import inference, page
from reports.pictures import strip
from support import pages


def sheet(count, views=1, **settings):
    kept = inference.Sheet(views, **settings)
    frames = np.zeros((count * views, 4, 20, 24, 3), np.uint8)
    kept.add(types.SimpleNamespace(indices=list(range(count)), feed={"frames": frames}), None)
    return kept


def results(count):
    return [{"id": f"<{i}>.mp4", "names": ["<b>run", "walk"], "probabilities": [0.9, 0.1]} for i in range(count)]


def test_every_clip_has_frames_and_bars(tmp_path):
    found = [*results(3), {"id": "broken.mp4", "error": "no <video> stream"}]
    facts = page.Facts(listed=4, bad=found[3:], command="python infer.py")
    inference.write(tmp_path, "TSN", found, sheet(3, views=2), facts)
    read = pages.Page(tmp_path / "TSN_infer_report.html")
    assert len(read.pictures) == 3 and all(source.startswith("data:image/jpeg") for source in read.pictures)
    assert read.text.count("<b>run") == 3 and read.text.count("90.0 %") == 3
    assert [attributes["value"] for tag, attributes in read.tags if tag == "meter"] == ["0.9000", "0.1000"] * 3
    assert "3 of 4 samples classified" in read.text and read.table("sample") == [["broken.mp4", "no <video> stream"]]


def test_features_have_bars_only(tmp_path):
    kept = inference.Sheet()
    kept.add(types.SimpleNamespace(indices=[0], feed={"rgb": np.zeros((1, 3, 4))}), None)
    inference.write(tmp_path, "NEXTVLAD", results(1), kept, page.Facts(listed=1))
    read = pages.Page(tmp_path / "NEXTVLAD_infer_report.html")
    assert not read.pictures and "90.0 %" in read.text


def test_a_page_stays_small_enough_to_open(tmp_path):
    inference.write(tmp_path, "TSN", results(5), sheet(5, most=2), page.Facts(listed=5))
    read = pages.Page(tmp_path / "TSN_infer_report.html")
    assert len(read.pictures) == 2 and "The first 2 are shown" in read.text


@pytest.mark.parametrize(
    ("count", "rows", "columns"), [(1, 1, 1), (3, 1, 3), (5, 1, 5), (7, 2, 3), (8, 2, 4), (40, 2, 4)]
)
def test_a_strip_has_no_holes(count, rows, columns):
    """Frames run from the first to the last, in full rows."""
    levels = np.linspace(0, 250, count)
    frames = np.broadcast_to(levels[:, None, None, None], (count, 56, 112, 3)).astype(np.uint8)
    image = cv2.imdecode(np.frombuffer(strip(frames), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image.shape == (rows * 59 - 3, columns * 115 - 3)
    middles = [int(image[row * 59 + 28, column * 115 + 56]) for row in range(rows) for column in range(columns)]
    assert middles == sorted(middles) and abs(middles[-1] - levels[-1]) < 4 and abs(middles[0] - levels[0]) < 4
