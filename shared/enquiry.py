"""Asking a venue now and then, from a process that is otherwise synchronous: one question after the other, within a
small share of its limit, and not again in the same run once it does not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shared.rest import Refused, Rest, RestError
from shared.topology import Pipeline, venue_of
from shared.venues import Adapter, Reject, Request, load, names

SHARE = 0.1
"""Of the weight a minute that the venue allows: the rest is for those who record and heal."""


class Silent(Exception):
    """Nothing more is asked in this run. The text says why."""


class Enquiry:
    """One venue's REST."""

    def __init__(self, venue: Adapter, rest_url: str = "", proxy: str = "", asked: Callable[[], bool] = bool) -> None:
        self.venue = venue
        self._asked = asked
        self._silent = ""
        self._has_asked_limit = False
        self._runner = asyncio.Runner()
        self._rest = Rest(
            rest_url or venue.rest_url,
            venue.limits.weight_per_min,
            headers=venue.headers,
            proxy=proxy or None,
            share=SHARE,
        )

    def get(self, request: Request) -> bytes:
        """The body of an answer. Raises Silent."""
        if self._silent:
            raise Silent(self._silent)
        try:
            self._learn(dict(request.params).get("symbol"))
            return self._runner.run(self._get(request))
        except RestError as error:
            self._silent = str(error)
            raise Silent(self._silent) from None

    def _learn(self, symbol: str | None) -> None:
        """Asks once what the venue allows a minute; until then its documented figure counts. Raises RestError."""
        if self._has_asked_limit or symbol is None:
            return
        self._has_asked_limit = True
        try:
            body = self._runner.run(self._get(self.venue.ask_instruments([symbol])))
            _, weight = self.venue.parse_instruments(body)
        except (Refused, Reject):
            return  # it has no such symbol any more, or such a question
        if weight:
            self._rest.budget.per_minute = weight

    async def _get(self, request: Request) -> bytes:
        """Waiting for weight may take a minute: it ends when this process is asked to leave."""
        task = asyncio.ensure_future(self._rest.get(request))
        while not task.done():
            await asyncio.wait([task], timeout=0.2)
            if self._asked() and not task.done():
                task.cancel()
                await asyncio.wait([task])
                raise Silent("asked to leave")
        return task.result().body

    def close(self) -> None:
        self._runner.run(self._rest.close())
        self._runner.close()


def source_of(pipeline: Pipeline | None, venue: str) -> tuple[str, str] | None:
    """Where to ask a venue that is recorded live: address (empty: its own) and proxy. None where nobody should."""
    if pipeline is None or venue not in names():
        return None
    for node in pipeline.section("sources"):
        if venue_of(pipeline, node.name) == venue and not node.options.get("replay"):
            return str(node.options.get("rest_url", "")), str(node.options.get("proxy", ""))
    return None


def enquire(pipeline: Pipeline | None, venue: str, asked: Callable[[], bool]) -> Enquiry | None:
    """An enquiry to a venue of the pipeline file; None where it is not to be asked."""
    where = source_of(pipeline, venue)
    return None if where is None else Enquiry(load(venue)(), *where, asked)
