"""A scripted server for tests of the life cycle: three endpoints and one child process.

Takes vLLM's ``--port`` and ``--served-model-name`` and ignores its other flags.
FAKE_MODE: ``ok``; ``die`` (print 30 lines, exit 3); ``silent`` (never a token);
``stubborn`` (both processes ignore SIGTERM); ``stuck`` (a token only at first);
``mortal`` (killed at its third chat request); ``slow`` (no chat reply within a minute).
Every chat request is answered with "7".
FAKE_TRACE: a file that gets one line ``pid child_pid`` per start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler

from scripted import Many, says

MODE = os.environ.get("FAKE_MODE", "ok")
NAME = sys.argv[sys.argv.index("--served-model-name") + 1]
PORT = int(sys.argv[sys.argv.index("--port") + 1])
CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
answered = chats = 0


class Handler(BaseHTTPRequestHandler):
    def reply(self, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.reply({"data": [{"id": NAME}]})

    def do_POST(self) -> None:
        global answered, chats
        if self.path.endswith("/chat/completions"):
            self.rfile.read(int(self.headers["Content-Length"]))
            chats += 1
            if MODE == "mortal" and chats == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            if MODE == "slow":
                time.sleep(60)
            return self.reply(says("7", tokens={"7": 1.0}))
        answered += 1
        if MODE == "silent" or (MODE == "stuck" and answered > 1):
            time.sleep(600)
        self.reply({"choices": [{"text": "1"}]})

    def log_message(self, *_: object) -> None:
        pass


if MODE == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
# The child outlives SIGTERM like an engine that is busy: only a kill of the group ends it.
child = subprocess.Popen([sys.executable, "-c", CHILD])
with open(os.environ["FAKE_TRACE"], "a") as trace:
    trace.write(f"{os.getpid()} {child.pid}\n")
if MODE == "die":
    for number in range(30):
        print(f"log line {number}", flush=True)
    sys.exit(3)
Many(("127.0.0.1", PORT), Handler).serve_forever()
