#include "services/redis/request_body.h"

enum { HEAD_SIZE = 5, REFERENCE_SIZE = 8 + 2 + 8 };

enum status redis_body_encode(const struct redis_body *body, struct buffer *buffer)
{
    size_t size_max = HEAD_SIZE + VARINT_SIZE_MAX;

    for (uint32_t i = 0; i < body->count; i++)
        size_max += VARINT_SIZE_MAX + body->arguments[i].size;
    size_max += 1 + body->reference_count * (VARINT_SIZE_MAX + REFERENCE_SIZE);
    uint8_t *room = buffer_reserve(buffer, size_max);
    if (room == NULL) return STATUS_FULL;

    uint8_t *at = room;
    *at++ = REDIS_BODY_FORMAT;
    *at++ = body->flags;
    *at++ = body->database;
    store_u16(at, body->command);
    at += 2;
    at = store_varint(at, body->count);
    for (uint32_t i = 0; i < body->count; i++) {
        struct bytes argument = body->arguments[i];
        at = store_varint(at, argument.size);
        if (argument.size) memcpy(at, argument.data, argument.size);
        at += argument.size;
    }
    if (body->flags & REDIS_BODY_REFERENCES) *at++ = (uint8_t)body->reference_count;
    for (uint32_t i = 0; i < body->reference_count; i++) {
        const struct redis_reference *reference = &body->references[i];
        at = store_varint(at, reference->argument);
        store_u64(at, reference->index);
        store_u16(at + 8, reference->number);
        store_u64(at + 10, reference->size);
        at += REFERENCE_SIZE;
    }
    buffer_commit(buffer, (size_t)(at - room));
    return STATUS_OK;
}

/* Each for another argument of those that are there, which is empty. */
static bool read_references(struct reader *reader, struct arena *arena, struct redis_body *body)
{
    uint32_t last = 0;

    body->reference_count = read_u8(reader);
    if (body->reference_count == 0 || body->reference_count > REDIS_REFERENCES_MAX) return false;
    struct redis_reference *references =
        arena_allocate(arena, body->reference_count * sizeof(references[0]));
    for (uint32_t i = 0; i < body->reference_count; i++) {
        uint64_t argument = read_varint(reader);
        if (reader->failed || argument <= last || argument > body->count ||
            body->arguments[argument - 1].size > 0)
            return false;
        last = (uint32_t)argument;
        references[i] = (struct redis_reference){.argument = last,
                                                 .index = read_u64(reader),
                                                 .number = read_u16(reader),
                                                 .size = read_u64(reader)};
    }
    body->references = references;
    return !reader->failed;
}

enum status redis_body_decode(struct bytes bytes, struct arena *arena, struct redis_body *ret_body)
{
    struct reader reader = reader_make(bytes);
    struct redis_body body = {0};

    uint8_t format = read_u8(&reader);
    if (!reader.failed && format != REDIS_BODY_FORMAT) return STATUS_VERSION;
    body.flags = read_u8(&reader);
    body.database = read_u8(&reader);
    body.command = read_u16(&reader);
    uint64_t count = read_varint(&reader);
    if (reader.failed || body.database >= REDIS_DATABASES) return STATUS_CORRUPT;
    if (body.flags & ~REDIS_BODY_FLAGS) return STATUS_VERSION;
    if (count > reader_left(&reader)) return STATUS_CORRUPT; /* each takes a byte at least */
    body.count = (uint32_t)count;

    struct bytes *arguments = arena_allocate(arena, (body.count + 1) * sizeof(arguments[0]));
    arguments++; /* room for the name in front */
    for (uint32_t i = 0; i < body.count; i++)
        arguments[i] = read_sized(&reader);
    body.arguments = arguments;
    bool references = body.flags & REDIS_BODY_REFERENCES;
    if (references && !read_references(&reader, arena, &body)) return STATUS_CORRUPT;
    if (reader.failed || reader_left(&reader)) return STATUS_CORRUPT;
    *ret_body = body;
    return STATUS_OK;
}
