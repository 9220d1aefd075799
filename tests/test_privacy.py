"""Nothing of an IMSI beyond its PLMN survives parsing, and no whole address leaves: marked ones are planted and searched.

In every field of a ping, in every encoding that a back end might send by design or by mistake, in wrong fields, in the
path, the query, the headers and the bodies of requests, and on the command line, stands an IMSI whose subscriber digits
occur nowhere else. Then everything that comes out is searched for them: answers and explanations, errors with their causes,
log lines at the most talkative level, metrics, the command line's output, and the memory of a decision.

What may be found, by contract: the ping's own `id` and `X-Request-Id` in the answer to it, and texts that a policy asks
for (`sku` ...) in the object that keeps them to explain itself; never in what that object says.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import io
import json
import logging
import pickle
import re
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from regionresolver import Resolver, cli
from regionresolver.errors import CatalogueError, PingError
from regionresolver.policy import conditions
from regionresolver.resolver import pings
from regionresolver.resolver.documents import decision_document, resolution_document
from regionresolver.resolver.log_chain import segments
from regionresolver.service import logs
from regionresolver.settings import Settings
from tests.http_service import Service, parse_answer, running
from tests.test_cli import invoke
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from regionresolver import Decision

PLMN = "25033"
MSIN_DIGITS = 10
WINDOW_DIGITS = 5
"""So many digits of a subscriber in a row are a leak; fewer may stand anywhere."""

REQUEST_ID = "aTestOfWhatIsLoggedAndWhatNot"
"""Looks random, so it is logged as it is; made ones would now and then hold the digits by chance."""

CHANCE = re.compile(rb"\b(?=[0-9]*[a-f])(?:[0-9a-f]{32}|[0-9a-f]{64})\b|\"pid\":[0-9]+")
"""Made request ids, digests of files and process ids: they hold any five digits now and then."""

SIGNALS = ("ip", "serving", "sim")
FACTS = ("sku", "sold_in", "device_id", "lang", "id", "first_activated_at")
ADDRESSES = ("84.0.171.219", "2a02:20:1234:5678:9abc:def0:1122:3344", "::ffff:84.0.171.219")


def msin(name: str) -> str:
    """Make subscriber digits that are a field's own: random, but the same in every run."""
    return str(int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10**MSIN_DIGITS).zfill(MSIN_DIGITS)


