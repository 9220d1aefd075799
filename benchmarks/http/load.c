/* A load generator that never sleeps: one that waits in epoll_wait makes the server pay for its wake-ups.
 *
 *     load ADDRESS CONNECTIONS SECONDS PIPELINE RATE WARM_UP_SECONDS [histogram] < REQUESTS
 *
 * ADDRESS is a port on 127.0.0.1 or the path of a Unix socket. REQUESTS are records of a 32-bit length (host order) and
 * that many bytes of one request; they are sent in turn. RATE 0 is a closed loop: every connection has PIPELINE requests
 * under way; of a PIPELINE of 0, each request has a connection of its own. Otherwise requests are planned as a Poisson
 * process of RATE a second, each sent on a free connection as soon as it is due and one is free, and its latency counts
 * from the planned time. The warm-up is not counted.
 *
 * Prints one JSON object: requests, asked (with those that do not count), seconds, rate, failures (a status other than
 * 200), latencies in microseconds, and windowed_p99_us, the median of the 99th percentiles of windows of 20 ms (of 100
 * answers at least). With `histogram`, also latency_ns: [upper bound, how many] by 64 steps between powers of two (at most
 * 1.6 % wide). Exits 2 when it cannot begin, or loses a connection. benchmarks/http/load.py builds and runs it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 16, EVENTS = 512, PIPELINE_MAX = 64, WINDOW_NS = 20000000, WINDOW_LEAST = 100 };

struct connection {
    int socket;
    int under_way;
    int first;                          /* of `since`, a ring */
    int64_t since_ns[PIPELINE_MAX];     /* when each request under way was planned */
    size_t have;
    char buffer[BUFFER_BYTES];
};

static struct connection *connections;
static char **requests;
static uint32_t *request_bytes;
static size_t request_count, next_request;
static uint32_t *latencies_ns;
static int64_t *ends_ns;
static size_t done, room, failures, asked;
static int64_t counting_from_ns = INT64_MAX;

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void read_requests(void) {
    uint32_t size;
    while (fread(&size, 4, 1, stdin) == 1) {
        requests = realloc(requests, (request_count + 1) * sizeof *requests);
        request_bytes = realloc(request_bytes, (request_count + 1) * sizeof *request_bytes);
        requests[request_count] = malloc(size);
        request_bytes[request_count] = size;
        if (fread(requests[request_count++], 1, size, stdin) != size) fail("the requests are cut short");
    }
    if (request_count == 0) fail("there are no requests");
}

static int open_socket(const char *address) {
    int number = atoi(address), one = 1, found;
    if (number > 0) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(number), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        found = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(found, (struct sockaddr *)&to, sizeof to) != 0) fail("connect");
        setsockopt(found, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    } else {
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        strncpy(to.sun_path, address, sizeof to.sun_path - 1);
        found = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(found, (struct sockaddr *)&to, sizeof to) != 0) fail("connect");
    }
    fcntl(found, F_SETFL, fcntl(found, F_GETFL) | O_NONBLOCK);
    return found;
}

/* Give a connection a new socket; the old one is reset, or its port would wait for a minute. */
static void connect_again(struct connection *c, int number, int epoll, const char *address) {
    struct linger at_once = {.l_onoff = 1};
    if (c->socket > 0) {
        setsockopt(c->socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close(c->socket);
    }
    c->socket = open_socket(address);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->socket, &event);
}

/* Send `count` requests in one write; they are small, and nothing else waits in the socket. */
static void ask(struct connection *c, int count, int64_t since_ns) {
    static char out[BUFFER_BYTES * 4];
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        memcpy(out + size, requests[next_request], request_bytes[next_request]);
        size += request_bytes[next_request];
        next_request = (next_request + 1) % request_count;
        asked++;
        c->since_ns[(c->first + c->under_way++) % PIPELINE_MAX] = since_ns;
    }
    if (send(c->socket, out, size, MSG_NOSIGNAL) != (ssize_t)size) fail("send");
}

static void count_answer(struct connection *c, int64_t at_ns) {
    int64_t since = c->since_ns[c->first];
    c->first = (c->first + 1) % PIPELINE_MAX;
    c->under_way--;
    if (at_ns < counting_from_ns) return;
    if (done == room) {
        room = room ? 2 * room : 1 << 20;
        latencies_ns = realloc(latencies_ns, room * sizeof *latencies_ns);
        ends_ns = realloc(ends_ns, room * sizeof *ends_ns);
    }
    ends_ns[done] = at_ns;
    latencies_ns[done++] = (uint32_t)(at_ns - since);
}

