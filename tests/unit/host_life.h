/* host_life.h - a host with one replica of three, in the simulator's world; the leader on node 2 is
 * played by hand. For tests of the birth, the life and the end of a replica. */
#ifndef HOLON_TESTS_UNIT_HOST_LIFE_H
#define HOLON_TESTS_UNIT_HOST_LIFE_H

#include "base/hash.h"
#include "host_bed.h"
#include "partition/effects.h"
#include "partition/host_internal.h"
#include "partition/keep.h"
#include "partition/salvage.h"
#include "partition/snapshot_internal.h"
#include "raft/raft_codec.h"
#include "wire/peer_frame.h"
#include <stdlib.h>

enum { BIRTH_TERM = 1 };

/* Replicas 11 (here), 12 (leader, node 2), 13 (node 3) since the founding. */
static const struct raft_config founding = {.incoming_count = 3,
                                            .incoming = {{{11}, 1}, {{12}, 2}, {{13}, 3}}};
static const struct raft_config without_us = {.incoming_count = 2,
                                              .incoming = {{{12}, 2}, {{13}, 3}}};

struct bench {
    uint32_t born_count, removed_count, asked_count, answered_count, installed_count;
    uint32_t settled_count;
    void (*then)(struct group_id group); /* it was dropped */
    uint64_t removed_id, level0;
    uint64_t log_bytes_max; /* 0: no bound; set before open_host() */
    evaluate_fn *evaluate;  /* as well */
    void (*on_sent)(uint8_t kind, struct bytes payload);
    struct copy_gate *copy_gate; /* NULL: none; set before open_host() */
    bool drop_inside;
};

static struct bench *bench __attribute__((unused));

static inline void fake_send(struct transport *transport, node_id_t node, uint32_t worker,
                             uint8_t kind, struct bytes payload)
{
    if (bench->on_sent != NULL) bench->on_sent(kind, payload);
    if (kind == PEER_FRAME_SNAPSHOT_ACK)
        bench->installed_count += payload.data[36] == SNAPSHOT_ACK_INSTALLED;
    if (kind != PEER_FRAME_GONE) return;
    bench->asked_count += payload.data[0] == 0;
    bench->answered_count += payload.data[0] == 1;
}

static inline uint32_t fake_worker_count(struct transport *transport, node_id_t node)
{
    return 1;
}

static inline bool fake_is_up(struct transport *transport, node_id_t node)
{
    return true;
}

static const struct transport_table fake_table = {
    .send = fake_send, .worker_count = fake_worker_count, .is_up = fake_is_up};

static inline void on_removed(void *context, struct group_id group, struct replica_id replica)
{
    assert_int_equal(group.value, GROUP);
    assert_int_equal(replica.value, bench->removed_id);
    bench->removed_count++;
    if (bench->drop_inside) host_drop_replica(bed.host, group);
}

static inline void on_born(void *context)
{
    bench->born_count++;
}

static inline void on_settled(void *context, struct group_id group, uint64_t wish_number)
{
    assert_int_equal(group.value, GROUP);
    assert_int_equal(wish_number, WISH_NUMBER);
    bench->settled_count++;
}

static inline void on_dropped(void *context, struct group_id group);

static inline void add_replica(uint64_t id, const struct raft_config *birth)
{
    struct error error = {0};
    const struct raft_config learner = {0};
    const struct log_recovered *recovered = NULL;
    for (size_t i = 0; i < bed.recovered_count; i++)
        if (bed.recovered[i].replica.value == id) recovered = &bed.recovered[i];
    struct replica_options replica = {.group = {GROUP},
                                      .replica = {id},
                                      .slot_last = SLOT_LAST,
                                      .birth_config = birth != NULL ? birth : &learner,
                                      .recovered = recovered};
    assert_int_equal(host_add_replica(bed.host, &replica, &error), STATUS_OK);
}

static inline void open_host(void)
{
    struct host_options host = {.quarantine = "data/quarantine",
                                .timing = {50000, 300000, 600000, 200000},
                                .evaluate = {[SERVICE_REDIS] = bench->evaluate},
                                .flush_bytes = 1,
                                .entries_bytes_max = 4 << 20,
                                .copy_gate = bench->copy_gate,
                                .events = {.on_born = on_born,
                                           .on_removed = on_removed,
                                           .on_dropped = on_dropped,
                                           .on_settled = on_settled}};

    bed_open(&host, bench->log_bytes_max, 1 << 20);
}

static inline void open_founded(void *context)
{
    open_host();
    add_replica(11, &founding);
}

static inline void run(void (*what)(void *context), void *context)
{
    bed_call(what, context, 3 * 1000 * 1000);
}

static inline void make_data(void *context)
{
    struct error error;
    assert_int_equal(world_make_durable_dir(bed.world, "data", &error), STATUS_OK);
}

/* No replica yet. */
static inline void setup_empty(void)
{
    bench = calloc(1, sizeof(*bench));
    bed_make(&fake_table);
    bench->removed_id = 11;
    run(make_data, NULL);
}

static inline int setup(void **state)
{
    setup_empty();
    run(open_founded, NULL);
    return 0;
}

static inline int teardown(void **state)
{
    run(bed_close, NULL);
    bed_free();
    free(bench);
    return 0;
}

/* --- the leader on node 2, by hand ---------------------------------------------------- */

