"""One call that waits long, made beside the loop: in a thread of its own, one at a time.

Elsewhere there are no threads of ours. But to make a journal durable takes the disk milliseconds, five times a second,
and a loop that waits for it has no other way to take meanwhile what comes: no system makes a file durable without
somebody waiting. The thread does nothing else and touches nothing that is not its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Aside:
    """`begin` as often as needed, `end` once. The error of a call is kept: everything after it raises it."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._orders: SimpleQueue[bool] = SimpleQueue()
        self._idle = threading.Event()
        self._idle.set()
        self._error: BaseException | None = None
        threading.Thread(target=self._work, name="aside", daemon=True).start()

    def _work(self) -> None:
        while self._error is None and self._orders.get():
            try:
                self._call()
            except BaseException as error:  # it ends the process, from where that can be done
                self._error = error
            self._idle.set()

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way. Raises what went wrong."""
        is_busy = not self._idle.is_set()
        self.check()  # afterwards: what ends in between must not look as if all were well
        return is_busy

    def begin(self) -> None:
        """Nothing new while one is under way."""
        if not self.is_busy:
            self._idle.clear()
            self._orders.put(True)

    def check(self) -> None:
        """Raises what went wrong."""
        if self._error is not None:
            raise self._error

    def wait(self) -> None:
        """Until none is under way."""
        self._idle.wait()
        self.check()

    def end(self) -> None:
        """As `wait`; there will be no more."""
        self._orders.put(False)
        self.wait()
