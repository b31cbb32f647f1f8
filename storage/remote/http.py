"""http and https, on urllib: it honours http_proxy and its like, and a broken connection can go on where it stopped.

What is resumed is the same file: a part is continued only with the ETag or the date of its first answer (If-Range),
else fetched anew. A server cannot hold us up: a watch closes connections that stay below a speed or last too long.
Answers that are no files (web pages, fewer bytes than announced, more than ZOO_REMOTE_MAX_GB) are errors.
"""

import contextlib
import functools
import http.client
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from storage.remote import limits
from storage.remote.limits import Facts
from utils.errors import ObjectError

__all__ = ["TRANSIENT", "facts", "get", "is_refusal"]

TIMEOUT = 15.0  # seconds without an answer
CHUNK = 1 << 18  # bytes read at once
TRANSIENT = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
BUSY = (408, 429)  # answers below 500 that another try may change
UNHELPFUL = (404, 410, *BUSY, 500, 502, 503, 504)  # answers to HEAD that a GET would get too


def is_refusal(error: Exception) -> bool:
    """Whether an error is the server's answer that no other try will change."""
    return isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in BUSY


def facts(address: str) -> Facts:
    """The Facts of an address; nothing is known where a server refuses HEAD, or a signed address is for GET only."""
    try:
        with _answer(urllib.request.Request(address, method="HEAD")) as (response, _):
            size = _length(response)
            marks = [response.headers.get(name, "") for name in ("ETag", "Last-Modified", "Content-Length")]
    except urllib.error.HTTPError as error:
        if error.code in UNHELPFUL:
            raise
        return Facts(False, None, "")
    return Facts(False, size, limits.digest(marks) if any(marks[:2]) else "")


def get(address: str, part: Path, size: int | None) -> None:
    """Append to the file `part` what it lacks of the object, which has `size` bytes if that is known.

    Beside it, `<part>.tag` keeps what tells the version that it is part of. Raises ConnectionError when the connection
    ends before the file does, ObjectError for what is no file.
    """
    tag = part.with_name(f"{part.name}.tag")
    known = tag.read_text() if tag.exists() else ""
    done = part.stat().st_size if part.exists() and known else 0
    headers = {"Range": f"bytes={done}-", "If-Range": known} if done else {}
    try:
        with _answer(urllib.request.Request(address, headers=headers)) as (response, watch):
            _refuse_page(address, response)
            goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {done}-")
            done = done if goes_on else 0  # else the server sends the whole file
            tag.write_text(_validator(response) or (known if goes_on else ""))
            length = _length(response)
            total = size if length is None else done + length
            _receive(address, response, watch, part, done, total)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        part.unlink(missing_ok=True)  # it is longer than what is there now
        raise ConnectionError(error.reason) from error
    tag.unlink(missing_ok=True)


def _receive(address, response, watch, part, done, total):
    limits.check_size(address, total)
    with limits.open_part(part, append=done > 0) as file, limits.bar(part, done, total) as bar:
        while chunk := response.read1(CHUNK):
            done += len(chunk)
            watch.count += len(chunk)
            limits.check_size(address, done)
            file.write(chunk)
            bar.update(len(chunk))
    if done != total and (total is not None or not done):
        raise ConnectionError(f"the connection ended after {done} of {total or 'unknown'} bytes")


def _refuse_page(address, response):
    """ObjectError for a web page where a file is expected: a log-in, or a note that the file has gone."""
    kind = response.headers.get_content_type() if "Content-Type" in response.headers else ""
    if kind in ("text/html", "application/xhtml+xml"):
        raise ObjectError(
            address,
            f"is a web page ({kind}), not a file; open it in a browser, and give the address of the file itself",
        )


def _length(response):
    text = response.headers.get("Content-Length") or ""
    return int(text) if text.isdecimal() and len(text) < 20 else None


def _validator(response):
    """What If-Range accepts to name this version: a strong ETag, else the date; "" where there is neither."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


class _Watch:
    """Closes a connection that is slower than `limits.floor()` over a period, or lasts longer than `limits.longest()`.

    `count` is raised by whoever receives bytes. Time-outs of sockets do not do this: each byte starts them anew.
    """

    def __init__(self):
        self.count, self.verdict, self.socket, self.stop = 0, "", None, threading.Event()
        self.period, self.floor, self.longest = limits.period(), limits.floor(), limits.longest()
        threading.Thread(target=self._run, daemon=True).start()

    def connect(self, *arguments: Any, **named: Any) -> socket.socket:
        """As socket.create_connection."""
        made = socket.create_connection(*arguments, **named)
        self.socket = made.dup()  # TLS takes the original over
        return made

    def _run(self):
        start, before = time.monotonic(), 0
        while not self.stop.wait(self.period):
            if self.socket is None:  # connecting has a time limit of its own
                continue
            came, before = self.count - before, self.count
            if came < self.floor * self.period:
                self.verdict = f"slower than {self.floor / 1000:g} kB/s for {self.period:g} s (ZOO_REMOTE_MIN_KBS)"
            elif time.monotonic() - start > self.longest:
                self.verdict = f"longer than {self.longest / 3600:g} hours (ZOO_REMOTE_HOURS)"
            if self.verdict:
                with contextlib.suppress(OSError):
                    self.socket.shutdown(socket.SHUT_RDWR)
                return

    def close(self) -> None:
        self.stop.set()
        if self.socket:
            self.socket.close()


@contextlib.contextmanager
def _answer(request: urllib.request.Request) -> Iterator[tuple[http.client.HTTPResponse, _Watch]]:
    """The response to a request, under a watch. Raises TimeoutError with the watch's verdict."""
    watch = _Watch()
    try:
        with _opener(watch.connect).open(request, timeout=TIMEOUT) as response:
            yield response, watch
        if watch.verdict:  # what a closed connection leaves of the headers can look like a short file
            raise TimeoutError(watch.verdict)
    except TRANSIENT as error:
        if watch.verdict:
            raise TimeoutError(watch.verdict) from error
        raise
    finally:
        watch.close()


def _opener(connect: Callable[..., socket.socket]) -> urllib.request.OpenerDirector:
    """Made anew each time, for the proxies of this moment; redirects lead to http and https only."""

    def watched(kind, host, **named):
        connection = kind(host, **named)
        connection._create_connection = connect
        return connection

    class Plain(urllib.request.HTTPHandler):
        def http_open(self, request):
            return self.do_open(functools.partial(watched, http.client.HTTPConnection), request)

    class Secure(urllib.request.HTTPSHandler):
        def https_open(self, request):
            return self.do_open(functools.partial(watched, http.client.HTTPSConnection), request)

    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        Plain(),
        Secure(),
    ):
        opener.add_handler(handler)
    return opener
