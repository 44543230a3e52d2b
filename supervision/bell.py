"""Ends the sleep of the supervisor's loop at once where a signal comes: a child's end, Ctrl-C.

Without it the loop would have to look many times a second who has gone. Windows has no signal for a child's end; there
it looks.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from typing import Final

TELLS_OF_CHILDREN: Final = hasattr(signal, "SIGCHLD")


class Bell:
    """Made and closed by the main thread. From its making to its `close`, every signal that this process handles makes
    `fd` readable; so does the end of a child, where the system tells it.
    """

    def __init__(self) -> None:
        self._ear, self._hand = socket.socketpair()
        self._ear.setblocking(False)
        self._hand.setblocking(False)
        if TELLS_OF_CHILDREN:
            self._before = signal.signal(signal.SIGCHLD, lambda *_: None)  # one that is ignored rings nothing
        self._fd_before = signal.set_wakeup_fd(self._hand.fileno(), warn_on_full_buffer=False)

    @property
    def fd(self) -> int:
        return self._ear.fileno()

    def hush(self) -> None:
        """What has rung so far is noticed."""
        with contextlib.suppress(BlockingIOError):
            while self._ear.recv(4096):
                pass

    def close(self) -> None:
        signal.set_wakeup_fd(self._fd_before)
        if TELLS_OF_CHILDREN:
            signal.signal(signal.SIGCHLD, self._before)
        self._ear.close()
        self._hand.close()
