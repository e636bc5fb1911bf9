/* fuzz_raft_codec.c - messages of a peer: whatever a frame holds, decoding ends in an error or
 * in messages that encode to the same again, and the core takes each of them without harm. */
#include <stdint.h>

#include "base/assert.h"
#include "base/memory.h"
#include "raft/raft_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct raft *open_follower(uint64_t now)
{
    struct raft_options options = {
        .self = {1},
        .node = 1,
        .timing = {.heartbeat = 50000,
                   .election_timeout_min = 300000,
                   .election_timeout_max = 600000,
                   .lease = 240000},
        .now = now,
        .vote_at_once = true,
        .random_seed = 1,
        .config = {.incoming_count = 3, .incoming = {{{1}, 1}, {{2}, 2}, {{3}, 3}}},
    };
    return raft_open(&options);
}

static void drain(struct raft *raft, uint64_t now)
{
    while (raft_has_output(raft)) {
        struct raft_output output;
        raft_take_output(raft, &output);
        raft_applied(raft, output.commit);
        if (output.persist_id) raft_persisted(raft, output.persist_id, now);
    }
}

static void check_again(const struct raft_message *message)
{
    struct buffer buffer;
    struct raft_message again;
    buffer_init(&buffer, 1 << 24);
    ASSERT(raft_message_encode(message, &buffer) == STATUS_OK);
    struct reader reader = reader_make(buffer_bytes(&buffer));
    ASSERT(raft_message_decode(&reader, NULL, &again) == STATUS_OK);
    ASSERT(reader_left(&reader) == 0);
    ASSERT(again.term == message->term && again.index == message->index);
    ASSERT(again.entry_count == message->entry_count);
    raft_message_clear(&again);
    buffer_free(&buffer);
}

static void check_config(struct bytes input)
{
    struct raft_config config;
    struct buffer buffer;
    if (raft_config_decode(input, &config)) return;
    buffer_init(&buffer, 4096);
    raft_config_encode(&config, &buffer);
    ASSERT(bytes_equal(buffer_bytes(&buffer), input));
    buffer_free(&buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t now = 1000000;
    struct reader reader = reader_make(bytes_make(data, size));
    struct raft *raft = open_follower(now);

    check_config(bytes_make(data, size));
    while (reader_left(&reader) > 0) {
        struct raft_message message;
        if (raft_message_decode(&reader, NULL, &message)) break;
        check_again(&message);
        message.to = (struct replica_id){1};
        message.group = (struct group_id){0};
        now += 10000;
        raft_step(raft, &message, now);
        raft_message_clear(&message);
        raft_tick(raft, now);
        drain(raft, now);
    }
    raft_close(raft);
    return 0;
}