/* Read what is there; answers how many answers were whole. */
static int listen_to(struct connection *c) {
    ssize_t got = recv(c->socket, c->buffer + c->have, BUFFER_BYTES - c->have, 0);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) fail("the server closed a connection");
    int64_t at_ns = now_ns();
    size_t begin = 0;
    int answers = 0;
    c->have += got;
    while (begin < c->have) {
        char *start = c->buffer + begin, *end = memmem(start, c->have - begin, "\r\n\r\n", 4);
        if (end == NULL) break;
        char *length = memmem(start, end - start, "ontent-Length: ", 15);
        if (length == NULL) length = memmem(start, end - start, "ontent-length: ", 15);
        if (length == NULL) fail("an answer without Content-Length");
        size_t whole = end + 4 - start + strtoul(length + 15, NULL, 10);
        if (c->have - begin < whole) break;
        failures += memcmp(start + 9, "200", 3) != 0;
        count_answer(c, at_ns);
        begin += whole;
        answers++;
    }
    memmove(c->buffer, c->buffer + begin, c->have - begin);
    c->have -= begin;
    return answers;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double at_share(uint32_t *sorted, size_t count, double share) {
    return count ? sorted[(size_t)((count - 1) * share)] / 1e3 : 0;
}

/* Answers come in the order of their ends, so a window is a run of them. */
static double windowed_p99_us(void) {
    uint32_t *p99s = malloc((done + 1) * sizeof *p99s), *window = malloc((done + 1) * sizeof *window);
    size_t count = 0;
    for (size_t begin = 0, end; begin < done; begin = end) {
        for (end = begin; end < done && ends_ns[end] - ends_ns[begin] < WINDOW_NS; end++) window[end - begin] = latencies_ns[end];
        if (end - begin < WINDOW_LEAST) continue;
        qsort(window, end - begin, sizeof *window, by_value);
        p99s[count++] = window[(size_t)((end - begin - 1) * 0.99)];
    }
    qsort(p99s, count, sizeof *p99s, by_value);
    return at_share(p99s, count, 0.5);
}

/* The upper bound of the bucket of a value: its 7 leading bits, and ones behind them. */
static uint32_t bucket_of(uint32_t value) {
    int shift = value < 128 ? 0 : 25 - __builtin_clz(value);
    return value | ((1u << shift) - 1);
}

static void print_histogram(void) {
    size_t end = 0;
    printf(",\"latency_ns\":[");
    for (size_t begin = 0; begin < done; begin = end) {
        uint32_t bound = bucket_of(latencies_ns[begin]);
        while (end < done && latencies_ns[end] <= bound) end++;
        printf("%s[%u,%zu]", begin ? "," : "", bound, end - begin);
    }
    printf("]");
}

int main(int argc, char **argv) {
    if (argc < 7 || argc > 8)
        return fprintf(stderr, "load ADDRESS CONNECTIONS SECONDS PIPELINE RATE WARM_UP_SECONDS [histogram] < REQUESTS\n"), 2;
    int count = atoi(argv[2]), pipeline = atoi(argv[4]), epoll = epoll_create1(0);
    double seconds = atof(argv[3]), rate = atof(argv[5]), warm_up = atof(argv[6]);
    struct epoll_event events[EVENTS];
    if (pipeline < 0 || pipeline > PIPELINE_MAX || count < 1) return fprintf(stderr, "load: 0 to 64 pipelined\n"), 2;
    int once = pipeline == 0;
    read_requests();
    connections = calloc(count, sizeof *connections);
    int *idle = malloc(count * sizeof *idle), idle_count = 0;
    for (int i = 0; i < count; i++) {
        connect_again(&connections[i], i, epoll, argv[1]);
        idle[idle_count++] = i;
    }
    int64_t start = now_ns(), end = start + (int64_t)((seconds + warm_up) * 1e9), now = start, planned = start;
    counting_from_ns = start + (int64_t)(warm_up * 1e9);
    srand48(1);
    if (rate == 0) for (int i = 0; i < count; i++) ask(&connections[i], once ? 1 : pipeline, now_ns());
    while ((now = now_ns()) < end) {
        for (; rate > 0 && planned <= now && idle_count; planned += (int64_t)(-log(1 - drand48()) / rate * 1e9))
            ask(&connections[idle[--idle_count]], 1, planned);
        int ready = epoll_wait(epoll, events, EVENTS, 0);
        for (int i = 0; i < ready; i++) {
            struct connection *c = &connections[events[i].data.u32];
            int answers = listen_to(c);
            if (answers == 0) continue;
            if (once) {
                int64_t since = now_ns();
                connect_again(c, (int)(c - connections), epoll, argv[1]);
                ask(c, 1, since);
            }
            else if (rate == 0) ask(c, answers, now_ns());
            else if (c->under_way == 0) idle[idle_count++] = events[i].data.u32;
        }
    }
    double counted_s = (end - counting_from_ns) / 1e9, windowed = windowed_p99_us();
    qsort(latencies_ns, done, sizeof *latencies_ns, by_value);
    printf("{\"requests\":%zu,\"asked\":%zu,\"seconds\":%.3f,\"rate\":%.1f,\"failures\":%zu,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,"
           "\"windowed_p99_us\":%.1f",
           done, asked, counted_s, done / counted_s, failures, at_share(latencies_ns, done, 0.5), at_share(latencies_ns, done, 0.99),
           at_share(latencies_ns, done, 0.999), windowed);
    if (argc == 8) print_histogram();
    printf("}\n");
    return 0;
}
