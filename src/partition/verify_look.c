/* How a replica looks at itself when it has applied exactly what its leader named (verify.h).
 *
 * Of a range of rows memory is walked at once, in the turn of that index; what the engine has is
 * read by a job, through an iterator made in the same turn. A flush may be writing meanwhile, and
 * its rows be seen or not: those stand in memory as not flushed, and count from there. */
#include "partition/verify.h"

enum held_kind { HELD_ROW = 1, HELD_DELETED, HELD_CLEAN, HELD_ABSENT };

/* --- frames ------------------------------------------------------------------------------- */

struct buffer *verify_frame(struct partition_host *host, node_id_t node, uint32_t worker)
{
    struct peer_out *out = host_peer_out(host, node, worker);
    if (buffer_size(&out->verify) > PEER_OUT_FLUSH_BYTES)
        peer_out_send(host, out, PEER_FRAME_VERIFY, &out->verify);
    world_defer(host->world, &host->turn_end);
    return &out->verify;
}

static void answer(struct replica *replica, const struct verify_ask *ask,
                   const struct verify_answer *answer)
{
    struct partition_host *host = replica->host;
    if (replica_id_equal(ask->from.replica, replica->id)) {
        verify_answered(replica, replica->id, ask->round, answer);
        return;
    }
    struct writer writer = writer_make(verify_frame(host, ask->from.node, ask->worker));
    write_u8(&writer, VERIFY_ANSWER);
    write_u32(&writer, ask->group.value);
    write_u64(&writer, replica->id.value);
    write_u64(&writer, ask->from.replica.value);
    write_u64(&writer, ask->round);
    write_u8(&writer, answer->result);
    write_u8(&writer, answer->looks);
    write_u64(&writer, answer->writes);
    write_u64(&writer, answer->state);
    write_u64(&writer, answer->memory.low);
    write_u64(&writer, answer->memory.high);
    write_u64(&writer, answer->engine.low);
    write_u64(&writer, answer->engine.high);
    write_u64(&writer, answer->rows);
    ASSERT(!writer.failed);
}

static void answer_result(struct replica *replica, const struct verify_ask *ask,
                          enum verify_result result)
{
    struct verify_answer none = {.result = (uint8_t)result};
    answer(replica, ask, &none);
}

/* --- hashes ------------------------------------------------------------------------------- */

static struct hash128 hash_row(uint64_t seed, struct bytes key, const struct row_header *header,
                               struct bytes value)
{
    uint64_t fields[4] = {header->version, header->expiry,
                          (uint64_t)header->type << 8 | header->flags, key.size};
    seed = hash64(seed, bytes_make(fields, sizeof(fields)));
    return hash128(hash64(seed, key), value);
}

static void hash_add(struct hash128 *sum, struct hash128 hash)
{
    sum->low += hash.low;
    sum->high += hash.high;
}

static void add_count(void *context, uint8_t service, uint32_t namespace, uint64_t rows)
{
    uint64_t *hash = context;
    *hash += hash_u64(hash_u64((uint64_t)service << 32 | namespace) ^ rows);
}

static uint64_t state_hash(const struct replica *replica)
{
    uint64_t hash = dedup_hash(replica->dedup);
    row_table_counts_each(replica->table, &hash, add_count);
    return hash;
}

/* --- what was written --------------------------------------------------------------------- */

static const struct verify_mark *find_mark(const struct replica *replica, uint64_t index)
{
    const struct verify *verify = replica->verify;
    for (uint32_t i = 0; i < VERIFY_MARKS && i < verify->mark_count; i++)
        if (verify->marks[i].index == index && verify->marks[i].generation == replica->generation)
            return &verify->marks[i];
    return NULL;
}

static void look_at_writes(struct replica *replica, uint64_t prior, struct verify_answer *ret)
{
    struct verify *verify = replica->verify;
    const struct verify_mark *mark = find_mark(replica, prior);
    struct row_writes now = row_table_writes(replica->table);
    if (mark != NULL && mark->writes.skipped == now.skipped) {
        ret->looks |= VERIFY_LOOK_WRITES;
        ret->writes = now.sum - mark->writes.sum;
    }
    if (find_mark(replica, replica->applied) != NULL) return;
    verify->marks[verify->mark_count++ % VERIFY_MARKS] = (struct verify_mark){
        .index = replica->applied, .generation = replica->generation, .writes = now};
}

/* --- rows: what memory has ---------------------------------------------------------------- */

static bool hold(void *context, const struct row_found *row)
{
    struct verify_look *look = context;
    bool full =
        look->held_rows == VERIFY_HELD_ROWS_MAX || buffer_size(&look->held) > VERIFY_HELD_BYTES_MAX;
    if (full) {
        look->held_too_much = true;
        return false;
    }
    bool clean = row->state == ROW_CLEAN;
    enum held_kind kind =
        row->tombstone ? (clean ? HELD_ABSENT : HELD_DELETED) : (clean ? HELD_CLEAN : HELD_ROW);
    struct hash128 hash = {0};
    if (!row->tombstone) hash = hash_row(look->seed, row->key, &row->header, row->value);
    struct writer writer = writer_make(&look->held);
    write_u32(&writer, (uint32_t)row->key.size);
    write_bytes(&writer, row->key);
    write_u8(&writer, kind);
    write_u64(&writer, hash.low);
    write_u64(&writer, hash.high);
    look->held_rows++;
    return true;
}

