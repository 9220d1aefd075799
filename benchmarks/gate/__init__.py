"""The gate: is this revision slower than that one? `make bench-gate BASE=<rev>`, read docs/benchmarks.md."""
