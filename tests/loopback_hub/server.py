"""The Hub on a socket, with a log of its requests and failures on demand."""

import re
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.loopback_hub.api import Answer, Api, Request


@dataclass
class _Rule:
    """What happens to requests that match; `times` of them, None for all."""

    which: str
    times: int | None
    answer: Answer | None = None
    after_bytes: int | None = None
    action: Callable[[], object] | None = None


class LoopbackHub(Api):
    """A Hub on 127.0.0.1, used as a context manager. Requests are selected by a regular expression, `which`, that is
    searched in "METHOD /path?query".

    Attributes:
        endpoint: The URL for HF_ENDPOINT.
        requests: "METHOD /path?query" of every request.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[str] = []
        self.is_running = True
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._crashes: list[str] = []
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "LoopbackHub":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop()
        if kind is None and self._crashes:
            raise AssertionError("The loopback Hub crashed:\n" + "\n".join(self._crashes))

    def stop(self) -> None:
        """Refuses connections from now on."""
        self.is_running = False  # also for connections that clients keep open
        self._server.shutdown()
        self._server.server_close()

    def fail(
        self, which: str, status: int, times: int | None = None, headers: dict | None = None, body: dict | None = None
    ) -> None:
        """Answers requests with an error; they have no effect."""
        self._rules.append(_Rule(which, times, Answer(status, body or {"error": "made to fail"}, headers or {})))

    def cut(self, which: str, after_bytes: int = 0, times: int | None = 1) -> None:
        """Breaks the connection after so many bytes of a request's body, which then has no effect; if it has no body,
        after so many bytes of the answer's.
        """
        self._rules.append(_Rule(which, times, after_bytes=after_bytes))

    def meanwhile(self, which: str, action: Callable[[], object], answer: Answer | None = None) -> None:
        """Calls `action` once, after a request has had its effect and before it is answered, perhaps with `answer`."""
        self._rules.append(_Rule(which, 1, answer, action=action))

    def heal(self) -> None:
        """No more failures."""
        self._rules.clear()

    def asked(self, which: str) -> list[str]:
        """The requests until now that match."""
        return [request for request in self.requests if re.search(which, request)]

    def rule_for(self, request: str) -> _Rule:
        """Logs a request and says what happens to it."""
        with self._lock:
            self.requests.append(request)
            for rule in self._rules:
                if rule.times != 0 and re.search(rule.which, request):
                    rule.times = rule.times and rule.times - 1
                    return rule
            return _Rule("", None)

    def respond(self, request: Request) -> Answer:
        with self._lock:
            try:
                return self.answer(request)
            except Exception:  # a mistake in the loopback Hub, or a request that no client sends
                self._crashes.append(f"{request.method} {request.target}\n{traceback.format_exc()}")
                return Answer(500, {"error": "the loopback Hub crashed"})


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # those belong to the tests
            traceback.print_exc()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two packets
    hub: LoopbackHub

    def log_message(self, *_: object) -> None:
        pass

    def serve(self) -> None:
        self.close_connection = True
        if not self.hub.is_running:
            return
        rule = self.hub.rule_for(f"{self.command} {self.path}")
        cut, size = rule.after_bytes, int(self.headers.get("Content-Length") or 0)
        if cut is not None and size:
            self.rfile.read(min(cut, size))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self.rfile.read(size))
        if len(request.body) < size:  # the client has gone
            return
        answer = rule.answer
        if rule.action or not answer:
            answer = self.hub.respond(request)
        if rule.action:
            rule.action()
            answer = rule.answer or answer
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content[:cut])
        self.close_connection = cut is not None

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve
