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
#include "storage/log/log_private.h"

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

enum status log_mark_write(struct log *log, struct error *error)
{
    uint8_t block[LOG_BLOCK_SIZE] = {0};
    uint64_t sequence = log->mark_sequence + 1;

    ASSERT(log->batch_number >= log->mark_number);
    store_u64(block + SLOT_MAGIC, LOG_MARK_MAGIC);
    store_u32(block + SLOT_VERSION, LOG_FORMAT_VERSION);
    store_u64(block + SLOT_CLUSTER_HIGH, log->identity.cluster.high);
    store_u64(block + SLOT_CLUSTER_LOW, log->identity.cluster.low);
    store_u64(block + SLOT_STORE, log->identity.store);
    store_u64(block + SLOT_NODE, log->identity.node);
    store_u64(block + SLOT_SEQUENCE, sequence);
    store_u64(block + SLOT_NUMBER, log->batch_number);
    store_u32(block + SLOT_CRC, slot_crc(block));

    enum status status = file_write(log->mark_file, sequence % 2 * LOG_BLOCK_SIZE,
                                    bytes_make(block, sizeof(block)), error);
    if (status == STATUS_OK) status = file_sync(log->mark_file, error);
    if (status) return status;
    log->mark_sequence = sequence;
    log->mark_number = log->batch_number;
    return STATUS_OK;
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
