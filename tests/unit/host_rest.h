/* host_rest.h - host_life.h with a rest board; nodes 2 and 3 are played by hand (decision 0009). */
#ifndef HOLON_TESTS_UNIT_HOST_REST_H
#define HOLON_TESTS_UNIT_HOST_REST_H

#include "host_life.h"

enum { MS = 1000, HEARTBEAT_US = 50 * MS };

static struct rest_board *board;

static inline void open_with_board(const struct raft_config *config)
{
    struct host_options host = {.quarantine = "data/quarantine",
                                .timing = {HEARTBEAT_US, 300 * MS, 600 * MS, 200 * MS},
                                .flush_bytes = 1,
                                .entries_bytes_max = 4 << 20,
                                .rest_board = board,
                                .events = {.on_born = on_born}};

    bed_open(&host, 0, 1 << 20);
    add_replica(11, config);
}

static inline void setup_board(void)
{
    board = rest_board_create();
    setup_empty();
}

static inline int teardown_board(void **state)
{
    teardown(state);
    rest_board_destroy(board);
    return 0;
}

static inline struct replica *replica(void)
{
    return host_replica(bed.host, (struct group_id){GROUP});
}

static inline enum raft_role role(void)
{
    return raft_role(replica()->raft);
}

/* --- what the others send; inside the process ------------------------------------------ */

static inline void give(node_id_t from, boot_epoch_t epoch, uint8_t kind, struct buffer *frame)
{
    struct transport_peer peer = {.node = from, .epoch = epoch};
    host_on_frame(bed.host, &peer, kind, buffer_bytes(frame));
    buffer_free(frame);
}

static inline void give_beat(node_id_t from, boot_epoch_t epoch, uint64_t generation,
                             uint32_t withdrawals)
{
    struct rest_beat beat = {.sent_at = world_now(bed.world),
                             .wall = world_wall_time(bed.world),
                             .generation = generation,
                             .withdrawals = withdrawals};
    struct buffer frame;
    buffer_init(&frame, 4096);
    rest_beat_encode(&beat, &frame);
    give(from, epoch, PEER_FRAME_NODE_BEAT, &frame);
}

#endif
