"""What the handlers share: the resolver, the settings, the documents that change only with them, and how it ends."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
from aiohttp import web

from _fastpath.texts import Texts
from regionresolver.resolver import Decision, Resolver, now
from regionresolver.resolver.documents import override_document
from regionresolver.resolver.recorder import Recorder
from regionresolver.service.pages import WorkerPage
from regionresolver.settings import Settings


@dataclass(frozen=True, slots=True)
class StandingDocument:
    """A body that is served as it is, and its strong entity tag (quotes included)."""

    body: bytes
    etag: str


@dataclass(slots=True)
class ServiceState:
    """The state of one worker. Only `closing` and `draining` change, once, from false to true.

    `closing`: connections end with their next answer, for this worker goes. `draining`: the whole service goes, so that
    it is not ready any more either. `recorder` keeps what is to be logged of decisions. `lane` tells of the compiled lane, as
    JSON types; `on_ending` is called when connections begin to end.
    """

    resolver: Resolver
    settings: Settings
    page: WorkerPage
    policy: StandingDocument = field(init=False)
    data_digest: str = field(init=False)
    version: str = field(init=False)
    _metadata: StandingDocument = field(init=False)
    texts: Texts | None = None
    closing: bool = False
    draining: bool = False
    lane: Callable[[], dict[str, object]] = lambda: {"on": False, "why": "nothing is served yet"}
    on_ending: Callable[[], None] = lambda: None
    recorder: Recorder | None = None

    def __post_init__(self) -> None:
        """Make the documents. `data_digest` adds a digest to the generation, whose name begins anew at each start."""
        facts = self.resolver.metadata()
        self.data_digest = f"{facts['data']}-{_digest(_dump(facts))}"
        self.version = str(facts["version"])
        self._metadata = _document(self._described())
        self.policy = _document(self.resolver.policy_document())

    @property
    def data_etag(self) -> str:
        """The entity tag of what is answered for one address: another one as soon as an override has expired."""
        expired = self.resolver.expired_overrides(now())
        return f'"{self.data_digest}-{expired}"' if expired else f'"{self.data_digest}"'

    @property
    def metadata(self) -> StandingDocument:
        """What the answers were made from; made anew where overrides count their hits in it."""
        return _document(self._described()) if self.resolver.overrides else self._metadata

    def _described(self) -> dict[str, object]:
        counted = [override_document(found.override) | {"hits": found.hits} for found in self.resolver.overrides]
        return self.resolver.metadata() | {"overrides": counted, "worker": self.worker}

    @property
    def worker(self) -> dict[str, int]:
        """Which worker this is."""
        return {"index": self.page.worker, "pid": self.page.pid}


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
