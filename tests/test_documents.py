"""Pings from JSON values: what counts as given, and what can be no address."""

from __future__ import annotations

import pytest

from regionresolver.resolver.documents import ping_arguments, signal_arguments


def test_null_means_absent_and_unknown_fields_are_left() -> None:
    document: dict[str, object] = {"ip": None, "serving": "36801", "sku": None, "id": "p", "newer": 1}
    assert ping_arguments(document) == {"serving": "36801", "id": "p"}
    assert signal_arguments(document) == {"serving": "36801"}


@pytest.mark.parametrize("value", [134744072, 1.5, True, [], {}, ["8.8.8.8"]])
def test_an_address_is_a_text(value: object) -> None:
    assert signal_arguments({"ip": value}) == {"ip": ""}
