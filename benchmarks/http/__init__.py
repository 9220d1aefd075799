"""Requests a second, latency, CPU and memory of the service over HTTP, beside the servers that it is measured against."""
