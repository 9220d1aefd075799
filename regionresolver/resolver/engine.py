"""The library's face: open databases and a policy, then look up, resolve and decide.

A `Resolver` is one immutable generation of data and policy. Reading it is safe from several threads at once.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Self

from _fastpath.digit_trie import DigitTrie, ParsedPlmn
from _fastpath.fusion import CONFLICT_BITS, ROW_NAMES, SIGNAL_ALONE, SIGNAL_BITS, STATUS_IDS
from regionresolver.errors import InvalidAddressError, NoSignalError
from regionresolver.index import Index, Progress, Source, compile_sources
from regionresolver.model import (
    Conflict,
    Decision,
    Evidence,
    Notice,
    PingFacts,
    Region,
    Resolution,
    Signal,
    SignalStatus,
    SourceAnswer,
    SourceRecord,
)
from regionresolver.policy import CompiledPolicy, Policy, load_policy, run_tests
from regionresolver.resolver.pings import MAX_FIELD_CHARACTERS, AddressLike, ParsedSignals, PlmnLike, parse_address, parse_instant
from regionresolver.resolver.vocabulary import Vocabulary
from regionresolver.sources.catalogue import Catalogue
from regionresolver.sources.plmn import PlmnTable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from _fastpath.address import Canonical

Database = str | Path

_NOTHING = Region(None, None)
_CONFLICTS = [(CONFLICT_BITS[conflict.value], conflict) for conflict in Conflict]
_BASIS = {SIGNAL_BITS[signal.value]: signal for signal in Signal}
_generations = itertools.count(1)


def embedded_database() -> Path:
    """Return the path of the shipped database: DB-IP City Lite, reduced to countries and named subdivisions."""
    with as_file(files("regionresolver.data") / "embedded.mmdb") as path:
        return path


def utc_now() -> dt.datetime:
    """Read the clock: the only place that does."""
    return dt.datetime.now(dt.UTC)


class Resolver:
    """Resolve pings to regions and decide on them, on one generation of data and policy.

    Made by `Resolver.open()`; a context manager.
    """

    def __init__(self, index: Index, catalogue: Catalogue, plmns: PlmnTable, policy: Policy) -> None:
        """Join the parts of a generation; `open` is the usual way in."""
        self.generation = f"g{next(_generations)}"
        self.policy = policy
        self._index = index
        self._catalogue = catalogue
        self._plmns = plmns
        self._vocabulary = Vocabulary(catalogue, plmns, index)
        self._fusion = self._vocabulary.fusion
        self._digits = DigitTrie(plmns.trie_rows())
        self._regions = tuple(Region(answer.country, answer.subdivision) for answer in self._vocabulary.answers)
        self._compiled = CompiledPolicy(policy, catalogue)
        self.warnings = tuple(self._start_warnings())

    @classmethod
    def open(
        cls,
        db: Database | Sequence[Database] | None = None,
        policy: str | Path | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Open IP databases and a policy; None means the embedded database and the shipped default policy.

        Each item of `db` is one source: a MaxMind DB file, or "v4.mmdb,v6.mmdb" for one that is split in two; the
        first source that knows an address decides. The files are read once, into private memory. Raises
        DatabaseError or PolicyError, which name the file and the remedy.
        """
        catalogue = Catalogue.load()
        loaded_policy = load_policy(policy, catalogue)
        specs = [embedded_database()] if db is None else [db] if isinstance(db, str | Path) else list(db)
        sources = [Source.open(spec) for spec in specs or [embedded_database()]]
        image = compile_sources(sources, catalogue, progress)
        return cls(Index.open(image, sources, check=False), catalogue, PlmnTable.load(catalogue=catalogue), loaded_policy)

    def close(self) -> None:
        """Release the mapped image and the private copies of the databases."""
        self._index.close()

    def __enter__(self) -> Self:
        """Return the resolver itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close."""
        self.close()

    def lookup(self, ip: AddressLike) -> Region:
        """Return what the databases say of one address: text, packed bytes, an integer, or an `ipaddress` object.

        Both codes are None for an address that no database knows. Clothes (mapped, 6to4, Teredo, NAT64) come off
        first; the special-purpose class is not looked at. Raises InvalidAddressError.
        """
        canonical = parse_address(ip)
        if canonical is None:
            raise InvalidAddressError("ip: not an IPv4 or IPv6 address", "/ip")
        return self._regions[self._index.trie.find(canonical)]

    def records(self, ip: AddressLike) -> list[SourceRecord]:
        """Return the raw record of each database that holds the address. Raises InvalidAddressError."""
        canonical = parse_address(ip)
        if canonical is None:
            raise InvalidAddressError("ip: not an IPv4 or IPv6 address", "/ip")
        return [SourceRecord(*found) for found in self._index.records(canonical)]

    def resolve(
        self,
        *,
        ip: AddressLike | None = None,
        serving: PlmnLike | None = None,
        sim: PlmnLike | None = None,
        strict: bool = False,
        trace: bool = False,
    ) -> Resolution:
        """Resolve the signals of a ping to a region.

        `serving` is the PLMN that the phone is registered on, `sim` the SIM's PLMN or an IMSI (cut to its first six
        digits at once); each a digit string, "368-01", a pair or a mapping with mcc and mnc. A malformed value gets
        status "invalid" and a notice; with `strict` it raises InvalidAddressError or InvalidPlmnError. `trace` adds
        the matched network and each database's answer to the evidence, at the cost of a second look. Raises
        NoSignalError without any signal and PlmnNotStringError for a number as PLMN.
        """
        if ip is None and serving is None and sim is None:
            raise NoSignalError("at least one of ip, serving and sim must be given")
        signals = ParsedSignals(ip, serving, sim, strict=strict)
        return self._resolve(signals, trace=trace)

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
        trace: bool = False,
    ) -> Decision:
        """Resolve a ping and apply the policy as it stands at the instant `at` (None: now).

        `sold_in` is the region that the phone was sold in, `first_activated_at` an instant with its zone or RFC 3339
        text, `lang` a language tag for the message. A field that cannot be used counts as missing and gets a notice.
        `id` is echoed. `trace` also tells of each rule why it did or did not match. Raises as `resolve` does, and
        ValueError for an `at` without a zone.
        """
        if ip is None and serving is None and sim is None:
            raise NoSignalError("at least one of ip, serving and sim must be given")
        if at is not None and at.tzinfo is None:
            raise ValueError("at: an instant needs its time zone")
        signals = ParsedSignals(ip, serving, sim, strict=strict)
        fields = _Fields(signals.notices)
        instant = None
        if first_activated_at is not None:
            instant = parse_instant(first_activated_at)
            if instant is None:
                fields.refuse("first_activated_at", "not an instant with a time zone (RFC 3339)")
        facts = PingFacts(
            sku=fields.text("sku", sku),
            sold_in=fields.text("sold_in", sold_in),
            device_id=fields.text("device_id", device_id),
            first_activated_at=instant,
            lang=fields.text("lang", lang),
        )
        echoed = fields.text("id", id)
        resolution = self._resolve(signals, trace=trace)
        verdict = self._compiled.decide(resolution, facts, at or utc_now(), trace=trace)
        return Decision(resolution=resolution, verdict=verdict, policy=self._compiled.label, id=echoed)

    def _resolve(self, signals: ParsedSignals, *, trace: bool) -> Resolution:
        """Run the data's way: address, tries, evidence, fusion."""
        ip_status, ip_value = self._weigh_address(signals.ip)
        serving_status, serving_value, serving_length = self._weigh_plmn(signals.serving)
        home_status, home_value, home_length = self._weigh_plmn(signals.home)
        region, country, subdivision, conflicts, confidence, basis, used, row = self._fusion.resolve(
            STATUS_IDS[ip_status] if ip_status else 0,
            ip_value,
            STATUS_IDS[serving_status] if serving_status else 0,
            serving_value,
            STATUS_IDS[home_status] if home_status else 0,
            home_value,
        )
        codes = self._vocabulary.codes
        evidence = []
        if serving_status or signals.serving_invalid:
            evidence.append(
                self._plmn_evidence(Signal.SERVING_PLMN, signals.serving, serving_status, serving_value, serving_length, used)
            )
        if home_status or signals.home_invalid:
            evidence.append(self._plmn_evidence(Signal.HOME_PLMN, signals.home, home_status, home_value, home_length, used))
        if ip_status or signals.ip_invalid:
            evidence.append(self._ip_evidence(signals.ip, ip_status, ip_value, used, trace=trace))
        return Resolution(
            region=codes[region],
            country=codes[country],
            subdivision=codes[subdivision],
            region_name=self._compiled.names.name_of(codes[region], codes[country], codes[subdivision]) if region else None,
            confidence=confidence / 100,
            basis=_BASIS.get(basis),
            conflicts=tuple([conflict for bit, conflict in _CONFLICTS if conflicts & bit]),
            evidence=tuple(evidence),
            row=ROW_NAMES[row],
            warnings=tuple(signals.notices),
            data=self.generation,
        )

    def _weigh_address(self, canonical: Canonical | None) -> tuple[SignalStatus | None, int]:
        if canonical is None:
            return None, 0
        if canonical.special is not None:
            return SignalStatus.RESERVED, 0
        value = self._index.trie.find(canonical)
        return (SignalStatus.OK, value) if self._regions[value].country_code else (SignalStatus.NOT_FOUND, 0)

    def _weigh_plmn(self, plmn: ParsedPlmn | None) -> tuple[SignalStatus | None, int, int]:
        if plmn is None:
            return None, 0, 0
        value, length = self._digits.match(plmn)
        if value == 0:
            return SignalStatus.UNASSIGNED, 0, 0
        if self._plmns.rows[value - 1].kind == "non_geographic":
            return SignalStatus.NON_GEOGRAPHIC, value, length
        return SignalStatus.OK, value, length

    def _plmn_evidence(
        self, signal: Signal, plmn: ParsedPlmn | None, status: SignalStatus | None, value: int, length: int, used: int
    ) -> Evidence:
        if plmn is None or status is None:
            return Evidence(signal, SignalStatus.INVALID, None, (), 0.0, used=False)
        if value == 0:
            return Evidence(signal, status, None, (), 0.0, used=False)
        row = self._plmns.rows[value - 1]
        weight = SIGNAL_ALONE["home_plmn"] / 100
        if signal is Signal.SERVING_PLMN:
            weight = row.confidence or SIGNAL_ALONE["serving_ambiguous" if len(row.candidates) > 1 else "serving_plmn"] / 100
        return Evidence(
            signal,
            status,
            plmn.digits[:length],
            row.candidates,
            weight if row.candidates else 0.0,
            used=bool(used & SIGNAL_BITS[signal]),
            detail=row.sort,
        )

    def _ip_evidence(
        self, canonical: Canonical | None, status: SignalStatus | None, value: int, used: int, *, trace: bool
    ) -> Evidence:
        if canonical is None or status is None:
            return Evidence(Signal.IP, SignalStatus.INVALID, None, (), 0.0, used=False)
        if status is not SignalStatus.OK:
            return Evidence(Signal.IP, status, None, (), 0.0, used=False, detail=canonical.special)
        region = self._regions[value]
        return Evidence(
            Signal.IP,
            status,
            self._matched_network(canonical) if trace else None,
            tuple(code for code in (region.subdivision_code or region.country_code,) if code),
            SIGNAL_ALONE["ip_subdivision" if region.subdivision_code else "ip"] / 100,
            used=bool(used & SIGNAL_BITS[Signal.IP]),
            sources=tuple(
                SourceAnswer(source.name, answer.country_code, answer.subdivision_code)
                for source, answer in zip(self._index.sources, self._index.values[value], strict=True)
            )
            if trace
            else (),
        )

    def _matched_network(self, canonical: Canonical) -> str | None:
        """Return the longest network that a database stores for the address, cut to /24 or /48."""
        networks = [network for _, network, _ in self._index.records(canonical)]
        if not networks:
            return None
        longest = max(networks, key=lambda network: int(network.rpartition("/")[2]))
        limit = 24 if canonical.family == 4 else 48
        return longest if int(longest.rpartition("/")[2]) <= limit else canonical.network_text

    def _start_warnings(self) -> list[str]:
        """Say what a policy asks for that no loaded database can see."""
        visible = frozenset[str]().union(*(source.subdivisions for source in self._index.sources))
        return [
            f"the policy {self._compiled.label} names {code}, and no loaded database can see it: "
            "an IP in it is answered with its country and the conflict subdivision_unknown"
            for code in sorted(self._compiled.subdivisions - visible)
        ]

    def run_policy_tests(self) -> list[str]:
        """Run the policy's own tests on this resolver; return one line for each that fails."""
        results = run_tests(self.policy, self._catalogue, lambda ping: self.resolve(**ping))
        return [str(result) for result in results if not result.passed]

    def metadata(self) -> dict[str, object]:
        """Return what is loaded: version, data generation, sources with builds and digests, tables, policy."""
        return {
            "version": version("regionresolver"),
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
            "region_catalogue": {"sha256": self._catalogue.sha256},
            "policy": {"label": self._compiled.label, "sha256": self._compiled.sha256},
            "warnings": list(self.warnings),
        }

    def data_digest(self) -> str:
        """Return a short digest of everything that a resolution depends on: the same for the same data."""
        parts = (self._index.sha256, self._plmns.sha256, self._catalogue.sha256)
        return hashlib.sha256(":".join(parts).encode()).hexdigest()[:16]

    def policy_document(self) -> dict[str, object]:
        """Return the active policy, its regions expanded to codes, as JSON-ready values."""
        return self._compiled.document()


class _Fields:
    """The optional text fields of a ping; what cannot be used becomes a notice."""

    def __init__(self, notices: list[Notice]) -> None:
        self._notices = notices

    def refuse(self, field: str, reason: str) -> None:
        self._notices.append(Notice("FIELD_INVALID", f"/{field}", f"{reason}; the field was not used"))

    def text(self, field: str, value: object) -> str | None:
        if value is None:
            return None
        if isinstance(value, str) and len(value) <= MAX_FIELD_CHARACTERS:
            return value
        self.refuse(field, f"not a text of at most {MAX_FIELD_CHARACTERS} characters")
        return None
