# cython: autotestdict=False, freethreading_compatible=True, embedsignature=True, embedsignature.format=clinic
"""Addresses from Python to what an index says of them: one at a time, in lists, and in columns.

A `Lookup` joins a trie with one object for each of its value ids. The objects are Python's and opaque here; every answer
is one of them, shared, so a lookup makes none. In: text as `_fastpath.address` reads it, packed bytes, integers,
`ipaddress` objects. IPv4 in IPv6 clothes is looked up without them; the special-purpose class is not looked at.

An input that is no address is an error of the one who asks for one, and an entry of its own in a batch: None in a
list, the id behind the last value in ids, null in Arrow.

Batches go in blocks of BLOCK_ADDRESSES: parse them all, then look them up side by side. Those over buffers and Arrow
columns run without the GIL. Those over lists read and make Python objects, and keep it.

A `Lookup` never changes. Whoever swaps it for another may do so while batches run: they hold the old one. That also
holds without a GIL: this module and all that it uses are marked for free-threaded builds, where lists are copied first.

Value ids index the tuple of objects unchecked. `prefix_trie.verify` has seen that each is below the trie's value count,
and `Lookup` that the tuple is as long.
"""

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBuffer_IsContiguous, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from _fastpath.address cimport (
    ADDRESS_READABLE, Address, Canonical, classify, parse_lines_unclassed, parse_padded_unclassed, parse_text_unclassed, undress
)
from _fastpath.arrow_abi cimport ArrowArray, ArrowArrayStream, ArrowSchema
from _fastpath.borrowed cimport LISTS_CAN_CHANGE, is_ascii, is_text, items_of, text_size, text_start
from _fastpath.prefix_trie cimport BLOCK_ADDRESSES, PrefixTrie
from _fastpath.value_ids cimport Ids, ValueIds, drop, new_ids, put_ids, reserve, wrap_ids

import sys
from ipaddress import IPv4Address, IPv6Address

cdef extern from * nogil:
    void lookup_prefetch "__builtin_prefetch" (const void* at)

cdef extern from "<endian.h>" nogil:
    uint32_t be32toh(uint32_t word)
    uint64_t be64toh(uint64_t word)

cdef enum:
    # While an item of a list is read, another is on its way from memory: the lines of its first and of its last byte, if
    # it is the str of an IPv4 address.
    AHEAD_ITEMS = 24
    SHORT_STR_BYTES = 64

cdef object NUMBERS_FORMATS = frozenset("IL")
cdef str NATIVE_ORDERS = "@=<" if sys.byteorder == "little" else "@=>!"


# What is no address in a block: of no family. It is looked up all the same, as 0.0.0.0, and the answer is replaced.
cdef Address no_address
memset(&no_address, 0, sizeof(no_address))


# ---- one address ----

cdef inline void put_ipv4(uint32_t value, Address* out) noexcept nogil:
    out.hi, out.lo, out.family, out.special, out.clothing = 0, value, 4, 0, 0


cdef inline bint read_packed(const char* packed, Py_ssize_t size, Address* out) noexcept nogil:
    """Read 4 or 16 bytes in network order; False for another size."""
    cdef uint32_t ipv4
    cdef uint64_t[2] halves
    if size == sizeof(ipv4):
        memcpy(&ipv4, packed, sizeof(ipv4))
        put_ipv4(be32toh(ipv4), out)
        return True
    if size == sizeof(halves):
        memcpy(halves, packed, sizeof(halves))
        undress(be64toh(halves[0]), be64toh(halves[1]), out)
        return True
    return False


cdef inline bint read_text(PyObject* text, Address* out) noexcept:
    return is_ascii(text) and parse_text_unclassed(text_start(text), text_size(text), out) == 0


cdef bint read_number(object number, Address* out) except -1:
    """Read an integer: IPv4 below 2**32, IPv6 below 2**128; False for any other."""
    if not 0 <= number < 1 << 128:
        return False
    if number < 1 << 32:
        put_ipv4(<uint32_t>number, out)
    else:
        undress(<uint64_t>(number >> 64), <uint64_t>(number & 0xffffffffffffffff), out)
    return True


cdef bint read_address(object ip, Address* out) except -1:
    """Read an address in any form that stands for one; False when it is none, `out` is then untouched."""
    if isinstance(ip, str):
        return read_text(<PyObject*>ip, out)
    if isinstance(ip, bytes):
        return read_packed(PyBytes_AS_STRING(ip), PyBytes_GET_SIZE(ip), out)
    if isinstance(ip, int):
        return not isinstance(ip, bool) and read_number(ip, out)
    if isinstance(ip, IPv4Address) or (isinstance(ip, IPv6Address) and ip.scope_id is None):
        packed = ip.packed
        return isinstance(packed, bytes) and read_packed(PyBytes_AS_STRING(packed), PyBytes_GET_SIZE(packed), out)
    return False


