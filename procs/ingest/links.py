"""Connections: which streams run over which, when one is opened, replaced and closed. Pure: time and chance are
arguments.

At most two links serve a slot, so that a new one delivers before the old one goes (age, the venue's announcement of a
shutdown, silence).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from loguru import logger

from procs.ingest.actions import Action, Close, Connect, Send
from procs.ingest.slots import Link, Slot, Stream
from shared.venues import KLINE, Adapter

SECOND: Final = 1_000_000_000
OVERLAP_NS: Final = SECOND
"""The old link goes so long after the new one delivers."""
QUIET_NS: Final = 15 * SECOND
"""A new link without any data is taken for good after this time: its symbols may be quiet."""
ACK_NS: Final = 10 * SECOND
STEADY_NS: Final = 5 * SECOND
STEADY_ATTEMPT: Final = 3
"""What delivered for five seconds and broke is tried again within 4 s: quotes missed meanwhile are lost for good."""
EACH_NS: Final = 5 * SECOND
"""So long at most between two tries of whichever slot while nobody can be reached: every second without a connection
costs its quotes, and the tries together stay below what a venue allows.
"""
PATIENT_NS: Final = 15 * SECOND
"""Never longer between two tries where somebody was there."""
TOGETHER_NS: Final = SECOND
"""Once one connection has come about, the others are tried within this time."""
SLOW_NS: Final = 60 * SECOND
"""Between tries where the venue does not serve this place."""
WINDOW_NS: Final = 300 * SECOND


class Links:
    """All connections of one source."""

    def __init__(
        self, venue: Adapter, base: str, streams: Iterable[Stream], lifetime_ns: int, chance: Callable[[], float]
    ) -> None:
        self._venue = venue
        self._base = base
        self._lifetime = lifetime_ns
        self._chance = chance
        self._attempts: deque[int] = deque()
        self._count = 0
        self._requests = 0
        self.links: dict[int, Link] = {}
        self.is_doubled = False
        """Whether some streams come over two connections: a new one, and an old one that has not ended yet."""
        self.slots = self._plan(list(streams))
        for slot in self.slots:
            slot.backoff.most_ns = min(SLOW_NS, EACH_NS * len(self.slots))
        self.running = False
        self.counters = {"connects": 0, "reconnects": 0}
        self.problem = ""
        """Why nothing is connected, in words; empty where all is well."""

    def _plan(self, streams: list[Stream]) -> list[Slot]:
        """Streams that may go together, cut where the venue's limit is."""
        groups: dict[str, tuple[tuple[str, ...], list[Stream]]] = {}
        for symbol, kind in streams:
            routes = self._venue.routes(kind)
            groups.setdefault(routes[0], (routes, []))[1].append((symbol, kind))
        most = self._venue.limits.streams_per_connection
        return [
            Slot(members[at : at + most], routes)
            for routes, members in groups.values()
            for at in range(0, len(members), most)
        ]

    # --- what is asked for ---

    def turn(self, mono: int) -> list[Action]:
        """Everything that is due."""
        actions: list[Action] = []
        if not self.running:
            return actions
        for slot in self.slots:
            for at, link in list(slot.retiring):
                if mono >= at:
                    slot.retiring.remove((at, link))
                    actions += self._close(link)
            if slot.current is None and slot.successor is None:
                if mono >= slot.due and not slot.ended and self._may_connect(mono):
                    slot.current = self._link(slot, mono, actions)
            elif slot.successor is None and slot.is_old(mono) and mono >= slot.due and self._may_connect(mono):
                slot.successor = self._link(slot, mono, actions)
        for link in list(self.links.values()):
            actions += self._attend(link, mono)
        return actions

    def _may_connect(self, mono: int) -> bool:
        while self._attempts and self._attempts[0] <= mono - WINDOW_NS:
            self._attempts.popleft()
        if len(self._attempts) >= self._venue.limits.connects_per_5min:
            return False
        self._attempts.append(mono)
        return True

    def _link(self, slot: Slot, mono: int, actions: list[Action]) -> Link:
        limits = self._venue.limits
        names = [self._venue.stream(symbol, kind) for symbol, kind in slot.streams]
        now, later = names[: limits.url_streams], names[limits.url_streams :]
        size = limits.subscribe_chunk
        self._count += 1
        link = Link(
            self._count,
            slot,
            list(slot.streams),
            unsent=[later[at : at + size] for at in range(0, len(later), size)],
            unseen={kind for _, kind in slot.streams if kind != KLINE},
        )
        self.links[link.number] = link
        self._count_doubled()
        self.counters["connects"] += 1
        actions.append(Connect(link.number, self._venue.url(self._base, slot.routes[slot.route], now)))
        return link

    def _attend(self, link: Link, mono: int) -> list[Action]:
        """Paced subscriptions, and the promotion of a successor that delivers."""
        if link.opened is None or link.closing:
            return []
        actions: list[Action] = []
        if link.unsent and mono >= link.send_at:
            self._requests += 1
            link.unanswered[self._requests] = mono
            link.send_at = mono + int(SECOND / self._venue.limits.messages_per_s)
            actions.append(Send(link.number, self._venue.subscribe(link.unsent.pop(0), self._requests)))
        elif link.unanswered and mono - min(link.unanswered.values()) > ACK_NS:
            logger.warning(f"connection {link.number}: a subscription was not answered")
            return self.drop(link, mono)
        slot = link.slot
        delivers = link.is_ready and (not link.unseen or mono - link.opened > QUIET_NS)
        if delivers and slot.successor is link:
            self._promote(slot, mono)
        return actions

    def _promote(self, slot: Slot, mono: int) -> None:
        old, slot.current, slot.successor = slot.current, slot.successor, None
        if old is not None:
            slot.retiring.append((mono + OVERLAP_NS, old))
        self._age(slot, mono)
        if slot.current is not None and slot.current.is_doomed:
            slot.replace_at = mono

    def _age(self, slot: Slot, mono: int) -> None:
        # Staggered by chance, so that not all connections of a source are replaced at once.
        slot.replace_at = mono + int(self._lifetime * (1 - 0.05 * self._chance()))

    def _close(self, link: Link) -> list[Action]:
        if link.closing or link.number not in self.links:
            return []
        link.closing = True
        return [Close(link.number)]

    # --- what happened ---

    def opened(self, number: int, mono: int) -> Link | None:
        link = self.links.get(number)
        if link is None or link.closing:
            return None
        link.opened = link.data_mono = mono
        self.problem = ""
        if link.slot.current is link:
            self._age(link.slot, mono)
        link.slot.is_cut_off = False
        for slot in self.slots:
            if slot.current is None and slot.is_cut_off:  # the network is there again for all of them
                slot.due = min(slot.due, mono + int(TOGETHER_NS * self._chance()))
        return link

    def refused(self, number: int, why: str, status: int | None, mono: int) -> None:
        """No connection came about."""
        link = self._gone(number)
        if link is None:
            return
        slot = link.slot
        self.problem = f"no connection to {self._base} ({why})"
        wrong_place = status in (400, 404, 426) and len(slot.routes) > 1
        if wrong_place:
            slot.route = (slot.route + 1) % len(slot.routes)
            logger.info(f"{self._base}: {why}, trying {slot.place}")
        slow = SLOW_NS if status in (451, 403, 429, 418) else 0
        slot.is_cut_off = status is None
        wait = 0 if wrong_place and slot.route else slot.backoff.down(mono, self._chance(), slow)
        self._lost(link, mono + wait)

    def closed(self, number: int, mono: int) -> Link | None:
        """A connection that was open is no more."""
        link = self._gone(number)
        if link is None:
            return None
        slot = link.slot
        if not link.closing:
            self.counters["reconnects"] += 1
            if link.opened is not None and mono - link.opened > STEADY_NS:
                slot.backoff.attempt = min(slot.backoff.attempt, STEADY_ATTEMPT)
            self._lost(link, mono + min(PATIENT_NS, slot.backoff.down(mono, self._chance())))
        return link

    def _lost(self, link: Link, due: int) -> None:
        slot = link.slot
        slot.retiring = [(at, old) for at, old in slot.retiring if old is not link]
        if slot.successor is link:
            slot.successor, slot.due = None, due
        elif slot.current is link:
            slot.current, slot.successor = slot.successor, None
            slot.replace_at, slot.due = 0, due

    def seen(self, link: Link, kinds: Iterable[str], mono: int) -> bool:
        """Data came. Whether some kind came for the first time."""
        link.data_mono = mono
        fresh = link.unseen.intersection(kinds)
        if fresh:
            link.unseen -= fresh
            link.slot.backoff.up(mono)
            if len(link.slot.routes) > 1:
                logger.info(f"{', '.join(sorted(fresh))} of {self._venue.name} come on {link.slot.place}")
        return bool(fresh)

    def answered(self, link: Link, request: int | None, error: str, mono: int) -> list[Action]:
        """An acknowledgement, or an error where `error` says one."""
        if error:
            logger.error(f"connection {link.number}: the venue answers {error}")
            return self.drop(link, mono) if link.unanswered else []
        if request is not None:
            link.unanswered.pop(request, None)
        return []

    # --- decisions of others ---

    def shut_down(self, link: Link, mono: int) -> None:
        """The venue has announced the end of a connection, perhaps of one that has just been opened."""
        link.is_doomed = True
        self.replace(link, mono)

    def replace(self, link: Link, mono: int) -> None:
        """A new connection, and then the end of this one."""
        if link.slot.current is link and not link.closing:
            link.slot.replace_at = mono
            link.slot.due = min(link.slot.due, mono)

    def drop(self, link: Link, mono: int) -> list[Action]:
        """The end of this connection, then a new one."""
        actions = self._close(link)
        self._lost(link, mono + link.slot.backoff.down(mono, self._chance()))
        return actions

    def drop_all(self, mono: int) -> list[Action]:
        """After a sleep nothing that is open can be trusted."""
        actions: list[Action] = []
        for link in list(self.links.values()):
            actions += self._close(link)
        for slot in self.slots:
            slot.current = slot.successor = None
            slot.retiring = []
            slot.replace_at, slot.due = 0, mono
        return actions

    def try_next_route(self, link: Link, kind: str, mono: int) -> list[Action]:
        """A kind of stream that stays silent here moves to the next place that may serve it; the others stay."""
        slot = link.slot
        routes = self._venue.routes(kind)
        moved = [stream for stream in slot.streams if stream[1] == kind]
        if len(routes) < 2 or not moved:
            self.replace(link, mono)
            return []
        here = slot.routes[slot.route]
        route = (routes.index(here) + 1) % len(routes) if here in routes else 0
        logger.warning(f"{kind} stays silent on {slot.place}, trying {routes[route] or 'no route'}")
        # The wait grows each time all places have been tried in vain.
        due = mono + (slot.backoff.down(mono, self._chance()) if route == 0 else 0)
        if len(moved) == len(slot.streams):
            slot.route, slot.routes = route, routes
            actions = self.drop(link, mono)
            slot.due = due
            return actions
        slot.streams = [stream for stream in slot.streams if stream[1] != kind]
        link.streams, link.unseen = list(slot.streams), link.unseen - {kind}
        self.slots.append(Slot(moved, routes, route, due=due, backoff=slot.backoff))
        self._requests += 1
        names = [self._venue.stream(*stream) for stream in moved]
        return [Send(link.number, self._venue.unsubscribe(names, self._requests))]

    def forget(self, symbols: Iterable[str]) -> None:
        """Symbols that the venue does not know are not asked for again."""
        gone = set(symbols)
        for slot in self.slots:
            slot.streams = [stream for stream in slot.streams if stream[0] not in gone]
        self.slots = [slot for slot in self.slots if slot.streams or slot.current]

    def stop(self) -> list[Action]:
        """Says goodbye on every connection; nothing is opened any more."""
        self.running = False
        actions: list[Action] = []
        for link in list(self.links.values()):
            if link.opened is not None and not link.closing:
                self._requests += 1
                names = [self._venue.stream(*stream) for stream in link.streams]
                actions.append(Send(link.number, self._venue.unsubscribe(names, self._requests)))
            actions += self._close(link)
        for slot in self.slots:
            slot.current = slot.successor = None
            slot.retiring = []
            slot.replace_at = slot.due = 0
        return actions

    def _gone(self, number: int) -> Link | None:
        link = self.links.pop(number, None)
        self._count_doubled()
        return link

    def _count_doubled(self) -> None:
        self.is_doubled = len(self.links) > len({link.slot for link in self.links.values()})

    # --- what stands ---

    def covered(self, kind: str) -> set[str]:
        """Symbols whose stream of that kind flows over some connection."""
        return {
            symbol
            for link in self.links.values()
            if link.serves(kind)
            for symbol, streamed in link.streams
            if streamed == kind
        }

    @property
    def is_connected(self) -> bool:
        return any(link.opened is not None and not link.closing for link in self.links.values())