class Searcher:
    """Looks for subscriber digits, or for an address, in whatever form they may have been kept."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        if secret.isdigit():
            windows = [secret[i : i + WINDOW_DIGITS] for i in range(len(secret) - WINDOW_DIGITS + 1)]
            texts = windows
            packed = [
                bytes.fromhex(secret),
                bytes.fromhex("".join(b + a for a, b in zip(secret[::2], secret[1::2], strict=True))),
            ]
            packed += [int(secret).to_bytes(8, order) for order in ("little", "big")]
        else:
            texts, packed = [secret], []
        self._texts = [form.encode() for text in texts for form in {text, text.replace(":", "%3A"), text.replace(":", "%3a")}]
        self._packed = packed

    def finds(self, *found: object) -> list[str]:
        """Return where the secret stands: a cut-out of each text or bytes that holds it."""
        return [hit for one in found for hit in self._finds_in(one)]

    def _finds_in(self, one: object) -> Iterator[str]:
        text = CHANCE.sub(b"", one if isinstance(one, bytes) else str(one).encode("utf-8", "surrogatepass"))
        for needle in (*self._texts, *(self._packed if isinstance(one, bytes) else ())):
            if (at := text.find(needle)) >= 0:
                yield repr(text[max(at - 60, 0) : at + 60])


def encodings(digits: str) -> dict[str, Any]:
    """Write an IMSI in every way that JSON allows and somebody might choose."""
    imsi, mnc = PLMN + digits, PLMN[3:] + digits
    return {
        "digits": imsi,
        "hyphen": f"250-33{digits}",
        "hyphens": f"250-33-{digits}",
        "spaces": f"250 33 {digits}",
        "space before": f" {imsi}",
        "newline behind": f"{imsi}\n",
        "too long": imsi + digits,
        "very long": imsi * 100,
        "sign": f"+{imsi}",
        "full width": "".join(chr(ord(digit) + 0xFEE0) for digit in PLMN) + digits,
        "nai": f"0{imsi}@ims.mnc033.mcc250.3gppnetwork.org",
        "number": int(imsi),
        "fraction": float(f"{imsi}.5"),
        "mapping": {"mcc": "250", "mnc": mnc},
        "mapping, long mcc": {"mcc": imsi, "mnc": "33"},
        "mapping of numbers": {"mcc": 250, "mnc": int(mnc)},
        "mapping with more": {"mcc": "250", "mnc": "33", "msin": digits, "imsi": imsi},
        "fraction of a second": f"2021-06-01T00:00:00.{digits}Z",
        "list": [imsi],
        "pair": ["250", mnc],
        "nested": {"sim": {"sim": [{"imsi": imsi}]}},
    }


# The searcher itself


@pytest.mark.parametrize(
    "holder",
    [
        lambda d: f"imsi={PLMN}{d}",
        lambda d: f"...{d[3:8]}...",
        lambda d: d.encode(),
        bytes.fromhex,
        lambda d: b"\0" + bytes.fromhex("".join(b + a for a, b in zip(d[::2], d[1::2], strict=True))),
        lambda d: int(d).to_bytes(8, "little"),
        lambda d: [{"deep": (d,)}],
        lambda d: f"{'a' * 11}{d}{'b' * 12}",
    ],
)
def test_the_searcher_finds_what_is_planted(holder: Callable[[str], object]) -> None:
    digits = msin("searcher")
    assert Searcher(digits).finds(holder(digits))


def test_the_searcher_finds_nothing_in_what_is_allowed() -> None:
    digits = msin("searcher")
    assert Searcher(digits).finds(PLMN, f"{PLMN}{digits[0]}", digits[: WINDOW_DIGITS - 1], b"\0" * 100, "") == []
    assert len({msin(field) for field in (*SIGNALS, *FACTS)}) == len(SIGNALS) + len(FACTS)


# A policy that asks for everything that a ping can say, so that each rule has a reason to tell.

ASKING = """
[policy]
name = "asking"
version = 1
default_language = "en"
[messages.ASKED]
en = "asked"
"""
CONDITIONS = (
    'sku = ["M2*"]',
    'sku_not = ["*3*"]',
    'sold_in = ["DE"]',
    'sold_in_not = ["DE"]',
    'home_region = ["DE"]',
    'home_region_not = ["UA-40"]',
    "first_activated_before = 2001-01-01T00:00:00Z",
    "first_activated_after = 2101-01-01T00:00:00Z",
    'device_id = ["h:17"]',
    'signal_status = { ip = "invalid" }',
    'signal_status = { serving_plmn = "invalid" }',
    'signal_status = { home_plmn = "invalid" }',
)


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resolver]:
    folder = tmp_path_factory.mktemp("asking")
    rules = [
        f'[[rules]]\nid = "r{n}"\nwhen = {{ {when} }}\neffect = "review"\nreason = "ASKED"' for n, when in enumerate(CONDITIONS)
    ]
    (folder / "asking.toml").write_text("\n".join([ASKING, *rules]), encoding="utf-8")
    with Resolver.open(db=city_database(folder / "city.mmdb"), policy=folder / "asking.toml") as opened:
        yield opened


# The library


def everything_said(resolver: Resolver, ping: dict[str, Any], *, strict: bool) -> list[object]:
    """Decide on and resolve a ping, and return all that the library says about it, errors included."""
    said: list[object] = []
    signals = {name: value for name, value in ping.items() if name in SIGNALS}
    echoed = ping.get("id")
    try:
        decision = resolver.decide(**ping, strict=strict)
    except PingError as error:
        said += told_by(error)
    else:
        said += [repr(decision), str(decision), decision.effect, decision.region, decision.policy]
        for part in (decision.resolution, decision.verdict, decision.explanation):
            said += [repr(part), pickle.dumps(part)]
        documents = [dict(decision_document(decision, explain)) for explain in ("none", "reasons", "full")]
        assert all(document.pop("id") == (echoed if decision.id else None) for document in documents)
        said += [json.dumps(document) for document in documents]
        with pytest.raises(TypeError) as failed:
            pickle.dumps(decision)
        said += told_by(failed.value)
    try:
        resolution = resolver.resolve(**signals, strict=strict)
        explanation = resolver.explain(**signals, strict=strict)
        said += [repr(resolution), repr(explanation), json.dumps(resolution_document(resolution, explanation))]
    except PingError as error:
        said += told_by(error)
    return said


def told_by(error: BaseException | None) -> list[object]:
    """Return everything that an error and those behind it say; a traceback shows code, not values."""
    said: list[object] = []
    while error is not None:
        said += [str(error), repr(error), repr(error.args), repr(vars(error)), "".join(traceback.format_exception(error))]
        error = error.__cause__ or error.__context__
    return said


@pytest.mark.parametrize("strict", [False, True], ids=["lenient", "strict"])
@pytest.mark.parametrize("field", [*SIGNALS, *FACTS])
def test_the_library_says_nothing_of_a_subscriber(resolver: Resolver, field: str, strict: bool) -> None:
    digits = msin(field)
    values = encodings(digits) | {
        "bytes": (PLMN + digits).encode(),
        "tuple": ("250", PLMN[3:] + digits),
        "bytearray": bytearray((PLMN + digits).encode()),
        "object": type("Imsi", (), {"__str__": lambda _: PLMN + digits, "__repr__": lambda _: PLMN + digits})(),
    }
    for name, value in values.items():
        ping = {"serving": PLMN, "ip": "84.0.1.1", field: value}
        assert Searcher(digits).finds(*everything_said(resolver, ping, strict=strict)) == [], (field, name)


@pytest.mark.parametrize("field", [*SIGNALS, *FACTS])
def test_the_library_says_no_whole_address(resolver: Resolver, field: str) -> None:
    for address in ADDRESSES:
        ping = {"serving": PLMN, field: address}
        for strict in (False, True):
            assert Searcher(address).finds(*everything_said(resolver, ping, strict=strict)) == [], (field, address)


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_override_of_one_address_says_nothing_of_it(tmp_path: Path, address: str) -> None:
    (tmp_path / "catalogue.toml").write_text(
        f'[[networks]]\nid = "phone"\nnetwork = "{address}"\nregion = "UA-43"\nowner = "o"\nreason = "r"\nexpires = "never"\n',
        encoding="utf-8",
    )
    with Resolver.open(db=city_database(tmp_path / "city.mmdb"), catalogue=tmp_path / "catalogue.toml") as overridden:
        said = everything_said(overridden, {"ip": address, "serving": PLMN}, strict=False)
        assert [one.signal for one in overridden.explain(ip=address).overrides] == ["ip"]
        said += [repr(overridden.overrides), repr(overridden.metadata())]
    # What is pickled is the object itself, with the operator's own words; what is said of it is not.
    assert Searcher(address.removeprefix("::ffff:")).finds(*[one for one in said if not isinstance(one, bytes)]) == []


IN_A_FILE = {
    "plmn": '[[plmns]]\nid = "p"\nplmn = "{}"\nregion = "DE"\nowner = "o"\nreason = "r"\nexpires = "never"\n',
    "region": '[[plmns]]\nid = "p"\nplmn = "25033"\nregion = "{}"\nowner = "o"\nreason = "r"\nexpires = "never"\n',
    "network": '[[networks]]\nid = "n"\nnetwork = "{}"\nregion = "DE"\nowner = "o"\nreason = "r"\nexpires = "never"\n',
    "id": '[[plmns]]\nid = "{} "\nplmn = "25033"\nregion = "DE"\nowner = "o"\nreason = "r"\nexpires = "never"\n',
    "expires": '[[plmns]]\nid = "p"\nplmn = "25033"\nregion = "DE"\nowner = "o"\nreason = "r"\nexpires = "{}"\n',
    "member": '[regions]\nours = ["{}"]\n',
    "name": '[regions]\n{} = ["DE"]\n',
    "key": '[[plmns]]\n{} = "p"\n',
    "table": '[{}]\n',
    "words": '[[aliases]]\nregion = "UA-43"\nwords = ["{}"]\n',
    "codes": '[[aliases]]\nregion = "UA-43"\ncodes = ["{}"]\n',
    "no toml": "{}",
}  # fmt: skip


@pytest.mark.parametrize("place", IN_A_FILE)
def test_an_imsi_in_a_catalogue_file_is_not_repeated(tmp_path: Path, place: str) -> None:
    digits = msin(place)
    file = tmp_path / "catalogue.toml"
    for imsi in (PLMN + digits, f"250-33-{digits}"):
        file.write_text(IN_A_FILE[place].format(imsi), encoding="utf-8")
        with pytest.raises(CatalogueError) as caught:
            Resolver.open(catalogue=file)
        runs = [invoke("catalogue", "lint", str(file), *more) for more in ((), ("--json",))]
        runs.append(invoke("plmn", "25033", "--catalogue", str(file)))
        assert [run.exit_code for run in runs] == [1, 1, 1]
        said = [text for run in runs for text in (run.stdout, run.stderr)]
        assert Searcher(digits).finds(str(caught.value), repr(caught.value), *said) == []
    file.write_text(IN_A_FILE["member"].format("25033123"), encoding="utf-8")
    with pytest.raises(CatalogueError, match="25033123"):
        Resolver.open(catalogue=file)


def kept_by(decision: Decision, resolver: Resolver) -> list[object]:
    """Return what a decision keeps and its resolver does not: every object reachable from it, and its own bytes.

    But for the instant of the decision, whose microseconds hold any five digits now and then.
    """
    known = reachable([resolver])
    own = reachable([decision, *(getattr(decision, name, None) for name in dir(decision) if not name.startswith("__"))])
    kept = [found for number, found in own.items() if number not in known]
    values = [found for found in kept if isinstance(found, str | bytes | int | float) and found != decision.asked[-1]]
    return [*values, ctypes.string_at(id(decision), type(decision).__basicsize__)]


def reachable(roots: list[object]) -> dict[int, object]:
    """Return every object that can be reached, by its id; code and modules are not followed."""
    found: dict[int, object] = {}
    pending = roots
    while pending:
        one = pending.pop()
        if id(one) in found or isinstance(one, type | type(json) | type(reachable)):
            continue
        found[id(one)] = one
        pending.extend(gc.get_referents(one))
    return found


@pytest.mark.parametrize("field", SIGNALS)
def test_a_decision_keeps_nothing_of_a_subscriber(resolver: Resolver, field: str) -> None:
    digits = msin(field)
    values = encodings(digits) | {"tuple": ("250", PLMN[3:] + digits), "six": PLMN + digits[0]}
    for name, value in values.items():
        if name in {"number", "fraction", "mapping of numbers"} and field != "ip":
            continue  # refused: there is no decision
        for decision in (
            resolver.decide(serving=PLMN, **{field: value}) if field != "serving" else resolver.decide(serving=value),
            resolver.decide(**({"ip": "84.0.1.1", "sold_in": "DE"} | {field: value})),
        ):
            _ = decision.explanation
            assert Searcher(digits).finds(*kept_by(decision, resolver)) == [], (field, name)


def test_the_search_of_memory_sees_what_is_there(resolver: Resolver) -> None:
    """The digits that a decision may keep are found, and so are planted ones."""
    digits = msin("memory")
    decision = resolver.decide(sim=PLMN + digits, device_id="h:17")
    own_bytes = kept_by(decision, resolver)[-1]
    assert isinstance(own_bytes, bytes)
    assert (PLMN + digits[0]).encode() in own_bytes
    assert (PLMN + digits[:2]).encode() not in own_bytes
    assert "h:17" in kept_by(decision, resolver)
    for planted in (
        resolver.decide(sim=PLMN, id=PLMN + digits),
        resolver.decide(sim=PLMN, lang=digits),
        resolver.decide(sim=PLMN, sku="x" + digits),
    ):
        assert Searcher(digits).finds(*kept_by(planted, resolver))
    decision = resolver.decide(sim=PLMN)
    decision.cached_verdict = [digits]
    assert Searcher(digits).finds(*kept_by(decision, resolver))


def test_a_leak_in_the_library_would_be_found(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = msin("leak")
    parse = pings.parse_plmn

    def leaking(value: object, pointer: str, *, is_sim: bool) -> object:
        if parse(value, pointer, is_sim=is_sim) is None:
            raise PingError("malformed") from ValueError(value)
        return parse(value, pointer, is_sim=is_sim)

    monkeypatch.setattr(pings, "parse_plmn", leaking)
    said = everything_said(resolver, {"serving": PLMN + digits}, strict=True)
    assert Searcher(digits).finds(*said)


def test_a_leak_in_an_explanation_would_be_found(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = msin("leak")
    why_not = conditions.Condition.why_not
    monkeypatch.setattr(
        conditions.Condition, "why_not", lambda one, resolution, facts: f"{why_not(one, resolution, facts)} {facts}"
    )
    for field in ("sku", "sold_in", "device_id"):
        said = everything_said(resolver, {"serving": PLMN, field: PLMN + digits}, strict=False)
        assert Searcher(digits).finds(*said), field


# The service


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged, as JSON and as text, at the most talkative level."""
    stream = io.StringIO()
    root, access = logging.getLogger(), logging.getLogger(logs.ACCESS)
    handlers, level, disabled = root.handlers[:], root.level, access.disabled
    logs.configure("debug", "json", access=True, stream=stream)
    text = logging.StreamHandler(stream)
    text.setFormatter(logs.TextFormatter())
    root.addHandler(text)
    yield stream
    root.handlers[:], access.disabled = handlers, disabled
    root.setLevel(level)