def parse_address(ip):
    """Read an address in any form that stands for one into a canonical one; None for anything else."""
    cdef Address address
    cdef Canonical canonical
    if not read_address(ip, &address):
        return None
    classify(&address)
    canonical = Canonical.__new__(Canonical)
    canonical._address = address
    return canonical


# ---- Arrow ----

# One element of a view array: up to 12 bytes stand in it, longer ones in a buffer.
cdef struct View:
    int32_t size
    char prefix[4]
    int32_t buffer
    int32_t offset

cdef enum:
    VIEW_INLINE_MAX = 12
    FIRST_VIEW_BUFFER = 2

cdef str RELEASED = "the Arrow column was released, or taken by somebody else"

cdef dict LAYOUTS = {
    "n": NOTHING,
    "u": TEXTS, "U": LARGE_TEXTS, "vu": TEXT_VIEWS,
    "z": PACKED, "Z": LARGE_PACKED, "vz": PACKED_VIEWS,
    "w:4": PACKED_4, "w:16": PACKED_16,
    "I": NUMBERS,
}


cdef Layout layout_of(const ArrowSchema* schema) except *:
    """Tell how a column holds addresses; TypeError for a type that cannot."""
    cdef str form
    if schema.release == NULL:
        raise ValueError(RELEASED)
    form = schema.format.decode("ascii", "replace")
    if schema.dictionary != NULL:
        raise TypeError("a dictionary-encoded Arrow column: decode it, or look its dictionary up")
    if form not in LAYOUTS:
        raise TypeError(f"an Arrow column of type {form!r} holds no addresses: utf8, binary, fixed-size binary or uint32 can")
    return LAYOUTS[form]


cdef inline bint is_valid(const uint8_t* validity, int64_t row) noexcept nogil:
    return validity == NULL or (validity[row >> 3] >> (row & 7)) & 1


# One element, and up to where bytes behind its start are readable.
cdef struct Element:
    const char* start
    const char* end
    Py_ssize_t size


cdef inline void find_element(const ArrowArray* array, Layout layout, int64_t row, Element* out) noexcept nogil:
    """Find the element in `row`, which counts the offset."""
    cdef int64_t last = array.offset + array.length
    cdef const int32_t* ends = <const int32_t*>array.buffers[1]
    cdef const int64_t* large_ends = <const int64_t*>array.buffers[1]
    cdef const View* views = <const View*>array.buffers[1]
    cdef const char* data
    if layout == TEXTS or layout == PACKED:
        data = <const char*>array.buffers[2]
        out.start, out.end, out.size = data + ends[row], data + ends[last], ends[row + 1] - ends[row]
    elif layout == LARGE_TEXTS or layout == LARGE_PACKED:
        data = <const char*>array.buffers[2]
        out.start, out.end, out.size = data + large_ends[row], data + large_ends[last], large_ends[row + 1] - large_ends[row]
    elif layout == PACKED_4 or layout == PACKED_16:
        out.size = 4 if layout == PACKED_4 else 16
        out.start = <const char*>array.buffers[1] + row * out.size
    elif views[row].size <= VIEW_INLINE_MAX:
        out.start, out.end, out.size = <const char*>&views[row] + sizeof(int32_t), <const char*>&views[last], views[row].size
    else:
        data = <const char*>array.buffers[FIRST_VIEW_BUFFER + views[row].buffer]
        out.start, out.size = data + views[row].offset, views[row].size
        # The last buffer holds the sizes of those with the text.
        out.end = data + (<const int64_t*>array.buffers[array.n_buffers - 1])[views[row].buffer]


cdef inline void read_elements(
    const ArrowArray* array, Layout layout, int64_t first, int count, Address* addresses
) noexcept nogil:
    """Read `count` rows. Inlined once for each layout."""
    cdef const uint8_t* validity = <const uint8_t*>array.buffers[0] if array.null_count else NULL
    cdef bint holds_texts = layout == TEXTS or layout == LARGE_TEXTS or layout == TEXT_VIEWS
    cdef Element element
    cdef bint is_read
    cdef int i
    for i in range(count):
        is_read = False
        if is_valid(validity, first + i):
            find_element(array, layout, first + i, &element)
            if not holds_texts:
                is_read = read_packed(element.start, element.size, &addresses[i])
            elif element.end - element.start >= ADDRESS_READABLE:
                is_read = parse_padded_unclassed(element.start, element.size, &addresses[i]) == 0
            else:
                is_read = parse_text_unclassed(element.start, element.size, &addresses[i]) == 0
        if not is_read:
            addresses[i] = no_address


