"""What several test files share: a bare environment, the logging as it was, a service on a small known database."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import aiohttp
import pytest
import pytest_asyncio
from hypothesis import settings

from regionresolver import Resolver
from regionresolver.service import logs
from tests.http_service import Service, running
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# A busy machine stretches every clock.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away every setting of the machine that runs the tests."""
    for name in [name for name in os.environ if name.startswith("REGIONRESOLVER_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    """Undo what a command does to the logging."""
    root, access = logging.getLogger(), logging.getLogger(logs.ACCESS)
    handlers, level, disabled = root.handlers[:], root.level, access.disabled
    yield
    root.handlers[:], access.disabled = handlers, disabled
    root.setLevel(level)


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resolver]:
    with Resolver.open(db=city_database(tmp_path_factory.mktemp("city") / "city.mmdb")) as opened:
        yield opened


@pytest_asyncio.fixture
async def service(resolver: Resolver) -> AsyncIterator[Service]:
    async with running(resolver) as found:
        yield found


@pytest_asyncio.fixture
async def client(service: Service) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(service.url) as session:
        yield session