def request(method: str, target: str, body: bytes = b"", *headers: str, identity: str = REQUEST_ID) -> bytes:
    """Write a request that ends its connection."""
    head = [f"{method} {target} HTTP/1.1", "Host: x", f"X-Request-Id: {identity}", "Connection: close", *headers]
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode("utf-8", "surrogateescape") + body


def pings_with(field: str, digits: str) -> Iterator[bytes]:
    for value in encodings(digits).values():
        yield json.dumps({"serving": PLMN, "ip": "84.0.1.1", field: value}).encode()


async def test_the_service_says_nothing_of_a_subscriber(resolver: Resolver, log: io.StringIO) -> None:
    """In fields: every one of them, in every encoding, at every path that takes a ping."""
    async with running(resolver) as service:
        for field in (*SIGNALS, *FACTS, "imsi", PLMN + msin("key")):
            digits = msin("key") if field.startswith(PLMN) else msin(field)
            searcher = Searcher(digits)
            for body in pings_with(field, digits):
                targets = ["/v1/decisions?explain=full", "/v1/decisions?strict=true", "/v1/resolve?explain=full&include=record"]
                for target in (*targets, "/v1/resolve?strict"):
                    answer = await service.exchange(request("POST", target, body))
                    said = parse_answer(answer).document
                    if field == "id" and said.get("id") is not None:
                        assert said.pop("id") == json.loads(body)["id"], "echoed by contract, and as it came"
                    assert searcher.finds(json.dumps(said), answer.partition(b"\r\n\r\n")[0]) == [], (field, target, body)
            assert searcher.finds(log.getvalue()) == [], field
        await search_standing_documents(service, log, [msin(field) for field in (*SIGNALS, *FACTS, "imsi", "key")])


