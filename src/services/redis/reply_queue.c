/* reply_queue.c - replies leave in the order of the commands, whatever order they come in.
 * A reply at the head goes straight into the stream's output; others are kept until it is
 * their turn. Commands whose reply comes while they are submitted, and are at the head, cost
 * no copy and no allocation. */
#include "base/assert.h"
#include "base/memory.h"
#include "services/redis/frontend.h"

enum {
    FREE_SLOTS_MAX = 4096,
    HELD_KEPT_BYTES = 4096, /* memory a free slot keeps */
    BODY_KEPT_BYTES = 1024, /* and that of a body which is not copied */
    ERROR_REPLY_MAX = 1 << 20,
};

/* --- slots --------------------------------------------------------------------------------- */

static void on_reply(struct gateway_request *request, enum gateway_outcome outcome,
                     struct bytes reply);

static struct reply_slot *slot_push(struct connection *connection)
{
    struct redis_service *service = connection->service;
    struct reply_slot *slot;

    if (list_empty(&service->free_slots)) {
        slot = memory_allocate_zero(sizeof(*slot));
        buffer_init(&slot->held, OUTPUT_BYTES_MAX);
        buffer_init(&slot->body, service->body.size_max);
    } else {
        slot = CONTAINER_OF(service->free_slots.next, struct reply_slot, link);
        list_remove(&slot->link);
        service->free_slot_count--;
    }
    slot->connection = connection;
    slot->command = NULL;
    slot->submitted = false;
    slot->done = false;
    slot->silent = connection->reply_mode == REPLY_OFF || connection->reply_mode == REPLY_SKIP;
    slot->bytes = 0;
    slot->owed = 0;
    slot->request_bytes = 0;
    slot->started = service->now;
    list_insert_before(&connection->slots, &slot->link);
    service->open_count++;
    if (connection->slot_count++ == 0) service->active_count++;
    return slot;
}

static void slot_destroy(struct reply_slot *slot)
{
    buffer_free(&slot->held);
    buffer_free(&slot->body);
    memory_free(slot);
}

static void slot_free(struct redis_service *service, struct reply_slot *slot)
{
    list_remove(&slot->link);
    slot->connection = NULL;
    if (service->free_slot_count >= FREE_SLOTS_MAX) {
        slot_destroy(slot);
        return;
    }
    if (slot->held.capacity > HELD_KEPT_BYTES)
        buffer_release(&slot->held);
    else
        buffer_clear(&slot->held);
    list_insert_before(service->free_slots.next, &slot->link); /* taken first: it is warm */
    service->free_slot_count++;
}

static void slot_pop(struct connection *connection, struct reply_slot *slot)
{
    ASSERT(connection->slot_count > 0 && connection->held_bytes >= slot->bytes);
    ASSERT(connection->owed_bytes >= slot->owed);
    connection->service->open_count--;
    if (--connection->slot_count == 0) connection->service->active_count--;
    connection->service->open_bytes -= slot->request_bytes;
    connection->held_bytes -= slot->bytes;
    connection->owed_bytes -= slot->owed;
    slot_free(connection->service, slot);
}

void slots_free_all(struct redis_service *service)
{
    while (!list_empty(&service->free_slots)) {
        struct reply_slot *slot = CONTAINER_OF(service->free_slots.next, struct reply_slot, link);
        list_remove(&slot->link);
        slot_destroy(slot);
    }
}

void connection_forget_all(struct connection *connection)
{
    while (!list_empty(&connection->slots)) {
        struct reply_slot *slot = CONTAINER_OF(connection->slots.next, struct reply_slot, link);
        if (slot->submitted && !slot->done) connection_forget(connection, &slot->request);
        slot_pop(connection, slot);
    }
}

/* --- output -------------------------------------------------------------------------------- */

static bool is_head(const struct connection *connection, const struct reply_slot *slot)
{
    return connection->slots.next == &slot->link;
}

static void output_failed(struct connection *connection)
{
    connection->service->statistics.clients_stuck++;
    connection_kill(connection, "it does not read its replies: 64 MiB are waiting");
}

static void output_append(struct connection *connection, struct bytes reply)
{
    if (connection->ended) return;
    connection->service->statistics.bytes_out += reply.size;
    if (buffer_append(stream_output(connection->stream), reply)) {
        output_failed(connection);
        return;
    }
    stream_flush(connection->stream);
}

/* The head was answered: so may be some behind it. */
static void output_ready(struct connection *connection)
{
    while (!list_empty(&connection->slots)) {
        struct reply_slot *slot = CONTAINER_OF(connection->slots.next, struct reply_slot, link);
        if (!slot->done) break;
        if (!slot->silent) output_append(connection, buffer_bytes(&slot->held));
        slot_pop(connection, slot);
    }
}

