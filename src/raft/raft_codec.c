/* raft_codec.c - messages on the wire and configurations in entries. Nothing is allocated
 * from a number that the input could not back with bytes.
 *
 * Configuration: u8 version (1) | u8 incoming, outgoing, learner count | varint index |
 * members: u64 replica, u32 node. */
#include "raft/raft_codec.h"
#include "raft/raft_internal.h"

enum { FLAG_REJECT = 1, FLAG_TRANSFER = 2, FLAGS_ALL = 3 };
enum { CONFIG_VERSION = 1 };
enum { MESSAGE_FIXED_SIZE = 30, MESSAGE_HEADER_MAX = MESSAGE_FIXED_SIZE + 9 * VARINT_SIZE_MAX };
enum { ENTRY_WIRE_SIZE_MIN = 3 };              /* term, type, size */
static const uint64_t NUMBER_MAX = 1ull << 60; /* of terms and indexes: never reached, and far
                                                * enough from the end to add to them */

/* --- messages --- */

static enum status write_entry(struct buffer *buffer, const struct raft_entry *entry)
{
    ASSERT(entry->size <= RAFT_ENTRY_BODY_MAX);
    ASSERT(entry->term != 0);
    uint8_t *room = buffer_reserve(buffer, 2 * VARINT_SIZE_MAX + 1 + entry->size);
    if (room == NULL) return STATUS_FULL;
    uint8_t *at = store_varint(room, entry->term);
    *at++ = entry->type;
    at = store_varint(at, entry->size);
    if (entry->size) memcpy(at, entry->body, entry->size);
    buffer_commit(buffer, (size_t)(at - room) + entry->size);
    return STATUS_OK;
}

enum status raft_message_encode(const struct raft_message *message, struct buffer *buffer)
{
    size_t size_before = buffer_size(buffer);
    uint8_t *room = buffer_reserve(buffer, MESSAGE_HEADER_MAX);
    if (room == NULL) return STATUS_FULL;
    uint8_t flags =
        (uint8_t)((message->reject ? FLAG_REJECT : 0) | (message->transfer ? FLAG_TRANSFER : 0));
    ASSERT(message->from.value != 0);
    ASSERT(message->to.value != 0);
    room[0] = message->type;
    room[1] = flags;
    store_u32(room + 2, message->group.value);
    store_u64(room + 6, message->from.value);
    store_u64(room + 14, message->to.value);
    store_u32(room + 22, message->from_node);
    store_u32(room + 26, message->to_node);
    uint8_t *at = store_varint(room + MESSAGE_FIXED_SIZE, message->term);
    at = store_varint(at, message->index);
    at = store_varint(at, message->log_term);
    at = store_varint(at, message->commit);
    at = store_varint(at, message->everywhere);
    at = store_varint(at, message->hint_index);
    at = store_varint(at, message->hint_term);
    at = store_varint(at, message->promise);
    at = store_varint(at, message->entry_count);
    buffer_commit(buffer, (size_t)(at - room));
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < message->entry_count && status == STATUS_OK; i++)
        status = write_entry(buffer, message->entries[i]);
    if (status == STATUS_OK) return STATUS_OK;
    buffer->end = buffer->start + size_before;
    return STATUS_FULL;
}

static bool entry_sound(const struct raft_entry *entry, uint64_t term_before)
{
    struct raft_config config;
    if (entry->term == 0 || entry->term < term_before) return false;
    if (entry->type > RAFT_ENTRY_WRITTEN) return false;
    return entry->type != RAFT_ENTRY_CONFIG || raft_config_of_entry(entry, &config);
}

static struct raft_entry *read_entry(struct reader *reader, struct slabs *memory, uint64_t index,
                                     uint64_t term_before)
{
    uint64_t term = read_varint(reader);
    uint8_t type = read_u8(reader);
    struct bytes body = read_sized(reader);
    if (reader->failed || body.size > RAFT_ENTRY_BODY_MAX) return NULL;

    struct raft_entry *entry = raft_entry_make(memory, type, (uint32_t)body.size);
    entry->index = index;
    entry->term = term;
    if (body.size) memcpy(entry->body, body.data, body.size);
    if (entry_sound(entry, term_before)) return entry;
    raft_entry_free(entry);
    return NULL;
}

static bool read_entries(struct reader *reader, struct raft_message *message, uint64_t count)
{
    uint64_t term_before = message->log_term;
    if (count == 0) return true;
    if (message->type != RAFT_APPEND) return false;
    if (count > reader_left(reader) / ENTRY_WIRE_SIZE_MIN) return false;

    size_t size = count * sizeof(struct raft_entry *);
    message->entries =
        message->memory != NULL ? slabs_allocate(message->memory, size) : memory_allocate(size);
    message->entry_room = (uint32_t)count;
    while (message->entry_count < count) {
        uint64_t index = message->index + message->entry_count + 1;
        struct raft_entry *entry = read_entry(reader, message->memory, index, term_before);
        if (entry == NULL) return false;
        message->entries[message->entry_count++] = entry;
        term_before = entry->term;
    }
    ASSERT(message->entry_count == count);
    return term_before <= message->term;
}

