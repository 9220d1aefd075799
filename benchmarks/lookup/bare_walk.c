/* libmaxminddb's search tree walk and nothing else: no text to parse, no record to decode, no Python. A yardstick. */

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include <maxminddb.h>

static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

/* Open a database that stays open; NULL when that fails. */
MMDB_s *bare_open(const char *path) {
    MMDB_s *mmdb = malloc(sizeof(*mmdb));
    if (mmdb != NULL && MMDB_open(path, MMDB_MODE_MMAP, mmdb) != MMDB_SUCCESS) {
        free(mmdb);
        return NULL;
    }
    return mmdb;
}

/* Walk from the root for each of `count` addresses of 16 bytes, IPv4 mapped; say how many have a record. */
size_t bare_walk(const MMDB_s *mmdb, const unsigned char *addresses, size_t count) {
    struct sockaddr_in ipv4 = {.sin_family = AF_INET};
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6};
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        const unsigned char *address = addresses + 16 * i;
        const struct sockaddr *asked;
        int error;
        if (memcmp(address, mapped, sizeof(mapped)) == 0) {
            memcpy(&ipv4.sin_addr, address + sizeof(mapped), sizeof(ipv4.sin_addr));
            asked = (const struct sockaddr *)&ipv4;
        } else {
            memcpy(&ipv6.sin6_addr, address, sizeof(ipv6.sin6_addr));
            asked = (const struct sockaddr *)&ipv6;
        }
        found += MMDB_lookup_sockaddr(mmdb, asked, &error).found_entry;
    }
    return found;
}
