"""Servers on this machine, with every kind of answer that the internet has."""

import contextlib
import hashlib
import http.server
import threading
import time

CONTENT = bytes(range(256)) * 4000  # 1,024,000 bytes: four blocks
SIZE = len(CONTENT)
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = 500_000


class QuietServer(http.server.ThreadingHTTPServer):
    """A server on this machine; clients that go away in the middle are part of the tests."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class Server(http.server.BaseHTTPRequestHandler):
    """Answers in the way that the path of the request names."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range"), self.headers.get("User-Agent")))
        getattr(self, "answer_" + self.path.strip("/"))()

    def log_message(self, *arguments):
        pass

    def send(self, status, body=b"", length=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def start(self):
        return int((self.headers.get("Range") or "bytes=0-")[len("bytes=") : -1])

    def answer_ranges(self, body=CONTENT, shift=0, total=SIZE):
        start = self.start()
        if not start:
            self.send(200, body)
        elif start >= SIZE:
            self.send(416, Content_Range=f"bytes */{SIZE}")
        else:
            span = f"bytes {start + shift}-{SIZE - 1}/{total}"
            self.send(206, body[start:], SIZE - start, Content_Range=span)

    def answer_unknown_total(self):
        self.answer_ranges(total="*")

    def answer_no_ranges(self):
        self.send(200, CONTENT)

    def answer_shifted(self):
        self.answer_ranges(shift=7)

    def answer_cut_short(self):
        self.answer_ranges(CONTENT[:-1000]) if self.start() else self.send(200, CONTENT[:HALF], SIZE)

    def answer_no_length(self, body=CONTENT):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def answer_endless(self):
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):  # until nobody listens any more
            while True:
                self.wfile.write(CONTENT)

    def answer_cut_short_no_length(self):
        self.answer_no_length(CONTENT[:HALF])

    def answer_cut_short_chunked(self):
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n%x\r\n" % (HALF, CONTENT[:HALF], HALF))
        self.close_connection = True

    def answer_stuck(self):
        self.answer_stuck_at(CONTENT[:HALF])

    def answer_stuck_at(self, body):
        self.send(200, body, SIZE)
        self.server.released.wait(10)

    def answer_no_part_asked_for(self):
        self.send(206, CONTENT[:HALF], Content_Range=f"bytes 9-{HALF + 8}/{SIZE}")

    def answer_slow(self):
        time.sleep(0.3)
        self.send(200, CONTENT)

    def answer_other(self):
        self.answer_ranges(CONTENT[::-1])

    def answer_longer(self):
        self.send(200, CONTENT + b"more")

    def answer_missing(self):
        self.send(404, b"<html>")

    def answer_forbidden(self):
        self.send(403)

    def answer_empty(self):
        self.send(204)

    def answer_nonsense(self):
        self.wfile.write(b"hello\r\n\r\n")

    def answer_silent(self):
        self.close_connection = True

    def answer_moved(self):
        self.send(302, b"over there", Location="/ranges")

    def answer_to_ftp(self):
        self.send(302, b"over there", Location="ftp://127.0.0.1/file")

    def answer_to_file(self):
        self.send(302, b"over there", Location="file:///etc/hostname")

    def answer_round(self):
        self.send(302, b"over there", Location="/round")


@contextlib.contextmanager
def serving(handler):
    """A server whose answers `handler` gives; its address is `http://127.0.0.1:{server_port}/`."""
    with QuietServer(("127.0.0.1", 0), handler) as server:
        server.asked, server.released = [], threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()