/* What a correct sender keeps, so that the core may rely on it. */
static bool message_sound(const struct raft_message *message, uint8_t flags)
{
    bool ids = message->from.value != 0 && message->to.value != 0;
    bool reply = message->type == RAFT_PRE_VOTE_REPLY || message->type == RAFT_VOTE_REPLY ||
                 message->type == RAFT_APPEND_REPLY;
    bool termless = reply && message->reject; /* from one who is in no term yet */
    bool terms = (message->term != 0 || termless) && message->log_term <= message->term;
    bool bounded = message->term <= NUMBER_MAX && message->index <= NUMBER_MAX &&
                   message->hint_index <= NUMBER_MAX && message->everywhere <= NUMBER_MAX;
    bool origin = message->index != 0 || message->log_term == 0; /* nothing precedes index 1 */
    return message->type <= RAFT_TIMEOUT_NOW && flags <= FLAGS_ALL && ids && terms && bounded &&
           origin;
}

enum status raft_message_decode(struct reader *reader, struct slabs *memory,
                                struct raft_message *ret_message)
{
    const uint8_t *fixed = read_bytes(reader, MESSAGE_FIXED_SIZE).data;
    if (fixed == NULL) return STATUS_CORRUPT;
    uint8_t flags = fixed[1];
    struct raft_message message = {.type = fixed[0],
                                   .group = {load_u32(fixed + 2)},
                                   .from = {load_u64(fixed + 6)},
                                   .to = {load_u64(fixed + 14)},
                                   .from_node = load_u32(fixed + 22),
                                   .to_node = load_u32(fixed + 26),
                                   .reject = flags & FLAG_REJECT,
                                   .transfer = flags & FLAG_TRANSFER,
                                   .memory = memory};
    message.term = read_varint(reader);
    message.index = read_varint(reader);
    message.log_term = read_varint(reader);
    message.commit = read_varint(reader);
    message.everywhere = read_varint(reader);
    message.hint_index = read_varint(reader);
    message.hint_term = read_varint(reader);
    message.promise = read_varint(reader);
    uint64_t count = read_varint(reader);

    bool sound = !reader->failed && message_sound(&message, flags);
    if (!sound || !read_entries(reader, &message, count)) {
        raft_message_clear(&message);
        return STATUS_CORRUPT;
    }
    *ret_message = message;
    return STATUS_OK;
}

void raft_message_clear(struct raft_message *message)
{
    for (uint32_t i = 0; i < message->entry_count; i++) {
        raft_entry_free(message->entries[i]);
    }
    if (message->memory != NULL && message->entries != NULL)
        slabs_release(message->memory, message->entries,
                      message->entry_room * sizeof(struct raft_entry *));
    else
        memory_free(message->entries);
    message->entries = NULL;
    message->entry_count = 0;
}

/* --- configurations --- */

static void write_members(struct writer *writer, const struct raft_member *members, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        write_u64(writer, members[i].replica.value);
        write_u32(writer, members[i].node);
    }
}

void raft_config_encode(const struct raft_config *config, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);
    ASSERT(config->incoming_count <= RAFT_MEMBERS_MAX);
    ASSERT(config->outgoing_count <= RAFT_MEMBERS_MAX);
    ASSERT(config->learner_count <= RAFT_MEMBERS_MAX);
    write_u8(&writer, CONFIG_VERSION);
    write_u8(&writer, config->incoming_count);
    write_u8(&writer, config->outgoing_count);
    write_u8(&writer, config->learner_count);
    write_varint(&writer, config->index);
    write_members(&writer, config->incoming, config->incoming_count);
    write_members(&writer, config->outgoing, config->outgoing_count);
    write_members(&writer, config->learners, config->learner_count);
    ASSERT(!writer.failed);
}

static bool read_members(struct reader *reader, struct raft_member *members, size_t count)
{
    if (count > RAFT_MEMBERS_MAX) return false;
    for (size_t i = 0; i < count; i++) {
        members[i].replica.value = read_u64(reader);
        members[i].node = read_u32(reader);
        if (members[i].replica.value == 0) return false;
        if (raft_member_find(members, i, members[i].replica)) return false;
    }
    return !reader->failed;
}

enum status raft_config_decode(struct bytes bytes, struct raft_config *ret_config)
{
    struct reader reader = reader_make(bytes);
    struct raft_config config = {0};
    uint8_t version = read_u8(&reader);
    config.incoming_count = read_u8(&reader);
    config.outgoing_count = read_u8(&reader);
    config.learner_count = read_u8(&reader);
    config.index = read_varint(&reader);
    if (reader.failed) return STATUS_CORRUPT;
    if (version != CONFIG_VERSION) return STATUS_VERSION;

    bool sound = read_members(&reader, config.incoming, config.incoming_count) &&
                 read_members(&reader, config.outgoing, config.outgoing_count) &&
                 read_members(&reader, config.learners, config.learner_count);
    if (!sound || reader_left(&reader) != 0) return STATUS_CORRUPT;
    *ret_config = config;
    return STATUS_OK;
}
