"""The HTTP side: routes, errors as JSON, and the page."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import jinja2
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from serving.fetching import fetch
from serving.guard import Guard, require_token
from serving.jobs import Service
from serving.settings import Refused
from serving.spool import Basket, Clip, Order
from utils.errors import shown

log = logging.getLogger("zoo")

PAGE = Path(__file__).resolve().parent / "page"
GONE = 499  # nginx' status for a client that went away; nobody reads it
DRAINED_BYTES, DRAINED_SECONDS = 8 << 20, 2.0  # of a body that is refused: most clients read an answer only after it
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "model": {"type": "string"},
                        "topk": {"type": "integer"},
                        "frames": {"type": "boolean"},
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "path": {"type": "string", "description": "clip below --root"},
                        "url": {"type": "string", "description": "public address, with --allow_urls"},
                        "video": {"type": "string", "description": "base64 of a clip, or an address"},
                        "model": {"type": "string"},
                        "topk": {"type": "integer"},
                        "frames": {"type": "boolean"},
                    },
                }
            },
        },
    }
}


def create(service: Service, stop: Callable[[], None], version: str) -> ASGIApp:
    """The application of a service. `stop()` is called if its models cannot be loaded; version: of the project."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start(stop)
        yield
        await service.stop()

    app = FastAPI(title="Paddle video zoo", version=version, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.mount("/static", StaticFiles(directory=PAGE), name="static")
    _add_errors(app, service)
    _add_state(app, service, version)
    _add_work(app, service)
    return Guard(app, service.settings)


def _add_errors(app, service):
    """Every error is JSON with one sentence, and no traceback."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        await _drain(request)
        headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
        if error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return _counted(service, request, JSONResponse({"error": error.sentence}, error.status, headers))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return _counted(service, request, JSONResponse({"error": str(error.detail)}, error.status_code, error.headers))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return _counted(service, request, JSONResponse({"error": shown(error.errors()[0]["msg"])}, 400))

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, _: ClientDisconnect) -> Response:
        return _counted(service, request, Response(status_code=GONE))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        log.error("%s %s failed: %s: %s", request.method, request.url.path, type(error).__name__, error)
        answer = JSONResponse({"error": "something went wrong; the log of the service says what"}, 500)
        return _counted(service, request, answer)


def _add_state(app, service, version):
    """The page, and what it and others may know of the service."""
    settings = service.settings
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGE), autoescape=True)
    page = environment.get_template("index.html").render(
        token=settings.token is not None,
        urls=settings.allow_urls,
        megabytes=settings.upload_bytes >> 20,
        version=version,
    )

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def index() -> str:
        return page

    @app.get("/healthz", summary="The process answers.")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="The models are loaded.")
    async def readyz() -> dict[str, str]:
        service.model(None)
        return {"status": "ready"}

    def authorised(request: Request) -> None:
        require_token(settings, request.headers.get("authorization"))

    @app.get("/v1/models", summary="The models in service.", dependencies=[Depends(authorised)])
    async def models() -> dict[str, Any]:
        service.model(None)
        return {"models": [model.facts() for model in service.models.values()]}

    @app.get(
        "/metrics",
        summary="Measures for Prometheus.",
        response_class=PlainTextResponse,
        dependencies=[Depends(authorised)],
    )
    async def metrics() -> str:
        return service.measures.text().decode()


def _add_work(app, service):
    """The routes that classify."""

    @app.post("/v1/classify", summary="Classify clips.", openapi_extra=BODY)
    async def classify(request: Request) -> Response:
        return _counted(service, request, JSONResponse(await _received(service, request, _answer)))

    @app.post("/v1/timeline", summary="What happens when in a long video.", openapi_extra=BODY)
    async def timeline(request: Request) -> Response:
        return _counted(service, request, JSONResponse(await _received(service, request, _timeline)))

    @app.post("/video-classification", summary="Classify a clip as PaddleX serves it.", include_in_schema=False)
    async def paddlex(request: Request) -> Response:
        content = await _received(service, request, _answer)
        result = {"categories": content["categories"]}
        wrapped = {"logId": "", "errorCode": 0, "errorMsg": "Success", "result": result}
        return _counted(service, request, JSONResponse(wrapped))


async def _received(service: Service, request: Request, answer: Callable[[Service, Order, Basket], Coroutine]) -> dict:
    """Receive the clips of a request, and answer it while the client is there."""
    settings = service.settings
    require_token(settings, request.headers.get("authorization"))
    service.model(None)
    service.places.require()
    started = time.monotonic()
    with service.spool.request() as basket:
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > 2 * settings.upload_bytes:
            basket.hold(int(length[:20]), settings.upload_bytes)  # refuses it
        order = await basket.receive(request.headers.get("content-type", ""), request.stream())
        service.measures.stages.labels("upload").observe(time.monotonic() - started)
        return await _while_there(request, answer(service, order, basket))


async def _timeline(service, order, basket):
    """The timeline of the first clip of an order."""
    clip = order.clips[0] if order.clips else await _elsewhere(service, order, basket)
    model = service.model(_word(order, "model"))
    with service.places.take(1):
        return await service.timeline(clip, model, _seconds(order, "window"), _seconds(order, "stride"))


async def _answer(service, order, basket):
    """What an order asks for."""
    clips = order.clips or [await _elsewhere(service, order, basket)]
    model = service.model(_word(order, "model"))
    topk, picture = _topk(order, model), _flag(order, "frames")
    with service.places.take(len(clips)):
        if len(clips) == 1:
            return await service.classify(clips[0], model, topk, picture)
        work = [_settled(service.classify(clip, model, topk, picture), clip) for clip in clips]
        return {"results": await asyncio.gather(*work)}


async def _settled(work, clip):
    """An answer, or the error in its place: one clip of several may be unreadable."""
    try:
        return await work
    except Refused as error:
        return {"file": clip.name, "error": error.sentence}


async def _elsewhere(service: Service, order: Order, basket: Basket) -> Clip:
    """The clip that a request names: a path below --root, or an address. Raises Refused."""
    settings, path, url = service.settings, _word(order, "path"), _word(order, "url")
    if path and settings.root:
        return _below(settings.root, path)
    if url and settings.allow_urls:
        return await fetch(url, basket)
    if path or url:
        flag = "--root" if path else "--allow_urls"
        raise Refused(403, f"this service was started without {flag}; upload the clip")
    raise Refused(400, "no clip in the request; send a file")


def _below(root: Path, path: str) -> Clip:
    """A file below the root, also after all links. Raises Refused."""
    absent = Refused(404, f"'{shown(path)}' is not a file below the root of this service")
    try:
        found = (root / path).resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise absent from error
    if not found.is_relative_to(root.resolve()) or not found.is_file():
        raise absent
    return Clip(found, path)


def _word(order, key):
    value = order.values.get(key)
    if value is not None and not isinstance(value, str):
        raise Refused(400, f"'{key}' is '{shown(value)}'; expected a text")
    return value


def _topk(order, model):
    value = order.values.get("topk", model.predictor.config.MODEL.topk)
    if not str(value).isdecimal() or not 1 <= int(str(value)[:6]) <= 1000:
        raise Refused(400, f"'topk' is '{shown(value)}'; expected a number of 1 to 1000")
    return int(value)


def _seconds(order, key):
    value = order.values.get(key)
    if value in (None, ""):
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise Refused(400, f"'{key}' is '{shown(value)}'; expected seconds") from error


def _flag(order, key):
    return str(order.values.get(key, "")).lower() in ("1", "true", "yes", "on")


async def _while_there(request: Request, work: Coroutine) -> Any:
    """The result of `work`, which is cancelled if the client goes away meanwhile. Raises ClientDisconnect."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=0.2)
            if not task.done() and await request.is_disconnected():
                raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _drain(request: Request) -> None:
    """Read a small rest of a body that is refused."""
    with contextlib.suppress(ClientDisconnect, RuntimeError, TimeoutError):
        async with asyncio.timeout(DRAINED_SECONDS):
            count = 0
            async for chunk in request.stream():
                count += len(chunk)
                if count > DRAINED_BYTES:
                    return


def _counted(service, request, answer):
    route = request.scope.get("route")
    path = getattr(route, "path", "other")
    service.measures.requests.labels(path, str(answer.status_code)).inc()
    return answer
