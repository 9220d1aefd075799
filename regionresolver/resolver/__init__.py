"""The library's face: `Resolver.open()`, `.lookup()`, `.resolve()`, `.decide()`."""

from regionresolver.resolver.engine import Resolver, embedded_database

__all__ = ["Resolver", "embedded_database"]
