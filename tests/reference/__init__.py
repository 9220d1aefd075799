"""The obvious forms of what `_fastpath` compiles: slow, short, written from the documents alone."""
