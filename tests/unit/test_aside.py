"""A call beside the loop: one at a time, waited for where somebody must, and its error is everybody's."""

from __future__ import annotations

import threading

import pytest

from shared.aside import Aside


class Slow:
    """Takes until it is let go; fails where it is to."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.calls = 0
        self.error: BaseException | None = None

    def __call__(self) -> None:
        self.calls += 1
        self.begun.set()
        assert self.go.wait(20)
        if self.error is not None:
            raise self.error


def test_it_is_busy_until_the_call_has_returned_and_takes_no_second_one() -> None:
    slow = Slow()
    aside = Aside(slow)
    aside.begin()
    assert (slow.begun.wait(20), aside.is_busy) == (True, True)
    aside.begin()
    slow.go.set()
    aside.wait()
    assert not aside.is_busy and slow.calls == 1
    aside.begin()
    aside.wait()
    assert slow.calls == 2
    aside.end()


def test_who_waits_has_waited_until_it_was_over() -> None:
    slow = Slow()
    aside = Aside(slow)
    aside.begin()
    threading.Timer(0.05, slow.go.set).start()
    aside.end()
    assert slow.go.is_set() and not aside.is_busy


@pytest.mark.parametrize("then", ["check", "begin", "wait", "end"])
def test_an_error_is_raised_by_whatever_comes_next_and_ever_after(then: str) -> None:
    slow = Slow()
    slow.error = OSError(5, "Input/output error")
    aside = Aside(slow)
    aside.begin()
    slow.go.set()
    with pytest.raises(OSError, match="Input/output"):
        aside.wait()
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            getattr(aside, then)()
    assert slow.calls == 1, "what failed is not tried again"


def test_what_fails_while_somebody_looks_does_not_look_well() -> None:
    """The thread may end between two questions."""
    aside = Aside(lambda: None)

    class Idle:
        def is_set(self) -> bool:
            aside._error = OSError(5, "Input/output error")
            return True

    aside._idle = Idle()  # type: ignore[assignment]
    with pytest.raises(OSError, match="Input/output"):
        _ = aside.is_busy
