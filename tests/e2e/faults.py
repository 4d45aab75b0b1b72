"""What can go wrong with a request, one class each. A Fault is given to the fake Kinesis, which asks
it at each moment in the life of a PutRecords request.

    fake.faults += [Status(500), None, DropAfterStoring()]     for the next three requests
    fake.fault = Entries(share=0.1)                            for all others
"""

import json
import random
import threading


class Refusal(Exception):
    """An answer with an error code; `blame` says that the client broke a rule of the service."""

    def __init__(self, status, code, message="", blame=True):
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message, self.blame = status, code, message, blame


class Hangup(Exception):
    """The connection ends here, without another byte."""


class Fault:
    """Does nothing. Each hook belongs to one moment in the life of a request."""

    def arrive(self, request):
        """The headers were read, the body was not."""

    def refuse(self, request):
        """The request is valid, nothing is stored yet: raise Refusal or Hangup."""

    def entry(self, request, index, data, key):
        """The error code for one record, or None to store it."""

    def answer(self, request, status, body):
        """What was asked is done: the (status, bytes) to send, or Hangup."""
        return status, body


class DropBeforeReading(Fault):
    def arrive(self, request):
        raise Hangup


class DropBeforeStoring(Fault):
    def refuse(self, request):
        raise Hangup


class DropAfterStoring(Fault):
    def answer(self, request, status, body):
        raise Hangup


class Status(Fault):
    """An answer such as a proxy or a sick server gives: a status and a body that is not JSON."""

    def __init__(self, status, body=b"<html>no</html>"):
        self.status, self.body = status, body

    def refuse(self, request):
        raise Refusal(self.status, None, self.body, blame=False)


class Error(Fault):
    """The whole request is refused with an error code."""

    def __init__(self, code, status=400, message="as scripted"):
        self.code, self.status, self.message = code, status, message

    def refuse(self, request):
        raise Refusal(self.status, self.code, self.message, blame=False)


class Poison(Error):
    """Refuses every request that holds a record with `marker` in it."""

    def __init__(self, marker, code="InvalidArgumentException", status=400):
        super().__init__(code, status)
        self.marker = marker

    def refuse(self, request):
        if any(self.marker in data for data, _ in request.records):
            super().refuse(request)


class TooManyRecords(Error):
    """413 for a request of more than `most` records."""

    def __init__(self, most):
        super().__init__("RequestEntityTooLargeException", 413)
        self.most = most

    def refuse(self, request):
        if len(request.records) > self.most:
            super().refuse(request)


class Entries(Fault):
    """Refuses single records: a share of them by lot, or those for which `match(data)` is true."""

    def __init__(
        self, code="ProvisionedThroughputExceededException", share=1.0, seed=0, match=None
    ):
        self.code, self.share, self.match = code, share, match
        self.random = random.Random(seed)

    def entry(self, request, index, data, key):
        if self.match is not None and not self.match(data):
            return None
        return self.code if self.random.random() < self.share else None


class Slow(Fault):
    """Answers after `seconds`, or when the server is stopped."""

    def __init__(self, seconds):
        self.seconds = seconds

    def answer(self, request, status, body):
        request.connection.fake.stopping.wait(self.seconds)
        return status, body


class SlowLink(Fault):
    """One link for all: a request takes its bytes / `rate` seconds to arrive. It does so also when the
    client has given it up: it is in the buffers of the network."""

    def __init__(self, rate):
        self.rate, self.lock = rate, threading.Lock()

    def arrive(self, request):
        with self.lock:
            seconds = int(request.headers["content-length"]) / self.rate
            request.connection.fake.stopping.wait(seconds)


class NotJson(Fault):
    def answer(self, request, status, body):
        return 200, b"<html>this is not the service you are looking for</html>"


class CutJson(Fault):
    """Half of the answer, under a content length that says it is whole."""

    def answer(self, request, status, body):
        return status, body[: len(body) // 2]


class CutConnection(Fault):
    """The headers promise the whole answer; half of it comes, then the connection ends."""

    def answer(self, request, status, body):
        request.connection.send_head(status, len(body))
        request.connection.send(body[: len(body) // 2])
        raise Hangup


class TooFewEntries(Fault):
    def answer(self, request, status, body):
        reply = json.loads(body)
        reply["Records"] = reply["Records"][:-1]
        return status, json.dumps(reply).encode()


class Empty(Fault):
    def answer(self, request, status, body):
        return 200, b""


class Pretty(Fault):
    """The same answer in another spelling: blanks, another order, members not known today."""

    def answer(self, request, status, body):
        reply = json.loads(body)
        records = [
            dict(reversed(list(r.items())), Future={"a": [1, None]}) for r in reply["Records"]
        ]
        reply = {
            "EncryptionType": "KMS",
            "Records": records,
            "More": "ErrorCode",
            "FailedRecordCount": reply["FailedRecordCount"],
        }
        return status, json.dumps(reply, indent=2).encode()