const char *redis_error_word_name(enum redis_error_word word)
{
    static const char *const names[REDIS_ERROR_WORD_COUNT] = {
        [REDIS_ERROR_ERR] = "ERR",
        [REDIS_ERROR_WRONGTYPE] = "WRONGTYPE",
        [REDIS_ERROR_CROSSSLOT] = "CROSSSLOT",
        [REDIS_ERROR_BUSY] = "BUSY",
        [REDIS_ERROR_UNKNOWN] = "UNKNOWN",
        [REDIS_ERROR_UNAVAILABLE] = "UNAVAILABLE",
        [REDIS_ERROR_MISCONF] = "MISCONF",
        [REDIS_ERROR_STALE] = "STALE",
        [REDIS_ERROR_TOOBIG] = "TOOBIG",
        [REDIS_ERROR_NOPROTO] = "NOPROTO",
        [REDIS_ERROR_WRONGPASS] = "WRONGPASS",
        [REDIS_ERROR_MOVED] = "MOVED",
        [REDIS_ERROR_READONLY] = "READONLY",
        [REDIS_ERROR_SNAPSHOTGONE] = "SNAPSHOTGONE",
        [REDIS_ERROR_LOCKLOST] = "LOCKLOST",
        [REDIS_ERROR_OTHER] = "OTHER",
    };
    return names[word];
}

static void error_count(struct redis_service *service, struct bytes reply)
{
    enum redis_error_word i = REDIS_ERROR_ERR;

    for (; i < REDIS_ERROR_OTHER; i++) {
        const char *word = redis_error_word_name(i);
        size_t size = strlen(word);
        bool same = reply.size > size + 1 && memcmp(reply.data + 1, word, size) == 0;
        if (same && reply.data[size + 1] == ' ') break;
    }
    service->statistics.errors++;
    service->statistics.errors_by_word[i]++;
}

static void slot_answer(struct reply_slot *slot, struct bytes reply)
{
    struct connection *connection = slot->connection;

    if (slot->owed != OWED_SMALL_BYTES) connection_reply_seen(connection, reply.size);
    if (resp_is_error(reply)) error_count(connection->service, reply);
    if (is_head(connection, slot)) {
        if (!slot->silent) output_append(connection, reply);
        slot_pop(connection, slot);
        output_ready(connection);
    } else {
        slot->done = true;
        connection->owed_bytes -= slot->owed; /* it came: from here on its true size counts */
        slot->owed = 0;
        connection->service->open_bytes -= slot->request_bytes;
        slot->request_bytes = 0;
        if (!slot->silent) {
            if (buffer_append(&slot->held, reply)) output_failed(connection);
            slot->bytes += reply.size;
            connection->held_bytes += reply.size;
        }
    }
    if (connection->processing) return; /* whoever runs process_input() goes on by itself */
    connection_account(connection);
    if (connection->read_paused || connection->closing) connection_wake(connection);
}

/* --- the gateway's answers ------------------------------------------------------------------ */

void outcome_count(struct redis_service *service, enum gateway_outcome outcome)
{
    struct redis_statistics *statistics = &service->statistics;

    statistics->unknown += outcome == GATEWAY_UNKNOWN;
    statistics->unavailable += outcome == GATEWAY_UNAVAILABLE;
    statistics->busy += outcome == GATEWAY_BUSY;
    statistics->too_big += outcome == GATEWAY_TOO_BIG;
}

static void stale_write(struct resp_writer *out, unsigned partition,
                        const struct gateway_request *request)
{
    const char *advice = "nothing was executed. Try again, ask with a greater bound (HOLON.READS "
                         "stale MS), or ask a node that reaches a quorum";

    if (request->staleness == UINT64_MAX)
        resp_write_error_format(out,
                                "STALE it is not known how far this node's replica of partition %u "
                                "is behind, since its leader did not answer within the patience; "
                                "%s",
                                partition, advice);
    else
        resp_write_error_format(out,
                                "STALE this node's replica of partition %u may be %llu ms behind, "
                                "more than the bound of %u ms, and its leader did not answer "
                                "within the patience; %s",
                                partition, (unsigned long long)(request->staleness / 1000),
                                request->stale_ms, advice);
}

void outcome_write(struct redis_service *service, struct resp_writer *out,
                   enum gateway_outcome outcome, const struct gateway_request *request,
                   struct bytes text)
{
    unsigned partition = service_partition(service, request->slot);