UNTOLD = ("at", "chain", "data_digest", "policy_digest")
"""Members of a line of the decision log that hold any five digits now and then: an instant's microseconds, digests."""


async def test_the_decision_log_says_nothing_of_a_subscriber_and_no_whole_address(resolver: Resolver, tmp_path: Path) -> None:
    """Both ways of the service write it. What a ping calls itself, its device and its model is there as it came."""
    digits = msin("decision log")
    settings = Settings(port=0, decision_log="all", decision_log_dir=tmp_path)
    async with running(resolver, settings) as service:
        for address in ADDRESSES:
            for field in ("sim", "serving"):
                for value in encodings(digits).values():
                    body = json.dumps({"ip": address, "serving": PLMN, field: value, "imsi": PLMN + digits}).encode()
                    for target in ("/v1/decisions", "/v1/decisions?explain=none"):
                        await service.exchange(request("POST", target, body))
                        kept = request("POST", target, body).replace(b"Connection: close\r\n", b"")
                        await service.exchange(kept + request("GET", "/livez"))
        assert sum(service.fronts.lane.counts()[0].values()) > 20, "hardly any of these went through the lane"
    (segment,) = segments(tmp_path)
    lines = [json.loads(line) for line in segment.read_bytes().splitlines()[1:-1]]
    assert len(lines) > 100
    said = [json.dumps({name: value for name, value in line.items() if name not in UNTOLD}) for line in lines]
    assert Searcher(digits).finds(*said) == []
    for address in ADDRESSES:
        assert Searcher(address).finds(*said) == []
    assert Searcher("84.0.171.0/24").finds(*said), "the search would find what is there"


