/* Birth, recovery and end of one replica, and its record in the engine.
 *
 * Record (key: 0xffff u16 BE | group u32 BE): u8 format (2) | u64 replica | u64 applied index |
 * u64 its term | i64 entry time | u32 size, configuration | u32 size, dedup windows |
 * u32 number, counts: u8 service, u32 namespace, u64 live rows |
 * u32 number, drops: u8 service, u32 namespace, u64 index (rows up to it do not count any more)
 * It is written in the same run as the rows it speaks of (FAULTS rule 2). Format 1 ends with the
 * windows: its rows are counted while they are loaded. */
#include "base/hash.h"
#include "partition/host_internal.h"

/* Rows loaded before the first request, over all replicas of the worker: a fraction of a second.
 * The others come when they are asked for, or in the background (warm.c). */
enum { LOAD_AT_START_BYTES = 32 << 20 };
enum { RECORD_FORMAT_UNCOUNTED = 1, RECORD_FORMAT = 2, BIRTH_TERM = 1, BIRTH_INDEX = 1 };

void replica_record_key(struct group_id group, uint8_t key[REPLICA_RECORD_KEY_SIZE])
{
    store_u16_be(key, ROW_SLOT_RECORDS);
    store_u32_be(key + 2, group.value);
}

static void write_block(struct writer *writer, struct bytes bytes)
{
    write_u32(writer, (uint32_t)bytes.size);
    write_bytes(writer, bytes);
}

struct name_list {
    struct writer writer;
    uint32_t count;
};

static void write_name(void *context, uint8_t service, uint32_t namespace, uint64_t number)
{
    struct name_list *list = context;
    write_u8(&list->writer, service);
    write_u32(&list->writer, namespace);
    write_u64(&list->writer, number);
    list->count++;
}

static void write_names(struct writer *writer, const struct row_table *table,
                        void (*each)(const struct row_table *table, void *context,
                                     void (*on_name)(void *context, uint8_t service,
                                                     uint32_t namespace, uint64_t number)))
{
    struct buffer part;
    buffer_init(&part, SIZE_MAX / 2);
    struct name_list list = {.writer = writer_make(&part)};
    each(table, &list, write_name);
    ASSERT(!list.writer.failed);
    write_u32(writer, list.count);
    write_bytes(writer, buffer_bytes(&part));
    buffer_free(&part);
}

void replica_record_encode(const struct replica *replica, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);
    struct buffer part;
    buffer_init(&part, SIZE_MAX / 2);
    write_u8(&writer, RECORD_FORMAT);
    write_u64(&writer, replica->id.value);
    write_u64(&writer, replica->applied);
    write_u64(&writer, replica->applied_term);
    write_i64(&writer, replica->entry_time);
    raft_config_encode(raft_config_at(replica->raft, replica->applied), &part);
    write_block(&writer, buffer_bytes(&part));
    buffer_clear(&part);
    dedup_encode(replica->dedup, &part);
    if (PLANTED(replica->host->world, "dedup_not_in_snapshot")) {
        struct dedup *empty = dedup_make();
        buffer_clear(&part);
        dedup_encode(empty, &part);
        dedup_free(empty);
    }
    write_block(&writer, buffer_bytes(&part));
    buffer_free(&part);
    write_names(&writer, replica->table, row_table_counts_each);
    write_names(&writer, replica->table, row_table_drops_each);
    ASSERT(!writer.failed);
}

enum status replica_record_decode(struct bytes bytes, struct replica_record *ret_record)
{
    struct reader reader = reader_make(bytes);
    uint8_t format = read_u8(&reader);
    if (format != RECORD_FORMAT && format != RECORD_FORMAT_UNCOUNTED) return STATUS_VERSION;
    struct replica_record record = {.counted = format == RECORD_FORMAT,
                                    .replica = {read_u64(&reader)},
                                    .applied = read_u64(&reader),
                                    .term = read_u64(&reader),
                                    .entry_time = read_i64(&reader)};
    struct bytes config = read_bytes(&reader, read_u32(&reader));
    record.dedup = read_bytes(&reader, read_u32(&reader));
    if (record.counted) {
        record.counts = read_bytes(&reader, (size_t)read_u32(&reader) * RECORD_NAME_SIZE);
        record.drops = read_bytes(&reader, (size_t)read_u32(&reader) * RECORD_NAME_SIZE);
    }
    if (reader.failed || reader_left(&reader) != 0) return STATUS_CORRUPT;
    if (raft_config_decode(config, &record.config)) return STATUS_CORRUPT;
    *ret_record = record;
    return STATUS_OK;
}

