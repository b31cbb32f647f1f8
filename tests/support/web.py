"""A web server that breaks off as told."""

import http.server


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` {path: bytes}. `drop`: bytes after which the next answers break off, one each; `ranges`: honour Range."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.drop, self.ranges, self.asked = {}, [], True, []

    def url(self, path):
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, data = self.server, self.server.files.get(self.path.lstrip("/"))
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if data is None:
            return self.send_error(404)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        if start and start >= len(data):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:][: server.drop.pop(0) if server.drop else None])

    def log_message(self, *_):
        pass