    switch (outcome) {
    case GATEWAY_REPLY:
        break;
    case GATEWAY_UNKNOWN:
        resp_write_error_format(out,
                                "UNKNOWN outcome: no quorum of partition %u answered within the "
                                "patience; the command may or may not have been executed",
                                partition);
        break;
    case GATEWAY_UNAVAILABLE:
        resp_write_error_format(out,
                                "UNAVAILABLE no quorum of partition %u answered within the "
                                "patience; the command was not executed, try again",
                                partition);
        break;
    case GATEWAY_BUSY:
        if (text.size > 0) /* the leader said why */
            resp_write_error_format(out, "%.*s", (int)text.size, (const char *)text.data);
        else
            resp_write_error_format(out,
                                    "BUSY too many requests for partition %u are waiting; the "
                                    "command was not executed, try again",
                                    partition);
        break;
    case GATEWAY_NO_SPACE: /* the word Redis has for a disk that takes no writes */
        resp_write_error_format(out,
                                "MISCONF no disk space for partition %u: %.*s; the command was "
                                "not executed. Reads and deletes go on",
                                partition, (int)text.size, (const char *)text.data);
        break;
    case GATEWAY_STALE:
        stale_write(out, partition, request);
        break;
    case GATEWAY_TOO_BIG: /* with a text it was not executed */
        if (text.size > 0)
            resp_write_error_format(out, "%.*s", (int)text.size, (const char *)text.data);
        else
            resp_write_error(out, "TOOBIG the command was executed, but its reply was too big to "
                                  "be repeated after a change of leader");
        break;
    }
}

static void open_add(struct reply_slot *slot)
{
    struct connection *connection = slot->connection;

    slot->request.ordered = connection->open_requests[slot->open_class] > 0;
    connection->open_requests[slot->open_class]++;
    connection->open_reads[slot->open_class] += !slot->request.write;
}

static void open_remove(struct reply_slot *slot)
{
    struct connection *connection = slot->connection;

    ASSERT(connection->open_requests[slot->open_class] > 0);
    connection->open_requests[slot->open_class]--;
    connection->open_reads[slot->open_class] -= !slot->request.write;
}

static size_t waiting_bytes(const struct connection *connection)
{
    return connection->held_bytes + buffer_size(stream_output(connection->stream));
}

static void on_reply(struct gateway_request *request, enum gateway_outcome outcome,
                     struct bytes reply)
{
    struct reply_slot *slot = CONTAINER_OF(request, struct reply_slot, request);
    struct redis_service *service = slot->connection->service;
    struct histogram *latency = request->write ? &service->write_latency : &service->read_latency;

    histogram_record(latency, world_now(service->options.world) - slot->started);
    open_remove(slot);
    reads_answered(slot->connection, slot->open_class, request);
    /* The client asked for many big values and reads none: what it did not get, it can ask for
     * again. The answer to a write must come. */
    bool too_much = outcome == GATEWAY_REPLY && !request->write && reply.size > BIG_REPLY_BYTES &&
                    waiting_bytes(slot->connection) > BIG_OUTPUT_BYTES_MAX;
    if (too_much) {
        outcome = GATEWAY_BUSY;
        reply = bytes_make(NULL, 0); /* which would be taken for the leader's reason */
    }
    if (outcome == GATEWAY_REPLY) {
        slot_answer(slot, reply);
        return;
    }
    struct buffer text;
    buffer_init(&text, ERROR_REPLY_MAX);
    struct resp_writer out = resp_writer_make(&text, false);
    outcome_count(service, outcome);
    outcome_write(service, &out, outcome, request, reply);
    slot_answer(slot, buffer_bytes(&text));
    buffer_free(&text);
}

bool body_make(struct redis_service *service, const struct redis_command *command, bool resp3,
               uint8_t database, const struct bytes *arguments, uint32_t count)
{
    struct redis_body body = {.flags = resp3 ? REDIS_BODY_RESP3 : 0,
                              .database = database,
                              .command = command->id,
                              .count = count,
                              .arguments = arguments};

    if (service->body.capacity > BODY_KEPT_BYTES)
        buffer_release(&service->body);
    else
        buffer_clear(&service->body);
    return redis_body_encode(&body, &service->body) == STATUS_OK &&
           buffer_size(&service->body) <= BODY_SIZE_MAX;
}

/* The usual small body stays with its slot until it is answered: the buffers change places, and
 * nobody copies it. Of a large one the gateway makes a copy, without room to grow. */
static void body_hand_over(struct redis_service *service, struct reply_slot *slot)
{
    struct gateway_request *request = &slot->request;

    request->body = buffer_bytes(&service->body);
    request->body_stays = service->body.capacity <= BODY_KEPT_BYTES;
    if (!request->body_stays) return;
    struct buffer made = service->body;
    service->body = slot->body;
    slot->body = made;
}

