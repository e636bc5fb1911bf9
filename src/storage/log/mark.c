/* mark.c - the file `durable`: up to which batch the log is known to be durable, written lazily
 * and only after that was true. Recovery needs it to tell a torn tail from damage to the last
 * batch that was acknowledged (WHY 5.4).
 *
 * Two slots of 4 KiB, written in turn, so that a torn write leaves the older one:
 * u64 magic | u32 version | u32 crc32c, seeded with the version, of what follows | u64 cluster
 * high, low | u64 store | u64 node | u64 sequence | u64 batch number. The higher sequence counts.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "storage/log/log_private.h"
#include "world/probe.h"

#define LOG_MARK_MAGIC 0x4b52414d4e4c4f48u /* "HOLNMARK" */

enum {
    SLOT_MAGIC = 0,
    SLOT_VERSION = 8,
    SLOT_CRC = 12,
    SLOT_CLUSTER_HIGH = 16,
    SLOT_CLUSTER_LOW = 24,
    SLOT_STORE = 32,
    SLOT_NODE = 40,
    SLOT_SEQUENCE = 48,
    SLOT_NUMBER = 56,
    SLOT_SIZE = 64,
};

static void mark_path(const struct log *log, char path[LOG_PATH_SIZE])
{
    int size = snprintf(path, LOG_PATH_SIZE, "%s/durable", log->directory);
    ASSERT(size > 0 && size < LOG_PATH_SIZE);
}

/* Seeded with the version, so that a flipped bit of it is damage and no other version. */
static uint32_t slot_crc(const uint8_t *slot)
{
    return crc32c(load_u32(slot + SLOT_VERSION),
                  bytes_make(slot + SLOT_CLUSTER_HIGH, SLOT_SIZE - SLOT_CLUSTER_HIGH));
}

/* Undamaged, but of a format that this program does not know. */
static bool slot_is_newer(const uint8_t *slot)
{
    return load_u64(slot + SLOT_MAGIC) == LOG_MARK_MAGIC &&
           load_u32(slot + SLOT_VERSION) != LOG_FORMAT_VERSION &&
           load_u32(slot + SLOT_CRC) == slot_crc(slot);
}

struct log_mark log_mark_read_slot(const uint8_t *slot)
{
    struct log_mark none = {.sequence = 0};

    if (load_u64(slot + SLOT_MAGIC) != LOG_MARK_MAGIC) return none;
    if (load_u32(slot + SLOT_VERSION) != LOG_FORMAT_VERSION) return none;
    if (load_u32(slot + SLOT_CRC) != slot_crc(slot)) return none;
    return (struct log_mark){.identity = {.cluster = {.high = load_u64(slot + SLOT_CLUSTER_HIGH),
                                                      .low = load_u64(slot + SLOT_CLUSTER_LOW)},
                                          .store = load_u64(slot + SLOT_STORE),
                                          .node = (node_id_t)load_u64(slot + SLOT_NODE)},
                             .sequence = load_u64(slot + SLOT_SEQUENCE),
                             .number = load_u64(slot + SLOT_NUMBER)};
}

static void slot_make(const struct log *log, uint64_t sequence, uint64_t number,
                      uint8_t block[LOG_BLOCK_SIZE])
{
    memset(block, 0, LOG_BLOCK_SIZE);
    store_u64(block + SLOT_MAGIC, LOG_MARK_MAGIC);
    store_u32(block + SLOT_VERSION, LOG_FORMAT_VERSION);
    store_u64(block + SLOT_CLUSTER_HIGH, log->identity.cluster.high);
    store_u64(block + SLOT_CLUSTER_LOW, log->identity.cluster.low);
    store_u64(block + SLOT_STORE, log->identity.store);
    store_u64(block + SLOT_NODE, log->identity.node);
    store_u64(block + SLOT_SEQUENCE, sequence);
    store_u64(block + SLOT_NUMBER, number);
    store_u32(block + SLOT_CRC, slot_crc(block));
}

enum status log_mark_write(struct log *log, struct error *error)
{
    uint8_t block[LOG_BLOCK_SIZE];

    ASSERT(log->synced_number >= log->mark_number);
    pthread_mutex_lock(&log->mark_mutex);
    uint64_t sequence = log->mark_sequence + 1;
    slot_make(log, sequence, log->synced_number, block);
    enum status status = file_write(log->mark_file, sequence % 2 * LOG_BLOCK_SIZE,
                                    bytes_make(block, sizeof(block)), error);
    if (status == STATUS_OK) status = file_sync(log->mark_file, error);
    if (status == STATUS_OK) {
        log->mark_sequence = sequence;
        log->mark_number = log->synced_number;
    }
    pthread_mutex_unlock(&log->mark_mutex);
    return status;
}

enum status log_mark_create(struct log *log, struct error *error)
{
    char path[LOG_PATH_SIZE];
    enum status status;

    ASSERT(log->mark_file == NULL);
    mark_path(log, path);
    status = file_open(log->world, path, FILE_WRITE | FILE_CREATE, &log->mark_file, error);
    if (status) return status;
    status = file_allocate(log->mark_file, LOG_MARK_SIZE, error);
    if (status) return status;
    status = log_mark_write(log, error);
    if (status) return status;
    return world_sync_dir(log->world, log->directory, error);
}

enum status log_mark_open(struct log *log, struct error *error)
{
    char path[LOG_PATH_SIZE];
    uint8_t blocks[LOG_MARK_SIZE] = {0};
    size_t size;
    struct log_mark best = {.sequence = 0};
    enum status status;

    mark_path(log, path);
    status = file_open(log->world, path, FILE_WRITE, &log->mark_file, error);
    if (status) return status;
    status = file_read(log->mark_file, 0, blocks, sizeof(blocks), &size, error);
    if (status) return error_set(error, STATUS_CORRUPT, "%s: cannot be read", path);

    bool newer = slot_is_newer(blocks) || slot_is_newer(blocks + LOG_BLOCK_SIZE);
    for (int i = 0; i < 2; i++) {
        struct log_mark mark = log_mark_read_slot(blocks + i * LOG_BLOCK_SIZE);
        if (mark.sequence > best.sequence) best = mark;
    }
    if (best.sequence == 0 && newer)
        return error_set(error, STATUS_VERSION,
                         "%s: written by another version of Holon; start it with that one", path);
    if (best.sequence == 0)
        return error_set(error, STATUS_CORRUPT,
                         "%s: neither of its two slots can be read, so a damaged end of the log "
                         "cannot be told from a torn one",
                         path);
    if (!log_identity_equal(&best.identity, &log->identity))
        return error_set(error, STATUS_REFUSED,
                         "%s: belongs to cluster %016" PRIx64 "%016" PRIx64 ", node %" PRIu32
                         ", store %016" PRIx64 ", not to this node; start with the data "
                         "directory that is its own",
                         path, best.identity.cluster.high, best.identity.cluster.low,
                         best.identity.node, best.identity.store);
    log->mark_sequence = best.sequence;
    log->mark_number = best.number;
    return STATUS_OK;
}

/* --- while it runs ------------------------------------------------------------------------ */

/* Another log may lie where this one was: its mark must not be made one of ours. The first batch of
 * the segment that is written now tells whose it is; one that cannot be read tells nothing. */
static enum status mark_place(struct log *log, struct error *error)
{
    char path[LOG_PATH_SIZE];
    uint8_t header[LOG_BATCH_HEADER_SIZE];
    struct file *file = NULL;
    struct log_batch batch;
    size_t size = 0;

    pthread_mutex_lock(&log->mutex);
    uint64_t segment = log->statistics.active_segment;
    pthread_mutex_unlock(&log->mutex);
    log_segment_path(log, segment, path);
    enum status status = file_open(log->world, path, FILE_READ, &file, error);
    if (status == STATUS_NOT_FOUND) {
        pthread_mutex_lock(&log->mutex);
        bool gone = segment == log->statistics.active_segment;
        pthread_mutex_unlock(&log->mutex);
        return gone ? error_set(error, STATUS_REFUSED,
                                "%s, which is written now, is gone: the log was removed, or "
                                "another directory is in its place",
                                path)
                    : STATUS_IO;
    }
    if (status) return STATUS_IO;
    uint64_t wants = 0;
    if (file_read(file, 0, header, sizeof(header), &size, NULL) == STATUS_OK &&
        size == sizeof(header))
        wants = log_batch_wants(bytes_make(header, size), 0, segment);
    bool foreign = false;
    if (wants > 0 && wants <= LOG_SEGMENT_SIZE_MAX) {
        uint8_t *memory = memory_allocate((size_t)wants);
        foreign =
            file_read(file, 0, memory, (size_t)wants, &size, NULL) == STATUS_OK &&
            log_batch_judge(bytes_make(memory, size), 0, segment, &batch) == LOG_BATCH_VALID &&
            !log_identity_equal(&batch.identity, &log->identity);
        memory_free(memory);
    }
    file_close(file);
    if (!foreign) return STATUS_OK;
    return error_set(error, STATUS_REFUSED,
                     "%s is of another log: another directory is in its place", path);
}