BATCH = "/v1/decisions/batch?explain=full"


def odd_requests(imsi: str) -> dict[str, bytes]:
    """Plant an IMSI where no field of a ping is."""
    ping = json.dumps({"sim": imsi}).encode()
    lines = b"\n".join([ping, b"{" + imsi.encode(), ping, b""])
    return {
        "query": request("GET", f"/v1/resolve?sim={imsi}0&explain=full"),
        "query, wrong fields": request("GET", f"/v1/resolve?ip={imsi}&serving={imsi}&explain=full"),
        "query, strict": request("GET", f"/v1/resolve?serving={imsi}&strict=true"),
        "query, unknown parameter": request("GET", f"/v1/resolve?imsi={imsi}&sim=25033"),
        "query, twice": request("GET", f"/v1/resolve?sim={imsi}&sim={imsi}"),
        "query, bad choice": request("GET", f"/v1/resolve?sim=25033&explain={imsi}"),
        "path of an address": request("GET", f"/v1/resolve/{imsi}"),
        "unknown path": request("GET", f"/{imsi}/x"),
        "unknown path with escapes": request("GET", f"/v1/%2e%2e/{imsi}%00"),
        "method not allowed": request("DELETE", f"/v1/decisions?sim={imsi}"),
        "unknown method": request(f"X{imsi}", "/v1/decisions"),
        "fragment": request("GET", f"/v1/resolve#{imsi}"),
        "absolute target": request("GET", f"http://{imsi}/v1/resolve?sim={imsi}"),
        "user agent": request("GET", "/livez", b"", f"User-Agent: {imsi}", f"Referer: http://x/{imsi}", f"Cookie: imsi={imsi}"),
        "own header": request("GET", "/livez", b"", f"X-IMSI: {imsi}", f"{imsi}: x"),
        "traceparent": request("GET", "/livez", b"", f"traceparent: 00-{imsi}{'a' * 17}-{'b' * 16}-zz"),
        "authorization": request("GET", "/v1/policy", b"", f"Authorization: Bearer {imsi}", f"If-None-Match: {imsi}"),
        "forwarded": request("GET", "/v1/resolve/me", b"", f"X-Forwarded-For: {imsi}", f"Forwarded: for={imsi}"),
        "host": request("GET", "/livez").replace(b"Host: x", f"Host: {imsi} {imsi}".encode()),
        "expectation": request("POST", "/v1/decisions", ping, f"Expect: {imsi}"),
        "content type": request("POST", "/v1/decisions", b"", f"Content-Type: {imsi}/x", "Content-Length: 0"),
        "coding": request("POST", "/v1/decisions", ping, f"Content-Encoding: {imsi}"),
        "transfer": request("POST", "/v1/decisions", b"", f"Transfer-Encoding: {imsi}"),
        "chunks": request("POST", "/v1/decisions", b"", "Transfer-Encoding: chunked") + f"g{imsi}\r\nx\r\n".encode(),
        "a chunk's extension": request("POST", "/v1/decisions", b"", "Transfer-Encoding: chunked")
        + f"2;imsi={imsi}\r\n{{}}\r\n0\r\nimsi: {imsi}\r\n\r\n".encode(),
        "length": request("POST", "/v1/decisions", b"", f"Content-Length: {imsi}"),
        "not JSON": request("POST", "/v1/decisions", ping[:-1]),
        "half a string": request("POST", "/v1/decisions", ping[:-2]),
        "bare": request("POST", "/v1/decisions", imsi.encode()),
        "an array": request("POST", "/v1/decisions", b"[" + ping + b"]"),
        "a key twice": request("POST", "/v1/decisions", f'{{"sim": "{imsi}", "sim": "{imsi}"}}'.encode()),
        "not UTF-8": request("POST", "/v1/decisions", ping + b"\xff"),
        "too large": request("POST", "/v1/decisions", json.dumps({"sim": imsi, "x": imsi * 2000}).encode()),
        "a batch": request("POST", BATCH, b"[" + ping + b"," + imsi.encode() + b"]"),
        "lines": request("POST", BATCH, lines).replace(b"application/json", b"application/x-ndjson"),
        "no request": f"{imsi}\r\n\r\n".encode(),
        "no version": f"GET /{imsi}\r\n\r\n".encode(),
        "strange version": f"GET /{imsi} HTTP/{imsi}\r\nHost: x\r\n\r\n".encode(),
        "a header without a colon": f"GET / HTTP/1.1\r\nHost: x\r\n{imsi}\r\n\r\n".encode(),
        "a folded header": f"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n {imsi}\r\n\r\n".encode(),
        "a bare carriage return": f"GET / HTTP/1.1\r\nHost: x\r\nA: {imsi}\r{imsi}\r\n\r\n".encode(),
        "a long line": f"GET /{imsi * 700} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        "many lines": request("GET", "/livez", b"", *(f"X-{number}: {imsi}" for number in range(200))),
    }