static void submit_body(struct connection *connection, const struct redis_command *command,
                        uint16_t routing_slot, uint32_t count, bool silent)
{
    struct redis_service *service = connection->service;
    struct reply_slot *slot = slot_push(connection);

    slot->open_class = open_class_of(service, routing_slot);
    slot->command = command;
    slot->submitted = true;
    slot->silent = silent;
    slot->bytes = buffer_size(&service->body);
    connection->held_bytes += slot->bytes;
    slot->request_bytes = slot->bytes;
    service->open_bytes += slot->bytes;
    slot->owed = connection_reply_supposed(connection, command, count);
    connection->owed_bytes += slot->owed;
    slot->request.service = SERVICE_REDIS;
    slot->request.slot = routing_slot;
    slot->request.write = command->flags & REDIS_WRITES;
    slot->request.client = (uint16_t)connection->id;
    slot->request.grows = command->flags & REDIS_GROWS;
    body_hand_over(service, slot);
    slot->request.on_reply = on_reply;
    slot->request.context = slot;
    if (slot->request.write)
        service->statistics.writes++;
    else
        service->statistics.reads++;
    reads_prepare(connection, slot->open_class, &slot->request);
    open_add(slot);
    if (connection->snapshot == NULL) /* the slot may be gone now */
        gateway_submit(service->options.gateway, &slot->request);
    else
        connection_ask(connection, &slot->request);
}

bool connection_submit(struct connection *connection, const struct redis_command *command,
                       uint16_t routing_slot, const struct bytes *arguments, uint32_t count)
{
    struct redis_service *service = connection->service;
    uint8_t open_class = open_class_of(service, routing_slot);
    bool write = command->flags & REDIS_WRITES;

    if (write && connection->open_reads[open_class] > 0) {
        connection->waits_for = WAIT_READS;
        connection->waits_for_class = open_class;
        return false;
    }
    if (!body_make(service, command, connection->resp3, connection->database, arguments + 1,
                   count - 1)) {
        connection_reply_error(connection, "ERR command too big; nothing was executed");
        return true;
    }
    bool silent = connection->reply_mode == REPLY_OFF || connection->reply_mode == REPLY_SKIP;
    submit_body(connection, command, routing_slot, count, silent);
    return true;
}

void connection_submit_body(struct connection *connection, const struct redis_command *command,
                            uint16_t slot, uint32_t count, bool silent)
{
    ASSERT(list_empty(&connection->slots));
    submit_body(connection, command, slot, count, silent);
}

/* --- replies made here ---------------------------------------------------------------------- */

void local_reply_begin(struct connection *connection, struct local_reply *ret_reply)
{
    struct redis_service *service = connection->service;
    struct buffer *buffer = stream_output(connection->stream);

    *ret_reply = (struct local_reply){.connection = connection};
    ret_reply->silent = connection->reply_mode == REPLY_OFF || connection->reply_mode == REPLY_SKIP;
    if (ret_reply->silent) {
        buffer = &service->silence;
        buffer_clear(buffer);
    } else if (!list_empty(&connection->slots)) {
        ret_reply->slot = slot_push(connection);
        buffer = &ret_reply->slot->held;
    }
    ret_reply->start = buffer_size(buffer);
    ret_reply->out = resp_writer_make(buffer, connection->resp3);
}

void local_reply_unsilence(struct local_reply *reply)
{
    reply->connection->reply_mode = REPLY_ON;
    if (reply->silent) local_reply_begin(reply->connection, reply);
}

void local_reply_end(struct local_reply *reply)
{
    struct connection *connection = reply->connection;
    struct buffer *buffer = reply->out.buffer;
    size_t size = buffer_size(buffer) - reply->start;

    struct bytes text = bytes_from(buffer_bytes(buffer), reply->start);
    if (resp_is_error(text)) error_count(connection->service, text);
    if (reply->silent) {
        buffer_clear(buffer);
    } else if (reply->out.failed) {
        output_failed(connection);
    } else if (reply->slot) {
        reply->slot->done = true;
        reply->slot->bytes = size;
        connection->held_bytes += size;
    } else if (!connection->ended) {
        connection->service->statistics.bytes_out += size;
        stream_flush(connection->stream);
    }
}

void connection_reply_error(struct connection *connection, const char *text)
{
    struct local_reply reply;

    local_reply_begin(connection, &reply);
    resp_write_error(&reply.out, text);
    local_reply_end(&reply);
}