/* The older slot tells no more than that it is whole: what it said is not remembered. */
static bool mark_slot_sound(const struct log *log, const uint8_t *blocks, uint64_t sequence)
{
    const uint8_t *found = blocks + sequence % 2 * LOG_BLOCK_SIZE;
    uint8_t block[LOG_BLOCK_SIZE];
    struct log_mark mark = log_mark_read_slot(found);

    slot_make(log, sequence, sequence == log->mark_sequence ? log->mark_number : mark.number,
              block);
    return memcmp(block, found, sizeof(block)) == 0;
}

/* A whole slot of our log with a sequence that we have not come to. */
static bool mark_is_later(const struct log *log, const uint8_t *blocks)
{
    for (uint32_t i = 0; i < 2; i++) {
        struct log_mark mark = log_mark_read_slot(blocks + i * LOG_BLOCK_SIZE);
        bool whole = mark.sequence > log->mark_sequence;
        if (whole && log_identity_equal(&mark.identity, &log->identity)) return true;
    }
    return false;
}

enum status log_mark_scrub(struct log *log, uint64_t *ret_offset, struct error *error)
{
    char path[LOG_PATH_SIZE];
    struct file *file = NULL;
    size_t size = 0;

    enum status status = mark_place(log, error);
    if (status) return status;
    mark_path(log, path);
    uint8_t *blocks = memory_allocate_zero(LOG_MARK_SIZE);
    pthread_mutex_lock(&log->mark_mutex);
    status = file_open(log->world, path, FILE_READ | FILE_DIRECT, &file, error);
    if (status == STATUS_NOT_FOUND) {
        error_set(error, status, "%s is missing", path);
    } else if (status == STATUS_OK) {
        bool read = file_read(file, 0, blocks, LOG_MARK_SIZE, &size, NULL) == STATUS_OK;
        uint64_t bad = UINT64_MAX;
        for (uint64_t back = 0; back < 2 && read; back++) {
            uint64_t sequence = log->mark_sequence - back;
            uint64_t at = sequence % 2 * LOG_BLOCK_SIZE;
            if (!mark_slot_sound(log, blocks, sequence) && at < bad) bad = at;
        }
        if (!read) bad = 0;
        *ret_offset = bad;
        if (read && mark_is_later(log, blocks))
            status = error_set(error, STATUS_REFUSED,
                               "%s was written by another process with this directory", path);
        else if (bad != UINT64_MAX)
            status = error_set(error, STATUS_CORRUPT, "%s offset %" PRIu64 " %s", path, bad,
                               read ? "is not what was written" : "cannot be read");
    }
    pthread_mutex_unlock(&log->mark_mutex);
    file_close(file);
    memory_free(blocks);
    return status;
}

enum status log_mark_renew(struct log *log, struct error *error)
{
    char path[LOG_PATH_SIZE];
    uint8_t *blocks = memory_allocate_zero(LOG_MARK_SIZE);
    struct file *file = NULL;

    mark_path(log, path);
    pthread_mutex_lock(&log->mark_mutex);
    uint64_t sequence = log->mark_sequence + 2;
    for (uint64_t at = sequence - 1; at <= sequence; at++)
        slot_make(log, at, log->mark_number, blocks + at % 2 * LOG_BLOCK_SIZE);
    enum status status =
        world_replace_file(log->world, path, bytes_make(blocks, LOG_MARK_SIZE), error);
    /* Whatever became of it, marks go to the file of that name from now on, and above both. */
    enum status opened =
        file_open(log->world, path, FILE_WRITE, &file, status == STATUS_OK ? error : NULL);
    if (status == STATUS_OK) status = opened;
    if (opened == STATUS_OK) {
        file_close(log->mark_file);
        log->mark_file = file;
        log->mark_sequence = sequence;
    }
    if (status == STATUS_OK) {
        SOMETIMES(log->world, "log: a damaged mark was written anew");
    }
    pthread_mutex_unlock(&log->mark_mutex);
    memory_free(blocks);
    return status; /* a sync that fails has ended the process; all else is tried again */
}
