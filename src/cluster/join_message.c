#include "cluster/join_message.h"

#include "base/assert.h"
#include "cluster/view_codec.h"

enum { JOIN_FORMAT = 1 };

void join_message_encode(const struct join_message *message, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);

    write_u8(&writer, JOIN_FORMAT);
    write_u8(&writer, (uint8_t)message->kind);
    write_u64(&writer, message->cluster.high);
    write_u64(&writer, message->cluster.low);
    write_u64(&writer, message->store);
    write_u64(&writer, message->nonce);
    write_u32(&writer, message->cluster_version);
    write_i64(&writer, message->wall_time);
    write_u32(&writer, message->partitions);
    write_u32(&writer, message->replicas);
    write_u32(&writer, message->stores);
    write_u8(&writer, message->reads);
    write_sized(&writer, bytes_of(message->name));
    write_sized(&writer, bytes_of(message->redis));
    write_sized(&writer, bytes_of(message->redis_cluster));
    write_sized(&writer, bytes_of(message->peer));
    write_sized(&writer, bytes_of(message->admin));
    write_sized(&writer, bytes_of(message->labels));
    write_u8(&writer, message->has_secret);
    write_bytes(&writer, bytes_make(message->secret, sizeof(message->secret)));
    ASSERT(!writer.failed);
}

enum status join_message_decode(struct bytes bytes, struct join_message *ret_message)
{
    struct reader reader = reader_make(bytes);
    struct join_message message = {0};

    uint8_t format = read_u8(&reader);
    if (reader.failed) return STATUS_CORRUPT;
    if (format != JOIN_FORMAT) return STATUS_VERSION;
    uint8_t kind = read_u8(&reader);
    message.kind = (enum join_kind)kind;
    message.cluster.high = read_u64(&reader);
    message.cluster.low = read_u64(&reader);
    message.store = read_u64(&reader);
    message.nonce = read_u64(&reader);
    message.cluster_version = read_u32(&reader);
    message.wall_time = read_i64(&reader);
    message.partitions = read_u32(&reader);
    message.replicas = read_u32(&reader);
    message.stores = read_u32(&reader);
    message.reads = read_u8(&reader);
    read_text(&reader, message.name, sizeof(message.name));
    read_text(&reader, message.redis, sizeof(message.redis));
    read_text(&reader, message.redis_cluster, sizeof(message.redis_cluster));
    read_text(&reader, message.peer, sizeof(message.peer));
    read_text(&reader, message.admin, sizeof(message.admin));
    read_text(&reader, message.labels, sizeof(message.labels));
    uint8_t has_secret = read_u8(&reader);
    message.has_secret = has_secret == 1;
    struct bytes secret = read_bytes(&reader, JOIN_SECRET_SIZE);
    bool valid = !reader.failed && reader_left(&reader) == 0 && has_secret <= 1 &&
                 (kind == JOIN_ASK || kind == JOIN_CHECK);
    if (!valid) return STATUS_CORRUPT;
    memcpy(message.secret, secret.data, sizeof(message.secret));
    *ret_message = message;
    return STATUS_OK;
}

void join_answer_encode(const struct join_answer *answer, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);

    write_u8(&writer, JOIN_FORMAT);
    write_u8(&writer, (uint8_t)answer->result);
    write_u64(&writer, answer->cluster.high);
    write_u64(&writer, answer->cluster.low);
    write_sized(&writer, bytes_of(answer->text));
    if (answer->result == JOIN_DONE) {
        write_u32(&writer, answer->node);
        write_u32(&writer, answer->epoch_first);
        write_u32(&writer, answer->epoch_last);
        write_u32(&writer, answer->stores);
        write_bytes(&writer, answer->view);
    }
    ASSERT(!writer.failed);
}

enum status join_answer_decode(struct bytes bytes, struct join_answer *ret_answer)
{
    struct reader reader = reader_make(bytes);
    struct join_answer answer = {0};

    uint8_t format = read_u8(&reader);
    if (reader.failed) return STATUS_CORRUPT;
    if (format != JOIN_FORMAT) return STATUS_VERSION;
    uint8_t result = read_u8(&reader);
    answer.result = (enum join_result)result;
    answer.cluster.high = read_u64(&reader);
    answer.cluster.low = read_u64(&reader);
    read_text(&reader, answer.text, sizeof(answer.text));
    if (result == JOIN_DONE) {
        answer.node = read_u32(&reader);
        answer.epoch_first = read_u32(&reader);
        answer.epoch_last = read_u32(&reader);
        answer.stores = read_u32(&reader);
        answer.view = read_bytes(&reader, reader_left(&reader));
    }
    if (reader.failed || reader_left(&reader) != 0 || result > JOIN_MEMBER) return STATUS_CORRUPT;
    *ret_answer = answer;
    return STATUS_OK;
}
