"""The Hub on a socket, with a log of its requests and with failures on demand."""

import contextlib
import re
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.loopback_hub.api import Answer, Api, Request

Which = str | Callable[[str, str], bool]


@dataclass
class _Trouble:
    """A failure that waits for its request."""

    which: Which
    times: int | None
    answer: Answer | None = None
    after_bytes: int = 0

    def meets(self, method: str, target: str) -> bool:
        if self.times == 0:
            return False
        if callable(self.which):
            return self.which(method, target)
        return re.search(self.which, f"{method} {target}") is not None


class LoopbackHub(Api):
    """A Hub on 127.0.0.1. Use as a context manager.

    By default the token "hf_ash" is ash's and "hf_misty" misty's. See `Api` for the other attributes; `repository` and
    `create` look at the repositories without a client.

    Attributes:
        endpoint: The URL for HF_ENDPOINT.
        requests: (method, path with its query) of every request, failed or not.
    """

    def __init__(self, tokens: dict[str, str] | None = None, namespaces: dict[str, set[str]] | None = None):
        super().__init__(tokens, namespaces)
        self.requests: list[tuple[str, str]] = []
        self._troubles: list[_Trouble] = []
        self._lock = threading.Lock()
        self._crashes: list[str] = []
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "LoopbackHub":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        if kind is None and self._crashes:
            raise AssertionError("The loopback Hub crashed:\n" + "\n".join(self._crashes))

    def fail(
        self,
        which: Which,
        status: int = 500,
        times: int | None = 1,
        headers: dict[str, str] | None = None,
        body: dict | None = None,
    ) -> None:
        """Answers requests with an error, whatever they ask for. Nothing else comes of them.

        Args:
            which: A regular expression looked for in "METHOD /path?query", or a function of the method and the path.
            status: For example 401, 403, 404, 409, 429 or 500.
            times: For how many requests; None for all.
            headers: For example {"Retry-After": "1"} or {"X-Error-Code": "RepoNotFound"}.
            body: The JSON; None for one with an error.
        """
        body = {"error": "made to fail"} if body is None else body
        self._troubles.append(_Trouble(which, times, Answer(status, body, headers or {})))

    def cut(self, which: Which, after_bytes: int = 0, times: int | None = 1) -> None:
        """Breaks the connection in the middle of requests.

        Args:
            which: As for `fail`.
            after_bytes: How much arrives: of the request's body if it has one, and then nothing comes of it; else of
                the answer's body.
            times: For how many requests; None for all.
        """
        self._troubles.append(_Trouble(which, times, after_bytes=after_bytes))

    def heal(self) -> None:
        """No more failures."""
        self._troubles.clear()

    def asked(self, which: Which) -> list[tuple[str, str]]:
        """The requests so far that `which`, as for `fail`, means."""
        wanted = _Trouble(which, None)
        return [request for request in list(self.requests) if wanted.meets(*request)]

    def _note(self, method: str, target: str) -> _Trouble | None:
        """Logs a request, and says what trouble it meets."""
        with self._lock:
            self.requests.append((method, target))
            met = next((trouble for trouble in self._troubles if trouble.meets(method, target)), None)
            if met and met.times is not None:
                met.times -= 1
            return met

    def _respond(self, request: Request) -> Answer:
        with self._lock:  # so that every commit sees the ones before it, and nobody half of one
            try:
                return self.answer(request)
            except Exception:
                # A mistake in the Hub or a request that no client sends: not one of the failures that a test means.
                self._crashes.append(f"{request.method} {request.target}\n{traceback.format_exc()}")
                return Answer(500, {"error": "the loopback Hub crashed"})


class _Server(ThreadingHTTPServer):
    def __init__(self, *arguments: object):
        super().__init__(*arguments)
        self._connections: set[socket.socket] = set()

    def process_request(self, request: socket.socket, *address: object) -> None:
        self._connections.add(request)
        super().process_request(request, *address)

    def shutdown_request(self, request: socket.socket) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Also ends the connections that clients keep open, which would be answered for ever."""
        super().server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        # A client that goes away in the middle is part of what is tested.
        if not isinstance(sys.exception(), ConnectionError):
            traceback.print_exc()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the headers and the body are two packets
    hub: LoopbackHub

    def log_message(self, *_: object) -> None:
        pass

    def serve(self) -> None:
        trouble = self.hub._note(self.command, self.path)
        cut = trouble is not None and trouble.answer is None
        size = int(self.headers.get("Content-Length") or 0)
        if cut and size:
            self.rfile.read(min(trouble.after_bytes, size))
            self.close_connection = True
            return
        request = Request(
            self.command,
            self.path,
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(size),
        )
        if len(request.body) < size:  # the client broke it off
            self.close_connection = True
            return
        answer = trouble.answer if trouble and trouble.answer else self.hub._respond(request)
        content = answer.content
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: trouble.after_bytes] if cut else content)
        self.close_connection = self.close_connection or cut

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve
