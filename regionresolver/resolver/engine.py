"""The library's face: open databases and a policy, then look up, resolve and decide.

A `Resolver` is one immutable generation of data and policy. Reading it is safe from several threads at once.
"""

from __future__ import annotations

import datetime as dt
import itertools
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from _fastpath.digit_trie import DigitTrie
from _fastpath.engine import Engine
from _fastpath.lookup import Lookup
from _fastpath.tally import Tally
from regionresolver.errors import InvalidAddressError, NoSignalError, PolicyError
from regionresolver.index.extent import Extent
from regionresolver.model import Explanation, PingFacts, Region, Resolution, SourceRecord
from regionresolver.policy import SHIPPED, CompiledPolicy, Policy, Severity, lint, run_tests, shipped_policy
from regionresolver.policy.breaker import Breaker
from regionresolver.policy.clock import now
from regionresolver.policy.describe import zulu
from regionresolver.policy.generations import FolderMarks
from regionresolver.policy.rules import as_utf8
from regionresolver.policy.served import Trust, open_policy
from regionresolver.policy.table import from_microseconds, microseconds
from regionresolver.resolver.counting import counted_regions
from regionresolver.resolver.databases import Database, open_index
from regionresolver.resolver.decision import Decision, Words
from regionresolver.resolver.extended import open_catalogue
from regionresolver.resolver.overrides import NEVER_US, OverrideTable
from regionresolver.resolver.pings import AddressLike, Fields, ParsedSignals, PlmnLike
from regionresolver.resolver.vocabulary import Vocabulary
from regionresolver.sources.plmn import PlmnTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from _typeshed import ReadableBuffer

    from _fastpath.lookup import ArrowArray, ArrowStream
    from _fastpath.policy_table import PolicyTable
    from _fastpath.value_ids import ValueIds
    from regionresolver.index import Index, Progress, SourceFacts
    from regionresolver.model import OverrideHits
    from regionresolver.policy import Finding, TestResult
    from regionresolver.policy.breaker import Marks, Trip
    from regionresolver.policy.generations import Activation
    from regionresolver.policy.served import ServedPolicy
    from regionresolver.policy.testing import Resolve, Signals
    from regionresolver.resolver.counting import DecisionCounters
    from regionresolver.resolver.extended import Extended

_generations = itertools.count(1)


class Parts(NamedTuple):
    """What a generation is made of besides its index: all of it read and checked, none of it compiled."""

    extended: Extended
    plmns: PlmnTable
    served: ServedPolicy | None
    policy: Policy
    any_regions: tuple[str, ...]
    warnings: tuple[str, ...]
    serial: int
    policy_serial: int


@cache
def _release() -> str:
    """Give the version of the package; looked up once, for each look leaves circles of objects to the collector."""
    return version("regionresolver")


def _no_address() -> InvalidAddressError:
    return InvalidAddressError("ip: not an IPv4 or IPv6 address", "/ip")


