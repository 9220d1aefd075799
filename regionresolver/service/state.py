"""What the handlers share: the generation that is served, the settings, and how it ends."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import orjson
from aiohttp import web

from _fastpath.texts import Texts
from regionresolver.model import Override
from regionresolver.resolver import Decision, Resolver, now
from regionresolver.resolver.documents import override_document
from regionresolver.resolver.recorder import Recorder
from regionresolver.service import metrics
from regionresolver.service.overload import Pressure
from regionresolver.service.pages import WorkerPage
from regionresolver.settings import Settings

if TYPE_CHECKING:
    from regionresolver.service.access import Access


@dataclass(frozen=True, slots=True)
class StandingDocument:
    """A body that is served as it is, and its strong entity tag (quotes included)."""

    body: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation as it is served: its resolver, and the documents that change only with it.

    `data_digest` adds a digest to the generation's name, which begins anew at each start.
    """

    resolver: Resolver
    facts: Mapping[str, object]
    policy: StandingDocument
    data_digest: str

    @classmethod
    def of(cls, resolver: Resolver) -> Self:
        """Make the documents."""
        facts = resolver.metadata()
        return cls(resolver, facts, _document(resolver.policy_document()), f"{facts['data']}-{_digest(_dump(facts))}")


@dataclass(slots=True)
class ServiceState:
    """The state of one worker. `closing` and `draining` change once, from false to true; `generation` at each reload.

    `closing`: connections end with their next answer, for this worker goes. `draining`: the whole service goes, so that
    it is not ready any more either. `recorder` keeps what is to be logged of decisions, `access` has the API keys that
    may ask. `lane` tells of the compiled lane, as JSON types; `on_ending` is called when connections begin to end, `on_swap`
    with each generation that was served and the one that comes after it. `siblings` are the pages of all workers, and
    `latest_reload` is how that ended, None without one. What answers a request over several turns of the loop and must not mix
    generations keeps the resolver that it began with.
    """

    generation: Generation
    settings: Settings
    page: WorkerPage
    texts: Texts | None = None
    closing: bool = False
    draining: bool = False
    lane: Callable[[], dict[str, object]] = lambda: {"on": False, "why": "nothing is served yet"}
    on_ending: Callable[[], None] = lambda: None
    recorder: Recorder | None = None
    siblings: Callable[[], Iterable[WorkerPage]] = tuple
    latest_reload: Mapping[str, object] | None = None
    on_swap: list[Callable[[Resolver, Resolver], None]] = field(default_factory=list)
    access: "Access | None" = None
    pressure: Pressure = field(init=False)

    def __post_init__(self) -> None:
        """Begin without pressure."""
        self.pressure = Pressure(self.settings, self.page)

    @property
    def resolver(self) -> Resolver:
        """What answers at present."""
        return self.generation.resolver

    @property
    def policy(self) -> StandingDocument:
        """The active policy, expanded."""
        return self.generation.policy

    @property
    def data_digest(self) -> str:
        """What changes with everything that answers are made from."""
        return self.generation.data_digest

    @property
    def version(self) -> str:
        """The release that serves."""
        return str(self.generation.facts["version"])

    @property
    def data_etag(self) -> str:
        """The entity tag of what is answered for one address: another one as soon as an override has expired."""
        expired = self.resolver.expired_overrides(now()) if self.resolver.overrides else 0
        return f'"{self.data_digest}-{expired}"' if expired else f'"{self.data_digest}"'

    @property
    def metadata(self) -> StandingDocument:
        """What the answers were made from, and by which worker."""
        counted = [override_document(found.override) | {"hits": self._hits(found.override)} for found in self.resolver.overrides]
        served_by = [
            {"index": page.worker, "pid": page.pid, "state": page.state.name.lower(), "data": f"g{page.generation}"}
            for page in sorted(self.siblings(), key=lambda page: (page.worker, page.started_us))
        ]
        return _document({**self.generation.facts, "overrides": counted, "worker": self.worker, "workers": served_by})

    def _hits(self, override: Override) -> int | None:
        """Give the hits of an override in all workers; None for one that has no counter of its own."""
        pages = self.page.pages
        place = pages.names.place(metrics.OVERRIDES, (override.id, override.owner))
        return pages.sums(metrics.OVERRIDE_HITS)[place] if place else None

    @property
    def worker(self) -> dict[str, int]:
        """Which worker this is."""
        return {"index": self.page.worker, "pid": self.page.pid}

    def swap(self, generation: Generation) -> None:
        """Answer with another generation from the next request on; what was begun with the old one ends with it."""
        before, self.generation = self.generation, generation
        for follow in self.on_swap:
            follow(before.resolver, generation.resolver)

    def record(self, decision: Decision) -> None:
        """Log a decision that is about to be answered, where decisions are logged."""
        if self.recorder is not None:
            self.recorder.note(decision)

    def end_connections(self) -> None:
        """Let every further answer end its connection."""
        self.closing = True
        self.on_ending()

    def drain(self) -> None:
        """Send clients away, and say that the service is not ready."""
        self.draining = True
        self.end_connections()


STATE = web.AppKey("state", ServiceState)


def _document(members: dict[str, object]) -> StandingDocument:
    body = _dump(members)
    return StandingDocument(body, f'"{_digest(body)}"')


def _dump(members: dict[str, object]) -> bytes:
    return orjson.dumps(members, option=orjson.OPT_UTC_Z, default=str)


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:32]
