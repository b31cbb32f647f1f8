"""The service as a process of its own: a browser drives its page; signals and clients that go away."""

import http.client
import re
import shutil
import signal
import socket
import struct
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from dataset.quickstart.make_clips import write_clip
from support import networks, service, tiny

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
TOKEN = {"Authorization": "Bearer sesame"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two clips, weights, and a folder for uploads."""
    folder = tmp_path_factory.mktemp("service")
    tiny.make_clips(folder / "clips", count=2, name="{i}.mp4")
    write_clip(folder / "long.mp4", [*tiny.images(0, seed=1, count=125), *tiny.images(1, seed=2, count=125)])
    np.savez(folder / "weights.npz", **networks.weights("TINYNET", service.SETTINGS))
    return folder


def words(folder, uploads="uploads"):
    weights = [f"--weights={name}={folder / 'weights.npz'}" for name in ("first", "second")]
    settings = tiny.flags(service.SETTINGS)
    return [*weights, *settings, f"--temporary={folder / uploads}", "--workers=1", "--token=sesame"]


@pytest.fixture(scope="module")
def started(folder):
    with service.process(*words(folder)) as found:
        yield found


def left(folder, uploads="uploads"):
    """Uploads on the disk."""
    return [path for path in (folder / uploads).rglob("*") if path.is_file() and not path.name.startswith(".")]


@pytest.fixture
def page(started):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        found = browser.new_page(viewport={"width": 360, "height": 740}, locale="en-US")
        found.problems = []
        found.on("pageerror", lambda error: found.problems.append(str(error)))
        found.goto(started[1])
        sync_api.expect.set_options(timeout=30_000)
        found.expect = sync_api.expect
        yield found
        browser.close()


def test_a_browser(page, folder):
    expect, at = page.expect, page.locator
    at("#token").fill("wrong")
    page.set_input_files("#file", folder / "clips" / "0.mp4")
    expect(at("#error")).to_contain_text("token is missing or wrong")
    at("#token").fill("sesame")
    at("#token").blur()
    page.get_by_label("second (TINYNET)").check()
    page.set_input_files("#file", folder / "clips" / "0.mp4")
    expect(at("#answers section")).to_have_count(2)
    expect(at("#error")).to_be_hidden()
    assert [row.split()[0] for row in at("#answers h3").all_inner_texts()] == ["first", "second"]
    scores = [float(text.split()[0]) for text in at("#answers section").first.locator(".number").all_inner_texts()]
    assert len(scores) == 2 and scores == sorted(scores, reverse=True)
    assert at("#frames").get_attribute("src").startswith("data:image/jpeg;base64,")
    assert at("#video").get_attribute("src").startswith("blob:")

    page.get_by_label("second (TINYNET)").uncheck()
    page.set_input_files("#file", folder / "long.mp4")
    at("#ask").click()
    expect(at("#track button").last).to_be_visible()
    at("#track button").last.click()
    start = float(at("#track button").last.get_attribute("data-start"))
    assert page.evaluate("document.getElementById('video').currentTime") >= start
    expect(at("#track button.now")).to_have_count(1)

    page.set_input_files("#file", {"name": "<b>no.mp4", "mimeType": "video/mp4", "buffer": b"no video"})
    expect(at("#error")).to_contain_text("'<b>no.mp4': not a readable video")
    page.set_input_files("#file", folder / "clips" / "1.mp4")
    expect(at("#name")).to_have_text("1.mp4")
    at("#history button").first.focus()
    page.keyboard.press("Enter")
    expect(at("#name")).to_have_text("long.mp4")
    at("#language").click()
    expect(at("h1")).to_have_text("视频里是什么？")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.problems == []


def begun(address, clip):
    """A connection on which half of a request is sent, and the rest of it."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    body = head + clip + b"\r\n--x--\r\n"
    connection.putrequest("POST", "/v1/classify")
    for name, value in {**TOKEN, "Content-Type": "multipart/form-data; boundary=x"}.items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[: len(body) // 2])
    return connection, body[len(body) // 2 :]


def test_a_client_that_goes_away_frees_its_place(started, folder):
    """With a complete body only the closed connection tells."""
    for whole in (True, False):
        connection, rest = begun(started[1], (folder / "clips" / "0.mp4").read_bytes())
        if whole:
            connection.send(rest)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not end
        connection.close()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        metrics = httpx.get(f"{started[1]}/metrics", headers=TOKEN).text
        if not left(folder) and "zoo_queue_length 0.0" in metrics:
            break
        time.sleep(0.1)
    assert left(folder) == [] and "zoo_queue_length 0.0" in metrics
    assert httpx.get(f"{started[1]}/readyz").status_code == 200


def test_kill_and_terminate(folder):
    with service.process(*words(folder, "killed")) as (process, _):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (next((folder / "killed").glob("uploads-*")) / "clip").write_bytes(b"x")
        process.kill()
        process.wait()
    assert children and left(folder, "killed")
    end = time.monotonic() + 20
    while any(Path(f"/proc/{child}/cmdline").exists() for child in children) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [child for child in children if Path(f"/proc/{child}/cmdline").exists()]
    with service.process(*words(folder, "killed")) as (process, address):
        assert left(folder, "killed") == []
        connection, rest = begun(address, (folder / "clips" / "0.mp4").read_bytes())
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        connection.send(rest)
        assert connection.getresponse().status == 200
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and re.search(r"^stopped$", output, re.M), output
    assert list((folder / "killed").iterdir()) == []