class Resolver:
    """Resolve pings to regions and decide on them, on one generation of data and policy.

    Made by `Resolver.open()`; a context manager.
    """

    def __init__(
        self,
        index: Index,
        extended: Extended,
        plmns: PlmnTable,
        policy: Policy,
        any_regions: Sequence[str] = (),
        served: ServedPolicy | None = None,
        serial: int | None = None,
    ) -> None:
        """Join the parts of a generation; `open` is the usual way in. `served` says where the policy came from.

        `serial` numbers it and makes its name in the answers; None takes one that no other of this process has.
        """
        self.serial = next(_generations) if serial is None else serial
        self.policy_serial = self.serial
        self.generation = f"g{self.serial}"
        self.policy = policy
        self.catalogue = extended.catalogue
        self._index = index
        self._extended = extended
        self._plmns = plmns
        self._vocabulary = Vocabulary(extended, plmns, index, any_regions)
        self._compiled = CompiledPolicy(policy, extended.catalogue, self._vocabulary.codes)
        self._served = served
        self._words = Words(self._vocabulary, index, plmns, extended, self._compiled, self.generation)
        self._overrides = OverrideTable(extended) if extended.overrides else None
        # No part refers to what refers to it: a generation that nobody uses any more is freed at once, its image too.
        tables = _Tables(self._compiled)
        self._tally = Tally()
        self._engine = Engine(
            index.trie,
            DigitTrie(plmns.trie_rows()),
            self._vocabulary.fusion,
            Decision,
            self._words,
            tables.at,
            _checked_us,
            _decide_odd,
            self._tally,
            self._overrides.compiled if self._overrides else None,
        )
        standing = _Standing(self._compiled, tables, self._engine)
        self.breaker = Breaker(policy.guardrails.runtime_breaker, self._tally.read, standing.follow, _marks(served))
        self._lookup = Lookup(index.trie, self._words.regions, _no_address)
        # The compiled methods themselves: those below, for readers and type checkers, would double the cost of a call.
        self.decide = self._engine.decide  # type: ignore[method-assign]
        self.lookup = self._lookup.lookup  # type: ignore[method-assign]
        self.warnings: tuple[str, ...] = ()

    @classmethod
    def open(
        cls,
        db: Database | Sequence[Database] | None = None,
        policy: str | Path | None = None,
        progress: Progress | None = None,
        *,
        index: str | Path | None = None,
        any_regions: Sequence[str] = (),
        catalogue: str | Path | None = None,
        policy_public_keys: Sequence[str | Path] = (),
        policy_state: str | Path | None = None,
        remember: bool = True,
        serial: int | None = None,
    ) -> Self:
        """Open IP databases and a policy; None means the embedded database and the shipped default policy.

        Each item of `db` is one source: a MaxMind DB file, or "v4.mmdb,v6.mmdb" for one that is split in two; the
        first source that knows an address decides. `index` is an image that was compiled before and answers instead;
        `db` beside it must be what it was compiled from, and adds the raw records. In a region of `any_regions` the
        source that places an address there wins, whatever the order. The files are read once, into private memory.
        `catalogue` is an operator's file of regions, aliases and overrides (docs/catalogue.md). `policy` is a file, the
        name of a shipped one, or a folder of generations, whose active one is served, or the last good one before it. It
        must pass its lint and its own tests. What lint only warns of is in `warnings`, and so are overrides that have
        expired. With `policy_public_keys` (PEM files, or base64) the policy must be signed with one of them, and not older
        than any before, which the file `policy_state` remembers; without `remember` it is raised by `remember_policy`.
        `serial` numbers this generation, whose name in the answers is made of it; None takes one that no other has in this
        process. Raises DatabaseError, ImageError, CatalogueError, PolicyError (which name the file and the remedy) or
        SettingsError.
        """
        extended = open_catalogue(catalogue)
        trust = Trust.of(policy_public_keys, policy_state)
        specs = [] if db is None else [db] if isinstance(db, str | Path) else list(db)
        # A policy that cannot be read is told before a database is.
        opened = cache(lambda: open_index(specs, index, extended.catalogue, progress))
        resolver = open_policy(
            policy, extended.catalogue, trust, lambda served: cls._serving(opened(), extended, served, any_regions, serial)
        )
        try:
            if remember:
                resolver.remember_policy(policy_state)
        except PolicyError:
            resolver.close()
            raise
        return resolver

    def remember_policy(self, policy_state: str | Path | None) -> None:
        """Raise what a file remembers to the version of this policy, which is served from now on. Raises PolicyError."""
        if policy_state is not None and self._served is not None:
            Trust(state=Path(policy_state)).remember(self._served)

    @classmethod
    def _serving(
        cls, index: Index, extended: Extended, served: ServedPolicy, any_regions: Sequence[str], serial: int | None
    ) -> Self:
        """Join the parts, and check the policy on them."""
        # The shipped table speaks of shipped regions.
        plmns = PlmnTable.load(catalogue=extended.catalogue)
        resolver = cls(index, extended, plmns, served.policy, any_regions, served, serial)
        resolver.warnings = (*served.warnings, *resolver._expired(), *resolver._check_policy(served.file))
        resolver.forget_counts()
        resolver._prepare_to_step_back()
        return resolver

    @classmethod
    def of_parts(cls, index: Index, parts: Parts) -> Self:
        """Join what was read and checked elsewhere (`parts`) to an open index; it keeps its name."""
        resolver = cls(index, parts.extended, parts.plmns, parts.policy, parts.any_regions, parts.served, parts.serial)
        resolver.warnings, resolver.policy_serial = parts.warnings, parts.policy_serial
        resolver._prepare_to_step_back()
        return resolver

    @property
    def parts(self) -> Parts:
        """What `of_parts` needs to make this generation again over the same image."""
        any_regions, serials = self._vocabulary.any_regions, (self.serial, self.policy_serial)
        return Parts(self._extended, self._plmns, self._served, self.policy, any_regions, self.warnings, *serials)

    def follow(self, before: Resolver) -> None:
        """Take the number of the policy (`policy_serial`) that comes after another generation's: the same for the same policy.

        By it a service counts for the runtime breaker, whose window goes on over generations of one number. The same policy
        is one of the same bytes and, from a folder, of the same activation.
        """
        ours, theirs = self._served, before._served
        is_same = ours is not None and theirs is not None and (ours.sha256, ours.activation) == (theirs.sha256, theirs.activation)
        self.policy_serial = before.policy_serial + (not is_same)

    @property
    def index(self) -> Index:
        """The open index."""
        return self._index

    def extent(self) -> Extent:
        """Measure how much the databases know, in half a second."""
        return Extent.of(self._index)

    def with_policy(self, policy: Policy) -> Self:
        """Return a resolver on the same data with another policy, which is compiled and not checked any further.

        It lives as long as this one: closing either closes the data of both. Raises PolicyError.
        """
        return type(self)(self._index, self._extended, self._plmns, policy, self._vocabulary.any_regions)

    @property
    def sources(self) -> tuple[SourceFacts, ...]:
        """The databases that answer, in the order of their precedence."""
        return self._index.sources

    @property
    def rule_ids(self) -> tuple[str, ...]:
        """The rules of the policy, by their positions."""
        return tuple(rule.id for rule in self.policy.rules)

    @cached_property
    def counted_regions(self) -> tuple[str, ...]:
        """The region codes that the policy speaks of: few enough to be counted one by one."""
        return tuple(counted_regions(self.policy, self._compiled.names, self.catalogue, self._vocabulary.codes))

    def count_in(self, counters: DecisionCounters) -> None:
        """Count decisions, resolutions and overrides in this memory from now on, which goes on from what it holds."""
        counters.take(self._tally, self._vocabulary.codes, self.rule_ids, self._overrides)

    def forget_counts(self) -> None:
        """Count overrides and the breaker's decisions from now on: what was asked so far, by tests, were no pings.

        Words that were given by `count_in` go on.
        """
        self.breaker.begin_anew()
        if self._overrides is not None:
            self._overrides.counters.reset()

    @property
    def engine(self) -> Engine[Decision]:
        """The compiled path of this generation, for the service's lane."""
        return self._engine

    def close(self) -> None:
        """Release the mapped image and the private copies of the databases."""
        self._index.close()

    def __enter__(self) -> Self:
        """Return the resolver itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close."""
        self.close()

    def lookup(self, ip: AddressLike, /) -> Region:
        """Return what the databases say of one address: text, packed bytes, an integer, or an `ipaddress` object.

        Both codes are None for an address that no database knows. Clothes (mapped, 6to4, Teredo, NAT64) come off
        first; the special-purpose class is not looked at. Raises InvalidAddressError.
        """
        return self._lookup.lookup(ip)

    def lookup_many(self, addresses: Sequence[object], /) -> list[Region | None]:
        """Return what `lookup` does for each address of a list or tuple, in any of its forms; None for what is none."""
        return self._lookup.lookup_many(addresses)

    def lookup_lines(self, text: ReadableBuffer, /) -> ValueIds:
        """Return the ids of the addresses in a bytes-like object, one a line; `regions` says what they mean.

        As do `lookup_packed` and `lookup_arrow`, it runs without the GIL and makes no object an address: the ids are a
        buffer for NumPy and an array for Arrow. What is no address has the id behind the last region, or is null.
        """
        return self._lookup.lookup_lines(text)

    def lookup_packed(self, packed: ReadableBuffer, /) -> ValueIds:
        """Return the ids of addresses in a contiguous buffer: uint32 in host order, or (n, 16) uint8 in network order.

        Raises TypeError for another type or shape, ValueError for a buffer with gaps.
        """
        return self._lookup.lookup_packed(packed)

    def lookup_arrow(self, column: ArrowArray | ArrowStream, /) -> ValueIds:
        """Return the ids of an Arrow column (PyCapsule interface) of text, packed addresses or uint32; null for null.

        Raises TypeError for a column of another type.
        """
        return self._lookup.lookup_arrow(column)

    @property
    def regions(self) -> tuple[Region | None, ...]:
        """What ids mean: a region for each, and None behind them for what is no address."""
        return self._lookup.values

    def records(self, ip: AddressLike) -> list[SourceRecord]:
        """Return the raw record of each database that holds the address. Raises InvalidAddressError."""
        return [SourceRecord(*found) for found in self._index.records(self._lookup.canonical(ip))]

    def resolve(
        self,
        *,
        ip: AddressLike | None = None,
        serving: PlmnLike | None = None,
        sim: PlmnLike | None = None,
        at: dt.datetime | None = None,
        strict: bool = False,
    ) -> Resolution:
        """Resolve the signals of a ping to a region, with the overrides that hold at the instant `at` (None: now).

        `serving` is the PLMN that the phone is registered on, `sim` the SIM's PLMN or an IMSI (cut to its first six
        digits at once); each a digit string, "368-01", a pair or a mapping with mcc and mnc. A malformed value gets
        status "invalid" and a notice; with `strict` it raises InvalidAddressError or InvalidPlmnError. Raises
        NoSignalError without any signal, PlmnNotStringError for a number as PLMN, ValueError for an `at` without a zone.
        """
        return self._words.resolution(self._resolved(ip, serving, sim, at, strict=strict))

    def explain(
        self,
        *,
        ip: AddressLike | None = None,
        serving: PlmnLike | None = None,
        sim: PlmnLike | None = None,
        at: dt.datetime | None = None,
        strict: bool = False,
    ) -> Explanation:
        """Resolve as `resolve` does, and say why: with the networks that matched and each database's answer."""
        return self._words.explained(self._resolved(ip, serving, sim, at, strict=strict))

    def _resolved(self, ip: object, serving: object, sim: object, at: dt.datetime | None, *, strict: bool) -> Decision:
        if ip is None and serving is None and sim is None:
            raise NoSignalError("at least one of ip, serving and sim must be given")
        at_us = None if at is None else _checked_us(at)
        return self._engine.resolve_parsed(*ParsedSignals(ip, serving, sim, strict=strict).parsed, [], at_us=at_us)

    def decide(
        self,
        *,
        ip: AddressLike | None = None,
        serving: PlmnLike | None = None,
        sim: PlmnLike | None = None,
        sku: str | None = None,
        sold_in: str | None = None,
        device_id: str | None = None,
        first_activated_at: dt.datetime | str | None = None,
        lang: str | None = None,
        at: dt.datetime | None = None,
        id: str | None = None,  # noqa: A002 - the ping's own field
        strict: bool = False,
    ) -> Decision:
        """Resolve a ping and apply the policy, both as they stand at the instant `at` (None: now).

        `sold_in` is the region that the phone was sold in, `first_activated_at` an instant with its zone or RFC 3339
        text, `lang` a language tag for the message. A field that cannot be used counts as missing and gets a notice.
        `id` is echoed. Raises as `resolve` does, and ValueError for an `at` without a zone.
        """
        return self._engine.decide(
            ip=ip,
            serving=serving,
            sim=sim,
            sku=sku,
            sold_in=sold_in,
            device_id=device_id,
            first_activated_at=first_activated_at,
            lang=lang,
            at=at,
            id=id,
            strict=strict,
        )

    def _prepare_to_step_back(self) -> None:
        """Compile what the breaker will need: at the moment when it trips nobody has to wait for that."""
        limits = self.breaker.limits
        if limits is not None and limits.action == "shadow":
            self._compiled.standing_back.timeline.at(now())

    @property
    def overrides(self) -> tuple[OverrideHits, ...]:
        """Each override of the operator's catalogue, with the number of signals that it has spoken for since `open`."""
        return self._overrides.hits() if self._overrides is not None else ()

    def expired_overrides(self, at: dt.datetime) -> int:
        """Return how many overrides hold no more at an instant: with each of them answers change."""
        return self._extended.expired_count(at)

    def _expired(self) -> Iterator[str]:
        """Say of each override that has expired that it changes nothing any more."""
        at = now()
        for override in self._extended.overrides:
            if override.expires is not None and override.expires <= at:
                when = f"{override.expires:%Y-%m-%d}"
                yield f"{self._extended.file}: override {override.id} of {override.owner} expired on {when}: delete or renew it"

    def lint_policy(self, policy: Policy, *, active: Policy | None = None, at: dt.datetime | None = None) -> list[Finding]:
        """Return what is to be said against a policy on this data; its own tests run here.

        `active` is the policy that it would replace, `at` (with a zone) the day on which reviews are overdue and ramps
        stand somewhere; without them nothing is said of that.
        """
        return self._linted(policy, self._resolve_signals, active, at)

    def test_policy(self, policy: Policy) -> list[TestResult]:
        """Return what becomes of each test that a policy carries, on this data. Raises PolicyError."""
        return run_tests(policy, self.catalogue, self._resolve_signals)

    def _linted(self, policy: Policy, resolve: Resolve, active: Policy | None, at: dt.datetime | None) -> list[Finding]:
        visible = frozenset[str]().union(*(source.subdivisions for source in self._index.sources))
        return lint(policy, self.catalogue, visible, plmns=self._plmns, active=active, at=at, resolve=resolve)

    def _resolve_signals(self, signals: Signals) -> Resolution:
        return self.resolve(**signals)

    def _check_policy(self, file: Path) -> tuple[str, ...]:
        """Return what lint warns of; raise PolicyError for what it refuses, a failing test of the policy among it."""
        is_shipped = any(file == shipped_policy(name) for name in SHIPPED)
        findings = self._linted(self.policy, self._without_overrides if is_shipped else self._resolve_signals, None, None)
        for finding in findings:
            if finding.severity is Severity.ERROR:
                remedy = "mend the policy: it replaces nothing as it is"
                raise PolicyError(file, finding.text, where=finding.where, remedy=remedy)
        said = (f"policy {self._compiled.label}: {finding.where}: {finding.text}" for finding in findings)
        return (*self._vocabulary.warnings, *said)

    def _without_overrides(self, signals: Signals) -> Resolution:
        """Resolve for the tests of the shipped policy, which prove what is shipped: at the end of time no override holds."""
        given = ParsedSignals(signals.get("ip"), signals.get("serving"), signals.get("sim"), strict=False)
        return self._words.resolution(self._engine.resolve_parsed(*given.parsed, [], at_us=NEVER_US))

    def metadata(self) -> dict[str, object]:
        """Return what is loaded: version, data generation, sources with builds and digests, tables, policy."""
        return {
            "version": _release(),
            "data": self.generation,
            "image": {"sha256": self._index.sha256, "bytes": self._index.size_bytes},
            "sources": [
                {
                    "name": source.name,
                    "files": [Path(file).name for file in source.files],
                    "database_type": source.database_type,
                    "build_epoch": source.build_epoch,
                    "built_at": dt.datetime.fromtimestamp(source.build_epoch, dt.UTC).isoformat().replace("+00:00", "Z"),
                    "sha256": source.sha256,
                    "attribution": source.attribution,
                    "subdivisions": sorted(source.subdivisions),
                }
                for source in self._index.sources
            ],
            "plmn_table": {"sha256": self._plmns.sha256, "rows": len(self._plmns.rows), "date": self._plmns.date.isoformat()},
            "region_catalogue": {
                "sha256": self.catalogue.sha256,
                "file": None if self._extended.file is None else Path(self._extended.file).name,
                "file_sha256": self._extended.sha256,
            },
            "precedence": {"order": "first", "any_regions": list(self._vocabulary.any_regions)},
            "policy": {"label": self._compiled.label, "sha256": self._compiled.sha256, "origin": self._origin()},
            "warnings": list(self.warnings),
        }

    def policy_document(self) -> dict[str, object]:
        """Return the active policy, its regions expanded to codes, and where it came from, as JSON-ready values."""
        return self._compiled.document() | {"origin": self._origin()}

    @property
    def policy_generation(self) -> int | None:
        """The number of the policy's generation, None for a policy that comes from no folder of them."""
        activation = self._activation
        return None if activation is None else activation.generation

    @property
    def policy_is_fallback(self) -> bool:
        """Whether the policy is served because the active one of its folder is broken; `warnings` say why."""
        return self._served is not None and bool(self._served.warnings)

    @property
    def _activation(self) -> Activation | None:
        return None if self._served is None else self._served.activation

    def _origin(self) -> dict[str, object]:
        """Return the digest of the policy's file, the key that signed it, and its generation; null for what is not so."""
        served, activation = self._served, self._activation
        return {
            "sha256": None if served is None else served.sha256,
            "key": None if served is None else served.key,
            "generation": self.policy_generation,
            "activated_at": None if activation is None else zulu(activation.at),
            "event": None if activation is None else activation.event,
            "forced": None if activation is None else bool(activation.overridden),
        }


