"""Fuzzers of the compiled stages, each with an oracle: `python -m tests.fuzz.fuzz_address --seconds 60`.

A target is a function of bytes that returns, or raises when the stage and its oracle disagree; a crash or a hang is
libFuzzer's to see. `.ci/fuzz` builds the extensions with coverage and sanitizers and runs every target; what it found
worth keeping lies in `corpus/`, and tests/test_fuzz_corpus.py replays it in every run of the tests.
"""