static void take_drop(void *context, uint8_t service, uint32_t namespace, uint64_t index)
{
    struct verify_look *look = context;
    look->drops = memory_resize(look->drops, (look->drop_count + 1) * sizeof(*look->drops));
    look->drops[look->drop_count++] =
        (struct row_drop){.service = service, .namespace = namespace, .index = index};
}

/* --- rows: the job ------------------------------------------------------------------------ */

static bool is_dropped(const struct verify_look *look, struct bytes key, uint64_t version)
{
    for (size_t i = 0; i < look->drop_count; i++) {
        const struct row_drop *drop = &look->drops[i];
        if (key.size >= ROW_PREFIX_SIZE && key.data[2] == drop->service &&
            load_u32_be(key.data + 3) == drop->namespace && version <= drop->index)
            return true;
    }
    return false;
}

struct held_row {
    bool there;
    struct bytes key;
    enum held_kind kind;
    struct hash128 hash;
};

static void held_next(struct reader *reader, struct held_row *ret)
{
    ret->there = reader_left(reader) > 0;
    if (!ret->there) return;
    ret->key = read_bytes(reader, read_u32(reader));
    ret->kind = read_u8(reader);
    ret->hash.low = read_u64(reader);
    ret->hash.high = read_u64(reader);
}

/* A row that memory has and the engine not, or that hides what the engine has. */
static void count_held(struct verify_look *look, const struct held_row *held)
{
    if (held->kind != HELD_ROW && held->kind != HELD_CLEAN) return;
    look->answer.rows++;
    hash_add(&look->answer.memory, held->hash);
    if (held->kind == HELD_ROW) hash_add(&look->answer.engine, held->hash);
}

static void look_run(struct world_job *job)
{
    struct verify_look *look = job->context;
    struct reader reader = reader_make(buffer_bytes(&look->held));
    struct bytes key, stored, value;
    struct row_header header;
    struct held_row held;
    held_next(&reader, &held);
    engine_iterator_seek(look->engine, look->iterator, look->ask.key_from);
    while (engine_iterator_next(look->engine, look->iterator, &key, &stored)) {
        look->bytes += key.size + stored.size;
        look->status = row_value_decode(stored, &header, &value);
        if (look->status) {
            error_set(&look->error, look->status, "a stored row cannot be decoded");
            return;
        }
        for (; held.there && bytes_compare(held.key, key) < 0; held_next(&reader, &held))
            count_held(look, &held);
        bool here = held.there && bytes_equal(held.key, key);
        enum held_kind kind = here ? held.kind : HELD_ABSENT;
        if (here) count_held(look, &held);
        bool hidden =
            kind == HELD_ROW || kind == HELD_DELETED || is_dropped(look, key, header.version);
        if (!hidden) {
            struct hash128 hash = hash_row(look->seed, key, &header, value);
            hash_add(&look->answer.engine, hash);
            if (!here) hash_add(&look->answer.memory, hash);
            look->answer.rows += !here;
        }
        if (here) held_next(&reader, &held);
    }
    for (; held.there; held_next(&reader, &held))
        count_held(look, &held);
    look->status = engine_iterator_error(look->engine, look->iterator, &look->error);
}

static void look_free(struct verify_look *look)
{
    list_remove(&look->link);
    if (look->iterator != NULL) engine_iterator_close(look->engine, look->iterator, NULL);
    buffer_free(&look->held);
    buffer_free(&look->keys);
    memory_free(look->drops);
    memory_free(look);
}

void verify_look_cancel(struct verify *verify)
{
    if (verify->look == NULL) return;
    verify->look->replica = (struct replica_id){0}; /* its job frees it */
    verify->look = NULL;
}

static void look_done(struct world_job *job)
{
    struct verify_look *look = job->context;
    struct partition_host *host = look->host;
    struct replica *replica = host_replica(host, look->ask.group);
    host->verify.jobs--;
    bool ours = replica != NULL && look->replica.value != 0 && replica->verify != NULL &&
                replica->verify->look == look;
    if (ours) replica->verify->look = NULL;
    host->statistics.verify_rows += look->answer.rows;
    host->statistics.verify_bytes += look->bytes;
    uint32_t store = look->store;
    enum status status = look->status;
    struct error error = look->error;
    if (ours && !replica->halted) {
        look->answer.result = status ? VERIFY_UNABLE : VERIFY_SEEN;
        look->answer.looks |= VERIFY_LOOK_ROWS;
        answer(replica, &look->ask, &look->answer);
    }
    bool damaged = status == STATUS_CORRUPT && look->replica.value != 0;
    look_free(look);
    if (damaged) store_damaged(host, store, &error);
}

