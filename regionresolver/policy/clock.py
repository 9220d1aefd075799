"""The clock, for whoever has to say when something happened. Nothing else reads one: all time inside is a parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _fastpath.engine import now_us
from regionresolver.policy.table import from_microseconds

if TYPE_CHECKING:
    import datetime as dt


def now() -> dt.datetime:
    """Answer the present instant, in UTC."""
    return from_microseconds(now_us())
