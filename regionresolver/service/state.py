"""What the handlers share: the resolver, the settings, the documents that change only with them, and the drain flag."""

import hashlib
import os
from dataclasses import dataclass, field

import orjson
from aiohttp import web

from regionresolver.resolver import Resolver
from regionresolver.settings import Settings


@dataclass(frozen=True, slots=True)
class StandingDocument:
    """A body that is served as it is, and its strong entity tag (quotes included)."""

    body: bytes
    etag: str


@dataclass(slots=True)
class ServiceState:
    """The service's state. Only `draining` changes, once, from false to true."""

    resolver: Resolver
    settings: Settings
    metadata: StandingDocument = field(init=False)
    policy: StandingDocument = field(init=False)
    data_etag: str = field(init=False)
    version: str = field(init=False)
    draining: bool = False

    def __post_init__(self) -> None:
        """Make the documents. `data_etag` adds a digest to the generation, whose name begins anew at each start."""
        facts = self.resolver.metadata()
        self.data_etag = f'"{facts["data"]}-{_digest(_dump(facts))}"'
        self.version = str(facts["version"])
        self.metadata = _document(facts | {"worker": {"index": 0, "pid": os.getpid()}})
        self.policy = _document(self.resolver.policy_document())


STATE = web.AppKey("state", ServiceState)


def _document(members: dict[str, object]) -> StandingDocument:
    body = _dump(members)
    return StandingDocument(body, f'"{_digest(body)}"')


def _dump(members: dict[str, object]) -> bytes:
    return orjson.dumps(members, option=orjson.OPT_UTC_Z, default=str)


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:32]