/* Engine and table stand for one index, and nothing reads for another ask. */
static bool may_look(const struct replica *replica)
{
    return replica->receive == NULL && replica->flushed <= replica->applied &&
           replica->verify->look == NULL && !replica->host->stopping &&
           !replica->host->stores[replica->store].damaged;
}

static void look_at_rows(struct replica *replica, const struct verify_ask *ask,
                         const struct verify_answer *so_far)
{
    struct partition_host *host = replica->host;
    struct verify_look *look = memory_allocate_zero(sizeof(*look));
    uint8_t from[2], to[2];
    look->host = host;
    look->job = (struct world_job){.run = look_run, .done = look_done, .context = look};
    look->ask = *ask;
    buffer_init(&look->keys, SIZE_MAX / 2);
    buffer_append(&look->keys, ask->key_from);
    buffer_append(&look->keys, ask->key_to);
    look->ask.key_from = bytes_make(buffer_bytes(&look->keys).data, ask->key_from.size);
    look->ask.key_to = bytes_from(buffer_bytes(&look->keys), ask->key_from.size);
    look->replica = replica->id;
    look->generation = replica->generation;
    look->store = replica->store;
    look->engine = host->options.engines[replica->store];
    look->seed = host->options.hash_secret[0];
    look->answer = *so_far;
    buffer_init(&look->held, SIZE_MAX / 2);
    list_insert_before(&host->verify.looks, &look->link);
    row_table_applied_each(replica->table, look->ask.key_from, look->ask.key_to, look, hold);
    if (look->held_too_much) {
        look_free(look);
        answer_result(replica, ask, VERIFY_UNABLE);
        return;
    }
    row_table_drops_each(replica->table, look, take_drop);
    replica_row_range(replica, from, to);
    bool last = look->ask.key_to.size == 0;
    look->iterator = engine_iterate(look->engine, bytes_make(from, 2),
                                    last ? bytes_make(to, 2) : look->ask.key_to);
    replica->verify->look = look;
    host->verify.jobs++;
    world_job_start(host->world, LANE_READ, &look->job);
}

/* --- asks --------------------------------------------------------------------------------- */

/* ask->index is what is applied. */
static void look_now(struct replica *replica, const struct verify_ask *ask)
{
    struct verify_answer seen = {.result = VERIFY_SEEN};
    look_at_writes(replica, ask->prior, &seen);
    if (ask->looks & VERIFY_LOOK_STATE) {
        seen.looks |= VERIFY_LOOK_STATE;
        seen.state = state_hash(replica);
    }
    if (!(ask->looks & VERIFY_LOOK_ROWS))
        answer(replica, ask, &seen);
    else if (may_look(replica))
        look_at_rows(replica, ask, &seen);
    else
        answer_result(replica, ask, VERIFY_UNABLE);
}

void verify_reached(struct replica *replica)
{
    struct verify *verify = replica->verify;
    struct verify_ask ask = verify->ask;
    ASSERT(ask.round != 0 && ask.index <= replica->applied);
    verify->ask.round = 0;
    replica->verify_at = UINT64_MAX;
    if (ask.index == replica->applied)
        look_now(replica, &ask);
    else /* a snapshot was taken in */
        answer_result(replica, &ask, VERIFY_MISSED);
}

void verify_take_ask(struct replica *replica, const struct verify_ask *ask)
{
    struct verify *verify = verify_of(replica);
    if (ask->index < replica->applied) {
        SOMETIMES(replica->host->world, "an index was applied before its comparison was asked for");
        answer_result(replica, ask, VERIFY_MISSED);
        return;
    }
    if (ask->index == replica->applied) {
        look_now(replica, ask);
        return;
    }
    verify->ask = *ask; /* a later one takes the place of an earlier one */
    buffer_clear(&verify->ask_keys);
    buffer_append(&verify->ask_keys, ask->key_from);
    buffer_append(&verify->ask_keys, ask->key_to);
    struct bytes keys = buffer_bytes(&verify->ask_keys);
    verify->ask.key_from = bytes_make(keys.data, ask->key_from.size);
    verify->ask.key_to = bytes_from(keys, ask->key_from.size);
    replica->verify_at = ask->index;
}

/* --- the host's --------------------------------------------------------------------------- */

void verify_replica_gone(struct replica *replica)
{
    struct verify *verify = replica->verify;
    if (verify == NULL) return;
    verify_leader_gone(replica);
    verify_look_cancel(verify);
    buffer_free(&verify->ask_keys);
    memory_free(verify);
    replica->verify = NULL;
    replica->verify_at = UINT64_MAX;
}

void verify_looks_free(struct partition_host *host)
{
    while (!list_empty(&host->verify.looks))
        look_free(CONTAINER_OF(host->verify.looks.next, struct verify_look, link));
}
