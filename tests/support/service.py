"""A service of TINYNET in this process or in one of its own, and clients of it."""

import asyncio
import contextlib
import functools
import re
import threading

import httpx

import paddle_video_zoo as zoo
from serving.app import create
from serving.jobs import Service
from serving.models import Served
from serving.settings import Settings
from support import drivers, networks, tiny

SETTINGS = {**tiny.TINY, "MODEL.num_classes": 6}


@functools.cache
def predictor():
    """TINYNET with weights that keep its scores apart."""
    return zoo.Predictor("tinynet", weights=networks.weights("TINYNET", SETTINGS), overrides=SETTINGS)


def load(settings, measures):
    """TINYNET twice, under two names."""
    return [Served(name, predictor(), settings, measures) for name in ("first", "second")]


@contextlib.contextmanager
def serving(settings: Settings, loader=load):
    """A function that sends a request to a service in this process: ("POST", "/v1/classify", files=...) -> response.

    It has `.service` and, for several requests at once, `.run(coroutine function of an httpx.AsyncClient)`.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    service = Service(settings, loader)
    app = create(service, lambda: None, "0.0.0")

    def run(work):
        async def with_client():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client:
                return await work(client)

        return asyncio.run_coroutine_threadsafe(with_client(), loop).result(120)

    def ask(method, path, **more):
        return run(lambda client: client.request(method, path, **more))

    ask.service, ask.run = service, run

    async def begin():
        await service.start(lambda: None)

    asyncio.run_coroutine_threadsafe(begin(), loop).result()
    try:
        yield ask
    finally:
        asyncio.run_coroutine_threadsafe(service.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def until_ready(ask):
    """Wait until the models are loaded."""

    async def wait(client):
        while (await client.get("/readyz")).status_code == 503 and not ask.service.failed:
            await asyncio.sleep(0.05)

    ask.run(wait)
    if ask.service.failed:
        raise ask.service.failed


@contextlib.contextmanager
def process(*words):
    """(process, address) of `serve.py` of TINYNET with these flags, when it is ready."""
    started = drivers.start("serve.py", "--model_name=TINYNET", "--port=0", "--use_gpu=False", *words)
    address = None
    try:
        for line in started.stdout:
            found = re.match(r"(http://\S+)/ \(loading\)", line)
            address = found[1] if found else address
            if line.startswith("ready after"):
                break
        else:
            raise AssertionError("the service ended before it was ready")
        yield started, address
    finally:
        if started.poll() is None:
            started.terminate()
            started.communicate(timeout=60)