void replica_record_names(struct bytes names, struct row_table *table,
                          void (*load)(struct row_table *table, uint8_t service, uint32_t namespace,
                                       uint64_t number))
{
    struct reader reader = reader_make(names);
    while (reader_left(&reader) > 0) {
        uint8_t service = read_u8(&reader);
        uint32_t namespace = read_u32(&reader);
        load(table, service, namespace, read_u64(&reader));
    }
    ASSERT(!reader.failed);
}

void replica_table_begin(struct replica *replica, const struct replica_record *record)
{
    if (!record->counted) return;
    row_table_set_incomplete(replica->table);
    replica_record_names(record->counts, replica->table, row_table_count_load);
    replica_record_names(record->drops, replica->table, row_table_drop_load);
}

/* [slot_first, slot_last + 1) as the first two bytes of row keys. */
void replica_row_range(const struct replica *replica, uint8_t from[2], uint8_t to[2])
{
    store_u16_be(from, replica->slot_first);
    store_u16_be(to, (uint16_t)(replica->slot_last + 1));
}

void row_value_encode(struct buffer *buffer, const struct row_header *header, struct bytes value)
{
    uint8_t *at = buffer_reserve(buffer, ROW_HEADER_SIZE + value.size);
    ASSERT(at != NULL);
    store_u64(at, header->version);
    at[8] = header->type;
    at[9] = header->flags;
    store_u64(at + 10, header->expiry);
    if (value.size > 0) memcpy(at + ROW_HEADER_SIZE, value.data, value.size);
    buffer_commit(buffer, ROW_HEADER_SIZE + value.size);
}

enum status row_value_decode(struct bytes bytes, struct row_header *ret_header,
                             struct bytes *ret_value)
{
    if (bytes.size < ROW_HEADER_SIZE) return STATUS_CORRUPT;
    *ret_header = (struct row_header){.version = load_u64(bytes.data),
                                      .type = bytes.data[8],
                                      .flags = bytes.data[9],
                                      .expiry = load_u64(bytes.data + 10)};
    *ret_value = bytes_from(bytes, ROW_HEADER_SIZE);
    return STATUS_OK;
}

static void copy_to_buffer(void *context, struct bytes value)
{
    buffer_append(context, value);
}

/* STATUS_NOT_FOUND: the engine knows nothing of this replica id. */
static enum status load_record(struct replica *replica, struct buffer *buffer,
                               struct replica_record *ret_record, struct error *error)
{
    struct engine *engine = replica->host->options.engines[replica->store];
    uint8_t key[REPLICA_RECORD_KEY_SIZE];
    replica_record_key(replica->group, key);
    enum status status =
        engine_get(engine, bytes_make(key, sizeof(key)), buffer, copy_to_buffer, error);
    if (status) return status;
    status = replica_record_decode(buffer_bytes(buffer), ret_record);
    if (status) {
        return error_set(error, status, "the record of group %u in store %u is damaged",
                         replica->group.value, replica->store);
    }
    bool same = replica_id_equal(ret_record->replica, replica->id);
    return same ? STATUS_OK : STATUS_NOT_FOUND;
}

/* What of the budget is left, and more only if the record has no counts. */
static bool may_load_more(const struct replica *replica, uint64_t bytes_max)
{
    struct partition_host *host = replica->host;
    if (replica->group.value == GROUP_META || row_table_complete(replica->table)) return true;
    if (MAYBE(host->world, "rows are left in the engine at the start")) return false;
    uint64_t bytes = host->memory.tables + row_table_bytes(replica->table);
    return bytes < bytes_max && memory_allows_loading(host, replica);
}

