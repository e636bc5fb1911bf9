/* fuzz_base.c - the parsers of base: no input crashes them or makes them read outside of it, and
 * what they accept prints back as it was. */
#include <stdio.h>

#include "base/assert.h"
#include "base/codec.h"
#include "base/config.h"
#include "base/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum status take(void *context, const char *name, const char *value, unsigned line,
                        struct error *error)
{
    size_t *seen = context;
    *seen += strlen(name) + strlen(value);
    ASSERT(name[0] != '\0' && line > 0);
    return STATUS_OK;
}

static void check_numbers(struct bytes input)
{
    char text[32];
    uint64_t u;
    int64_t i;
    struct address address;

    if (parse_u64(input, &u)) {
        snprintf(text, sizeof(text), "%llu", (unsigned long long)u);
        ASSERT(bytes_equal(input, bytes_of(text)));
    }
    if (parse_i64(input, &i)) {
        snprintf(text, sizeof(text), "%lld", (long long)i);
        ASSERT(bytes_equal(input, bytes_of(text)));
    }
    parse_duration(input, &u);
    parse_size(input, &u);
    if (parse_address(input, true, &address)) {
        ASSERT(strlen(address.host) < ADDRESS_HOST_SIZE_MAX);
        address_is_loopback(&address);
    }
}

/* A varint has one encoding: what was read is what a writer makes of the value. */
static void check_varint(struct bytes input)
{
    struct reader reader = reader_make(input);
    uint64_t value = read_varint(&reader);
    struct buffer buffer;

    if (reader.failed) return;
    buffer_init(&buffer, 10);
    struct writer writer = writer_make(&buffer);
    write_varint(&writer, value);
    ASSERT(!writer.failed);
    ASSERT(bytes_equal(buffer_bytes(&buffer),
                       bytes_make(input.data, input.size - reader_left(&reader))));
    buffer_free(&buffer);

    while (!reader.failed && reader_left(&reader) > 0)
        read_sized(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = bytes_make(data, size);
    struct error error;
    size_t seen = 0;

    check_numbers(input);
    check_varint(input);
    config_parse(input, take, &seen, &error);
    ASSERT(seen <= size);
    return 0;
}