class _Tables:
    """The tables of what of a policy speaks at present; the engine asks for them."""

    def __init__(self, compiled: CompiledPolicy) -> None:
        """Let the policy speak as it is written."""
        self.timeline = compiled.timeline

    def at(self, at_us: int) -> PolicyTable:
        """Answer the table of an instant."""
        return self.timeline.at(from_microseconds(at_us))


class _Standing:
    """Lets a policy step back and speak again, as the breaker says."""

    def __init__(self, compiled: CompiledPolicy, tables: _Tables, engine: Engine[Decision]) -> None:
        """Keep what has to be told."""
        self._compiled, self._tables, self._engine = compiled, tables, engine

    def follow(self, trip: Trip | None) -> None:
        """Do what the breaker's state asks for, from the next decision on."""
        stands_back = trip is not None and trip.action == "shadow"
        timeline = (self._compiled.standing_back if stands_back else self._compiled).timeline
        self._tables.timeline = timeline if trip is None else timeline.saying(trip.notice)
        self._engine.forget_table()


def _decide_odd(
    engine: Engine[Decision],
    *,
    ip: object,
    serving: object,
    sim: object,
    sku: object,
    sold_in: object,
    device_id: object,
    first_activated_at: object,
    lang: object,
    at: dt.datetime | None,
    id: object,  # noqa: A002 - the ping's own field
    strict: bool,
) -> Decision:
    """Decide on a ping with anything but plain texts in it: parse here, decide where the others are decided."""
    if ip is None and serving is None and sim is None:
        raise NoSignalError("at least one of ip, serving and sim must be given")
    at_us = None if at is None else _checked_us(at)
    signals = ParsedSignals(ip, serving, sim, strict=strict)
    fields = Fields()
    facts = PingFacts(
        sku=fields.text("sku", sku),
        sold_in=fields.text("sold_in", sold_in),
        device_id=fields.text("device_id", device_id),
        first_activated_at=fields.instant("first_activated_at", first_activated_at),
        lang=fields.text("lang", lang),
    )
    return engine.decide_parsed(
        *signals.parsed,
        fields.notices,
        sku=_utf8(facts.sku),
        sold_in=_utf8(facts.sold_in),
        device_id=_utf8(facts.device_id),
        first_activated_us=None if facts.first_activated_at is None else microseconds(facts.first_activated_at),
        lang=facts.lang,
        id=fields.text("id", id),
        at_us=at_us,
    )


def _marks(served: ServedPolicy | None) -> Marks | None:
    """Return where the breaker's trips are kept: in the folder that the policy came from, if it did."""
    if served is None or served.generations is None or served.activation is None:
        return None
    return FolderMarks(served.generations, served.activation)


def _checked_us(at: dt.datetime) -> int:
    if at.tzinfo is None:
        raise ValueError("at: an instant needs its time zone")
    return microseconds(at)


def _utf8(text: str | None) -> bytes | None:
    return None if text is None else as_utf8(text)