enum status replica_load_rows(struct replica *replica, uint64_t bytes_max, struct error *error)
{
    struct engine *engine = replica->host->options.engines[replica->store];
    uint8_t from[2], to[2];
    replica_row_range(replica, from, to);
    struct engine_iterator *iterator =
        engine_iterate(engine, bytes_make(from, 2), bytes_make(to, 2));
    struct bytes key, stored, value;
    struct row_header header;
    enum status status = STATUS_OK;
    bool all = true;
    memory_measure(replica->host); /* of the others */
    while (status == STATUS_OK && engine_iterator_next(engine, iterator, &key, &stored)) {
        all = may_load_more(replica, bytes_max);
        if (!all) break;
        status = row_value_decode(stored, &header, &value);
        if (status == STATUS_OK) row_table_load(replica->table, key, &header, value);
    }
    enum status closed = engine_iterator_close(engine, iterator, error);
    if (status) {
        return error_set(error, status, "a row of group %u in store %u is damaged",
                         replica->group.value, replica->store);
    }
    if (closed == STATUS_OK && all && !row_table_complete(replica->table))
        row_table_set_complete(replica->table);
    if (!all) SOMETIMES(replica->host->world, "a replica started without all of its rows");
    return closed;
}

/* Of an earlier replica of the group: its rows, whose deletion a crash prevented, or its record.
 * They must not be taken for rows of this one by a later start. */
static enum status find_leftovers(const struct replica *replica, bool *ret_found,
                                  struct error *error)
{
    struct engine *engine = replica->host->options.engines[replica->store];
    uint8_t from[2], to[2];
    struct bytes key, value;
    replica_row_range(replica, from, to);
    struct engine_iterator *iterator =
        engine_iterate(engine, bytes_make(from, 2), bytes_make(to, 2));
    bool found = engine_iterator_next(engine, iterator, &key, &value);
    enum status status = engine_iterator_close(engine, iterator, error);
    if (status == STATUS_OK) *ret_found |= found;
    return status;
}

static struct raft_entry *entry_from(struct slabs *memory, const struct log_entry *from)
{
    struct raft_entry *entry = raft_entry_make(memory, from->type, (uint32_t)from->body.size);
    entry->index = from->index;
    entry->term = from->term;
    if (from->body.size > 0) memcpy(entry->body, from->body.data, from->body.size);
    return entry;
}

/* Entries behind what the engine holds. After a crash between a snapshot's ingest and its
 * log record the log may be older than the engine, or of a branch that lost: then it starts
 * afresh behind the engine's state. */
static enum status recover_entries(struct replica *replica, const struct log_recovered *recovered,
                                   struct raft_options *options, bool *ret_restart,
                                   struct error *error)
{
    uint64_t applied = options->snapshot_index;
    *ret_restart = false;
    options->hard_state = (struct raft_hard_state){.term = recovered->state.term,
                                                   .vote = recovered->state.vote,
                                                   .commit = recovered->state.commit};
    uint64_t last = recovered->base_index + recovered->entry_count;
    if (recovered->base_index > applied) {
        return error_set(error, STATUS_NOT_FOUND,
                         "group %u: the log begins behind index %llu but the engine holds only "
                         "%llu",
                         replica->group.value, (unsigned long long)recovered->base_index,
                         (unsigned long long)applied);
    }
    uint64_t term_there = 0;
    if (applied == recovered->base_index) term_there = recovered->base_term;
    if (applied > recovered->base_index && applied <= last) {
        term_there = recovered->entries[applied - recovered->base_index - 1].term;
    }
    bool continues = last >= applied && (applied == 0 || term_there == options->snapshot_term);
    if (!continues) {
        *ret_restart = true;
        return STATUS_OK;
    }
    size_t skip = applied - recovered->base_index;
    options->entry_count = recovered->entry_count - skip;
    options->entries = memory_allocate((options->entry_count + 1) * sizeof(*options->entries));
    for (size_t i = 0; i < options->entry_count; i++) {
        options->entries[i] = entry_from(replica->host->row_memory, &recovered->entries[skip + i]);
        replica->entries_bytes += options->entries[i]->size;
    }
    return STATUS_OK;
}

/* A founding member's log begins with its configuration, the same on every member and
 * committed by definition (Raft thesis 4.4), so that birth is one record in the log. */
