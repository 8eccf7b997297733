"""Requests as a client makes them, each of which knows who answered it. Standard library only; run by path.

It runs in a node's network, with the files of the host.

Usage: traffic.py '{"dns": 200, "http": 20, "timeout": 1.0, "seconds": 60, "targets": {…}}'

One line of JSON on standard output every 50 ms: ``[[sent, stream, who, took], …]``; ``sent`` is CLOCK_MONOTONIC, which
all network namespaces share; ``who`` is the node that answered, or null with the reason for a request that was lost.
"""

from __future__ import annotations

import errno
import heapq
import json
import os
import re
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

FLOWS = 32
"""Source ports for each stream of DNS requests: ECMP sorts by flow."""

EVERY = 0.05
MAX_OUTSTANDING = 5000
"""Bound on open requests. A request beyond it is recorded as lost: nobody answers, and memory is finite."""

MAX_ANSWER = 65536

HELD_UP = 0.1
"""A client that looks later than this after a request's timeout was held up: the answer may lie there. Seconds."""

_QUESTION = b"\x06whoami\x07example\x00" + struct.pack("!HH", 16, 1)  # TXT IN


def query(number: int) -> bytes:
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + _QUESTION


def who_of_dns(data: bytes) -> tuple[int, str | None]:
    """(the request's number, the name in the first TXT answer); None for an answer without it. ValueError: not DNS."""
    if len(data) < 12:
        raise ValueError("short")
    number, flags, _, answers, _, _ = struct.unpack_from("!HHHHHH", data)
    if flags & 0x000F or not answers:
        return number, None
    at = 12 + len(_QUESTION)
    at += 2 if data[at] & 0xC0 else len(_QUESTION) - 4  # the owner: a pointer, or the name again
    length = data[at + 10]  # after type, class, TTL and the record's length: the text's
    return number, data[at + 11 : at + 11 + length].decode("ascii", "replace")


def who_of_http(data: bytes) -> tuple[str, str]:
    """(the fault of the answer, its body)."""
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length: *(\d+)", head)
    if head.split(b" ")[1:2] != [b"200"] or len(data) > MAX_ANSWER:
        return "wrong answer", ""
    if length and len(body) < int(length[1]):
        return "cut short", ""
    return "", body.decode("ascii", "replace").strip()


class Stream:
    """Requests of one protocol and family at an even rate."""

    def __init__(self, traffic: Traffic, name: str, address: str, rate: float, timeout: float) -> None:
        self.traffic, self.name, self.address, self.timeout = traffic, name, address, timeout
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.gap = 1 / rate
        self.due = 0.0
        """When the next request goes out."""

    def send(self, now: float) -> None:
        raise NotImplementedError


