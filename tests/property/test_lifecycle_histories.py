"""Whatever happens to a stage, in whatever order, its supervisor never does what makes no sense."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared import lifecycle
from shared.backoff import Backoff
from shared.lifecycle import ALIVE, SECOND, Do, Life, State

HAPPENINGS = st.sampled_from(
    ["wait", "beat", "starting", "exit 0", "exit 1", "exit 2", "killed", "start", "stop", "restart", "sleep", "relief"]
)
HISTORIES = st.lists(st.tuples(HAPPENINGS, st.integers(0, 40 * SECOND), st.floats(0, 1, exclude_max=True)), max_size=80)


class Played:
    """A supervisor of one stage whose process is a boolean."""

    def __init__(self) -> None:
        self.now, self.life, self.process, self.wanted = 0, Life(), False, False

    def happen(self, what: str, wait: int, chance: float) -> None:
        self.now += wait
        if what in ("beat", "starting") and self.process:
            self.life = lifecycle.beaten(self.life, self.now, "running" if what == "beat" else what)
        elif what.startswith("exit") or what == "killed":
            self.exit(-9 if what == "killed" else int(what[-1]), chance)
        elif what in ("start", "stop", "restart"):
            self.wanted = what != "stop"
            self.life = getattr(lifecycle, f"asked_to_{what}")(self.life, self.now)
        elif what == "relief":
            self.life = lifecycle.relieved(self.life, self.now)
        elif what == "sleep":
            self.life = lifecycle.excused(self.life, self.now)
        self.look(chance)

    def exit(self, code: int, chance: float) -> None:
        if self.process:
            self.process = False
            self.life = lifecycle.exited(self.life, self.now, code, chance, ended=False)

    def look(self, chance: float) -> None:
        self.life, do = lifecycle.looked(self.life, self.now)
        if do == Do.START:
            assert not self.process and self.wanted, "never a second process, never an unwanted one"
            self.process = True
            self.life = lifecycle.started(self.life, self.now)
        elif do == Do.KILL:
            assert self.process
            self.exit(-9, chance)
        assert self.process == (self.life.state in ALIVE)


@given(HISTORIES)
def test_state_and_process_agree_after_any_history(history: list[tuple[str, int, float]]) -> None:
    played = Played()
    for happening in history:
        played.happen(*happening)


@given(HISTORIES)
def test_what_is_wanted_runs_within_a_minute_and_a_half_and_what_is_not_wanted_is_gone(
    history: list[tuple[str, int, float]],
) -> None:
    played = Played()
    for happening in history:
        played.happen(*happening)
    for _ in range(20):
        played.happen("wait", 5 * SECOND, 0.5)
        played.happen("beat", 0, 0.5)
    if not played.wanted:
        assert not played.process
    elif played.life.state != State.FAILED:
        assert played.life.state == State.RUNNING


@given(st.lists(st.tuples(st.integers(0, 100 * SECOND), st.booleans(), st.floats(0, 1, exclude_max=True)), max_size=50))
def test_a_wait_is_never_negative_and_never_above_its_limit(history: list[tuple[int, bool, float]]) -> None:
    it, now = Backoff(), 0
    for wait, came_up, chance in history:
        now += wait
        if came_up:
            it.up(now)
        assert 0 <= it.down(now + wait, chance) <= it.most_ns
