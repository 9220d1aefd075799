/* The floor under every HTTP server here: epoll, no parsing but of lengths, one constant answer of a given size.
 *
 *     floor ADDRESS ANSWER_BYTES
 *
 * ADDRESS is a port on 127.0.0.1 or the path of a Unix socket.
 *
 * What it costs is the kernel's work for the same bytes. benchmarks/http/servers.py builds it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 16, EVENTS = 512, PIPELINE_MAX = 256 };

int main(int argc, char **argv) {
    static char in[BUFFER_BYTES], out[PIPELINE_MAX * 2048];
    int one = 1, size = argc == 3 ? atoi(argv[2]) : 0, port = argc == 3 ? atoi(argv[1]) : 0;
    int listener = socket(port ? AF_INET : AF_UNIX, SOCK_STREAM, 0), epoll = epoll_create1(0);
    if (size < 64 || size > 2048) return fprintf(stderr, "floor ADDRESS ANSWER_BYTES (64 to 2048)\n"), 2;
    char answer[2049];
    for (int body = size - 17, head; ; body--) {    /* the head grows with the digits of the length in it */
        head = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", body);
        if (head + body > size) continue;
        memset(answer + head, 'x', size - head);
        break;
    }
    for (int i = 0; i < PIPELINE_MAX; i++) memcpy(out + i * size, answer, size);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    if (!port) strncpy(path.sun_path, argv[1], sizeof path.sun_path - 1);
    struct sockaddr *address = port ? (struct sockaddr *)&at : (struct sockaddr *)&path;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, address, port ? sizeof at : sizeof path) != 0 || listen(listener, 1024) != 0) return perror("floor"), 2;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int from = events[i].data.fd;
            if (from == listener) {
                int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                event.data.fd = client;
                epoll_ctl(epoll, EPOLL_CTL_ADD, client, &event);
                continue;
            }
            ssize_t got = recv(from, in, BUFFER_BYTES, 0);
            if (got <= 0) {
                close(from);
                continue;
            }
            int count = 0;      /* a segment of the generator's holds whole requests */
            for (char *begin = in, *end; (end = memmem(begin, in + got - begin, "\r\n\r\n", 4)) != NULL; count++) {
                char *length = memmem(begin, end - begin, "Content-Length: ", 16);
                begin = end + 4 + (length == NULL ? 0 : atoi(length + 16));
            }
            if (count > PIPELINE_MAX || send(from, out, (size_t)count * size, MSG_NOSIGNAL) < 0) close(from);
        }
    }
}
