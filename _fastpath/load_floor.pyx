# cython: boundscheck=False, wraparound=False
# Earned by `serve`, which takes descriptors only below CALLERS_MAX and reads only what it has received.
"""A server that does nothing but answer: what the kernel takes for the same bytes, and so the ceiling of a load generator.

It finds the ends of requests (an empty line, then as many bytes as Content-Length says), and gives each the same bytes.
Used in a process of its own, by the generator's self-test (regionresolver/load/floor.py) and as a yardstick.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memmove

cdef extern from * nogil:
    """
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/epoll.h>
    #include <sys/socket.h>
    #include <unistd.h>

    static int floor_watch(int epoll, int socket) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = socket};
        return epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event);
    }

    static int floor_event_socket(const struct epoll_event *event) { return event->data.fd; }

    static int floor_accept(int listener) {
        int one = 1, found = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (found >= 0) setsockopt(found, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        return found;
    }
    """
    int floor_watch(int epoll, int socket)
    int floor_event_socket(const epoll_event* event)
    int floor_accept(int listener)
    struct epoll_event:
        uint32_t events
    int epoll_create1(int flags)
    int epoll_wait(int epoll, epoll_event* events, int events_max, int timeout_ms)
    Py_ssize_t send(int socket, const void* bytes, size_t size, int flags)
    Py_ssize_t recv(int socket, void* bytes, size_t size, int flags)
    Py_ssize_t read(int fd, void* bytes, size_t size)
    int close(int fd)
    void* memmem(const void* within, size_t size, const void* what, size_t what_size)
    uint64_t strtoull(const char* text, char** end, int base)
    int MSG_NOSIGNAL


cdef enum:
    CALLERS_MAX = 65536
    BUFFER_BYTES = 65536
    ANSWERS_AT_ONCE = 256
    EVENTS = 512


def serve(int listener, int until, bytes answer):
    """Answer on a listening socket until `until`, the end of a pipe, is closed on the other side. Raises OSError, MemoryError."""
    cdef size_t size = PyBytes_GET_SIZE(answer)
    cdef char* out = <char*>malloc(ANSWERS_AT_ONCE * size)
    cdef Caller* callers = <Caller*>calloc(CALLERS_MAX, sizeof(Caller))
    cdef int epoll = epoll_create1(0), i
    try:
        if out == NULL or callers == NULL:
            raise MemoryError
        for i in range(ANSWERS_AT_ONCE):
            memcpy(out + i * size, PyBytes_AS_STRING(answer), size)
        if epoll < 0 or floor_watch(epoll, listener) < 0 or floor_watch(epoll, until) < 0:
            raise OSError(errno, "epoll")
        with nogil:
            _serve(epoll, listener, until, out, size, callers)
    finally:
        if callers != NULL:
            for i in range(CALLERS_MAX):
                if callers[i].buffer != NULL:
                    free(callers[i].buffer)
                    close(i)
        free(callers)
        free(out)
        if epoll >= 0:
            close(epoll)


cdef void _serve(int epoll, int listener, int until, const char* out, size_t size, Caller* callers) noexcept nogil:
    cdef epoll_event events[EVENTS]
    cdef char byte
    cdef int ready, i, at
    while True:
        ready = epoll_wait(epoll, events, EVENTS, -1)
        for i in range(ready):
            at = floor_event_socket(&events[i])
            if at == until:
                if read(until, &byte, 1) <= 0:
                    return
            elif at == listener:
                at = floor_accept(listener)
                if at < 0:
                    continue
                if at >= CALLERS_MAX or floor_watch(epoll, at) < 0:
                    close(at)
                    continue
                callers[at].buffer = <char*>malloc(BUFFER_BYTES)
                callers[at].have, callers[at].is_in_body = 0, False
                if callers[at].buffer == NULL:
                    close(at)
            elif not _answer(at, out, size, &callers[at]):
                free(callers[at].buffer)
                callers[at].buffer = NULL
                close(at)


cdef bint _answer(int socket, const char* out, size_t size, Caller* caller) noexcept nogil:
    """Read once and answer what has ended. False when the connection is over, or what comes is no request."""
    cdef Py_ssize_t got = recv(socket, caller.buffer + caller.have, BUFFER_BYTES - caller.have, 0)
    cdef char* at = caller.buffer
    cdef char* end
    cdef char* head_end
    cdef char* length
    cdef size_t answers = 0, part
    if got < 0:
        return errno == EAGAIN or errno == EINTR
    if got == 0:
        return False
    end = caller.buffer + caller.have + got
    while True:
        if caller.is_in_body:
            part = min(caller.body_left, <uint64_t>(end - at))
            caller.body_left -= part
            at += part
            if caller.body_left:
                break
            caller.is_in_body = False
            answers += 1
        head_end = <char*>memmem(at, end - at, b"\r\n\r\n", 4)
        if head_end == NULL:
            break
        length = <char*>memmem(at, head_end - at, b"Content-Length: ", 16)
        # Ends at the latest where the head does.
        caller.body_left = 0 if length == NULL else strtoull(length + 16, NULL, 10)
        caller.is_in_body = True
        at = head_end + 4
    caller.have = end - at
    if caller.have == BUFFER_BYTES:
        return False
    if caller.have:
        memmove(caller.buffer, at, caller.have)
    while answers:
        part = min(answers, <size_t>ANSWERS_AT_ONCE)
        if send(socket, out, part * size, MSG_NOSIGNAL) != <Py_ssize_t>(part * size):
            return False
        answers -= part
    return True
