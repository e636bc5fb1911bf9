/* The format of batches on the wire, as the node of the client writes and reads it. */
#include "services/redis/batch.h"
#include "services/redis/value_move.h"

enum { COMMAND_EXPECTS = 1 };

void redis_batch_begin(struct writer *writer, uint64_t watch_count)
{
    write_u8(writer, REDIS_BATCH_FORMAT);
    write_u8(writer, 0);
    write_varint(writer, watch_count);
}

void redis_batch_begin_guards(struct writer *writer, uint64_t guard_count)
{
    write_u8(writer, REDIS_BATCH_FORMAT);
    write_u8(writer, REDIS_BATCH_GUARDS);
    write_varint(writer, guard_count);
}

void redis_batch_write_guard(struct writer *writer, const struct redis_guard *guard)
{
    write_u8(writer, guard->database);
    write_u64(writer, guard->token);
    write_sized(writer, guard->name);
}

bool redis_batch_read_guard(struct reader *reader, struct redis_guard *ret_guard)
{
    ret_guard->database = read_u8(reader);
    ret_guard->token = read_u64(reader);
    ret_guard->name = read_sized(reader);
    return !reader->failed && ret_guard->database < REDIS_DATABASES;
}

void redis_batch_begin_watches(struct writer *writer, uint64_t watch_count)
{
    write_varint(writer, watch_count);
}

void redis_batch_write_watch(struct writer *writer, const struct redis_watch *watch)
{
    write_u8(writer, watch->database);
    write_u8(writer, watch->existed);
    write_u32(writer, watch->namespace);
    write_u64(writer, watch->version);
    write_sized(writer, watch->key);
}

void redis_batch_begin_commands(struct writer *writer, uint64_t seed, uint64_t command_count)
{
    write_u64(writer, seed);
    write_varint(writer, command_count);
}

void redis_batch_write_command(struct writer *writer, const struct redis_batch_command *command)
{
    write_u8(writer, command->expects ? COMMAND_EXPECTS : 0);
    if (command->expects) {
        write_u64(writer, command->digest.low);
        write_u64(writer, command->digest.high);
    }
    write_sized(writer, command->body);
}

struct hash128 redis_batch_digest(uint64_t seed, uint16_t command, struct bytes reply)
{
    return hash128(seed, command == REDIS_READVALUE ? redis_value_expected_part(reply) : reply);
}

bool redis_batch_read_outcome(struct bytes reply, enum redis_batch_outcome *ret_outcome,
                              struct bytes *ret_rest)
{
    if (reply.size == 0 || reply.data[0] > REDIS_BATCH_REFUSED) return false;
    *ret_outcome = reply.data[0];
    *ret_rest = bytes_from(reply, 1);
    return true;
}

bool redis_batch_read_reply(struct bytes *rest, struct bytes *ret_reply)
{
    struct reader reader = reader_make(*rest);
    uint32_t size = read_u32(&reader);
    struct bytes reply = read_bytes(&reader, size);

    if (reader.failed || reply.size == 0) return false;
    *ret_reply = reply;
    *rest = bytes_make(reader.next, reader_left(&reader));
    return true;
}
