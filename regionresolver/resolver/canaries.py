"""Canaries: pings whose answers an operator knows, asked of every generation before it is served.

A TOML file of `[[canary]]` tables. Each has signals (`ip`, `serving`, `sim`) and may have facts (`sku`, `sold_in`, `lang`),
and says at least one of what must be answered: `region`, `country`, `decision`.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from regionresolver.errors import CanaryError, PingError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from regionresolver.resolver.engine import Resolver


class Canary(BaseModel):
    """One ping and what must be said of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    ip: str | None = None
    serving: str | None = None
    sim: str | None = None
    sku: str | None = None
    sold_in: str | None = None
    lang: str | None = None
    region: str | None = None
    country: str | None = None
    decision: Literal["allow", "deny", "review"] | None = None

    @model_validator(mode="after")
    def _asks_and_expects(self) -> Self:
        if self.ip is self.serving is self.sim is None:
            raise ValueError("it has no signal: give ip, serving or sim")
        if self.region is self.country is self.decision is None:
            raise ValueError("it expects nothing: give region, country or decision")
        return self

    def fault(self, resolver: Resolver) -> str | None:
        """Ask, and say what is answered otherwise than expected; None when nothing is. No signal is repeated."""
        asked = resolver.decide(
            ip=self.ip, serving=self.serving, sim=self.sim, sku=self.sku, sold_in=self.sold_in, lang=self.lang, strict=True
        )
        found = {"region": asked.region, "country": asked.resolution.country, "decision": asked.effect.value}
        for name, answered in found.items():
            expected = getattr(self, name)
            if expected is not None and answered != expected:
                return f"{name} is {answered}, expected is {expected}"
        return None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    canary: tuple[Canary, ...] = Field(min_length=1)


def read_canaries(path: Path) -> tuple[Canary, ...]:
    """Read a file of canaries. Raises CanaryError."""
    try:
        return _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).canary
    except OSError as error:
        raise CanaryError(path, f"cannot be read: {error.strerror}", remedy="check the setting canaries") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise CanaryError(path, "is not TOML", remedy='write [[canary]] tables: ip = "...", region = "..."') from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        _, *where = first["loc"] or ("canary",)
        place = f"canary {int(where[0]) + 1}" if where and isinstance(where[0], int) else "canary"
        key = f".{where[1]}" if len(where) > 1 else ""
        raise CanaryError(path, first["msg"].removeprefix("Value error, "), where=place + key) from None


def ask_canaries(path: Path, resolver: Resolver) -> None:
    """Ask the canaries of a file. Raises CanaryError for the first one that is answered otherwise than expected."""
    for number, canary in enumerate(read_canaries(path), 1):
        try:
            fault = canary.fault(resolver)
        except PingError as error:
            fault = str(error)
        if fault is not None:
            raise CanaryError(path, fault, where=f"canary {number}", remedy="the generation is wrong, or the canary is")
    resolver.forget_counts()
