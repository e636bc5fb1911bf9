#include "base/assert.h"
#include "cluster/meta_internal.h"

/* --- requests and replies in bytes ----------------------------------------------------------
 * request: u8 kind | FOUND: view (view_codec.h); else: u32 node | u64 store | u32 epoch |
 *          u64 token | name | redis | redis-cluster | peer | admin
 *          REJOIN: then u64 store that it replaces
 *          REPLACE: then u32 count, each: u32 group | u64 replica
 *          BOOT: then labels, if there are any, and u32 epoch before, if it is told;
 *          LABEL: labels
 *          JOIN: labels | hex id | u8 has secret | 32 bytes hash of it
 *          TOKEN: 32 bytes | u64 wall clock at which it ends, ms
 *          MOVE, SETTLED, KEEP: u32 group | u64 changed | u8 count, each: u32 node | u64 replica;
 *          KEEP: u32 node | u64 replica; MOVE: u8 count, each:
 *          u32 node
 *          FINALIZE: u32 cluster version | u32 count, each: u32 node | u32 boot epoch
 *          DATABASE: u8 database | u8 durability (0 disk, 1 memory)
 * reply:   u8 result | u64 table epoch | u32 first | u32 last | text | u64 token | u32 node */

void meta_found_encode(const struct cluster_view *view, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);

    write_u8(&writer, META_FOUND);
    ASSERT(!writer.failed);
    cluster_view_encode(view, buffer);
}

static void hash_read(struct reader *reader, uint8_t hash[META_SECRET_HASH_SIZE])
{
    struct bytes bytes = read_bytes(reader, META_SECRET_HASH_SIZE);

    if (!reader->failed) memcpy(hash, bytes.data, META_SECRET_HASH_SIZE);
}

static struct bytes hash_bytes(const struct meta_request *request)
{
    return bytes_make(request->secret_hash, sizeof(request->secret_hash));
}

static void moves_encode(const struct meta_request *request, struct writer *writer)
{
    write_u32(writer, request->group.value);
    write_u64(writer, request->changed);
    write_u8(writer, (uint8_t)request->replica_count);
    for (uint32_t i = 0; i < request->replica_count; i++) {
        write_u32(writer, request->replicas[i].node);
        write_u64(writer, request->replicas[i].replica.value);
    }
    if (request->kind == META_KEEP) {
        write_u32(writer, request->kept.node);
        write_u64(writer, request->kept.replica.value);
    }
    if (request->kind != META_MOVE) return;
    write_u8(writer, (uint8_t)request->to_count);
    for (uint32_t i = 0; i < request->to_count; i++)
        write_u32(writer, request->to[i]);
}

static void moves_decode(struct reader *reader, struct meta_request *request)
{
    request->group.value = read_u32(reader);
    request->changed = read_u64(reader);
    request->replica_count = read_u8(reader);
    if (request->replica_count > VIEW_REPLICAS_MAX) reader->failed = true;
    for (uint32_t i = 0; i < request->replica_count && !reader->failed; i++) {
        request->replicas[i].node = read_u32(reader);
        request->replicas[i].replica.value = read_u64(reader);
    }
    if (request->kind == META_KEEP) {
        request->kept.node = read_u32(reader);
        request->kept.replica.value = read_u64(reader);
    }
    if (request->kind != META_MOVE) return;
    request->to_count = read_u8(reader);
    if (request->to_count > VIEW_REPLICAS_MAX) reader->failed = true;
    for (uint32_t i = 0; i < request->to_count && !reader->failed; i++)
        request->to[i] = read_u32(reader);
}

static void finalize_encode(const struct meta_request *request, struct writer *writer)
{
    write_u32(writer, request->cluster_version);
    write_u32(writer, request->start_count);
    for (uint32_t i = 0; i < request->start_count; i++) {
        write_u32(writer, request->starts[i].node);
        write_u32(writer, request->starts[i].epoch);
    }
}

static void finalize_decode(struct reader *reader, struct meta_request *request)
{
    request->cluster_version = read_u32(reader);
    request->start_count = read_u32(reader);
    if (request->start_count > NODES_MAX) reader->failed = true;
    for (uint32_t i = 0; i < request->start_count && !reader->failed; i++) {
        request->starts[i].node = read_u32(reader);
        request->starts[i].epoch = read_u32(reader);
    }
}

/* What the kinds of version 2 have, and BOOT with labels. */
static void members_encode(const struct meta_request *request, struct writer *writer)
{
    switch (request->kind) {
    case META_BOOT:
        if (request->labels[0] != '\0' || request->tells_before)
            write_sized(writer, bytes_of(request->labels));
        if (request->tells_before) write_u32(writer, request->epoch_before);
        break;
    case META_LABEL:
        write_sized(writer, bytes_of(request->labels));
        break;
    case META_JOIN:
        write_sized(writer, bytes_of(request->labels));
        write_sized(writer, bytes_of(request->hex_id));
        write_u8(writer, request->has_secret);
        write_bytes(writer, hash_bytes(request));
        break;
    case META_TOKEN:
        write_bytes(writer, hash_bytes(request));
        write_u64(writer, (uint64_t)request->expires_ms);
        break;
    case META_MOVE:
    case META_SETTLED:
    case META_KEEP:
        moves_encode(request, writer);
        break;
    case META_FINALIZE:
        finalize_encode(request, writer);
        break;
    case META_DATABASE:
        write_u8(writer, request->database);
        write_u8(writer, request->in_memory);
        break;
    default:
        break;
    }
}

