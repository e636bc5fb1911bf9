/* What a replica's record on a disk, or in a peer's snapshot, says: the record, and the dedup
 * windows in it. No input passes the bounds. */
#include <stdlib.h>

#include "base/assert.h"
#include "partition/host_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode_windows(struct bytes input)
{
    struct dedup *dedup = dedup_make();
    struct buffer again;

    buffer_init(&again, SIZE_MAX / 2);
    if (dedup_decode(dedup, input) == STATUS_OK) {
        uint64_t hash = dedup_hash(dedup);
        dedup_encode(dedup, &again);
        ASSERT(dedup_decode(dedup, buffer_bytes(&again)) == STATUS_OK);
        ASSERT(dedup_hash(dedup) == hash);
    }
    buffer_free(&again);
    dedup_free(dedup);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct replica_record record;

    if (size == 0) return 0;
    struct bytes input = bytes_make(data + 1, size - 1);
    if (data[0] % 2 == 0) {
        decode_windows(input);
    } else if (replica_record_decode(input, &record) == STATUS_OK) {
        ASSERT(record.dedup.size + record.counts.size + record.drops.size <= input.size);
        decode_windows(record.dedup);
    }
    return 0;
}
