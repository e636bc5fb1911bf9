#include "wire/stale_frame.h"

void stale_ask_encode(struct writer *writer, const struct stale_ask *ask)
{
    write_varint(writer, ask->id);
    write_varint(writer, ask->bound);
    write_varint(writer, ask->not_before);
    write_u8(writer, ask->service);
    write_u16(writer, ask->slot);
    write_sized(writer, ask->body);
}

enum status stale_ask_decode(struct reader *reader, struct stale_ask *ret)
{
    if (reader_left(reader) == 0) return STATUS_NOT_FOUND;
    struct stale_ask ask = {.id = read_varint(reader)};
    ask.bound = read_varint(reader);
    ask.not_before = read_varint(reader);
    ask.service = read_u8(reader);
    ask.slot = read_u16(reader);
    ask.body = read_sized(reader);
    if (reader->failed || ask.id == 0) return STATUS_CORRUPT;
    *ret = ask;
    return STATUS_OK;
}

void stale_answer_encode(struct writer *writer, const struct stale_answer *answer)
{
    write_varint(writer, answer->id);
    write_u8(writer, answer->code);
    write_varint(writer, answer->as_of);
    write_sized(writer, answer->bytes);
}

enum status stale_answer_decode(struct reader *reader, struct stale_answer *ret)
{
    if (reader_left(reader) == 0) return STATUS_NOT_FOUND;
    struct stale_answer answer = {.id = read_varint(reader)};
    answer.code = read_u8(reader);
    answer.as_of = read_varint(reader);
    answer.bytes = read_sized(reader);
    if (reader->failed || answer.id == 0 || answer.code >= STALE_CODE_COUNT) return STATUS_CORRUPT;
    *ret = answer;
    return STATUS_OK;
}