static void birth_of_member(struct replica *replica, const struct raft_config *config,
                            struct raft_options *options)
{
    struct partition_host *host = replica->host;
    struct buffer body;
    buffer_init(&body, SIZE_MAX / 2);
    raft_config_encode(config, &body);
    struct bytes bytes = buffer_bytes(&body);
    struct log_state state = {.term = BIRTH_TERM, .commit = BIRTH_INDEX};
    struct log_entry record = {
        .index = BIRTH_INDEX, .term = BIRTH_TERM, .type = RAFT_ENTRY_CONFIG, .body = bytes};
    log_append_state(host->queue, replica->group, replica->id, &state);
    host->birth_position = log_append_entry(host->queue, replica->group, replica->id, &record);
    options->hard_state = (struct raft_hard_state){.term = BIRTH_TERM, .commit = BIRTH_INDEX};
    options->entries = memory_allocate(sizeof(*options->entries));
    options->entries[0] = entry_from(replica->host->row_memory, &record);
    options->entry_count = 1;
    options->config = *config;
    options->config.index = 0;
    buffer_free(&body);
}

static void birth_of_learner(struct replica *replica)
{
    struct log_state state = {0};
    replica->host->birth_position =
        log_append_state(replica->host->queue, replica->group, replica->id, &state);
}

/* The table names the preferred leader first. */
static bool is_first_member(const struct replica_options *options)
{
    const struct raft_config *birth = options->birth_config;
    return birth != NULL && birth->incoming_count > 0 &&
           replica_id_equal(birth->incoming[0].replica, options->replica);
}

static enum status open_raft(struct replica *replica, const struct replica_options *from,
                             const struct replica_record *record, struct error *error)
{
    struct partition_host *host = replica->host;
    struct raft_options options = {
        .group = replica->group,
        .self = replica->id,
        .node = host->options.node,
        .timing = host->options.timing,
        .now = world_now(host->world),
        .vote_at_once = from->vote_at_once,
        .stand_at_once = from->vote_at_once && is_first_member(from),
        .random_seed = world_random(host->world),
        .messages = &host->messages,
        .planted_bugs = host->options.raft_planted_bugs,
    };
    bool restart = false;
    if (record != NULL) {
        options.snapshot_index = record->applied;
        options.snapshot_term = record->term;
        options.config = record->config;
    }
    if (from->recovered != NULL) {
        enum status status = recover_entries(replica, from->recovered, &options, &restart, error);
        if (status) return status;
    } else if (record != NULL) {
        return error_set(error, STATUS_NOT_FOUND,
                         "group %u has state in store %u but nothing in the log",
                         replica->group.value, replica->store);
    } else if (from->birth_config != NULL && from->birth_config->incoming_count > 0) {
        birth_of_member(replica, from->birth_config, &options);
    } else {
        birth_of_learner(replica);
    }
    bool behind = record != NULL && from->recovered->base_index < options.snapshot_index;
    if (restart) {
        log_append_snapshot(host->queue, replica->group, replica->id, options.snapshot_index,
                            options.snapshot_term);
        SOMETIMES(host->world, "a log restarted behind an installed snapshot");
    } else if (behind) { /* what the last flush released may not have become durable */
        log_release(host->queue, replica->group, replica->id, options.snapshot_index,
                    options.snapshot_term);
    }
    replica->raft = raft_open(&options); /* takes the entries over, also if it fails */
    memory_free(options.entries);
    if (replica->raft == NULL) {
        return error_set(error, STATUS_NOT_FOUND, "group %u: its configuration cannot be read",
                         replica->group.value);
    }
    replica->recovered_last = raft_last_index(replica->raft);
    return STATUS_OK;
}

static void link_by_store(struct replica *replica)
{
    struct list *head = &replica->host->stores[replica->store].replicas;
    struct list *at = head->next;
    while (at != head &&
           CONTAINER_OF(at, struct replica, by_store)->slot_first < replica->slot_first) {
        at = at->next;
    }
    list_insert_before(at, &replica->by_store);
}

static struct replica *replica_make(struct partition_host *host,
                                    const struct replica_options *options)
{
    struct replica *replica = memory_allocate_lines(sizeof(*replica));
    replica->host = host;
    replica->group = options->group;
    replica->id = options->replica;
    replica->store = group_store(options->group, host->options.store_count);
    replica->slot_first = options->slot_first;
    replica->slot_last = options->slot_last;
    replica->table = row_table_make_in(host->row_memory);
    replica->dedup = dedup_make();
    replica->verify_at = UINT64_MAX;
    replica->applied_time = replica->proposed_time = INT64_MIN;
    replica->held_last = &replica->held_first;
    map_init(&replica->sessions);
    list_init(&replica->by_store);
    list_init(&replica->parked);
    list_init(&replica->cuts);
    return replica;
}

