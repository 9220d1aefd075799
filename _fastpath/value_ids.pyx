# cython: autotestdict=False, freethreading_compatible=True
"""The result of a batch: one value id an input, in memory that NumPy and Arrow read in place.

An id is two bytes where all of a table fit, else four. The id behind the last of the table, `missing`, stands for an
input that was none (bad text, null): so a table with one entry more answers for every id. Through the buffer protocol
the ids come as they are; through Arrow (PyCapsule interface, as an array or as a stream of one array) a `missing` is a
null. Both only read, so both share the memory.

Consumers of Arrow release what they got from any thread, some while another thread of theirs waits for them with the
GIL. Releasing therefore touches no Python object: the ids are counted by an atomic of their own.
"""

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset

from _fastpath.arrow_abi cimport ARROW_FLAG_NULLABLE, ArrowArray, ArrowArrayStream, ArrowSchema

cdef extern from * nogil:
    """
    #define ids_hold(holders) __atomic_fetch_add((holders), 1, __ATOMIC_RELAXED)
    #define ids_let_go(holders) __atomic_fetch_sub((holders), 1, __ATOMIC_ACQ_REL)
    """
    void ids_hold(int* holders)
    int ids_let_go(int* holders)


cdef Ids* new_ids(uint32_t missing, Py_ssize_t capacity) noexcept nogil:
    cdef Ids* ids = <Ids*>malloc(sizeof(Ids))
    if ids == NULL:
        return NULL
    ids.holders = 1
    ids.id_bytes = 2 if missing < NARROW_LIMIT else 4
    ids.missing = missing
    ids.count = 0
    # Never none: `entries` must not be NULL for a consumer, even without any.
    ids.capacity = max(capacity, <Py_ssize_t>1)
    ids.entries = malloc(ids.capacity * ids.id_bytes)
    if ids.entries == NULL:
        free(ids)
        return NULL
    return ids


cdef int reserve(Ids* ids, Py_ssize_t more) noexcept nogil:
    cdef Py_ssize_t capacity
    cdef void* entries
    if ids.count + more <= ids.capacity:
        return 0
    capacity = ids.capacity + ids.capacity // 2 + more
    entries = realloc(ids.entries, capacity * ids.id_bytes)
    if entries == NULL:
        return -1
    ids.entries = entries
    ids.capacity = capacity
    return 0


cdef void drop(Ids* ids) noexcept nogil:
    if ids_let_go(&ids.holders) == 1:
        free(ids.entries)
        free(ids)


# Held by the module for ever, so it is never freed.
cdef Ids no_ids
no_ids.holders = 1
no_ids.id_bytes = 2
no_ids.entries = &no_ids


cdef ValueIds wrap_ids(Ids* ids):
    cdef ValueIds wrapped
    cdef void* trimmed = realloc(ids.entries, max(ids.count, <Py_ssize_t>1) * ids.id_bytes)
    if trimmed != NULL:
        ids.entries = trimmed
        ids.capacity = max(ids.count, <Py_ssize_t>1)
    try:
        wrapped = ValueIds.__new__(ValueIds)
    except MemoryError:
        drop(ids)
        raise
    drop(wrapped._ids)
    wrapped._ids = ids
    wrapped._shape[0] = ids.count
    return wrapped


cdef inline bint is_missing(const Ids* ids, Py_ssize_t i) noexcept nogil:
    if ids.id_bytes == 2:
        return (<uint16_t*>ids.entries)[i] == ids.missing
    return (<uint32_t*>ids.entries)[i] == ids.missing


cdef inline char* id_format(const Ids* ids) noexcept nogil:
    return <char*>b"H" if ids.id_bytes == 2 else <char*>b"I"


cdef Py_ssize_t count_missing(const Ids* ids) noexcept nogil:
    cdef Py_ssize_t i, count = 0
    if ids.id_bytes == 2:
        for i in range(ids.count):
            count += (<uint16_t*>ids.entries)[i] == ids.missing
    else:
        for i in range(ids.count):
            count += (<uint32_t*>ids.entries)[i] == ids.missing
    return count


# What an exported array owns: a hold on the ids, the two buffers of its layout, and the bitmap behind them.
cdef struct Exported:
    Ids* ids
    const void* buffers[2]
    uint8_t validity[1]


cdef void release_array(ArrowArray* array) noexcept nogil:
    cdef Exported* exported = <Exported*>array.private_data
    drop(exported.ids)
    free(exported)
    array.release = NULL


cdef void release_schema(ArrowSchema* schema) noexcept nogil:
    schema.release = NULL


cdef void export_schema(const Ids* ids, ArrowSchema* out) noexcept nogil:
    memset(out, 0, sizeof(out[0]))
    out.format = b"S" if ids.id_bytes == 2 else b"I"
    out.name = b""
    out.flags = ARROW_FLAG_NULLABLE
    out.release = release_schema


cdef int export_array(Ids* ids, ArrowArray* out) noexcept nogil:
    """Fill an array in that holds the ids too; -1 without memory. It has a bitmap only when something is missing."""
    cdef Py_ssize_t missing_count = count_missing(ids)
    cdef Py_ssize_t bitmap_bytes = (ids.count + 7) // 8 if missing_count else 0
    cdef Exported* exported = <Exported*>calloc(1, sizeof(Exported) + bitmap_bytes)
    cdef Py_ssize_t i
    if exported == NULL:
        return -1
    if missing_count:
        for i in range(ids.count):
            exported.validity[i >> 3] |= <uint8_t>((not is_missing(ids, i)) << (i & 7))
        exported.buffers[0] = exported.validity
    exported.buffers[1] = ids.entries
    exported.ids = ids
    ids_hold(&ids.holders)
    memset(out, 0, sizeof(out[0]))
    out.length = ids.count
    out.null_count = missing_count
    out.n_buffers = 2
    out.buffers = exported.buffers
    out.private_data = exported
    out.release = release_array
    return 0