CUT_OFF = {"length"}
"""Requests that never end by themselves."""


async def test_the_service_says_nothing_of_a_subscriber_in_odd_places(resolver: Resolver, log: io.StringIO) -> None:
    places = list(odd_requests(""))
    async with running(resolver) as service:
        for place in places:
            digits = msin(place)
            before = len(log.getvalue())
            logging.getLogger("aiohttp.server").filters[:] = []  # its scrubber writes one line a second: begin a new one
            logs.guard_aiohttp_log()
            answer = await service.exchange(odd_requests(PLMN + digits)[place], end=place in CUT_OFF)
            assert answer.startswith(b"HTTP/1.1 ") or place in CUT_OFF, place
            assert Searcher(digits).finds(answer) == [], place
            assert Searcher(digits).finds(log.getvalue()[before:]) == [], place
        await search_standing_documents(service, log, [msin(place) for place in places])
    assert log.getvalue().count('"event":"request"') >= len(places) - 10, "the access log was on"


async def test_a_request_id_is_echoed_and_not_logged_as_it_is(resolver: Resolver, log: io.StringIO) -> None:
    async with running(resolver) as service:
        for identity in (PLMN + msin("identity"), ADDRESSES[0], f"imsi-{PLMN}{msin('identity')}"):
            answer = await service.exchange(request("POST", "/v1/decisions", b"{}", identity=identity))
            assert parse_answer(answer).headers["x-request-id"] == identity
    assert Searcher(msin("identity")).finds(log.getvalue()) == []
    assert Searcher(ADDRESSES[0]).finds(log.getvalue()) == []
    assert "sha256:" in log.getvalue()


