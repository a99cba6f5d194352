"""How property tests draw: the same examples in every run, without a clock and without a memory on the disk."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def drawn(examples: int = 60) -> settings:
    """So many examples of each property."""
    unhurried = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    return settings(
        derandomize=True, deadline=None, database=None, max_examples=examples, suppress_health_check=unhurried
    )
