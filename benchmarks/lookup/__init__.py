"""Every form of a lookup against its peers, in one run: `make bench-lookup`, read docs/benchmarks.md."""
