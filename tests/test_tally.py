"""The words that decisions add to: in the process, and in memory that processes share."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from _fastpath.fusion import CONFLICT_BITS, STATUS_IDS
from _fastpath.policy_table import EFFECT_IDS
from _fastpath.tally import TOTAL_WORDS, Counters, Tally
from regionresolver import Resolver
from regionresolver.resolver import DecisionCounters
from regionresolver.service import metrics
from tests.policies import NOON
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from regionresolver import Decision

POLICY = """
[policy]
name = "counted"
version = 1

[[rules]]
id = "cuba"
when = { region = ["CU"] }
effect = "deny"
review_by = 2030-01-01

[[rules]]
id = "spain-one-day"
mode = "shadow"
when = { region = ["ES"] }
effect = "deny"
review_by = 2030-01-01
"""


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Resolver]:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    with Resolver.open(db=city_database(tmp_path / "city.mmdb"), policy=policy) as opened:
        yield opened


class Words:
    """Memory to count in, with the places that a service would give."""

    def __init__(self, regions: list[str | None], rules: list[str | None]) -> None:
        self.totals, self.signals, self.conflicts = array("Q", [0] * 2), array("Q", [0] * 21), array("Q", [0] * 10)
        self.regions, self.rules, self.shadow_rules = (array("Q", [0] * (1 + len(regions)) * 3),
                                                       *(array("Q", [0] * (1 + len(rules))) for _ in range(2)))  # fmt: skip
        self.region_names, self.rule_names = regions, rules

    def counters(self) -> DecisionCounters:
        return DecisionCounters(
            self.totals, self.signals, self.conflicts, self.regions, self.rules, self.shadow_rules, array("Q", [0]),
            region_place=lambda code: self.region_names.index(code) + 1 if code in self.region_names else 0,
            rule_place=lambda rule: self.rule_names.index(rule) + 1 if rule in self.rule_names else 0,
            override_place=lambda _: 0,
        )  # fmt: skip


def test_a_tally_of_its_own_begins_at_nothing() -> None:
    assert Tally().read() == (0, 0)
    assert TOTAL_WORDS == 2


def test_counters_lie_in_any_writable_memory() -> None:
    shared = array("Q", [7, 8, 9])
    counters = Counters(shared)
    assert (counters.count, counters.read()) == (3, [7, 8, 9])
    counters.reset()
    assert list(shared) == [0, 0, 0]
    shared[0] = 2**64 - 1
    assert counters.read() == [2**64 - 1, 0, 0]
    with pytest.raises(BufferError):
        Counters(b"12345678")
    with pytest.raises(ValueError, match="multiple of eight"):
        Counters(memoryview(bytearray(17))[1:])
    with pytest.raises(TypeError, match="bytes-like"):
        Counters("text")  # type: ignore[arg-type]
    assert Counters(bytearray(0)).read() == []


def test_the_memory_stays_as_long_as_somebody_counts_in_it() -> None:
    memory = bytearray(16)
    counters = Counters(memory)
    with pytest.raises(BufferError):
        memory.clear()
    del counters
    memory.clear()


def test_decisions_of_now_are_counted_and_replays_are_not(resolver: Resolver) -> None:
    decided, denied = resolver.breaker._totals()
    resolver.decide(serving="36801")  # plain texts: the compiled entry
    resolver.decide(serving={"mcc": "214", "mnc": "01"})  # parsed by Python
    resolver.decide(serving="36801", at=NOON)
    resolver.resolve(serving="36801")
    assert resolver.breaker._totals() == (decided + 2, denied + 1)


def test_the_words_of_the_table_are_the_ids_of_the_compiled_path() -> None:
    assert {status: place for place, status in enumerate(metrics.SIGNAL_STATUSES)} == STATUS_IDS
    assert {str(effect): place for place, effect in enumerate(metrics.EFFECTS)} == EFFECT_IDS
    assert {name: 1 << place for place, name in enumerate(metrics.CONFLICTS.labels[0].values)} == CONFLICT_BITS


SERVING = (None, "36801", "21401", "25099", "90101", "nonsense", "99999")
IPS = (None, "81.0.1.1", "10.0.0.1", "203.0.113.1", "169.158.0.1", "nonsense", "8.8.8.8")


def test_every_part_of_a_decision_is_counted_as_the_answer_says_it(counted: Resolver) -> None:
    """Against the answers themselves, for pings of every sort, on the plain way and on the parsed one."""
    words = Words([None, "CU", "ES"], [None, "cuba"])
    counted.count_in(words.counters())
    chosen = random.Random(7)
    answers: list[Decision] = []
    for turn in range(400):
        fields = {"ip": chosen.choice(IPS), "serving": chosen.choice(SERVING), "sim": chosen.choice(SERVING)}
        if all(value is None for value in fields.values()):
            continue
        odd = {"first_activated_at": "2020-01-01T00:00:00Z"} if turn % 2 else {}
        answers.append(counted.decide(**fields, **odd))  # type: ignore[arg-type]
    verdicts = [answer.verdict for answer in answers]
    assert list(words.totals) == [len(answers), sum(verdict.effect == "deny" for verdict in verdicts)]
    statuses = Counter((one.signal, one.status) for answer in answers for one in answer.resolution.evidence)
    for number, signal in enumerate(metrics.SIGNALS):
        found = dict(zip(metrics.SIGNAL_STATUSES, words.signals[7 * number : 7 * number + 7], strict=True))
        given = {status: statuses[signal, status] for status in metrics.SIGNAL_STATUSES[1:]}
        assert found == {"absent": len(answers) - sum(given.values()), **given}
    conflicts = Counter(conflict for answer in answers for conflict in answer.resolution.conflicts)
    assert dict(zip(metrics.CONFLICTS.labels[0].values, words.conflicts, strict=True)) == {
        name: conflicts[name] for name in metrics.CONFLICTS.labels[0].values  # type: ignore[index]
    }  # fmt: skip
    regions = Counter((answer.region if answer.region in {None, "CU", "ES"} else "(other)", answer.effect) for answer in answers)
    assert list(words.regions) == [
        regions[region, effect] for region in ("(other)", None, "CU", "ES") for effect in metrics.EFFECTS
    ]
    rules = Counter(verdict.rule for verdict in verdicts)
    assert list(words.rules) == [0, rules[None], rules["cuba"]]
    assert list(words.shadow_rules) == [sum(verdict.shadow_rule == "spain-one-day" for verdict in verdicts), 0, 0]
    assert min(words.rules[1:], default=0) > 0 < words.shadow_rules[0] < len(answers)


def test_a_resolution_counts_its_evidence_alone(counted: Resolver) -> None:
    words = Words([None, "CU", "ES"], [None])
    counted.count_in(words.counters())
    counted.resolve(serving="36801", ip="nonsense")
    counted.resolve(serving="36801", at=NOON)
    assert sum(words.signals) == 3
    assert sum(words.totals) + sum(words.regions) + sum(words.rules) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"totals": array("Q", [0])}, "totals, signals or conflicts"),
        ({"signals": array("Q", [0] * 20)}, "totals, signals or conflicts"),
        ({"conflicts": array("Q", [0] * 9)}, "totals, signals or conflicts"),
        ({"regions": array("Q", [0] * 2)}, "without a word"),
        ({"region_place": lambda _: 3}, "without a word"),
        ({"rule_place": lambda _: -1}, "without a word"),
        ({"shadow_rules": array("Q", [0])}, "without a word"),
    ],
)
def test_memory_that_is_too_small_is_refused_and_changes_nothing(
    counted: Resolver, change: dict[str, object], words: str
) -> None:
    found = Words([None, "CU"], [None])
    counted.count_in(found.counters())
    given = {name: getattr(found.counters(), name) for name in DecisionCounters.__slots__} | change
    with pytest.raises(ValueError, match=words):
        counted.count_in(DecisionCounters(**given))
    counted.decide(serving="36801")
    assert (list(found.totals), found.regions[7]) == ([1, 1], 1)