enum status host_add_replica(struct partition_host *host, const struct replica_options *options,
                             struct error *error)
{
    ASSERT(host_replica(host, options->group) == NULL);
    ASSERT(options->replica.value != 0);
    struct replica *replica = replica_make(host, options);
    struct replica_record record = {0};
    struct buffer buffer;
    buffer_init(&buffer, SIZE_MAX / 2);
    enum status status = load_record(replica, &buffer, &record, error);
    bool known = status == STATUS_OK;
    bool leftovers = buffer_size(&buffer) > 0;
    struct replica_id former = !known && leftovers ? record.replica : (struct replica_id){0};
    if (status == STATUS_NOT_FOUND) status = find_leftovers(replica, &leftovers, error);
    if (known) {
        replica->applied = replica->flushed = record.applied;
        replica->applied_term = replica->flushed_term = record.term;
        replica->entry_time = record.entry_time;
        status = dedup_decode(replica->dedup, record.dedup);
        if (status)
            error_set(error, status, "group %u: damaged dedup windows", options->group.value);
        replica_table_begin(replica, &record);
        if (status == STATUS_OK) status = replica_load_rows(replica, LOAD_AT_START_BYTES, error);
    }
    if (status == STATUS_OK) {
        status = open_raft(replica, options, known ? &record : NULL, error);
    }
    buffer_free(&buffer);
    if (status) {
        replica_free(replica);
        return status;
    }
    replica->trimmed = replica->applied;
    ASSERT(options->group.value < PARTITIONS_MAX + GROUP_DATA_FIRST);
    if (options->group.value >= host->replicas_capacity) {
        uint32_t capacity = options->group.value + 64;
        host->replicas = memory_resize(host->replicas, capacity * sizeof(*host->replicas));
        memset(host->replicas + host->replicas_capacity, 0,
               (capacity - host->replicas_capacity) * sizeof(*host->replicas));
        host->replicas_capacity = capacity;
    }
    host->rest.settled = false;
    host->replicas[options->group.value] = replica;
    host->replica_count++;
    link_by_store(replica);
    if (!known && leftovers)
        drop_leftovers(replica, former, options->recovered != NULL ? 0 : host->birth_position);
    host_mark_dirty(replica);
    return STATUS_OK;
}

void replica_free(struct replica *replica)
{
    snapshot_replica_gone(replica);
    verify_replica_gone(replica);
    leader_state_drop(replica, false);
    cut_replica_gone(replica);
    txn_stops(replica);
    memory_free(replica->read_waits);
    map_free(&replica->sessions);
    list_remove(&replica->by_store);
    if (replica->raft != NULL) raft_close(replica->raft);
    row_table_free(replica->table);
    dedup_free(replica->dedup);
    memory_free(replica);
}

void replica_unlink(struct replica *replica)
{
    struct partition_host *host = replica->host;
    for (size_t i = 0; i < host->dirty_count; i++) {
        if (host->dirty[i] == replica) host->dirty[i] = NULL;
    }
    ASSERT(host->replicas[replica->group.value] == replica);
    rest_disturb(replica);
    rest_withdraw(replica);
    host->replicas[replica->group.value] = NULL;
    host->replica_count--;
}

/* Out of everything, but its data stays: the evidence is kept. */
void replica_halt(struct replica *replica, const char *why)
{
    LOG_ERROR(host_logger(replica->host), "partition", "group %u stopped on this node: %s",
              replica->group.value, why);
    replica_stop(replica);
}

void replica_stop(struct replica *replica)
{
    rest_disturb(replica);
    rest_withdraw(replica);
    replica->halted = true;
    snapshot_sends_drop(replica); /* others wait for their turn */
    snapshot_receive_halt(replica);
    verify_leader_gone(replica);
    if (replica->was_leader) {
        replica->was_leader = false;
        leader_state_drop(replica, true);
    }
    cut_replica_gone(replica);
    txn_stops(replica);
    replica_leader_news(replica);
}
