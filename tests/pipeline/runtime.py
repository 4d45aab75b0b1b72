"""Lambda on this machine: a function's own bootstrap, and the runtime API that it asks for events.

    function = Function(folder, name="crimes", seconds=60, log=path)
    answer = function.invoke(event)     bytes to bytes; FunctionFailed says why there is no answer
    function.close()

A folder is what a function's zip unpacks to. As in the service, a process is started for the first
event and kept for the next ones; one that dies, or does not answer in time, is replaced. One event
at a time. Everything is on 127.0.0.1, on a port that the kernel picks.
"""

import http.server
import json
import os
import pathlib
import queue
import re
import subprocess
import threading
import time
import uuid

# What a synchronous call may carry each way.
PAYLOAD_BYTES_MAX = 6 * 1024 * 1024
ROOT = "/2018-06-01/runtime"


class FunctionFailed(Exception):
    """No answer. kind as Lambda names it; the process may be good for the next event."""

    def __init__(self, kind, message):
        super().__init__(f"{kind}: {message}")
        self.kind, self.message = kind, message


class Died(FunctionFailed):
    """No answer, and the process is of no use any more."""


class Api(http.server.ThreadingHTTPServer):
    """The runtime API for one process."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.events = queue.Queue()  # (id, deadline in ms, payload); None: no more
        self.answers = queue.Queue()  # (id, payload, None) or (id, None, a failure)
        self.current = None
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.events.put(None)
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        pass  # a process that was killed leaves its connection


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def error(self, status, kind):
        self.reply(status, json.dumps({"errorMessage": kind, "errorType": kind}).encode())

    def do_GET(self):
        if self.path != f"{ROOT}/invocation/next":
            self.error(404, "NotFound")
            return
        event = self.server.events.get()
        if event is None:
            self.close_connection = True
            return
        request_id, deadline_ms, payload = event
        self.server.current = request_id
        headers = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:local",
            "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
        }
        self.reply(200, payload, headers.items())

    def do_POST(self):
        length = self.headers.get("Content-Length")
        if length is None:
            self.error(411, "LengthRequired")
            return
        body = self.rfile.read(int(length))
        if self.path == f"{ROOT}/init/error":
            self.server.answers.put((None, None, Died(*self.why(body))))
            self.reply(202, b'{"status":"OK"}')
            return
        found = re.fullmatch(rf"{ROOT}/invocation/([^/]+)/(response|error)", self.path)
        if found is None:
            self.error(404, "NotFound")
        elif found[1] != self.server.current:
            self.error(400, "InvalidRequestID")
        elif found[2] == "response" and len(body) > PAYLOAD_BYTES_MAX:
            message = f"Response payload size exceeded maximum allowed payload size ({PAYLOAD_BYTES_MAX} bytes)."
            failure = FunctionFailed("Function.ResponseSizeTooLarge", message)
            self.server.answers.put((found[1], None, failure))
            self.error(413, "RequestEntityTooLarge")
        else:
            failure = FunctionFailed(*self.why(body)) if found[2] == "error" else None
            self.server.answers.put((found[1], body, failure))
            self.reply(202, b'{"status":"OK"}')

    def why(self, body):
        try:
            told = json.loads(body)
            return str(told["errorType"]), str(told["errorMessage"])
        except (ValueError, KeyError, TypeError):
            return self.headers.get("Lambda-Runtime-Function-Error-Type", "Unknown"), repr(body[:200])


class Environment:
    """A process of the function, with its API."""

    def __init__(self, folder, name, log):
        self.api = Api()
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG") or k.endswith("SAN_OPTIONS")}
        given = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.api.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_REGION": "us-east-1",
            "LAMBDA_TASK_ROOT": str(folder),
            "_HANDLER": "bootstrap",
            "TZ": ":UTC",
        }
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                [str(folder / "bootstrap")],
                cwd=folder,
                env={**kept, **given},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def invoke(self, payload, seconds):
        request_id = str(uuid.uuid4())
        deadline = time.monotonic() + seconds
        self.api.events.put((request_id, int((time.time() + seconds) * 1000), payload))
        while True:
            try:
                answered, body, failure = self.api.answers.get(timeout=0.02)
            except queue.Empty:
                if self.process.poll() is not None and self.api.answers.empty():
                    status = self.process.returncode
                    raise Died("Runtime.ExitError", f"Runtime exited with status {status}") from None
                if time.monotonic() > deadline:
                    raise Died("Sandbox.Timedout", f"Task timed out after {seconds} seconds") from None
                continue
            if failure is not None:
                raise failure
            if answered == request_id:
                return body

    def close(self):
        self.process.kill()
        self.process.wait()
        self.api.close()


class Function:
    def __init__(self, folder, name, seconds, log):
        self.folder, self.name, self.seconds, self.log = pathlib.Path(folder), name, seconds, log
        self.environment = None
        self.starts = 0

    def invoke(self, payload):
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise FunctionFailed("RequestTooLargeException", f"{len(payload)} bytes")
        if self.environment is None:
            self.environment = Environment(self.folder, self.name, self.log)
            self.starts += 1
        try:
            return self.environment.invoke(payload, self.seconds)
        except Died:
            self.close()
            raise

    def close(self):
        if self.environment is not None:
            self.environment.close()
            self.environment = None
