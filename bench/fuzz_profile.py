"""A plugin of pytest: tests that name no number of examples of their own take that of `python -m bench fuzz`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fuzz",
    max_examples=int(os.environ["LAKE_FUZZ_EXAMPLES"]),
    deadline=1000,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
settings.load_profile("fuzz")
