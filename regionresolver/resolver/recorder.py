"""What a process keeps of its decisions until they are written: the compiled ring, with the words that its lines need.

Who decides in Python calls `note`; the compiled lane has `ring` and notes by itself. One other thread calls `take`.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Final, Literal

from _fastpath.decision_log import DecisionLog
from regionresolver.resolver.log_records import log_words, text_as_json

if TYPE_CHECKING:
    from regionresolver.resolver.decision import Decision

LogMode = Literal["sampled", "denials", "all"]

MUCH_BYTES: Final = 64 * 1024
"""What `take` gives at least while there is more to take."""


class Recorder:
    """The decisions of one process that are to be logged, and are not written yet."""

    def __init__(self, mode: LogMode, share: float = 1.0, ring_bytes: int = 1 << 23) -> None:
        """Keep at most `ring_bytes` (a power of two); `share` is what `sampled` takes of all decisions."""
        self.ring = DecisionLog(log_words, mode, share, ring_bytes, secrets.randbits(64))

    def note(self, decision: Decision) -> None:
        """Keep a decision, if it is to be logged; drop and count it when there is no room."""
        self.ring.note_decided(decision, text_as_json)

    def take(self, chain: bytes) -> tuple[bytes, int, int, bytes]:
        """Take lines: (lines, how many, the number of the last one, the chain behind it); some 64 KiB at most."""
        return self.ring.take(chain, hashlib.sha256)

    def forget(self) -> None:
        """Let go of what answered until now, once its decisions are written: another generation answers."""
        self.ring.forget()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take."""
        return self.ring.waiting_bytes == 0

    @property
    def noted(self) -> int:
        """How many decisions were to be logged, those that were dropped among them."""
        return self.ring.noted

    @property
    def dropped(self) -> int:
        """How many of them found no room."""
        return self.ring.dropped
