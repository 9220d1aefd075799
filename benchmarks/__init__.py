"""Benchmarks: stages of the hot path against their peers, and checks over data too large for the tests."""
