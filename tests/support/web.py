"""A web server that misbehaves as told."""

import contextlib
import hashlib
import http.server
import time


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` {path: bytes}, and says in `asked` what ranges GET was asked for.

    drop: bytes after which the next answers break off, one each
    ranges: honour Range; tags: give ETags, by which If-Range knows a file again
    head: answer HEAD; length: give Content-Length to GET
    kind: Content-Type; moved: {path: address that it redirects to}
    drip: seconds between the bytes of the headers of HEAD ("head") or GET ("headers"), or of the content ("body")
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.moved, self.drop, self.asked = {}, {}, [], []
        self.ranges, self.tags, self.head, self.length = True, True, False, True
        self.kind, self.drip = "", {}

    def url(self, path):
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    def handle_error(self, request, client_address):
        pass  # a client that goes away is what some tests are about


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        data = self.server.files.get(self.path.lstrip("/"))
        if not self.server.head:
            return self.send_error(501)
        if data is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        if "head" in self.server.drip:
            return self.trickle_headers("head")
        self.end_headers()

    def do_GET(self):
        server, path = self.server, self.path.lstrip("/")
        data, wanted = server.files.get(path), self.headers.get("Range")
        server.asked.append(wanted)
        if path in server.moved:
            self.send_response(302)
            self.send_header("Location", server.moved[path])
            return self.end_headers()
        if data is None:
            return self.send_error(404)
        tag = f'"{hashlib.sha256(data).hexdigest()[:8]}"'
        known = self.headers.get("If-Range") in (None, tag)
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted and server.ranges and known else 0
        if start and start >= len(data):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if server.tags:
            self.send_header("ETag", tag)
        if server.kind:
            self.send_header("Content-Type", server.kind)
        if server.length:
            self.send_header("Content-Length", str(len(data) - start))
        if "headers" in server.drip:
            return self.trickle_headers("headers")
        self.end_headers()
        data = data[start:][: server.drop.pop(0) if server.drop else None]
        if "body" in server.drip:
            return self.trickle(data, server.drip["body"])
        self.wfile.write(data)

    def trickle_headers(self, part):
        self.trickle(b"".join(self._headers_buffer) + b"X-Slow: " + b"x" * 10_000, self.server.drip[part])

    def trickle(self, data, seconds):
        """Write one byte at a time, until the other side has had enough."""
        with contextlib.suppress(OSError):
            for i in range(len(data)):
                self.wfile.write(data[i : i + 1])
                self.wfile.flush()
                time.sleep(seconds)

    def log_message(self, *_):
        pass
