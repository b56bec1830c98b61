"""A Hub on 127.0.0.1 that takes pushes: just enough of its HTTP API for `create_repo` and `upload_folder`."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SHA = "0" * 40


class LoopbackHub:
    """Use as a context manager.

    Attributes:
        endpoint: The URL for HF_ENDPOINT.
        files: Path in the repository -> content, after the commits so far.
        repositories: Full ids of the repositories created.
        refuse: Status to answer `create_repo` with; 0 to let it pass.
    """

    def __init__(self, refuse: int = 0):
        self.files: dict[str, bytes] = {}
        self.repositories: list[str] = []
        self.refuse = refuse
        self._uploads: dict[str, bytes] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def answer(self, status: int, body: dict | None = None) -> None:
                content = json.dumps(body or {}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def body(self) -> bytes:
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def do_GET(self) -> None:
                if self.path.startswith("/api/models/"):
                    return self.answer(200, {"id": hub.repositories[-1], "sha": SHA, "siblings": []})
                return self.answer(404, {"error": "not found"})

            def do_HEAD(self) -> None:
                self.answer(404)

            def do_PUT(self) -> None:
                hub._uploads[self.path.removeprefix("/lfs/")] = self.body()
                self.answer(200)

            def do_POST(self) -> None:
                body = self.body()
                if self.path == "/api/repos/create":
                    return self.create(json.loads(body))
                if "/preupload/" in self.path:
                    return self.preupload(json.loads(body))
                if self.path.endswith("/info/lfs/objects/batch"):
                    return self.batch(json.loads(body))
                if "/commit/" in self.path:
                    return self.commit(body)
                return self.answer(200, {"errors": [], "warnings": []})  # validate-yaml

            def create(self, wanted: dict) -> None:
                if hub.refuse:
                    return self.answer(hub.refuse, {"error": "no right to write here"})
                name = f"{wanted.get('organization') or 'ash'}/{wanted['name']}"
                hub.repositories.append(name)
                return self.answer(200, {"url": f"{hub.endpoint}/{name}", "id": name})

            def preupload(self, wanted: dict) -> None:
                modes = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                        "shouldIgnore": False,
                    }
                    for file in wanted["files"]
                ]
                self.answer(200, {"files": modes})

            def batch(self, wanted: dict) -> None:
                objects = [
                    {**item, "actions": {"upload": {"href": f"{hub.endpoint}/lfs/{item['oid']}"}}}
                    for item in wanted["objects"]
                ]
                self.answer(200, {"transfer": "basic", "objects": objects})

            def commit(self, body: bytes) -> None:
                for line in body.decode().splitlines():
                    entry = json.loads(line)
                    value = entry["value"]
                    if entry["key"] == "file":
                        hub.files[value["path"]] = base64.b64decode(value["content"])
                    elif entry["key"] == "lfsFile":
                        content = hub._uploads[value["oid"]]
                        assert hashlib.sha256(content).hexdigest() == value["oid"]
                        hub.files[value["path"]] = content
                self.answer(
                    200, {"commitUrl": f"{hub.endpoint}/{hub.repositories[-1]}/commit/{SHA}", "commitOid": SHA}
                )

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "LoopbackHub":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