struct append {
    uint64_t to, index, term_before, commit, everywhere;
    struct raft_entry *entry; /* NULL: none */
    uint64_t term;            /* of the leader; 0: 2 */
};

static inline void send_append(void *context)
{
    const struct append *append = context;
    struct raft_message message = {.type = RAFT_APPEND,
                                   .group = {GROUP},
                                   .from = {12},
                                   .to = {append->to},
                                   .from_node = 2,
                                   .to_node = SELF,
                                   .term = append->term != 0 ? append->term : 2,
                                   .index = append->index,
                                   .log_term = append->term_before,
                                   .commit = append->commit,
                                   .everywhere = append->everywhere};
    struct raft_entry *entries[1] = {append->entry};
    struct buffer buffer;
    if (append->entry != NULL) {
        message.entries = entries;
        message.entry_count = 1;
    }
    buffer_init(&buffer, 1 << 20);
    assert_int_equal(raft_message_encode(&message, &buffer), STATUS_OK);
    struct transport_peer peer = {.node = 2, .epoch = 1};
    host_on_frame(bed.host, &peer, PEER_FRAME_RAFT, buffer_bytes(&buffer));
    buffer_free(&buffer);
    memory_free(append->entry);
}

static inline struct raft_entry *entry_make(uint64_t index, uint8_t type, struct bytes body)
{
    struct raft_entry *entry = raft_entry_make(NULL, type, (uint32_t)body.size);
    entry->index = index;
    entry->term = 2;
    if (body.size > 0) memcpy(entry->body, body.data, body.size);
    return entry;
}

static inline struct raft_entry *config_entry(uint64_t index, const struct raft_config *config)
{
    struct buffer body;
    buffer_init(&body, 4096);
    raft_config_encode(config, &body);
    struct raft_entry *entry = entry_make(index, RAFT_ENTRY_CONFIG, buffer_bytes(&body));
    buffer_free(&body);
    return entry;
}

/* A SET of one row of `slot`. */
static inline struct raft_entry *put_entry(uint64_t index, uint16_t slot)
{
    struct entry_header header = {0};
    struct row_header row = {.type = 1};
    struct buffer body;
    uint8_t key[ROW_PREFIX_SIZE];
    buffer_init(&body, 4096);
    row_prefix_store(key, slot, SERVICE_REDIS, 0);
    assert_true(entry_header_encode(&header, &body));
    assert_true(effect_put_encode(&body, bytes_make(key, sizeof(key)), &row, bytes_of("value")));
    struct raft_entry *entry = entry_make(index, RAFT_ENTRY_NORMAL, buffer_bytes(&body));
    buffer_free(&body);
    return entry;
}

static inline void replicate(uint64_t to, uint64_t index, struct raft_entry *entry)
{
    bool behind_birth = to == 11 && index == 2;
    struct append append = {.to = to,
                            .index = index - 1,
                            .term_before = index == 1     ? 0
                                           : behind_birth ? BIRTH_TERM
                                                          : 2,
                            .commit = index,
                            .entry = entry};
    run(send_append, &append);
}

static inline void write_block(struct writer *writer, struct bytes bytes)
{
    write_u32(writer, (uint32_t)bytes.size);
    write_bytes(writer, bytes);
}

/* Of a snapshot at `index`, as the leader writes it. */
static inline void leader_record_encode(uint64_t index, struct buffer *record)
{
    struct buffer config, windows;
    struct dedup *dedup = dedup_make();
    buffer_init(&config, 4096);
    buffer_init(&windows, 4096);
    raft_config_encode(&founding, &config);
    dedup_encode(dedup, &windows);
    dedup_free(dedup);
    struct writer writer = writer_make(record);
    write_u8(&writer, 2);
    write_u64(&writer, 12);
    write_u64(&writer, index);
    write_u64(&writer, 2);
    write_i64(&writer, 0);
    write_block(&writer, buffer_bytes(&config));
    write_block(&writer, buffer_bytes(&windows));
    write_u32(&writer, 0); /* counts */
    write_u32(&writer, 0); /* drops */
    assert_false(writer.failed);
    buffer_free(&config);
    buffer_free(&windows);
}

/* slot_last 0xffff: to the end, the records too. */
static inline uint32_t engine_rows(uint16_t slot_first, uint16_t slot_last)
{
    struct error error;
    struct bytes key, value;
    uint8_t from[2], to[2];
    uint32_t count = 0;
    store_u16_be(from, slot_first);
    store_u16_be(to, slot_last);
    struct engine_iterator *iterator =
        engine_iterate(bed.engine, bytes_make(from, 2), bytes_make(to, slot_last < 0xffff ? 2 : 0));
    while (engine_iterator_next(bed.engine, iterator, &key, &value))
        count++;
    assert_int_equal(engine_iterator_close(bed.engine, iterator, &error), STATUS_OK);
    return count;
}

static inline uint64_t applied(void)
{
    struct replica_status status;
    host_replica_status(bed.host, 0, &status);
    return status.applied;
}

static inline void drop_only(void *context)
{
    host_drop_replica(bed.host, (struct group_id){GROUP});
}

static inline void add_learner(struct group_id group)
{
    add_replica(21, NULL);
}

static inline void on_dropped(void *context, struct group_id group)
{
    if (bench->then != NULL) bench->then(group);
}

static inline void replace_by_learner(void *context)
{
    bench->then = add_learner;
    host_drop_replica(bed.host, (struct group_id){GROUP});
}

#endif