# What a stream of one array owns.
cdef struct Pending:
    Ids* ids
    bint is_taken


cdef int stream_schema(ArrowArrayStream* stream, ArrowSchema* out) noexcept nogil:
    export_schema((<Pending*>stream.private_data).ids, out)
    return 0


cdef int stream_next(ArrowArrayStream* stream, ArrowArray* out) noexcept nogil:
    cdef Pending* pending = <Pending*>stream.private_data
    if pending.is_taken:
        # A released array says that the stream has ended.
        memset(out, 0, sizeof(out[0]))
        return 0
    if export_array(pending.ids, out) != 0:
        return ENOMEM
    pending.is_taken = True
    return 0


cdef const char* stream_error(ArrowArrayStream* stream) noexcept nogil:
    return NULL


cdef void release_stream(ArrowArrayStream* stream) noexcept nogil:
    cdef Pending* pending = <Pending*>stream.private_data
    drop(pending.ids)
    free(pending)
    stream.release = NULL


# A consumer moves a struct out of its capsule by copying it and marking it released; what it left is released here.

cdef void destroy_schema(object capsule) noexcept:
    cdef ArrowSchema* schema = <ArrowSchema*>PyCapsule_GetPointer(capsule, "arrow_schema")
    if schema.release != NULL:
        schema.release(schema)
    free(schema)


cdef void destroy_array(object capsule) noexcept:
    cdef ArrowArray* array = <ArrowArray*>PyCapsule_GetPointer(capsule, "arrow_array")
    if array.release != NULL:
        array.release(array)
    free(array)


cdef void destroy_stream(object capsule) noexcept:
    cdef ArrowArrayStream* stream = <ArrowArrayStream*>PyCapsule_GetPointer(capsule, "arrow_array_stream")
    if stream.release != NULL:
        stream.release(stream)
    free(stream)


cdef object schema_capsule(const Ids* ids):
    cdef ArrowSchema* schema = <ArrowSchema*>calloc(1, sizeof(ArrowSchema))
    if schema == NULL:
        raise MemoryError
    # From here on the capsule owns the struct, filled or not.
    try:
        capsule = PyCapsule_New(schema, "arrow_schema", destroy_schema)
    except MemoryError:
        free(schema)
        raise
    export_schema(ids, schema)
    return capsule


cdef object array_capsule(Ids* ids):
    cdef ArrowArray* array = <ArrowArray*>calloc(1, sizeof(ArrowArray))
    if array == NULL:
        raise MemoryError
    try:
        capsule = PyCapsule_New(array, "arrow_array", destroy_array)
    except MemoryError:
        free(array)
        raise
    if export_array(ids, array) != 0:
        raise MemoryError
    return capsule


cdef object stream_capsule(Ids* ids):
    cdef ArrowArrayStream* stream = <ArrowArrayStream*>calloc(1, sizeof(ArrowArrayStream))
    cdef Pending* pending = <Pending*>calloc(1, sizeof(Pending))
    if stream == NULL or pending == NULL:
        free(stream)
        free(pending)
        raise MemoryError
    try:
        capsule = PyCapsule_New(stream, "arrow_array_stream", destroy_stream)
    except MemoryError:
        free(stream)
        free(pending)
        raise
    ids_hold(&ids.holders)
    pending.ids = ids
    stream.get_schema = stream_schema
    stream.get_next = stream_next
    stream.get_last_error = stream_error
    stream.release = release_stream
    stream.private_data = pending
    return capsule


@cython.final
@cython.auto_pickle(False)
cdef class ValueIds:
    """Value ids in the order of the inputs: a sequence of int, a read-only buffer, and an Arrow array."""

    def __cinit__(self):
        # So that one that `__new__` alone made is empty, and nothing worse.
        ids_hold(&no_ids.holders)
        self._ids = &no_ids

    def __init__(self):
        """Refuse: ids come from a batch of lookups."""
        raise TypeError("ValueIds are made by a batch of lookups")

    def __dealloc__(self):
        drop(self._ids)

    @property
    def missing(self):
        """The id that stands for an input that was none; every other id is below it."""
        return self._ids.missing

    def __len__(self):
        return self._shape[0]

    def __iter__(self):
        return iter(memoryview(self))

    def __getitem__(self, key):
        return memoryview(self)[key]

    def __repr__(self):
        return f"<{len(self)} value ids of {self._ids.id_bytes} bytes>"

    def __getbuffer__(self, Py_buffer* view, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("value ids are read-only")
        view.obj = self
        view.buf = self._ids.entries
        view.len = self._shape[0] * self._ids.id_bytes
        view.readonly = 1
        view.itemsize = self._ids.id_bytes
        view.format = id_format(self._ids) if flags & PyBUF_FORMAT else NULL
        view.ndim = 1
        view.shape = self._shape if flags & PyBUF_ND else NULL
        view.strides = &view.itemsize if flags & PyBUF_STRIDES == PyBUF_STRIDES else NULL
        view.suboffsets = NULL
        view.internal = NULL

    def __arrow_c_schema__(self):
        """Return the Arrow type, uint16 or uint32, as a capsule."""
        return schema_capsule(self._ids)

    def __arrow_c_array__(self, requested_schema=None):
        """Return schema and array as capsules; a missing entry is null. The requested type is not looked at."""
        return schema_capsule(self._ids), array_capsule(self._ids)

    def __arrow_c_stream__(self, requested_schema=None):
        """Return a stream of one array as a capsule."""
        return stream_capsule(self._ids)
