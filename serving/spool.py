"""Uploads on disk: bounded in size, number and time, and removed whatever happens.

Each service has a folder, locked while it runs, and each request a folder in it. Folders of services that were killed
are removed at the next start.
"""

import asyncio
import base64
import binascii
import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import FormParser, parse_options_header

from serving.settings import Refused, Settings
from storage.files import parse_json
from storage.locks import locked
from utils.errors import ConfigError, shown

LOCK = "serving"
FIELD_BYTES = 1 << 16
FIELDS = 16
JSON_BYTES = 1 << 20  # without an inline clip


@dataclass(frozen=True)
class Clip:
    """A clip to classify: where it is, and what the client calls it."""

    path: Path
    name: str


@dataclass
class Order:
    """What a request asks for: `values` of its fields, and its clips."""

    values: dict = field(default_factory=dict)
    clips: list[Clip] = field(default_factory=list)


class Spool:
    """The folder of a service's uploads. Raises ConfigError where it cannot be made."""

    def __init__(self, settings: Settings):
        self.settings, self.held = settings, 0
        parent = settings.temporary or Path(tempfile.gettempdir()) / f"paddle-video-zoo-{os.getuid()}"
        _make_private(parent)
        _remove_old(parent)
        self.folder = Path(tempfile.mkdtemp(prefix="uploads-", dir=parent))
        self._stack = contextlib.ExitStack()
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._stack.enter_context(locked(self.folder, LOCK))

    def close(self) -> None:
        """Remove the folder."""
        self._stack.close()

    @contextlib.contextmanager
    def request(self) -> Iterator["Basket"]:
        """A folder for the files of one request, removed at the end of the block."""
        basket = Basket(self, Path(tempfile.mkdtemp(prefix="request-", dir=self.folder)))
        try:
            yield basket
        finally:
            shutil.rmtree(basket.folder, ignore_errors=True)
            self.held -= basket.held


class Basket:
    """Receives the body of one request."""

    def __init__(self, spool: Spool, folder: Path):
        self.spool, self.folder, self.held = spool, folder, 0

    def hold(self, count: int, most: int) -> None:
        """Account for bytes that will be on the disk. Raises Refused: 413 for too many, 429 if others fill it."""
        self.held += count
        self.spool.held += count
        if self.held > most:
            raise Refused(413, f"the upload has more than '{most}' bytes; send a shorter or smaller clip")
        if self.spool.held > self.spool.settings.disk_bytes:
            raise Refused(429, "other uploads fill the disk space of this service; try again later", 10)

    async def receive(self, content_type: str, body: AsyncIterator[bytes]) -> Order:
        """The Order in a body: multipart with files, or JSON. Raises Refused."""
        kind, options = parse_options_header(content_type)
        try:
            async with asyncio.timeout(self.spool.settings.upload_limit):
                if kind == b"multipart/form-data" and b"boundary" in options:
                    return await self._form(content_type, options[b"boundary"], body)
                if kind == b"application/json":
                    return await self._json(body)
        except TimeoutError as error:
            limit = self.spool.settings.upload_limit
            raise Refused(408, f"the upload took more than '{limit:g}' seconds; use a faster connection") from error
        raise Refused(
            415, f"Content-Type '{shown(content_type)}': expected multipart/form-data with files, or application/json"
        )

    async def _form(self, content_type, boundary, body):
        order, settings = Order(), self.spool.settings

        def on_field(found):
            order.values[_text(found.field_name)] = _text(found.value)

        def on_file(found):
            found.close()
            order.clips.append(
                Clip(Path(os.fsdecode(found.actual_file_name or b"")), _text(found.file_name) or "upload")
            )
            if not found.size:
                raise Refused(400, f"'{order.clips[-1].name}': empty, 0 bytes; send a video")
            if len(order.clips) > settings.files:
                raise Refused(413, f"more than '{settings.files}' files; send fewer in one request")

        config = {
            "UPLOAD_DIR": str(self.folder),
            "UPLOAD_DELETE_TMP": False,  # the folder is removed
            "MAX_MEMORY_FILE_SIZE": 0,
            "MAX_FIELDS": FIELDS + settings.files,
            "MAX_FIELD_SIZE": FIELD_BYTES,
        }
        try:
            parser = FormParser("multipart/form-data", on_field, on_file, boundary=boundary, config=config)
            async for chunk in body:
                self.hold(len(chunk), settings.upload_bytes)
                parser.write(chunk)
            parser.finalize()
        except FormParserError as error:
            raise Refused(400, f"the form cannot be read ({error}); send multipart/form-data") from error
        except OSError as error:
            raise Refused(507, "the service cannot store the upload; its disk is full or broken", 30) from error
        return order

    async def _json(self, body):
        text, most = bytearray(), self.spool.settings.upload_bytes * 4 // 3 + JSON_BYTES
        async for chunk in body:
            self.hold(len(chunk), most)
            text += chunk
        try:
            values = parse_json(text.decode("utf-8"))
        except ValueError as error:
            raise Refused(400, f"the body is not JSON ({shown(error)})") from error
        if not isinstance(values, dict):
            raise Refused(400, 'the body is not a JSON object such as {"path": "clip.mp4"}')
        order = Order(values)
        inline = values.pop("video", None)
        if isinstance(inline, str) and not inline.lower().startswith(("http://", "https://")):
            order.clips.append(self.store(_decoded(inline), "video"))
        elif inline is not None:
            values["url"] = inline
        return order

    def store(self, data: bytes, name: str) -> Clip:
        """A clip of these bytes."""
        handle, path = tempfile.mkstemp(dir=self.folder)
        with open(handle, "wb") as file:
            file.write(data)
        return Clip(Path(path), name)


def _decoded(text):
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(400, f"'video' is neither an address nor base64 ({error})") from error


def _text(value):
    return (value or b"").decode("utf-8", "replace")


def _make_private(folder):
    """Make a folder that is only this user's. Raises ConfigError: another user could put links there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise ConfigError(f"'{folder}' cannot be made ({error.strerror}); name another --temporary") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigError(f"'{folder}' belongs to another user; name another --temporary")


def _remove_old(parent):
    """Remove what services left that were killed; those that run hold their locks."""
    for folder in parent.glob("uploads-*"):
        with contextlib.suppress(ConfigError, OSError), locked(folder, LOCK):
            shutil.rmtree(folder, ignore_errors=True)
