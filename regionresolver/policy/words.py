"""Every region word of a policy, with the place in the file where it stands, and what is wrong with it.

The one list of the fields that hold region words; `load` adds file and line to a complaint, `lint` reads the same list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from regionresolver.sources.locate import Path, dotted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regionresolver.policy.model import Policy, Rule
    from regionresolver.policy.regions import RegionNames

REGION_KEYS: Final = ("region", "region_not", "home_region", "home_region_not", "sold_in", "sold_in_not")


@dataclass(frozen=True, slots=True)
class Complaint:
    """Something wrong at one place of a policy file; `word` is the region word that stands there, if it is one."""

    path: Path
    text: str
    word: str | None = None

    @property
    def where(self) -> str:
        """Answer the place as `rules[3].when.region`."""
        return dotted(self.path)


def region_words(rule: Rule) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Answer the keys of a rule's `when` that hold region words, with the words."""
    for key in REGION_KEYS:
        words = getattr(rule.when, key)
        if words is not None:
            yield key, words


def wrong_words(policy: Policy, names: RegionNames) -> Iterator[Complaint]:
    """Answer region words that mean nothing, names that look like codes, and regions that contain themselves."""
    for name, words in policy.regions.items():
        path: Path = ("regions", name)
        if names.is_code(name.upper()):
            yield Complaint(path, f"a region must not be called like the code '{name.upper()}'")
        if way := names.cycle(name):
            yield Complaint(path, f"region '{name}' contains itself: {' -> '.join(way)}")
        yield from _unknown(path, words, names)
    for index, rule in enumerate(policy.rules):
        for key, words in region_words(rule):
            yield from _unknown(("rules", index, "when", key), words, names)


def _unknown(path: Path, words: tuple[str, ...], names: RegionNames) -> Iterator[Complaint]:
    """Answer the words of one list that mean nothing."""
    for index, word in enumerate(words):
        if (text := names.complaint(word)) is not None:
            yield Complaint((*path, index), text, word)
