"""The compiled stages of the hot path: a leaf package that imports nothing of ours and does no I/O.

Bytes go in, structs and small integers come out; on the request path nothing here raises.
Each `.pyx` has a `.pxd` (its face in C) and a `.pyi` (its face in Python).
"""
