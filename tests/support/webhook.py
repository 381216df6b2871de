"""webhook.py - a receiver of notifications that records what it was sent, and can be told to refuse or to hang"""
import http.server
import json
import threading

HANG_MAX_S = 60
SLOW_S = 0.3


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A notifier that is killed resets its connections."""


class Receiver:
    """Listens on 127.0.0.1; receipts are (key, body, status) in the order of arrival."""

    def __init__(self):
        self.receipts = []
        self.mode = "accept"  # or "refuse" (500), "hang" (no answer until released), "slow", "down" (nobody listens)
        self.changed = threading.Condition()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                status = receiver.take(self.headers.get("Idempotency-Key"), body)
                if status is None:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.handler = Handler
        self.listen(0)
        self.url = "http://127.0.0.1:%d/hook" % self.server.server_address[1]

    def listen(self, port):
        self.server = Server(("127.0.0.1", port), self.handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def unlisten(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def take(self, key, body):
        with self.changed:
            mode = self.mode
            if mode == "slow":
                self.changed.wait_for(lambda: self.mode != "slow", SLOW_S)
            status = {"accept": 200, "slow": 200, "refuse": 500, "hang": None, "down": None}[mode]
            try:
                body = json.loads(body)
            except ValueError:
                body = body.decode("utf-8", "replace")
            self.receipts.append((key, body, status))
            self.changed.notify_all()
            if mode == "hang":
                self.changed.wait_for(lambda: self.mode != "hang", HANG_MAX_S)
        return status

    def set_mode(self, mode):
        with self.changed:
            was, self.mode = self.mode, mode
            self.changed.notify_all()
        if mode == "down" and was != "down":
            self.unlisten()
        if was == "down" and mode != "down":
            self.listen(self.server.server_address[1])

    def forget(self):
        """What was checked already."""
        with self.changed:
            self.receipts.clear()

    def accepted(self):
        """Of each key that was answered 200: its body, as first received."""
        with self.changed:
            result = {}
            for key, body, status in self.receipts:
                if status == 200:
                    result.setdefault(key, body)
            return result

    def wait_for(self, predicate, seconds, what):
        with self.changed:
            if not self.changed.wait_for(lambda: predicate(self.receipts), seconds):
                raise AssertionError("no %s at the webhook within %g s; it received %d: %r" % (
                    what, seconds, len(self.receipts), self.receipts[-5:]))

    def close(self):
        self.set_mode("accept")
        self.unlisten()
