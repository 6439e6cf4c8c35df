"""A loopback S3 that fails when it is told to."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PATIENCE = 60.0


class Gate:
    """A server between dgmm and S3, which answers 500 while it is shut, or refuses connections once it is closed."""

    def __init__(self, address):
        self.shut, self.refused, gate = False, threading.Event(), self
        self.left, self.status = None, 500

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if gate.shut and gate.left != 0:
                    gate.left = None if gate.left is None else gate.left - 1
                    gate.refused.set()
                    self.answer(gate.status, [], b"")
                    return
                connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE)
                try:
                    connection.request(self.command, self.path, body, dict(self.headers))
                    found = connection.getresponse()
                    self.answer(found.status, found.getheaders(), found.read())
                finally:
                    connection.close()

            def answer(self, status, headers, body):
                self.send_response_only(status)
                lengths = ("content-length", "transfer-encoding", "connection")
                for name, value in [item for item in headers if item[0].lower() not in lengths]:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")  # so that nobody is served once the gate is closed
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else body)

            def log_message(self, *arguments):
                pass

            do_GET = do_PUT = do_DELETE = do_HEAD = do_POST = forward  # noqa: N815

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = "http://{}:{}".format(*self.server.server_address)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def fail(self, times=None, status=500):
        """Answer with a failure: so many times, or from now on."""
        self.left, self.status, self.shut = times, status, True

    def open_once_refused(self):
        assert self.refused.wait(PATIENCE)
        self.shut = False

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(PATIENCE)
