"""The supervisor's loop: take notice of signals, deaths, heartbeats and requests; then do what the rules say.

The rules are `shared/lifecycle.py`.

Stopping follows the data: a stage is told to drain when nothing that it reads from is alive any more, so that it finds
the last record of each producer. Sources first, then transforms, then sinks; 20 seconds in all, then what is left is
killed, which is correct too: recovery is for the next start.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from typing import Any

import msgspec
from loguru import logger

from shared import compiled, topology
from shared.clock import Clock, SystemClock
from shared.events import Beat
from shared.lifecycle import DRAIN_ALLOWED, Moment, State, excused, relieved, slept
from shared.topology import Node, Pipeline, nearest
from shared.wire import Bus
from supervision.bell import TELLS_OF_CHILDREN, Bell
from supervision.children import Child, gently, stage_command
from supervision.ground import Ground
from supervision.orphans import Orphans
from supervision.space import Space
from supervision.timers import Timers
from supervision.watched import Process, Spawn, Watched

TURN_MS = 50
CALM_MS = 500
"""Between two turns where nothing is under way: a beat, a request, a signal and a child's end come as they happen."""
_CALM = (State.RUNNING, State.STOPPED, State.FAILED, State.ENDED)
BEATS_A_TURN = 1000
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


class Supervisor:
    """A mesh that runs. `run` does it all; who has a view of his own calls `start`, `turn` until `over`, `close`."""

    def __init__(
        self,
        pipeline: Pipeline,
        ground: Ground,
        spawn: Spawn = Child,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.pipeline = pipeline
        self._ground = ground
        self._clock = clock or SystemClock()
        self._chance = chance
        self._bus = Bus(ground.lake, ground.mesh)
        self._health = self._bus.pull("health")
        self._control = self._bus.router("control")
        self._tap = self._bus.publisher("tap.supervisor")
        self._beats = msgspec.msgpack.Decoder(Beat)
        order = reversed(topology.downstream(pipeline))  # consumers first, so that lanes are bound when sources speak
        nodes = [pipeline.nodes[name] for name in order]
        self.stages = {node.name: Watched(node, self._command(node), ground.lake, spawn) for node in nodes}
        self._moment = self._now()
        batch_spawn = gently if spawn is Child else spawn
        self.timers = Timers(pipeline.section("batches"), self._command, ground.lake, batch_spawn, self._moment)
        self.space = Space(ground.lake)
        self._orphans = Orphans(ground.lake, self.stages, self._moment.mono)
        self._started = self._moment
        self._asked = 0
        self._stop_by: int | None = None
        self._is_killing = False
        self._bell: Bell | None = None
        self.strangers = 0
        """Heartbeats that no process of this run sent."""

    def _command(self, node: Node) -> list[str]:
        return stage_command(node.module, self.pipeline.path, node.name)

    def _now(self) -> Moment:
        return Moment(self._clock.mono(), self._clock.wall())

    # --- the loop ---

    def run(self) -> int:
        """Until told to stop, or every source has ended. Returns the exit code."""
        numbers = [signal.Signals[name] for name in _SIGNALS if name in signal.Signals.__members__]
        before = [(number, signal.signal(number, self._signalled)) for number in numbers]
        self._bell = Bell()
        self._bus.watch(self._bell.fd)
        try:
            self.start()
            while not self.over:
                self.turn(CALM_MS if self._is_calm and TELLS_OF_CHILDREN else TURN_MS)
            return self.exit_code
        finally:
            self.close()
            self._bell.close()
            for number, handler in before:
                signal.signal(number, handler)

    def start(self) -> None:
        compiled.build()
        for stage in self.stages.values():
            stage.start(self._moment.mono)
            stage.look(self._moment.mono)

    def turn(self, wait_ms: int = TURN_MS) -> None:
        """One turn: what has happened, then what is to be done."""
        self._bus.wait(wait_ms)
        if self._bell is not None:
            self._bell.hush()  # first, so that what rings during this turn is heard by the next
        before, self._moment = self._moment, self._now()
        now = self._moment.mono
        if slept(before, self._moment):
            logger.info("this machine, or this program, stood still for a while")
            for stage in self.stages.values():
                stage.life = excused(stage.life, now)
        self._take_signals()
        self._take_beats()
        self._take_exits()
        self._orphans.turn(now)
        self._take_requests()
        if self.space.turn(now):
            for stage in self.stages.values():
                stage.life = relieved(stage.life, now)
        if self._stop_by is None:
            self.timers.turn(self._moment, self.space.batches_wait)
            self._notice_end()
        else:
            self.timers.look(self._moment)
            self._drain(self._stop_by)
        for stage in self.stages.values():
            stage.look(now)

    @property
    def _is_calm(self) -> bool:
        """Nobody starts, drains or waits to be started, so that nothing has a time of its own."""
        states = {stage.life.state for stage in self.stages.values()}
        return states.issubset(_CALM) and not (self.stopping or self.timers.alive or self._orphans)

    @property
    def stopping(self) -> bool:
        return self._stop_by is not None

    @property
    def over(self) -> bool:
        """All processes are gone and none is to come."""
        alive = any(stage.process is not None for stage in self.stages.values()) or self.timers.alive
        return self._stop_by is not None and not alive

    @property
    def exit_code(self) -> int:
        """2 where no source could run with its settings, else 0."""
        states = [stage.life.state for stage in self.stages.values() if stage.node.section == "sources"]
        return 2 if State.FAILED in states else 0

    def close(self) -> None:
        """Whatever is still alive dies now; then the lake is free for the next."""
        for stage in self.stages.values():
            stage.kill()
        self.timers.kill()
        for process in self._processes():
            process.wait(5)
        self._bus.close()
        self.space.close()
        self._ground.close()

    def _processes(self) -> list[Process]:
        found = [stage.process for stage in self.stages.values()] + [batch.process for batch in self.timers.batches]
        return [process for process in found if process is not None]

    # --- what happens ---

    def _signalled(self, *_: object) -> None:
        self._asked += 1

    def _take_signals(self) -> None:
        if self._asked and self._stop_by is None:
            logger.info("stopping, sources first (a second Ctrl-C kills)")
            self.stop()
        elif self._asked > 1 and not self._is_killing:
            logger.warning("killing what is left; the next start recovers")
            self._is_killing, self._stop_by = True, self._moment.mono

    def _take_beats(self) -> None:
        for _ in range(BEATS_A_TURN):
            data = self._health.recv()
            if data is None:
                return
            try:
                beat = self._beats.decode(data)
            except (ValueError, RecursionError):
                self.strangers += 1
                continue
            stage = self.stages.get(beat.stage)
            if stage is None or beat.token != self._ground.mesh.token:
                self.strangers += 1
                continue
            stage.take_beat(beat, self._moment.mono)
            self.timers.count(beat.stage, beat.pid, beat.counters, self._moment)
            beat.backlog = self._backlog(stage) or 0
            beat.token = ""  # not for the watchers
            self._tap.send("beat", msgspec.msgpack.encode(beat))

    def _backlog(self, stage: Watched) -> int | None:
        """Records that were given and not taken, as far as both sides have said; None for who takes none."""
        waiting = [
            self.stages[edge.producer].given[edge.journal] - stage.positions[edge.journal]
            for edge in topology.inputs(self.pipeline, stage.name)
            if edge.journal in self.stages[edge.producer].given and edge.journal in stage.positions
        ]
        return sum(max(0, records) for records in waiting) if waiting else None

    def _take_exits(self) -> None:
        for stage in self.stages.values():
            stage.take_exit(self._moment.mono, self._chance())

    def _take_requests(self) -> None:
        while (asked := self._control.recv()) is not None:
            sender, request = asked
            try:
                answer = self._obey(request)
            except Exception as error:  # a request must not end the mesh
                logger.exception("a request could not be answered")
                answer = {"error": f"{type(error).__name__}: {error}"}
            self._control.answer(sender, answer)

    def _notice_end(self) -> None:
        """Recordings end; then the rest drains and the mesh is over. So it is if no source can run as it is set."""
        states = [stage.life.state for stage in self.stages.values() if stage.node.section == "sources"]
        if all(state in (State.ENDED, State.FAILED) for state in states):
            logger.info("no source is left: the rest drains")
            self.stop()

    # --- what is done ---

    def stop(self) -> None:
        """The whole mesh: from now on every turn drains what can be drained."""
        if self._stop_by is None:
            self._stop_by = self._moment.mono + DRAIN_ALLOWED
            self.timers.drain()

    def _drain(self, until: int) -> None:
        now = self._moment.mono
        if now >= until:
            self.timers.kill()  # safe at any instant
        for stage in self.stages.values():
            producers = [self.stages[name] for name in stage.node.inputs]
            if now >= until:
                stage.stop(now, 0)
                stage.kill()
            elif not any(producer.process is not None for producer in producers):
                stage.stop(now, until - now)

    def _obey(self, request: dict[str, Any]) -> dict[str, Any]:
        do = request.get("do")
        if do == "status":
            return self.snapshot()
        if do == "stop" and request.get("stage") is None:
            logger.info("stopping, as asked from another terminal")
            self.stop()
            return {"says": "stopping", "stages": list(self.stages)}
        if do in ("start", "stop", "restart"):
            return self._command_stages(str(do), str(request.get("stage")))
        return {"error": f"unknown request {do!r}"}

    def _command_stages(self, do: str, wanted: str) -> dict[str, Any]:
        if wanted in {batch.name for batch in self.timers.batches} and do != "stop":
            ran = self.timers.run_now(wanted, self._moment)
            return {"says": f"{wanted} {'runs now' if ran else 'runs already'}", "stages": []}
        found = named(self.pipeline, wanted)
        if not found:
            return {"error": f"there is no stage {wanted}{nearest(wanted, self.stages)}"}
        if self._stop_by is not None:
            return {"error": "the mesh is stopping"}
        for name in found:
            logger.info("{} of {}, as asked from another terminal", do, name)
            getattr(self.stages[name], do)(self._moment.mono)
        return {"says": f"{do} of {', '.join(found)}", "stages": found}

    def snapshot(self) -> dict[str, Any]:
        """What `status` says."""
        now = self._moment
        order = topology.downstream(self.pipeline)
        return {
            "running": True,
            "pid": self._ground.mesh.pid,
            "config": self.pipeline.path,
            "lake": self.pipeline.lake,
            "uptime_s": round((now.mono - self._started.mono) / 1e9, 1),
            "stopping": self._stop_by is not None,
            "stages": [self.stages[name].row(now.mono, self._backlog(self.stages[name])) for name in order],
            "batches": [batch.row(now) for batch in self.timers.batches],
        }


def named(pipeline: Pipeline, wanted: str) -> list[str]:
    """Stages by key, or by the process they run."""
    stages = pipeline.section("sources", "transforms", "sinks")
    if any(node.name == wanted for node in stages):
        return [wanted]
    return [node.name for node in stages if node.run == wanted]