cdef inline void read_numbers(const ArrowArray* array, int64_t first, int count, Address* addresses) noexcept nogil:
    cdef const uint8_t* validity = <const uint8_t*>array.buffers[0] if array.null_count else NULL
    cdef int i
    for i in range(count):
        if is_valid(validity, first + i):
            put_ipv4((<const uint32_t*>array.buffers[1])[first + i], &addresses[i])
        else:
            addresses[i] = no_address


cdef void read_rows(const ArrowArray* array, Layout layout, int64_t first, int count, Address* addresses) noexcept nogil:
    if layout == NOTHING:
        memset(addresses, 0, count * sizeof(Address))
    elif layout == NUMBERS:
        read_numbers(array, first, count, addresses)
    elif layout == TEXTS:
        read_elements(array, TEXTS, first, count, addresses)
    elif layout == LARGE_TEXTS:
        read_elements(array, LARGE_TEXTS, first, count, addresses)
    elif layout == TEXT_VIEWS:
        read_elements(array, TEXT_VIEWS, first, count, addresses)
    elif layout == PACKED_4:
        read_elements(array, PACKED_4, first, count, addresses)
    elif layout == PACKED_16:
        read_elements(array, PACKED_16, first, count, addresses)
    else:
        read_elements(array, layout, first, count, addresses)


