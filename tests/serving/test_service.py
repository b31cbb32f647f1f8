"""The service, in this process: answers, errors, limits, and what is left on the disk."""

import asyncio
import base64
import os
import re
import time

import numpy as np
import pytest

from dataset.quickstart.make_clips import write_clip
from serving import fetching
from serving.decoding import Recipe, decode
from serving.settings import Settings
from support import service, tiny

TOKEN = {"Authorization": "Bearer sesame"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    tiny.make_clips(folder, count=3, name="{i}.mp4")
    (folder / "broken.mp4").write_bytes(b"no video" * 100)
    (folder / "outside").symlink_to("/etc")
    return folder


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A dark and then a bright video of ten seconds."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    write_clip(path, [*tiny.images(0, seed=1, count=125), *tiny.images(1, seed=2, count=125)])
    return path


@pytest.fixture(scope="module")
def ask(tmp_path_factory, clips):
    settings = Settings(
        token="sesame", root=clips, temporary=tmp_path_factory.mktemp("uploads"), workers=2, upload_bytes=1 << 20
    )
    with service.serving(settings) as found:
        assert found("GET", "/readyz").status_code == 503 and found("GET", "/healthz").status_code == 200
        loading = found("POST", "/v1/classify", headers=TOKEN)
        assert loading.status_code == 503 and "loaded" in loading.json()["error"]
        service.until_ready(found)
        yield found


def sent(path, name=None):
    return {"file": (name or path.name, path.read_bytes())}


def test_a_clip_gets_the_names_that_the_predictor_gives(ask, clips):
    answer = ask("POST", "/v1/classify", files=sent(clips / "0.mp4"), headers=TOKEN, data={"topk": "6"}).json()
    expected = ask.service.models["first"].predictor.predict(clips / "0.mp4", topk=6)[0]
    assert [each["id"] for each in answer["categories"]] == expected["indices"]
    assert [each["name"] for each in answer["categories"]] == expected["names"]
    np.testing.assert_allclose([each["score"] for each in answer["categories"]], expected["probabilities"], atol=1e-6)
    assert answer["file"] == "0.mp4" and answer["model"] == "first" and "frames" not in answer
    assert set(answer["seconds"]) == {"queue", "decode", "network", "total"}


def test_frames_model_and_topk(ask, clips):
    data = {"topk": "1", "model": "second", "frames": "true"}
    answer = ask("POST", "/v1/classify", files=sent(clips / "1.mp4"), headers=TOKEN, data=data).json()
    assert answer["model"] == "second" and len(answer["categories"]) == 1
    assert base64.b64decode(answer["frames"].partition(",")[2]).startswith(b"\xff\xd8")


def test_several_clips_and_one_that_is_broken(ask, clips):
    files = [("file", (name, (clips / name).read_bytes())) for name in ("0.mp4", "broken.mp4", "1.mp4")]
    results = ask("POST", "/v1/classify", files=files, headers=TOKEN).json()["results"]
    assert [each["file"] for each in results] == ["0.mp4", "broken.mp4", "1.mp4"]
    assert "categories" in results[0] and results[1]["error"].startswith("'broken.mp4': not a readable video")


def test_requests_at_once_share_a_batch(ask, clips):
    async def many(client):
        work = [client.post("/v1/classify", files=sent(clips / f"{i % 3}.mp4"), headers=TOKEN) for i in range(9)]
        return await asyncio.gather(*work)

    answers = ask.run(many)
    best = {}
    for number, answer in enumerate(answers):
        scores = [each["score"] for each in answer.json()["categories"]]
        np.testing.assert_allclose(scores, best.setdefault(number % 3, scores), atol=1e-6)
    metrics = ask("GET", "/metrics", headers=TOKEN).text
    assert 'zoo_requests_total{route="/v1/classify",status="200"}' in metrics and "zoo_queue_length 0.0" in metrics


def test_paddlex_clients(ask, clips):
    video = base64.b64encode((clips / "0.mp4").read_bytes()).decode()
    answer = ask("POST", "/video-classification", json={"video": video, "topk": 2}, headers=TOKEN).json()
    assert answer["errorCode"] == 0 and set(answer["result"]["categories"][0]) == {"id", "name", "score"}


def test_a_timeline_is_that_of_the_predictor(ask, long):
    answer = ask("POST", "/v1/timeline", files=sent(long), headers=TOKEN, data={"window": "2"}).json()
    expected = ask.service.models["first"].predictor.timeline(long, window=2)
    spans = [(each["start"], each["end"], each["name"]) for each in answer["segments"]]
    assert spans == [(each.start, each.end, each.name) for each in expected.segments]
    assert len(answer["windows"]) == len(expected.windows) > 5
    best = [each["categories"][0]["score"] for each in answer["windows"]]
    np.testing.assert_allclose(best, expected.scores.max(axis=1), atol=1e-6)
    assert answer["duration"] == expected.windows[-1].end
    wrong = ask("POST", "/v1/timeline", files=sent(long), headers=TOKEN, data={"window": "2", "stride": "3"})
    assert wrong.status_code == 400 and "stride" in wrong.json()["error"]


def test_paths_stay_below_the_root(ask, clips):
    assert ask("POST", "/v1/classify", json={"path": "0.mp4"}, headers=TOKEN).json()["file"] == "0.mp4"
    for path in ("../x.mp4", "/etc/passwd", "outside/passwd", "absent.mp4", ".", "0.mp4\0", "a" * 5000):
        answer = ask("POST", "/v1/classify", json={"path": path}, headers=TOKEN)
        assert answer.status_code == 404 and "below the root" in answer.json()["error"]


REFUSED = [
    (401, "token", {"headers": {}}),
    (401, "token", {"headers": {"Authorization": "Bearer Sesame"}}),
    (401, "token", {"headers": {"Authorization": "Basic sesame"}}),
    (400, "empty", {"files": {"file": ("<b>.mp4", b"")}}),
    (400, "no clip", {"data": {"topk": "1"}, "files": {}, "json": None}),
    (400, "readable video", {"files": {"file": ("../../etc/x.pkl", b"cos\nsystem\n(S'touch x'\ntR.")}}),
    (400, "topk", {"files": "clip", "data": {"topk": "0"}}),
    (400, "topk", {"files": "clip", "data": {"topk": "many"}}),
    (404, "unknown model", {"files": "clip", "data": {"model": "firts"}}),
    (413, "bytes", {"files": {"file": ("big.mp4", b"0" * (2 << 20))}}),
    (413, "files", {"files": [("file", (f"{i}.mp4", b"0")) for i in range(9)]}),
    (415, "Content-Type", {"content": b"clip", "headers": {**TOKEN, "Content-Type": "video/mp4"}}),
    (400, "form", {"content": b"--x\r\n\r", "headers": {**TOKEN, "Content-Type": "multipart/form-data; boundary=y"}}),
    (400, "JSON", {"content": b"{", "headers": {**TOKEN, "Content-Type": "application/json"}}),
    (400, "JSON object", {"json": [1]}),
    (400, "expected a text", {"json": {"path": 1}}),
    (400, "base64", {"json": {"video": "?"}}),
    (403, "--allow_urls", {"json": {"url": "http://example.com/a.mp4"}}),
    (403, "name of this service", {"json": {}, "headers": {**TOKEN, "Host": "evil.example"}}),
    (403, "are not answered", {"json": {}, "headers": {**TOKEN, "Origin": "http://evil.example"}}),
]


@pytest.mark.parametrize("status, words, request_", REFUSED, ids=[f"{each[0]} {each[1]}" for each in REFUSED])
def test_refused(ask, clips, status, words, request_):
    request = {"headers": TOKEN, **request_}
    if request.get("files") == "clip":
        request["files"] = sent(clips / "0.mp4")
    if words == "no clip":
        request = {"headers": TOKEN, "json": {}}
    answer = ask("POST", "/v1/classify", **request)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"] and str(ask.service.spool.folder) not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    assert [path for path in ask.service.spool.folder.iterdir() if path.is_dir()] == []
    assert ask.service.spool.held == 0 and ask.service.places.taken == 0


def test_the_page_and_its_files(ask):
    page = ask("GET", "/")
    assert page.status_code == 200 and 'id="token"' in page.text and 'id="url"' not in page.text
    assert "<script>" not in page.text and "style=" not in page.text and "http://" not in page.text
    for name in ("page.js", "style.css", "icon.svg"):
        assert ask("GET", f"/static/{name}").status_code == 200
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/docs", "/none"):
        assert ask("GET", path).status_code == 404
    assert "/v1/classify" in ask("GET", "/openapi.json").json()["paths"]


@pytest.mark.parametrize("limit, words", [("max_pixels", "64x48 pixels"), ("max_seconds", "seconds")])
def test_what_a_header_claims_is_limited(clips, limit, words):
    recipe = Recipe.of(service.predictor().config, Settings(**{limit: 0.1}))
    found = decode(recipe, clips / "0.mp4", False)
    assert found.frames is None and words in found.reason and limit in found.reason


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """A service with one decoding process and two places, which fetches addresses."""
    folder = tmp_path_factory.mktemp("busy")
    settings = Settings(temporary=folder, workers=1, queue=2, decode_limit=2.0, allow_urls=True)
    with service.serving(settings) as found:
        service.until_ready(found)
        yield found


def test_a_clip_that_hangs_or_crashes_the_decoder_costs_its_own_request(busy, clips, tmp_path):
    """The process is killed: by the system here, by the time limit there."""
    crashed = busy.service.decoders.pool.schedule(os.abort)
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    hung = busy.service.decoders.pool.schedule(pipe.open, timeout=1.0)  # nobody ever writes
    assert busy("POST", "/v1/classify", files=sent(clips / "0.mp4")).status_code == 200
    assert type(crashed.exception()).__name__ == "ProcessExpired" and isinstance(hung.exception(), TimeoutError)


def test_a_full_queue_refuses(busy, clips):
    held = busy.service.decoders.pool.schedule(time.sleep, args=(3,))

    async def crowd(client):
        work = [asyncio.create_task(client.post("/v1/classify", files=sent(clips / "0.mp4"))) for _ in range(2)]
        while busy.service.places.taken < 2:
            await asyncio.sleep(0.01)
        refused = await client.post("/v1/classify", files=sent(clips / "0.mp4"))
        return refused, await asyncio.gather(*work)

    refused, answers = busy.run(crowd)
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
    assert [answer.status_code for answer in answers] == [200, 200] and held.result() is None
    assert busy.service.places.taken == 0


def test_uploads_of_a_killed_service_are_removed(tmp_path):
    left = tmp_path / "uploads-dead"
    left.mkdir()
    (left / "clip").write_bytes(b"x")
    with service.serving(Settings(temporary=tmp_path), loader=lambda *_: []) as ask:
        running = ask.service.spool.folder
        assert not left.exists() and running.exists()
        with service.serving(Settings(temporary=tmp_path), loader=lambda *_: []):
            assert running.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fe80::1%eth0", "0.0.0.0", "fd00::1"],
)
def test_no_address_inside_a_private_network(address):
    with pytest.raises(OSError, match="not public"):
        fetching.public_only((2, 1, 6, "", (address, 80)))


def test_only_usual_ports():
    with pytest.raises(OSError, match="not public"):
        fetching.public_only((2, 1, 6, "", ("8.8.8.8", 6379)))
    fetching.public_only((2, 1, 6, "", ("8.8.8.8", 443))).close()


@pytest.mark.parametrize(
    "url", ["http://localhost/a.mp4", "http://127.0.0.1:80/a", "http://[::1]/a", "ftp://x/a", "file:///etc/passwd"]
)
def test_names_lead_nowhere_private(busy, url):
    answer = busy("POST", "/v1/classify", json={"url": url})
    assert answer.status_code == 400 and re.search("cannot be fetched|is no address", answer.json()["error"])
