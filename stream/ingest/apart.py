"""A process of its own that takes the observations: it hears them, opens and checks them, and says what was stored.

::

    MQTT -> Inbox -> Load -- Delivery --> stream: appends, then -- Stored --> acknowledges to device and broker

So the stream's own interpreter only decides. It is for a log that one worker reads; of several workers, each takes its
share by itself. The process ends when the stream does, however that ends; when it ends by itself, it is started again,
and what was on its way comes again from its senders, who have not been told that it is stored.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import IO, Final, NamedTuple

from models import topics
from models.link import Link
from models.messages import encode
from stream import frames
from stream.ingest.admission import Arrival, Gate
from stream.ingest.inbox import Inbox
from stream.ingest.relay import (
    DELIVERY_ITEMS,
    Admit,
    Begin,
    Delivery,
    Load,
    Stored,
    Told,
    admit,
    decode_delivery,
    decode_told,
    gate_of,
)

log = logging.getLogger(__name__)

WINDOW: Final = 4
"""Deliveries on their way: some are stored while the next is filled. The slower the disk, the more is in each."""
PACE_S: Final = 0.02
"""From one delivery to the next, but where it is full. What comes out of the blue goes at once; in steady traffic some
messages share what a delivery costs all the way to the history: a quarter of the processors at 15,000 a second."""
NEWS_S: Final = 1.0
"""The process says something of itself at least once in so long."""
SILENT: Final = 15
"""After so many times without a word it hangs, and another is started."""
RETRY_S: Final = 1.0
STOP_S: Final = 5.0


class Counted(NamedTuple):
    """What the process says of itself."""

    connected: bool = False
    dropped: int = 0
    limited: int = 0


class Apart:
    """The stream's end.

    Args:
        begin: what the process is started with.
        deliver: is given what comes, on a thread of ours, with how to answer it.
    """

    def __init__(self, begin: Begin, deliver: Callable[[Delivery, Callable[[Stored], None]], None]) -> None:
        self._begin = begin
        self._deliver = deliver
        self._admitted: Admit | None = None
        self._told: queue.SimpleQueue[Told | None] = queue.SimpleQueue()
        self._before, self._now = Counted(), Counted()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._silent = 0
        # The process dies with the thread that has started it: this one lives as long as we do.
        self._thread = threading.Thread(target=self._run, name="ingest-apart", daemon=True)

    @property
    def counted(self) -> Counted:
        """Whether the broker has taken it, and what it let go of, those before it included."""
        now, before = self._now, self._before
        return Counted(now.connected, before.dropped + now.dropped, before.limited + now.limited)

    def admit(self, gate: Gate) -> None:
        """Have it judge by `gate` from now on."""
        admitted = admit(gate)
        with self._lock:
            self._admitted = admitted
            self._told.put(admitted)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Let it end; what was not stored comes again."""
        self._stopping.set()
        with self._lock:
            self._told.put(None)
        if self._thread.is_alive():
            self._thread.join(2 * STOP_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            code = self._live()
            self._before, self._now = self.counted, Counted()
            if not self._stopping.wait(RETRY_S):
                log.error("the process that takes the observations has ended with %s; starting another", code)

    def _live(self) -> int:
        """Run the process until it ends, and return its exit code."""
        told: queue.SimpleQueue[Told | None] = queue.SimpleQueue()
        with self._lock:  # whatever is still said to the process before is not for this one
            self._told = told
            told.put(self._begin)
            if self._admitted is not None:
                told.put(self._admitted)
            if self._stopping.is_set():
                told.put(None)
        command = frames.command("stream.ingest.apart")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            self._silent = 0
            saying = threading.Thread(target=self._say, args=(child, told), name="ingest-told", daemon=True)
            saying.start()
            while (data := frames.read(child.stdout)) is not None:
                self._silent = 0
                delivery = decode_delivery(data)
                self._now = Counted(delivery.connected, delivery.dropped, delivery.limited)
                if delivery.number is not None:
                    self._deliver(delivery, told.put)
            told.put(None)
            saying.join()
            try:
                return child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                return child.wait()

    def _say(self, child: subprocess.Popen[bytes], told: queue.SimpleQueue[Told | None]) -> None:
        """Say what there is to be said until that is over, and see to it that the process is heard of."""
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            while True:
                try:
                    what = told.get(timeout=NEWS_S)
                except queue.Empty:
                    self._silent += 1  # counted, not timed: we may have been stopped ourselves
                    if self._silent > SILENT:
                        child.kill()
                    continue
                if what is None:
                    break
                frames.write(child.stdin, what)
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()


class Taker:
    """The process: the link's thread puts into the inbox, one reads what we are told, the main thread takes.

    Args:
        begin: the broker, and who we are there.
        out: where deliveries go.
    """

    def __init__(self, begin: Begin, out: IO[bytes]) -> None:
        self._begin = begin
        self._out = out
        self._gate: Gate | None = None
        self._sent: dict[int, tuple[Load, list[Callable[[], None]]]] = {}
        self._refused: deque[Arrival] = deque()
        self._count = 0
        self._next_s = 0.0
        self._news = threading.Event()
        self._ended = False
        self._inbox = Inbox(self._news.set)
        self._link = Link(
            begin.mqtt,
            begin.client_id,
            on_message=self._inbox.put,
            on_change=lambda _connected: self._news.set(),
            subscriptions=(topics.obs(begin.tenant, "+"),),
        )

    def listen(self, pipe: IO[bytes]) -> None:
        """Do what we are told until nobody tells us any more."""
        while (data := frames.read(pipe)) is not None:
            match decode_told(data):
                case Admit() as told:
                    is_first = self._gate is None
                    self._gate = gate_of(told, self._begin.tenant, self._begin.partitions)
                    if is_first:
                        self._link.start()
                case Stored() as told:
                    self._answer(told)
                case Begin():
                    pass
            self._news.set()
        self._ended = True
        self._news.set()

    def _answer(self, told: Stored) -> None:
        load, acks = self._sent.pop(told.number)
        gate = self._gate
        assert gate is not None
        self._refused += load.refused(told.refused)
        for device, reply in load.replies(told.refused):
            topic = topics.ack(gate.tenant, device)
            # Without the broker's own acknowledgement: what gets lost is said again when it is sent again.
            self._link.publish(topic, gate.keys.seal(topic, encode(reply), kid=topics.STREAM), qos=0)
        for ack in acks:
            ack()

    def run(self) -> None:
        """Take and deliver until it is over."""
        load, acks = Load(), list[Callable[[], None]]()
        told = Counted()
        while not self._ended:
            gate = self._gate
            waiting = self._inbox.take() if gate is not None and load.items < DELIVERY_ITEMS else None
            if waiting is not None and gate is not None:
                load.add(waiting.what, gate)
                acks.append(waiting.ack)
            elif self._refused:
                load.pass_on(self._refused.popleft())
            elif (pause_s := self._pause_s(load)) == 0:
                self._deliver(load, acks)
                load, acks = Load(), []
            else:
                is_idle = not self._news.wait(pause_s) and pause_s == NEWS_S
                self._news.clear()
                if told != (told := self._counted()) or is_idle:
                    self._write(Delivery(None, *told))
        self._link.stop()

    def _pause_s(self, load: Load) -> float:
        """Return how long `load` waits for more; `NEWS_S` while it is empty, or while enough is on its way."""
        if not load.items or len(self._sent) >= WINDOW:
            return NEWS_S
        return 0.0 if load.items >= DELIVERY_ITEMS else max(0.0, self._next_s - time.monotonic())

    def _deliver(self, load: Load, acks: list[Callable[[], None]]) -> None:
        self._next_s = time.monotonic() + PACE_S
        self._count += 1
        self._sent[self._count] = (load, acks)  # before: the answer may be there at once
        self._write(Delivery(self._count, *self._counted(), parts=tuple(load.parts), others=tuple(load.others)))

    def _counted(self) -> Counted:
        return Counted(self._link.connected, self._inbox.dropped, self._inbox.limited)

    def _write(self, delivery: Delivery) -> None:
        try:
            frames.write(self._out, delivery)
        except BrokenPipeError:
            self._ended = True


def main() -> None:
    """Take observations until the stream ends."""
    frames.live_and_die_with_parent()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    begin = frames.read(sys.stdin.buffer)
    if begin is None:
        return
    begun = decode_told(begin)
    assert isinstance(begun, Begin)
    taker = Taker(begun, sys.stdout.buffer)
    threading.Thread(target=taker.listen, args=(sys.stdin.buffer,), name="told", daemon=True).start()
    taker.run()


if __name__ == "__main__":
    main()
