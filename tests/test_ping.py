"""The compiled reading of a ping against the service's own: what it accepts it reads alike, and it accepts what is usual."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import orjson
import pytest

from _fastpath import ping
from tests.fuzz import fuzz_ping
from tests.reference import pings

if TYPE_CHECKING:
    from collections.abc import Callable

FULL = (
    b'{"id": "ping-7f3a", "device_id": "h:9c1e", "ip": "203.0.113.7", "serving": "36801", "sim": {"mcc": "368", "mnc": "01"},'
    b' "sku": "M2101K7AG", "sold_in": "DE", "first_activated_at": "2021-06-01T00:00:00Z", "lang": "es"}'
)


@pytest.mark.parametrize(
    "body",
    [
        FULL,
        FULL.replace(b" ", b""),
        b'{"ip":"84.0.1.1"}',
        b' \t\r\n{ "ip" : "84.0.1.1" , "serving" : null }\n',
        b'{"ip":"not an address"}',
        b'{"ip":"","serving":"","sim":"368019876543210"}',
        b'{"serving":{"mnc":"01","mcc":"368"}}',
        b'{"serving":{"mcc":"x","mnc":""}}',
        b'{"serving":"36801","new":true,"a":false,"b":null,"c":-12.5,"d":"text","e":0,"f":999999999999999}',
        b'{"serving":"36801","id":"","lang":"","sku":"","device_id":"","sold_in":""}',
        b'{"serving":"36801","id":"' + b"x" * 256 + b'"}',
        *(orjson.dumps({"ip": "84.0.1.1", "first_activated_at": text}) for text in (
            "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2000-02-29T00:00:00.1Z", "1969-12-31T23:59:59.5Z",
            "1900-03-01T00:00:00Z", "2024-12-31T12:34:56.78Z",
        )),
    ],
)  # fmt: skip
def test_an_ordinary_body_is_read(body: bytes) -> None:
    found = ping.read_json(body)
    assert found is not None
    assert found == pings.json_read(body)


@pytest.mark.parametrize(
    "query",
    [
        b"ip=84.0.1.1",
        b"serving=36801&sim=368-01&ip=2a02:10::1",
        b"ip=2a02%3a10%3A%3A1",
        b"sim=368+01",
        b"sim=368%2001",
        b"ip=&serving=36801&sim=",
        b"ip=nonsense",
        b"ip=1.2.3.0%2F24",
        b"ip=" + b"1" * 64,
    ],
)
def test_an_ordinary_query_is_read(query: bytes) -> None:
    found = ping.read_query(query)
    assert found is not None
    assert found == pings.query_read(query)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"{}", b"null", b"[]", b'"ip"', b'{"ip":"84.0.1.1"', b'{"ip":"84.0.1.1"}}', b'{"ip":"84.0.1.1",}',
        b'{"ip":"84.0.1.1"} x', b"{'ip':'84.0.1.1'}", b'{"ip" "84.0.1.1"}', b'{"ip":"84.0.1.1" "id":"x"}',
        b'{"ip":"84.0.1.1","ip":"84.0.1.1"}', b'{"ip":null,"ip":"84.0.1.1"}', b'{"ip":"1.1.1.1","x":1,"x":1}',
        b'{"ip":"1.1.1.1","":1,"":1}', b'{"\\u0069p":"84.0.1.1"}', b'{"ip":"84.0.1.1","id":"\\n"}',
        b'{"ip":"84.0.1.1","id":"\n"}',
        b'{"ip":"84.0.1.1","id":"\xc3\xa9"}', b'{"ip":"84.0.1.1","id":"\xff"}', b'{"ip":"84.0.1.1","id":"\x7f"}',
        b'\xef\xbb\xbf{"ip":"84.0.1.1"}', b'{"serving":36801}', b'{"serving":true}', b'{"ip":1}', b'{"sim":["368","01"]}',
        b'{"serving":{"mcc":"368"}}', b'{"serving":{"mcc":"368","mnc":1}}', b'{"serving":{"mcc":"368","mnc":"01","x":1}}',
        b'{"serving":{"mcc":"368","mcc":"368","mnc":"01"}}',
        b'{"serving":{}}', b'{"ip":{"mcc":"368","mnc":"01"}}',
        b'{"id":"x"}', b'{"ip":null}', b'{"ip":"1.1.1.1","id":1}', b'{"ip":"1.1.1.1","id":"' + b"x" * 257 + b'"}',
        b'{"ip":"1.1.1.1","first_activated_at":"2021-02-29T00:00:00Z"}', b'{"ip":"1.1.1.1","first_activated_at":1}',
        b'{"ip":"1.1.1.1","x":01}', b'{"ip":"1.1.1.1","x":1.}', b'{"ip":"1.1.1.1","x":.5}', b'{"ip":"1.1.1.1","x":+1}',
        b'{"ip":"1.1.1.1","x":1e5}', b'{"ip":"1.1.1.1","x":1234567890123456}', b'{"ip":"1.1.1.1","x":-}',
        b'{"ip":"1.1.1.1","x":NaN}',
        b'{"ip":"1.1.1.1","x":[]}', b'{"ip":"1.1.1.1","x":{}}', b'{"ip":"1.1.1.1","x":nullx}', b'{"ip":"1.1.1.1","x":tru}',
        b'{"ip":"1.1.1.1","x":', b'{"ip":"1.1.1.1","x"', b'{"ip":"1.1.1.1","x":"', b'{"ip":', b'{"serving":{"mcc":"368",',
        b'{"ip":"1.1.1.1",' + b",".join(b'"%d":0' % number for number in range(9)) + b"}", b'{"ip":"1.1.1.1"}\x00',
        b'{"ip":"1.1.1.1"}\v',
    ],
)  # fmt: skip
def test_an_odd_body_is_left_to_python(body: bytes) -> None:
    assert ping.read_json(body) is None


@pytest.mark.parametrize(
    "query",
    [
        b"", b"ip", b"ip=", b"=", b"&", b"ip=1.1.1.1&", b"&ip=1.1.1.1", b"ip=1.1.1.1&&sim=36801", b"ip=1.1.1.1&ip=1.1.1.1",
        b"IP=1.1.1.1",
        b"ip=1.1.1.1&strict=true", b"ip=1.1.1.1&explain=full", b"ip=1.1.1.1&x=1", b"ip=%", b"ip=%3", b"ip=%g0", b"ip=%0a",
        b"ip=%00",
        b"ip=%7f", b"ip=%80", b"ip=%C3%A9", b"ip=\xc3\xa9", b"ip=1.1.1.1#x", b"ip=1.1.1.1;sim=36801", b"ip=1.1.1.1=",
        b"ip=1.1 .1.1",
        b"ip=" + b"1" * 65, b"ip=" + b"%31" * 65, b"%69p=1.1.1.1", b"ip=[::1]",
    ],
)  # fmt: skip
def test_an_odd_query_is_left_to_python(query: bytes) -> None:
    assert ping.read_query(query) is None


@pytest.mark.parametrize("read", [ping.read_json, ping.read_query])
def test_every_beginning_of_a_ping_is_read_within_its_bytes(read: Callable[[bytes], object]) -> None:
    whole = FULL if read is ping.read_json else b"serving=368-01&sim=368%2001&ip=2a02:10::1"
    assert read(whole) is not None
    for end in range(len(whole)):
        fuzz_ping.one(whole[:end])
        fuzz_ping.one(whole[:end] + b"\x00")


@pytest.mark.parametrize("make", [fuzz_ping.made_body, fuzz_ping.made_query])
def test_made_pings_are_read_as_python_reads_them(make: Callable[[random.Random], bytes]) -> None:
    rng = random.Random(20260601)
    accepted = 0
    for _ in range(20_000):
        content = fuzz_ping.mutated(make(rng), rng)
        fuzz_ping.one(content)
        accepted += ping.read_json(content) is not None or ping.read_query(content) is not None
    assert accepted > 4_000, "hardly anything is accepted: the comparison is empty"
