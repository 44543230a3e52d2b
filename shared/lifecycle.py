"""The life of a stage as its supervisor sees it: states, what moves it from one to the next, and what is to be done.

Nothing here starts or kills anything. Time (monotonic nanoseconds) and chance are arguments, so that any history can be
played in a test.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from shared.backoff import ceiling

SECOND = 10**9
FIRST_DELAY = SECOND // 5
LONGEST_DELAY = 30 * SECOND
HEALTHY_AFTER = 60 * SECOND
"""Having run so long, a stage is forgiven its earlier deaths."""
DEATHS_WINDOW = 300 * SECOND
DEATHS_ALLOWED = 10
"""More than these within the window: an alarm, and one try a minute, for ever."""
DEATHS_AT_ONCE = 5
"""So many in a row without getting anywhere, and an alarm: it waits as long as that says."""
ALARMED_DELAY = 60 * SECOND
SOMEWHERE = 2 * SECOND
"""A stage that ran so long had got somewhere: its next death counts as the first."""
SILENCE_ALLOWED = 10 * SECOND
"""A running stage beats once a second, from its work loop; one that is silent so long hangs."""
START_ALLOWED = 30 * SECOND
"""Until the first beat of its running: recovery reads a journal before that."""
DRAIN_ALLOWED = 20 * SECOND
SLEEP_NOTICED = 4 * SECOND
EXCUSE_AGAIN = 60 * SECOND


class State(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    BACKING_OFF = "backing_off"
    FAILED = "failed"
    """Its configuration is wrong (exit 2): a restart cannot mend that."""
    ENDED = "ended"
    """It came to the end of what there was (a recording) and left with exit 0."""


class Word(StrEnum):
    START = "start"
    BEAT = "beat"
    STOP = "stop"
    DONE = "done"
    DIED = "died"
    REFUSED = "refused"


MOVES: dict[State, dict[Word, State]] = {
    State.STOPPED: {Word.START: State.STARTING},
    State.STARTING: {
        Word.BEAT: State.RUNNING,
        Word.STOP: State.DRAINING,
        Word.DONE: State.ENDED,
        Word.DIED: State.BACKING_OFF,
        Word.REFUSED: State.FAILED,
    },
    State.RUNNING: {
        Word.BEAT: State.RUNNING,
        Word.STOP: State.DRAINING,
        Word.DONE: State.ENDED,
        Word.DIED: State.BACKING_OFF,
        Word.REFUSED: State.FAILED,
    },
    State.DRAINING: {
        Word.BEAT: State.DRAINING,
        Word.DONE: State.STOPPED,
        Word.DIED: State.STOPPED,  # correct either way: recovery is for the next start
        Word.REFUSED: State.STOPPED,
    },
    State.BACKING_OFF: {Word.START: State.STARTING, Word.STOP: State.STOPPED},
    State.FAILED: {Word.START: State.STARTING},
    State.ENDED: {Word.START: State.STARTING},
}
"""Every move there is; a word that a state does not know changes nothing."""

ALIVE = (State.STARTING, State.RUNNING, State.DRAINING)
"""States in which there is a process."""


class Do(StrEnum):
    """What a supervisor is to do next about one stage."""

    NOTHING = "nothing"
    START = "start"
    KILL = "kill"


class Life(msgspec.Struct, frozen=True):
    """One stage, so far."""

    state: State = State.STOPPED
    since: int = 0
    """When it came into this state."""
    due: int | None = None
    """Backing off: when to start. Alive: when silence or draining has lasted too long."""
    running_since: int | None = None
    deaths: tuple[int, ...] = ()
    """Times of the deaths within the window."""
    attempt: int = 0
    """Deaths in a row without getting anywhere."""
    restarts: int = 0
    again: bool = False
    """Draining in order to be started again."""
    killed: bool = False
    excused: int | None = None

    @property
    def alive(self) -> bool:
        return self.state in ALIVE

    @property
    def alarm(self) -> bool:
        return len(self.deaths) > DEATHS_ALLOWED


def _moved(life: Life, now: int, word: Word) -> Life:
    state = MOVES[life.state].get(word, life.state)
    return life if state == life.state else msgspec.structs.replace(life, state=state, since=now)


def started(life: Life, now: int) -> Life:
    """Its process was created."""
    life = _moved(life, now, Word.START)
    return msgspec.structs.replace(life, due=now + START_ALLOWED, running_since=None, again=False, killed=False)


def beaten(life: Life, now: int, phase: str) -> Life:
    """A heartbeat arrived; ``phase`` is what the stage says of itself."""
    if not life.alive or life.state == State.DRAINING:
        return life
    if phase == "starting":
        return msgspec.structs.replace(life, due=now + START_ALLOWED)
    life = _moved(life, now, Word.BEAT)
    since = life.running_since if life.running_since is not None else now
    healthy = now - since >= HEALTHY_AFTER
    return msgspec.structs.replace(
        life,
        due=now + SILENCE_ALLOWED,
        running_since=since,
        attempt=0 if healthy else life.attempt,
        deaths=_recent(life.deaths, now),
    )


def exited(life: Life, now: int, code: int, chance: float, ended: bool = True) -> Life:
    """Its process is gone. Exit 0 that nobody asked for is an end if ``ended`` (a recording is over), else a death."""
    done = code == 0 and (ended or life.state == State.DRAINING)
    word = Word.DONE if done else Word.REFUSED if code == 2 and not life.killed else Word.DIED
    lived = now - life.running_since if life.running_since is not None else 0
    life = _moved(life, now, word)
    life = msgspec.structs.replace(life, due=None, running_since=None)
    if life.state == State.STOPPED and life.again:
        return msgspec.structs.replace(life, state=State.BACKING_OFF, due=now, again=False, restarts=life.restarts + 1)
    if life.state != State.BACKING_OFF:
        return life
    deaths = (*_recent(life.deaths, now), now)
    attempt = 1 if lived >= SOMEWHERE else life.attempt + 1  # who got somewhere begins anew
    life = msgspec.structs.replace(life, deaths=deaths, attempt=attempt, restarts=life.restarts + 1)
    return msgspec.structs.replace(life, due=now + delay(life, chance))


def delay(life: Life, chance: float) -> int:
    """Nanoseconds before the next start: 0.2 to 30 seconds, give or take a quarter; a minute when alarmed.

    Who ran for a while before it died is back at once, however often it dies: what gets somewhere between two deaths
    (somebody kills it, memory runs out) is wanted, and its starts cost little.
    """
    if life.alarm and life.attempt > DEATHS_AT_ONCE:
        return ALARMED_DELAY
    return int(ceiling(life.attempt - 1, FIRST_DELAY, LONGEST_DELAY) * (0.75 + chance / 2))


def asked_to_stop(life: Life, now: int, allowed: int = DRAIN_ALLOWED) -> Life:
    """Drain and stay away; an alive stage has ``allowed`` nanoseconds for it."""
    until = now + allowed if life.alive else None
    if life.state == State.DRAINING and life.due is not None:
        until = min(now + allowed, life.due)  # asked twice: no longer than asked first
    return msgspec.structs.replace(_moved(life, now, Word.STOP), due=until, again=False)


def asked_to_start(life: Life, now: int) -> Life:
    """Start at once, earlier deaths forgiven; a stage that drains is started when it is out."""
    if life.state == State.DRAINING:
        return msgspec.structs.replace(life, again=True)
    if life.alive:
        return life
    return msgspec.structs.replace(life, state=State.BACKING_OFF, since=now, due=now, attempt=0, deaths=())


def relieved(life: Life, now: int) -> Life:
    """What kept it from living is mended (there is room on the disk): its deaths are forgiven, and it waits no
    longer.
    """
    due = now if life.state == State.BACKING_OFF else life.due
    return msgspec.structs.replace(life, due=due, attempt=0, deaths=())


def asked_to_restart(life: Life, now: int) -> Life:
    """Drain, then start."""
    if not life.alive:
        return asked_to_start(life, now)
    return msgspec.structs.replace(asked_to_stop(life, now), again=True)


def looked(life: Life, now: int) -> tuple[Life, Do]:
    """Time has passed: what is to be done?"""
    if life.due is None or now < life.due:
        return life, Do.NOTHING
    if life.state == State.BACKING_OFF:
        return life, Do.START
    if life.alive:
        return msgspec.structs.replace(life, killed=True, due=None), Do.KILL
    return life, Do.NOTHING


# --- a machine that slept ---


class Moment(msgspec.Struct, frozen=True):
    """Both clocks at once, in nanoseconds."""

    mono: int
    wall: int


def slept(before: Moment, after: Moment) -> bool:
    """Whether the machine, or the supervisor alone, stood still between two turns of a loop that turns every second.

    Monotonic time counts a suspension on some systems and not on others; the wall clock counts it on all.
    """
    passed = after.mono - before.mono
    return passed > SLEEP_NOTICED or (after.wall - before.wall) - passed > SLEEP_NOTICED


def excused(life: Life, now: int) -> Life:
    """Silence so far is not held against a stage that could not beat; once a minute, lest a mad clock hide a hang."""
    if life.state not in (State.STARTING, State.RUNNING) or life.due is None:
        return life
    if life.excused is not None and now - life.excused < EXCUSE_AGAIN:
        return life
    allowed = START_ALLOWED if life.state == State.STARTING else SILENCE_ALLOWED
    return msgspec.structs.replace(life, due=max(life.due, now + allowed), excused=now)


def _recent(deaths: tuple[int, ...], now: int) -> tuple[int, ...]:
    return tuple(death for death in deaths if now - death < DEATHS_WINDOW)
