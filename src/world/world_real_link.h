/* world_real_link.h - what the kernel knows about how a TCP connection gets on. A file of its
 * own, because <linux/tcp.h> and the <netinet/tcp.h> of libuv exclude each other. */
#ifndef HOLON_WORLD_WORLD_REAL_LINK_H
#define HOLON_WORLD_WORLD_REAL_LINK_H

#include <stdbool.h>
#include <stdint.h>

struct link_state {
    uint64_t acknowledged;       /* bytes, since connecting */
    uint32_t segments_under_way; /* sent and not acknowledged */
};

/* False when the kernel does not say. */
bool link_state_read(int descriptor, struct link_state *ret_state);

#endif
