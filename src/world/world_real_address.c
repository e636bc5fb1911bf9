#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "world/world_real_internal.h"

enum { PORT_TEXT_SIZE = sizeof("65535") };

enum status address_split(const char *text, struct address *ret_address, struct error *error)
{
    if (parse_address(bytes_of(text), true, ret_address)) return STATUS_OK;
    return error_set(error, STATUS_INVALID,
                     "'%.200s' is not an address; write HOST:PORT or [IPV6]:PORT, for example "
                     "127.0.0.1:7000",
                     text);
}

bool address_numeric(const struct address *parts, struct sockaddr_storage *ret)
{
    const char *host = parts->host[0] ? parts->host : "0.0.0.0";

    memset(ret, 0, sizeof(*ret));
    if (uv_ip4_addr(host, parts->port, (struct sockaddr_in *)ret) == 0) return true;
    memset(ret, 0, sizeof(*ret));
    return uv_ip6_addr(host, parts->port, (struct sockaddr_in6 *)ret) == 0;
}

enum status address_resolve(const struct address *parts, struct sockaddr_storage *ret,
                            struct error *error)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char port[PORT_TEXT_SIZE];

    if (address_numeric(parts, ret)) return STATUS_OK;
    snprintf(port, sizeof(port), "%u", (unsigned)parts->port);
    int result = getaddrinfo(parts->host, port, &hints, &found);
    if (result != 0)
        return error_set(error, STATUS_NOT_FOUND,
                         "the host name '%s' cannot be resolved: %s; check it or use a number",
                         parts->host, gai_strerror(result));
    ASSERT(found->ai_addrlen <= sizeof(*ret));
    memset(ret, 0, sizeof(*ret));
    memcpy(ret, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return STATUS_OK;
}

socklen_t address_size(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                          : sizeof(struct sockaddr_in);
}

uint16_t address_port(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)address)->sin_port);
}

bool address_equal(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    if (a->ss_family != b->ss_family || address_port(a) != address_port(b)) return false;
    if (a->ss_family == AF_INET6)
        return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
                      &((const struct sockaddr_in6 *)b)->sin6_addr, sizeof(struct in6_addr)) == 0;
    return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
           ((const struct sockaddr_in *)b)->sin_addr.s_addr;
}

void address_format(const struct sockaddr_storage *address, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "";
    bool is_v6 = address->ss_family == AF_INET6;

    if (is_v6)
        uv_ip6_name((const struct sockaddr_in6 *)address, host, sizeof(host));
    else if (address->ss_family == AF_INET)
        uv_ip4_name((const struct sockaddr_in *)address, host, sizeof(host));
    else
        snprintf(host, sizeof(host), "unknown");
    snprintf(text, size, is_v6 ? "[%s]:%u" : "%s:%u", host, (unsigned)address_port(address));
}