@cython.final
@cython.auto_pickle(False)
cdef class Lookup:
    """The answers of one index: `values[id]` for each value id, and None behind them for what is no address.

    `invalid` is called for the exception that `lookup` raises. ValueError when there is not one value for each id.
    """

    def __cinit__(self, PrefixTrie trie not None, values, invalid):
        self.values = (*values, None)
        self._trie = trie
        self._items = items_of(self.values)
        self._invalid = invalid
        self._missing = <uint32_t>(len(self.values) - 1)
        if trie._header.value_count != self._missing:
            raise ValueError(f"{self._missing} values for the {trie._header.value_count} value ids of the trie")

    # Without the method object around the C function that costs as much as the parsing.
    @cython.binding(False)
    def lookup(self, ip, /):
        """Return what the index says of an address: text, packed bytes, an integer or an `ipaddress` object.

        Integers below 2**32 are IPv4. Raises what `invalid` gives for anything else, an IPv6 address with a scope too.
        """
        cdef Address address
        if not (read_text(<PyObject*>ip, &address) if isinstance(ip, str) else read_address(ip, &address)):
            raise self._invalid()
        return <object>self._items[self._trie.find_value(&address)]

    def canonical(self, ip, /):
        """Return the canonical address of what `lookup` takes; raises what it does for anything else."""
        canonical = parse_address(ip)
        if canonical is None:
            raise self._invalid()
        return canonical

    def lookup_many(self, addresses, /):
        """Return what the index says of each address of a list or tuple, None for what is no address.

        Each in any form that `lookup` takes, text being the fast one.
        """
        if not isinstance(addresses, (list, tuple)):
            raise TypeError(f"addresses come in a list or a tuple, not {type(addresses).__name__}")
        return self._lookup_sequence(tuple(addresses) if LISTS_CAN_CHANGE else addresses)

    def lookup_lines(self, text, /):
        """Return the value ids of addresses in a bytes-like object, one a line; `values` says what they mean.

        Lines end in "\\n", the last one need not. An empty line is no address, nor is one with a carriage return.
        """
        cdef Py_buffer view
        cdef Ids* ids
        cdef int status
        PyObject_GetBuffer(text, &view, 0)
        try:
            # A line is seldom shorter than eight bytes, and what was too much is given back.
            ids = self._new_ids(view.len // 8 + BLOCK_ADDRESSES)
            with nogil:
                status = self._add_lines(<const char*>view.buf, view.len, ids)
        finally:
            PyBuffer_Release(&view)
        return finished(ids, status)

    def lookup_packed(self, packed, /):
        """Return the value ids of addresses in a contiguous buffer; `values` says what they mean.

        IPv4: unsigned integers of 32 bits in the machine's byte order. IPv6, also with IPv4 in clothes: bytes of the
        shape (n, 16), in network order. Raises TypeError for another type or shape, ValueError for one with gaps.
        """
        cdef Py_buffer view
        cdef Ids* ids
        PyObject_GetBuffer(packed, &view, PyBUF_STRIDES | PyBUF_FORMAT)
        try:
            if not PyBuffer_IsContiguous(&view, c"C"):
                raise ValueError("packed addresses must be contiguous: copy the slice first")
            if is_ipv4_buffer(&view):
                ids = self._new_ids(view.shape[0])
                with nogil:
                    self._add_ipv4(view.buf, view.shape[0], ids)
            elif is_ipv6_buffer(&view):
                ids = self._new_ids(view.shape[0])
                with nogil:
                    self._add_ipv6(view.buf, view.shape[0], ids)
            else:
                raise TypeError("packed addresses are uint32 of the shape (n,), or uint8 of the shape (n, 16)")
        finally:
            PyBuffer_Release(&view)
        return finished(ids, 0)

    def lookup_arrow(self, column, /):
        """Return the value ids of an Arrow array or stream of arrays, one after the other; a null gives a null.

        Any object of the Arrow PyCapsule interface whose type is utf8, large utf8 or utf8 view; binary of 4 or 16 bytes
        an element, of whatever kind; uint32 (IPv4); or null. TypeError for another.
        """
        cdef Ids* ids
        cdef ArrowArray* array
        cdef Layout layout
        cdef int status = 0
        if hasattr(column, "__arrow_c_array__"):
            # Borrowed: the capsules release what they hold when they are dropped here.
            schema_capsule, array_capsule = column.__arrow_c_array__()
            layout = layout_of(<ArrowSchema*>PyCapsule_GetPointer(schema_capsule, "arrow_schema"))
            array = <ArrowArray*>PyCapsule_GetPointer(array_capsule, "arrow_array")
            if array.release == NULL:
                raise ValueError(RELEASED)
            ids = self._new_ids(array.length)
            with nogil:
                status = self._add_array(array, layout, ids)
        elif hasattr(column, "__arrow_c_stream__"):
            ids = self._new_ids(0)
            try:
                status = self._read_stream(column.__arrow_c_stream__(), ids)
            except BaseException:
                drop(ids)
                raise
        else:
            raise TypeError(f"{type(column).__name__} is no Arrow array: it has no __arrow_c_array__ or __arrow_c_stream__")
        return finished(ids, status)

    cdef list _lookup_sequence(self, object addresses):
        """Look up the items of a list or tuple, which cannot change as long as only texts are read and no Python code runs.

        At the first item that is no text, which may run some, a list is copied.
        """
        cdef Address[BLOCK_ADDRESSES] block
        cdef PyObject** items = items_of(addresses)
        cdef Py_ssize_t total = len(addresses)
        cdef Py_ssize_t done = 0
        cdef int i, count
        cdef list found
        cdef uint32_t* values = <uint32_t*>PyMem_Malloc(total * sizeof(uint32_t))
        if values == NULL:
            raise MemoryError
        try:
            while done < total:
                count = <int>min(total - done, <Py_ssize_t>BLOCK_ADDRESSES)
                for i in range(count):
                    if total - done > i + AHEAD_ITEMS:
                        lookup_prefetch(<const char*>items[done + i + AHEAD_ITEMS])
                        lookup_prefetch(<const char*>items[done + i + AHEAD_ITEMS] + SHORT_STR_BYTES - 1)
                    if is_text(items[done + i]):
                        if not read_text(items[done + i], &block[i]):
                            block[i] = no_address
                        continue
                    if isinstance(addresses, list):
                        addresses = tuple(addresses)
                        if len(addresses) != total:
                            raise RuntimeError("the list of addresses changed its size during the lookup")
                        items = items_of(addresses)
                    if not read_address(<object>items[done + i], &block[i]):
                        block[i] = no_address
                self._find_block(block, values + done, count)
                done += count
            # No Python code runs from here on that could see a list with holes.
            found = PyList_New(total)
            for done in range(total):
                answer = <object>self._items[values[done]]
                Py_INCREF(answer)
                PyList_SET_ITEM(found, done, answer)
        finally:
            PyMem_Free(values)
        return found

    cdef Ids* _new_ids(self, Py_ssize_t capacity) except NULL:
        cdef Ids* ids = new_ids(self._missing, capacity)
        if ids == NULL:
            raise MemoryError
        return ids

    cdef void _find_block(self, const Address* addresses, uint32_t* values, Py_ssize_t count) noexcept nogil:
        """Look up a block, at most BLOCK_ADDRESSES; one of IPv4 alone, the usual one, needs less of everything."""
        cdef uint32_t[BLOCK_ADDRESSES] ipv4
        cdef Py_ssize_t i = 0
        while i < count and addresses[i].family == 4:
            ipv4[i] = <uint32_t>addresses[i].lo
            i += 1
        if i == count:
            self._trie.find_ipv4_values(ipv4, values, count)
            return
        self._trie.find_values(addresses, values, count)
        for i in range(count):
            values[i] = values[i] if addresses[i].family else self._missing

    cdef int _add_lines(self, const char* text, Py_ssize_t size, Ids* ids) noexcept nogil:
        cdef Address[BLOCK_ADDRESSES] block
        cdef uint32_t[BLOCK_ADDRESSES] values
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t count, consumed
        while at < size:
            if reserve(ids, BLOCK_ADDRESSES) != 0:
                return -1
            count = parse_lines_unclassed(text + at, size - at, block, BLOCK_ADDRESSES, &consumed)
            self._find_block(block, values, count)
            put_ids(ids, values, count)
            at += consumed
        return 0

    cdef void _add_ipv4(self, const void* packed, Py_ssize_t count, Ids* ids) noexcept nogil:
        cdef uint32_t[BLOCK_ADDRESSES] block
        cdef uint32_t[BLOCK_ADDRESSES] values
        cdef Py_ssize_t done = 0
        cdef Py_ssize_t step
        while done < count:
            step = min(count - done, <Py_ssize_t>BLOCK_ADDRESSES)
            # A buffer need not be aligned.
            memcpy(block, <const uint32_t*>packed + done, step * sizeof(uint32_t))
            self._trie.find_ipv4_values(block, values, step)
            put_ids(ids, values, step)
            done += step

    cdef void _add_ipv6(self, const void* packed, Py_ssize_t count, Ids* ids) noexcept nogil:
        cdef Address[BLOCK_ADDRESSES] block
        cdef uint32_t[BLOCK_ADDRESSES] values
        cdef Py_ssize_t done = 0
        cdef int i, step
        while done < count:
            step = <int>min(count - done, <Py_ssize_t>BLOCK_ADDRESSES)
            for i in range(step):
                read_packed(<const char*>packed + 16 * (done + i), 16, &block[i])
            self._trie.find_values(block, values, step)
            put_ids(ids, values, step)
            done += step

    cdef int _add_array(self, const ArrowArray* array, Layout layout, Ids* ids) noexcept nogil:
        cdef Address[BLOCK_ADDRESSES] block
        cdef uint32_t[BLOCK_ADDRESSES] values
        cdef int64_t row = array.offset
        cdef int64_t end = array.offset + array.length
        cdef int count
        if reserve(ids, array.length) != 0:
            return -1
        while row < end:
            count = <int>min(end - row, <int64_t>BLOCK_ADDRESSES)
            read_rows(array, layout, row, count, block)
            self._find_block(block, values, count)
            put_ids(ids, values, count)
            row += count
        return 0

    cdef int _read_stream(self, object capsule, Ids* ids) except -2:
        """Read arrays until the stream ends. Its own code may need the GIL, so none of it is called with it held."""
        cdef ArrowArrayStream* stream = <ArrowArrayStream*>PyCapsule_GetPointer(capsule, "arrow_array_stream")
        cdef ArrowSchema schema
        cdef ArrowArray array
        cdef Layout layout
        cdef int code, status = 0
        if stream.release == NULL:
            raise ValueError(RELEASED)
        with nogil:
            code = stream.get_schema(stream, &schema)
        if code != 0:
            raise stream_error(stream, code)
        try:
            layout = layout_of(&schema)
        finally:
            schema.release(&schema)
        with nogil:
            while status == 0:
                code = stream.get_next(stream, &array)
                if code != 0 or array.release == NULL:
                    break
                status = self._add_array(&array, layout, ids)
                array.release(&array)
        if code != 0:
            raise stream_error(stream, code)
        return status


cdef object stream_error(ArrowArrayStream* stream, int code):
    cdef const char* reason = stream.get_last_error(stream)
    return OSError(code, f"the Arrow stream failed: {reason.decode('utf-8', 'replace') if reason != NULL else 'no reason given'}")


cdef ValueIds finished(Ids* ids, int status):
    if status != 0:
        drop(ids)
        raise MemoryError
    return wrap_ids(ids)


cdef bint is_ipv4_buffer(const Py_buffer* view) except -1:
    if view.ndim != 1 or view.itemsize != sizeof(uint32_t) or view.format == NULL:
        return False
    return view.format.decode("ascii").lstrip(NATIVE_ORDERS) in NUMBERS_FORMATS


cdef bint is_ipv6_buffer(const Py_buffer* view) except -1:
    if view.ndim != 2 or view.shape[1] != 16 or view.itemsize != 1:
        return False
    return view.format == NULL or view.format.decode("ascii").lstrip(NATIVE_ORDERS) == "B"
