"""What a run times, in which order: rounds in which every contestant takes its turn, forwards and backwards by turns.

So a contestant and its peer are timed within seconds of each other, A B B A A B ..., and what slows the machine down for
a while slows both. Only ratios of one round mean anything on a shared machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from benchmarks.lookup.databases import Database
from benchmarks.lookup.forms import Contestant, Name, check_agreement, contestants, names, plmn_contestants, plmn_names
from benchmarks.lookup.streams import HOT, PLMN_STREAMS, STREAMS, plmns_of, stream_of
from regionresolver.resolver import embedded_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

CHECKED_ADDRESSES = 2000
PLMNS = Database("PLMN table", "")
"""Stands where a database would, for the digit trie."""


@dataclass(frozen=True)
class Plan:
    """The databases and streams of a run, how many addresses a stream has, and how many rounds there are."""

    databases: tuple[Database, ...]
    streams: tuple[str, ...] = (*STREAMS, *PLMN_STREAMS)
    count: int = 100_000
    rounds: int = 9

    def groups(self) -> Iterator[tuple[Database, str]]:
        """Yield what is timed together."""
        for database in self.databases:
            for stream in self.streams:
                if stream not in PLMN_STREAMS:
                    yield database, stream
        for stream in self.streams:
            if stream in PLMN_STREAMS:
                yield PLMNS, stream

    def turns(self) -> Iterator[Turn]:
        """Yield every turn of the run, in their order."""
        for database, stream in self.groups():
            contestants = plmn_names() if database == PLMNS else names(stream)
            for number in range(self.rounds):
                for form, image in contestants if number % 2 == 0 else reversed(contestants):
                    yield Turn(database, stream, form, image, number)


@dataclass(frozen=True)
class Turn:
    """The turn of one contestant in a round."""

    database: Database
    stream: str
    form: str
    image: str | None
    round: int


# Of the group whose turn it is: the forms of one stream take hundreds of megabytes.
@lru_cache(maxsize=1)
def prepared(database: Database, stream: str, count: int) -> dict[Name, Contestant]:
    """Prepare the contestants of a group, and see that they agree."""
    if database == PLMNS:
        return plmn_contestants(plmns_of(stream, count), allow_imsi=stream == "IMSI")
    addresses = stream_of(stream, count)
    made = contestants(database, addresses)
    check_agreement(made, database.lookups, addresses.texts)
    database.check(addresses.texts[: 1 if stream == HOT else CHECKED_ADDRESSES])
    return made


class Carrier:
    """A plugin of pytest that hands a plan to benchmarks/lookup/test_lookup.py."""

    def __init__(self, plan: Plan) -> None:
        """Carry a plan."""
        self.plan = plan


def plan_of(config: pytest.Config) -> Plan:
    """Return the plan of a run of pytest; without one, a short look at the embedded database."""
    for plugin in config.pluginmanager.get_plugins():
        if isinstance(plugin, Carrier):
            return plugin.plan
    return Plan((Database("embedded", str(embedded_database())),), count=20_000, rounds=1)
