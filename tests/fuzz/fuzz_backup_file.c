/* A file of a backup, and the records in its blocks: no input may pass the bounds, or cost more
 * memory than the format allows. What decodes encodes to the same again. The tags cannot be
 * guessed: so the input is also sealed, and what comes back must be that. */
#include <stdlib.h>

#include "base/assert.h"
#include "wire/backup_file.h"
#include "wire/export_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_file(struct bytes file)
{
    struct backup_header header;
    uint8_t again[BACKUP_HEADER_SIZE];
    struct bytes plain;
    struct error error;
    bool last = false;
    size_t size;

    if (backup_header_decode(file, &header, &error)) return;
    backup_header_encode(&header, again);
    ASSERT(memcmp(again, file.data, sizeof(again)) == 0);
    if (header.encryption != BACKUP_PLAIN) return;
    struct backup_codec *codec = backup_codec_make(&header, NULL);
    for (struct bytes rest = bytes_from(file, BACKUP_HEADER_SIZE); !last;) {
        if (rest.size < BACKUP_BLOCK_HEAD_SIZE) break;
        struct bytes head = bytes_make(rest.data, BACKUP_BLOCK_HEAD_SIZE);
        if (backup_block_size(codec, head, &size, &error)) break;
        size += BACKUP_BLOCK_HEAD_SIZE;
        if (rest.size < size) break;
        if (backup_block_open(codec, bytes_make(rest.data, size), &plain, &last, &error)) break;
        rest = bytes_from(rest, size);
    }
    backup_codec_free(codec);
}

static void read_records(struct bytes records)
{
    struct reader reader = reader_make(records);
    struct export_sequence sequence = {0};
    struct export_record record;
    struct buffer again;

    buffer_init(&again, records.size + 64);
    while (reader_left(&reader) && export_record_read(&reader, &record)) {
        buffer_clear(&again);
        bool written = export_record_write(&again, &record);
        ASSERT(written);
        if (export_sequence_add(&sequence, &record)) break;
    }
    buffer_free(&again);
}

static void seal_and_open(struct bytes plain)
{
    struct backup_header header = {.kind = BACKUP_PART};
    struct backup_codec *writer = backup_codec_make(&header, NULL);
    struct backup_codec *reader = backup_codec_make(&header, NULL);
    struct buffer block;
    struct bytes back;
    struct error error;
    bool last;

    buffer_init(&block, 2 * plain.size + 1024);
    bool sealed = backup_block_seal(writer, plain, true, &block, &error) == STATUS_OK;
    ASSERT(sealed);
    bool opened =
        backup_block_open(reader, buffer_bytes(&block), &back, &last, &error) == STATUS_OK;
    ASSERT(opened && last && bytes_equal(plain, back));
    buffer_free(&block);
    backup_codec_free(writer);
    backup_codec_free(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = bytes_make(data, size);
    uint64_t offset, manifest_size;

    read_file(input);
    read_records(input);
    seal_and_open(input);
    backup_trailer_decode(input, &offset, &manifest_size);
    return 0;
}
