"""The supervisor's sleep ends with a signal or a child, and what was set before is set again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector

import pytest

from shared.wire import Bus, new_mesh
from supervision.bell import TELLS_OF_CHILDREN, Bell

DEADLINE_MS = 100_000


@pytest.fixture
def bell() -> Iterator[Bell]:
    it = Bell()
    yield it
    it.close()


def has_rung(bell: Bell) -> bool:
    with DefaultSelector() as selector:  # select() knows no more than a thousand descriptors
        selector.register(bell.fd, EVENT_READ)
        return bool(selector.select(0))


@pytest.mark.skipif(not TELLS_OF_CHILDREN, reason="no signal tells of a child's end here: the loop looks")
def test_a_wait_for_the_bus_ends_with_a_child(bell: Bell, tmp_path: Path) -> None:
    bus = Bus(tmp_path, new_mesh("p.yml"))
    try:
        bus.watch(bell.fd)
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
            assert not bus.wait(0)
            child.kill()
            assert bus.wait(DEADLINE_MS)
        bell.hush()
        assert not bus.wait(0), "heard once"
    finally:
        bus.close()


def test_a_signal_that_is_handled_rings_and_a_hundred_do_not_block(bell: Bell) -> None:
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        for _ in range(100_000):
            signal.raise_signal(signal.SIGINT)
        assert has_rung(bell)
        bell.hush()
        assert not has_rung(bell)
    finally:
        signal.signal(signal.SIGINT, before)


def test_afterwards_signals_are_as_they_were_before() -> None:
    ear, hand = os.pipe()
    os.set_blocking(hand, False)
    fd = signal.set_wakeup_fd(hand) if os.name != "nt" else -1
    handler = signal.getsignal(signal.SIGCHLD) if TELLS_OF_CHILDREN else None
    Bell().close()
    if TELLS_OF_CHILDREN:
        assert signal.getsignal(signal.SIGCHLD) is handler
    if os.name != "nt":
        assert signal.set_wakeup_fd(fd) == hand
    os.close(ear)
    os.close(hand)