async def test_the_service_says_no_whole_address(resolver: Resolver, log: io.StringIO) -> None:
    async with running(resolver) as service:
        for address in ADDRESSES:
            requests = [
                request("POST", f"/v1/{path}?explain=full", json.dumps({"serving": PLMN, field: address}).encode())
                for field in (*SIGNALS, *FACTS)
                if field != "id"
                for path in ("decisions", "resolve")
            ]
            requests += [
                request("GET", f"/v1/resolve?ip={address}&explain=full"),
                request("GET", f"/v1/resolve/{address}?explain=full"),
                request("GET", f"/v1/resolve/{address}x"),
                request("GET", f"/{address}"),
                request("GET", "/v1/resolve/me?explain=full", b"", f"X-Forwarded-For: {address}"),
                request("POST", "/v1/decisions", f'{{"ip": "{address}"'.encode()),
            ]
            for raw in requests:
                assert Searcher(address).finds(await answered(service, raw)) == [], raw
            assert Searcher(address).finds(log.getvalue()) == []
            await search_standing_documents(service, log, [address])


async def answered(service: Service, raw: bytes) -> bytes:
    """Send a request, and hold that there is an answer to search."""
    answer = await service.exchange(raw)
    assert answer.startswith(b"HTTP/1.1 "), raw
    return answer