static void members_decode(struct reader *reader, struct meta_request *request)
{
    switch (request->kind) {
    case META_BOOT:
        if (reader_left(reader) > 0) read_text(reader, request->labels, sizeof(request->labels));
        request->tells_before = reader_left(reader) > 0;
        if (request->tells_before) request->epoch_before = read_u32(reader);
        break;
    case META_LABEL:
        read_text(reader, request->labels, sizeof(request->labels));
        break;
    case META_JOIN:
        read_text(reader, request->labels, sizeof(request->labels));
        read_text(reader, request->hex_id, sizeof(request->hex_id));
        request->has_secret = read_u8(reader) != 0;
        hash_read(reader, request->secret_hash);
        break;
    case META_TOKEN:
        hash_read(reader, request->secret_hash);
        request->expires_ms = (int64_t)read_u64(reader);
        break;
    case META_MOVE:
    case META_SETTLED:
    case META_KEEP:
        moves_decode(reader, request);
        break;
    case META_FINALIZE:
        finalize_decode(reader, request);
        break;
    case META_DATABASE:
        request->database = read_u8(reader);
        request->in_memory = read_u8(reader) != 0;
        break;
    default:
        break;
    }
}

void meta_request_encode(const struct meta_request *request, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);

    ASSERT(request->kind != META_FOUND);
    write_u8(&writer, (uint8_t)request->kind);
    write_u32(&writer, request->node);
    write_u64(&writer, request->store);
    write_u32(&writer, request->epoch);
    write_u64(&writer, request->token);
    write_sized(&writer, bytes_of(request->name));
    write_sized(&writer, bytes_of(request->redis));
    write_sized(&writer, bytes_of(request->redis_cluster));
    write_sized(&writer, bytes_of(request->peer));
    write_sized(&writer, bytes_of(request->admin));
    if (request->kind == META_REJOIN) write_u64(&writer, request->replaces);
    if (request->kind == META_REPLACE) {
        write_u32(&writer, request->lost_count);
        for (uint32_t i = 0; i < request->lost_count; i++) {
            write_u32(&writer, request->lost[i].group.value);
            write_u64(&writer, request->lost[i].replica.value);
        }
    }
    members_encode(request, &writer);
    ASSERT(!writer.failed);
}

bool meta_request_decode(struct bytes bytes, struct meta_request *ret_request)
{
    struct reader reader = reader_make(bytes);

    memset(ret_request, 0, sizeof(*ret_request));
    ret_request->kind = (enum meta_kind)read_u8(&reader);
    ret_request->node = read_u32(&reader);
    ret_request->store = read_u64(&reader);
    ret_request->epoch = read_u32(&reader);
    ret_request->token = read_u64(&reader);
    read_text(&reader, ret_request->name, sizeof(ret_request->name));
    read_text(&reader, ret_request->redis, sizeof(ret_request->redis));
    read_text(&reader, ret_request->redis_cluster, sizeof(ret_request->redis_cluster));
    read_text(&reader, ret_request->peer, sizeof(ret_request->peer));
    read_text(&reader, ret_request->admin, sizeof(ret_request->admin));
    /* 0.1.0 did not say it. */
    if (ret_request->kind == META_REJOIN && reader_left(&reader) > 0)
        ret_request->replaces = read_u64(&reader);
    if (ret_request->kind == META_REPLACE) ret_request->lost_count = read_u32(&reader);
    if (ret_request->lost_count > META_REPLACE_MAX) return false;
    for (uint32_t i = 0; i < ret_request->lost_count; i++) {
        ret_request->lost[i].group.value = read_u32(&reader);
        ret_request->lost[i].replica.value = read_u64(&reader);
    }
    members_decode(&reader, ret_request);
    return !reader.failed;
}

void meta_reply_write(struct reply *reply, const struct meta_reply *content)
{
    struct writer writer = writer_make(reply->buffer);

    write_u8(&writer, (uint8_t)content->result);
    write_u64(&writer, content->table_epoch);
    write_u32(&writer, content->epoch_first);
    write_u32(&writer, content->epoch_last);
    write_sized(&writer, bytes_of(content->text));
    write_u64(&writer, content->token);
    write_u32(&writer, content->node);
}

enum status meta_reply_decode(struct bytes bytes, struct meta_reply *ret_reply)
{
    struct reader reader = reader_make(bytes);
    struct meta_reply reply = {0};

    reply.result = (enum meta_result)read_u8(&reader);
    reply.table_epoch = read_u64(&reader);
    reply.epoch_first = read_u32(&reader);
    reply.epoch_last = read_u32(&reader);
    read_text(&reader, reply.text, sizeof(reply.text));
    if (!reader.failed && reader_left(&reader) > 0) reply.token = read_u64(&reader);
    if (!reader.failed && reader_left(&reader) > 0) reply.node = read_u32(&reader);
    if (reader.failed || reply.result > META_RETRY) return STATUS_CORRUPT;
    *ret_reply = reply;
    return STATUS_OK;
}
