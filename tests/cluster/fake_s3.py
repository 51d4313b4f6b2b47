"""An object store in a thread that speaks enough S3 for obstore, and fails as often as it is told to."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

SLOW = 1.5  # seconds that an answer takes which comes too late


class FakeS3(ThreadingHTTPServer):
    """Objects by key, of one bucket; `rate` of the requests fail, before or after what they ask for is done."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.hidden: set[str] = set()  # listed, but "not found"
        self.rate = 0.0
        self.too_late: list[str] = []  # what is next asked for in these ways is done, but answered too late
        self.faults: Counter[str] = Counter()
        self.random = random.Random(7)
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """A client that went away is no news."""


def tag_of(value: bytes) -> str:
    """An object's entity tag, without its quotes."""
    return md5(value, usedforsecurity=False).hexdigest()


@contextmanager
def fake_s3() -> Iterator[FakeS3]:
    with FakeS3() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeS3

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            fault, late = "", False
            if self.server.random.random() < self.server.rate:
                fault = self.server.random.choices(["503", "404", "timeout"], [45, 45, 10])[0]
                late = self.server.random.random() < 0.5
                self.server.faults[fault] += 1
            if self.command in self.server.too_late:
                self.server.too_late.remove(self.command)
                fault, late = "timeout", True
            answer = None if fault and not late else self._act(body)
        if fault == "timeout":
            time.sleep(SLOW)
            self.close_connection = True
            return
        self._send(*((int(fault), b"", {}) if fault or answer is None else answer))

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = _answer  # noqa: N815

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _act(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        parts = urlsplit(self.path)
        key, query = unquote(parts.path).removeprefix("/bucket").lstrip("/"), parse_qs(parts.query)
        objects, stamp = self.server.objects, {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
        if self.command == "PUT":
            if "If-None-Match" in self.headers and key in objects:
                return 412, b"", {}
            wanted = self.headers.get("If-Match")
            if wanted is not None and (key not in objects or wanted.strip('"') != tag_of(objects[key])):
                return 412, b"", {}
            objects[key] = body
            return 200, b"", stamp | {"ETag": f'"{tag_of(body)}"'}
        if self.command == "DELETE":
            objects.pop(key, None)
            return 204, b"", {}
        if self.command == "POST":  # delete several
            keys = [part.partition("</Key>")[0] for part in body.decode().split("<Key>")[1:]]
            for each in keys:
                objects.pop(each, None)
            deleted = "".join(f"<Deleted><Key>{escape(each)}</Key></Deleted>" for each in keys)
            return 200, f"<DeleteResult>{deleted}</DeleteResult>".encode(), {}
        if not key:
            return 200, self._listing(query.get("prefix", [""])[0], "delimiter" in query), {}
        if key not in objects or key in self.server.hidden:
            return 404, b"", {}
        value = objects[key]
        stamp["ETag"] = f'"{tag_of(value)}"'
        if "Range" not in self.headers:
            return 200, value, stamp | {"Content-Length": str(len(value))}
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        begin = int(first) if first else max(0, len(value) - int(last))
        end = min(int(last) + 1, len(value)) if first and last else len(value)
        return 206, value[begin:end], stamp | {"Content-Range": f"bytes {begin}-{end - 1}/{len(value)}"}

    def _listing(self, prefix: str, by_folder: bool) -> bytes:
        folders, contents = set(), []
        for key in sorted(k for k in self.server.objects if k.startswith(prefix)):
            head, slash, _ = key.removeprefix(prefix).partition("/")
            if by_folder and slash:
                folders.add(f"{prefix}{head}/")
                continue
            size = len(self.server.objects[key])
            contents.append(
                f"<Contents><Key>{escape(key)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
                f'<ETag>"e"</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>'
            )
        common = "".join(f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in sorted(folders))
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>bucket</Name><IsTruncated>false</IsTruncated>{''.join(contents)}{common}</ListBucketResult>"
        ).encode()
