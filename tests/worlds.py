"""Small databases with a known answer for every address, for tests that need a whole resolver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.mmdb_builder import build_mmdb

if TYPE_CHECKING:
    from pathlib import Path

CITY_NETWORKS: dict[str, tuple[str, str | None]] = {
    "2.0.0.0/16": ("FR", None),
    "5.0.0.0/16": ("DE", None),
    "8.8.8.0/24": ("US", None),
    "31.0.0.0/16": ("UA", None),
    "37.0.0.0/16": ("RU", None),
    "46.0.0.0/16": ("UA", "43"),
    "62.0.0.0/16": ("RU", "CR"),
    "77.0.0.0/16": ("RU", "SEV"),
    "78.0.0.0/16": ("UA", "14"),
    "79.0.0.0/16": ("UA", "09"),
    "79.1.0.0/16": ("UA", "65"),
    "79.2.0.0/16": ("UA", "23"),
    "79.3.0.0/16": ("MD", "SN"),
    "80.0.0.0/16": ("ES", None),
    "84.0.0.0/16": ("CU", None),
    "85.0.0.0/16": ("GF", None),
    "86.0.0.0/16": ("GE", "AB"),
    "87.0.0.0/16": ("GE", None),
    "88.0.0.0/16": ("PS", None),
    "89.0.0.0/16": ("GU", None),
    "2a02:10::/32": ("RU", "CR"),
    "2a02:20::/32": ("IR", None),
}
"""Network -> country and bare subdivision code. The three spellings of Crimea are here: UA-43, RU-CR, RU-SEV."""


def city_database(
    path: Path, networks: dict[str, tuple[str, str | None]] = CITY_NETWORKS, *, build_epoch: int = 1_780_000_000
) -> Path:
    """Write a GeoIP2-shaped database with countries and subdivision codes."""
    records: dict[str, object] = {}
    for network, (country, subdivision) in networks.items():
        record: dict[str, object] = {"country": {"iso_code": country}}
        if subdivision:
            record["subdivisions"] = [{"iso_code": subdivision}]
        records[network] = record
    path.write_bytes(build_mmdb(records, ip_version=6, database_type="Test-City", build_epoch=build_epoch))
    return path


def country_database(path: Path, networks: dict[str, tuple[str, str | None]] = CITY_NETWORKS) -> Path:
    """Write the same without subdivisions: it cannot see Crimea."""
    return city_database(path, {network: (country, None) for network, (country, _) in networks.items()})