class Dns(Stream):
    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.number = 0
        self.waiting: dict[int, float] = {}
        self.sockets = []
        for _ in range(FLOWS):
            sock = socket.socket(self.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self.traffic.selector.register(sock, selectors.EVENT_READ, self.readable)
            self.sockets.append(sock)

    def send(self, now: float) -> None:
        self.number = (self.number + 1) % 65536
        number = self.number
        try:
            # Not connected: an ICMP error for one request is not another's answer.
            self.sockets[number % FLOWS].sendto(query(number), (self.address, 53))
        except OSError as error:
            self.traffic.lost(now, self, errno.errorcode.get(error.errno or 0, "error"))
            return
        self.waiting[number] = now
        self.traffic.within(self.timeout, lambda: self.give_up(number, now))

    def give_up(self, number: int, sent: float) -> None:
        if self.waiting.get(number) == sent:
            del self.waiting[number]
            self.traffic.lost(sent, self, "timeout")

    def readable(self, sock: socket.socket, _: int) -> None:
        try:
            while True:
                number, who = who_of_dns(sock.recv(4096))
                sent = self.waiting.pop(number, None)
                if sent is not None:
                    self.traffic.answered(sent, self, who)
        except (BlockingIOError, ValueError, IndexError):
            pass
        except OSError:
            pass  # an ICMP error: the request's own time will tell


class Http(Stream):
    """A connection for each request: users lose the requests that are in flight when a path moves."""

    def send(self, now: float) -> None:
        try:
            sock = socket.socket(self.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:  # so many wait already
            self.traffic.lost(now, self, errno.errorcode.get(error.errno or 0, "error"))
            return
        code = sock.connect_ex((self.address, 80))
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            self.traffic.lost(now, self, errno.errorcode.get(code, "error"))
            return
        state: dict[str, Any] = {"sent": now, "data": b"", "open": True}
        self.traffic.selector.register(sock, selectors.EVENT_WRITE, lambda s, events: self.step(s, events, state))
        self.traffic.within(self.timeout, lambda: self.end(sock, state, "timeout"))

    def step(self, sock: socket.socket, events: int, state: dict[str, Any]) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                sock.send(b"GET / HTTP/1.0\r\nHost: www.example\r\nConnection: close\r\n\r\n")
                self.traffic.selector.modify(sock, selectors.EVENT_READ, self.traffic.selector.get_key(sock).data)
                return
            data = sock.recv(4096)
            state["data"] += data
            if not data or len(state["data"]) > MAX_ANSWER:
                self.end(sock, state, *who_of_http(state["data"]))
        except BlockingIOError:
            pass
        except OSError as error:
            self.end(sock, state, errno.errorcode.get(error.errno or 0, "error"))

    def end(self, sock: socket.socket, state: dict[str, Any], problem: str, who: str = "") -> None:
        if state["open"]:
            state["open"] = False
            self.traffic.selector.unregister(sock)
            sock.close()
            if problem:
                self.traffic.lost(state["sent"], self, problem)
            else:
                self.traffic.answered(state["sent"], self, who)


class Traffic:
    def __init__(self, orders: dict[str, Any]) -> None:
        self.selector = selectors.DefaultSelector()
        self.records: list[list[Any]] = []
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.outstanding = 0
        self.streams = [
            kind(self, f"{name} {family}", orders["targets"][f"{name} {family}"], orders[name], orders["timeout"])
            for name, kind in (("dns", Dns), ("http", Http))
            for family in ("IPv4", "IPv6")
            if orders[name]
        ]
        self.start = time.monotonic()
        self.until = self.start + float(orders["seconds"])

    def later(self, at: float, what: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.timers, (at, self.count, what))

    def within(self, timeout: float, give_up: Callable[[], None]) -> None:
        """Give up after that time; where we are held up ourselves, after that time once more."""
        due = time.monotonic() + timeout

        def expire() -> None:
            now = time.monotonic()
            if now - due > HELD_UP:
                self.later(now + timeout, give_up)
            else:
                give_up()

        self.later(due, expire)

    def answered(self, sent: float, stream: Stream, who: str | None) -> None:
        if who:
            self.outstanding -= 1
            self.records.append([round(sent, 5), stream.name, who, round(time.monotonic() - sent, 5)])
        else:
            self.lost(sent, stream, "wrong answer")

    def lost(self, sent: float, stream: Stream, why: str) -> None:
        self.outstanding -= 1
        self.records.append([round(sent, 5), stream.name, None, why])

    def begin(self, stream: Stream) -> None:
        if stream.due < self.until:
            now = time.monotonic()
            self.outstanding += 1
            if self.outstanding > MAX_OUTSTANDING:
                self.lost(now, stream, "not sent")
            else:
                stream.send(now)
            stream.due += stream.gap
            self.later(stream.due, partial(self.begin, stream))

    def _over(self) -> bool:
        """Every request was sent and is answered or lost, also one that was due while the machine held us up."""
        asked = time.monotonic() >= self.until and all(stream.due >= self.until for stream in self.streams)
        return asked and not self.outstanding

    def flush(self) -> None:
        if self.records:
            line = (json.dumps(self.records, separators=(",", ":")) + "\n").encode()
            self.records = []
            while line:  # a signal may come while a pipe is full
                line = line[os.write(1, line) :]

    def stop(self) -> None:
        """Send no more. Answers to open requests are still awaited."""
        self.until = 0.0

    def run(self) -> None:
        for number, stream in enumerate(self.streams):
            stream.due = self.start + number * stream.gap / len(self.streams)
            self.later(stream.due, partial(self.begin, stream))
        flushed = self.start
        while not self._over():
            now = time.monotonic()
            while self.timers and self.timers[0][0] <= now:
                heapq.heappop(self.timers)[2]()
            if now - flushed >= EVERY:
                self.flush()
                flushed = now
            wait = max(0.0, min(self.timers[0][0] - time.monotonic(), EVERY)) if self.timers else EVERY
            for key, events in self.selector.select(wait):
                key.data(key.fileobj, events)
        self.flush()


if __name__ == "__main__":
    try:
        traffic = Traffic(json.loads(sys.argv[1]))
        signal.signal(signal.SIGTERM, lambda *_: traffic.stop())
        traffic.run()
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(0)  # nobody asks any more
