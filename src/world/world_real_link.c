#include "world/world_real_link.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

bool link_state_read(int descriptor, struct link_state *ret_state)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof(info);

    if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return false;
    if (size < offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof(info.tcpi_bytes_acked))
        return false;
    *ret_state = (struct link_state){.acknowledged = info.tcpi_bytes_acked,
                                     .segments_under_way = info.tcpi_unacked};
    return true;
}