async def search_standing_documents(service: Service, log: io.StringIO, secrets: list[str]) -> None:
    """Search what is not an answer to a ping: metrics, metadata, health, and the log behind them."""
    paths = ("/metrics", "/v1/metadata", "/v1/policy", "/readyz", "/livez", "/version", "/openapi.json", "/docs", "/")
    pages = [await answered(service, request("GET", path)) for path in paths]
    assert b"regionresolver_decisions_total" in pages[0]
    pages[0] = re.sub(rb"(?m)^(regionresolver_\S+(?:\{.*\})?) [0-9.e+-]+$", rb"\1", pages[0])  # times and sizes hold any digits
    for secret in secrets:
        assert Searcher(secret).finds(*pages, log.getvalue()) == []


async def test_a_leak_in_the_service_would_be_found(
    resolver: Resolver, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = msin("leak")
    describe = logs.describe
    monkeypatch.setattr(logs, "describe", lambda error: describe(error) | {"message": str(error)})
    monkeypatch.setattr(pings, "parse_instant", lambda text: int(text.replace(digits, f"x{digits}")))
    async with running(resolver) as service:
        body = json.dumps({"serving": PLMN, "first_activated_at": PLMN + digits}).encode()
        answer = await service.exchange(request("POST", "/v1/decisions", body))
        assert parse_answer(answer).status == 500
        assert Searcher(digits).finds(answer) == [], "an unforeseen error is answered without its message"
        assert Searcher(digits).finds(log.getvalue()), "and would be seen in the log"


# The command line


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(city_database(tmp_path_factory.mktemp("privacy") / "city.mmdb"))


@pytest.mark.usefixtures("bare_environment", "logging_as_it_was")
@pytest.mark.parametrize("field", [*SIGNALS, *FACTS])
def test_decide_says_nothing_of_a_subscriber(city: str, field: str) -> None:
    digits = msin(field)
    flag = "--" + field.replace("_", "-")
    imsi = PLMN + digits
    runs = [
        ["--serving", PLMN, flag, imsi, "--explain", "full"],
        ["--serving", PLMN, flag, f"250-33{digits}", "--explain", "full", "--json"],
        ["--serving", PLMN, flag, imsi + digits, "--strict"],
    ]
    for arguments in runs:
        result = invoke("decide", "--db", city, *arguments)
        said = result.stdout
        if field == "id" and "--json" in arguments:
            document = json.loads(said)
            assert document.pop("id") == arguments[3]
            said = json.dumps(document)
        assert Searcher(digits).finds(said, result.stderr) == [], arguments


@pytest.mark.usefixtures("bare_environment", "logging_as_it_was")
def test_the_command_line_says_nothing_of_a_subscriber_in_odd_places() -> None:
    digits = msin("command line")
    imsi = PLMN + digits
    ef_imsi = "08" + imsi[0] + "9" + "".join(b + a for a, b in zip(imsi[1::2], imsi[2::2], strict=True))
    for arguments in (
        ["decide", "--at", imsi, "--serving", PLMN],
        ["decide", "--explain", imsi, "--serving", PLMN],
        ["decide", imsi],
        ["decide", f"--imsi={imsi}"],
        ["decide", f"--{imsi}"],
        [imsi],
        ["plmn", imsi],
        ["plmn", f"250-33-{digits}"],
        ["plmn", "--imsi-prefix", imsi],
        ["plmn", "--imsi-prefix", imsi, "--json"],
        ["plmn", "--imsi-prefix", imsi + digits],
        ["plmn", "--bcd", imsi],
        ["plmn", "--s1ap", f"x{imsi}"],
        ["plmn", "--ef-imsi", ef_imsi],
        ["plmn", "--ef-imsi", ef_imsi, "--json"],
        ["plmn", "--ef-imsi", ef_imsi + digits],
        ["plmn", "--mcc", imsi],
        ["plmn", f"--imsi={imsi}"],
    ):
        result = invoke(*arguments)
        assert Searcher(digits).finds(result.stdout, result.stderr) == [], arguments
        assert result.stdout or result.stderr
    assert invoke("plmn", "--ef-imsi", ef_imsi, "--json").exit_code == 0, "the file itself is well-formed"


def test_a_leak_on_the_command_line_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = msin("command line")
    assert "[digits]" in invoke("decide", PLMN + digits).stderr
    monkeypatch.setattr(cli, "_LONG_NUMBER", re.compile("(?!)"))
    assert Searcher(digits).finds(invoke("decide", PLMN + digits).stderr)
