# SPDX-License-Identifier: Apache-2.0
"""
Serve the `handler.py` of a folder as huggingface-inference-toolkit does: `python -I endpoint_server.py FOLDER`.

The toolkit loads the file by its path, hands it the body of a POST as a dict, adds the parameters of the address, and
answers every exception with status 400 and `{"error": message}`. The first line that is printed is the port.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

# Where the project is installed, an endpoint's process is not to find it.
sys.modules["modeling_stacked_emotion"] = sys.modules["hub"] = None  # type: ignore[assignment]


def load_handler(folder: str) -> Any:
    spec = importlib.util.spec_from_file_location("handler", f"{folder}/handler.py")
    assert spec is not None
    assert spec.loader is not None
    sys.path.insert(0, folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules["handler"] = module
    spec.loader.exec_module(module)
    return module.EndpointHandler(folder)


class Server(BaseHTTPRequestHandler):
    endpoint: Any

    def do_POST(self) -> None:
        status, answer = self.predict(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(answer, allow_nan=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def predict(self, content: bytes) -> tuple[int, Any]:
        try:
            body = json.loads(content)
            if "inputs" not in body:
                raise ValueError(f"Body needs to provide a inputs key, recieved: {json.dumps(body)}")
            query = dict(parse_qsl(urlsplit(self.path).query))
            if query and "parameters" not in body:
                words = {"true": True, "false": False}
                body["parameters"] = {
                    key: int(value) if value.isnumeric() else words.get(value, value) for key, value in query.items()
                }
            return 200, self.endpoint(body)
        except Exception as error:
            return 400, {"error": str(error)}

    def log_message(self, *args: Any) -> None:
        pass


if __name__ == "__main__":
    Server.endpoint = load_handler(sys.argv[1])
    server = HTTPServer(("127.0.0.1", 0), Server)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
