"""How many decisions were made, and how many of them denied: two totals, in the process or in a page that it shares.

The hot path adds (`count`), whoever watches reads; nothing is ever subtracted, and nothing here knows the time. A page has
one writer: the process that decides. A reader in another process sees each total whole (aligned words of 8 bytes), and
may see a decision before its denial is added.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stddef cimport size_t

from _fastpath.tally cimport Counts

BYTES = sizeof(Counts)


@cython.final
@cython.auto_pickle(False)
cdef class Tally:
    """Totals of one deciding process, in `page` (a writable buffer that begins on 8 bytes, such as a shared mapping).

    Without a page they are the process's own, and begin at 0; in a page they go on from what it holds. Raises ValueError
    for a page that is too small or begins elsewhere.
    """

    def __cinit__(self, page=None):
        self._counts = &self._own
        if page is None:
            return
        PyObject_GetBuffer(page, &self._page, PyBUF_WRITABLE)
        if self._page.len < <Py_ssize_t>sizeof(Counts):
            raise ValueError(f"a page of {self._page.len} bytes is smaller than {sizeof(Counts)}")
        if <size_t>self._page.buf % sizeof(self._counts.decided):
            raise ValueError("the page must begin on 8 bytes")
        self._counts = <Counts*>self._page.buf

    def __dealloc__(self):
        # Releasing a view that was never filled in does nothing: the memory of a new object is zero.
        PyBuffer_Release(&self._page)

    def read(self):
        """Return (decisions, denials) so far."""
        return self._counts.decided, self._counts.denied
