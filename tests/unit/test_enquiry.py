"""A batch's questions to a venue: within a tenth of what the venue itself says that it allows."""

from __future__ import annotations

import json

import pytest

from shared.enquiry import SHARE, Enquiry, Silent
from shared.rest import Budget
from shared.venues import Adapter
from shared.venues.binance import Venue as Spot
from shared.venues.binance_usdm import Venue as Usdm
from tests.fixtures.daily_server import Archive, serving

LIMIT = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1234}


def budget(enquiry: Enquiry) -> Budget:
    return enquiry._rest.budget


@pytest.mark.parametrize(("adapter", "api"), [(Spot(), "/api/v3"), (Usdm(), "/fapi/v1")])
def test_the_venues_own_word_on_its_limit_counts_from_the_first_question_on(adapter: Adapter, api: str) -> None:
    with serving() as venue:
        venue.files[f"{api}/exchangeInfo"] = json.dumps({"rateLimits": [LIMIT], "symbols": []}).encode()
        venue.files[f"{api}/klines"] = b"[]"
        enquiry = Enquiry(adapter, venue.url)
        try:
            for _ in range(3):
                assert enquiry.get(adapter.ask_klines("SOLUSDT", 0)) == b"[]"
            asked = [path.rpartition("/")[2] for path, _ in venue.asked]
            assert asked == ["exchangeInfo", "klines", "klines", "klines"]
            assert budget(enquiry).per_minute == 1234
            budget(enquiry).spend(int(1234 * SHARE) - 60, 1000.0)
            assert budget(enquiry).wait(100, 1000.0) > 0, "a tenth of that"
        finally:
            enquiry.close()


def answers(venue: Archive, body: bytes | None) -> Enquiry:
    if body is not None:
        venue.files["/api/v3/exchangeInfo"] = body
    venue.files["/api/v3/klines"] = b"[]"
    return Enquiry(Spot(), venue.url)


@pytest.mark.parametrize("body", [None, b"<html>", b'{"symbols":[]}'])
def test_a_venue_that_does_not_say_its_limit_is_asked_within_the_documented_one(body: bytes | None) -> None:
    with serving() as venue:
        enquiry = answers(venue, body)
        try:
            assert enquiry.get(Spot().ask_klines("SOLUSDT", 0)) == b"[]"
            assert budget(enquiry).per_minute == Spot.limits.weight_per_min
        finally:
            enquiry.close()


def test_a_venue_that_asks_for_a_pause_is_not_asked_on() -> None:
    with serving() as venue:
        venue.refusals["/api/v3/exchangeInfo"] = [(429, {"Retry-After": "60"})]
        enquiry = answers(venue, None)
        try:
            with pytest.raises(Silent, match="429"):
                enquiry.get(Spot().ask_klines("SOLUSDT", 0))
            assert [path for path, _ in venue.asked] == ["/api/v3/exchangeInfo"]
        finally:
            enquiry.close()
