/* fuzz_http.c - a request fed whole and in pieces: the same verdict; what is accepted has no
 * second reading. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "wire/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_accepted(struct bytes input, const struct http_request *request, size_t used)
{
    ASSERT(used <= input.size && used <= HTTP_HEAD_SIZE_MAX);
    ASSERT(memcmp(input.data + used - 4, "\r\n\r\n", 4) == 0);
    ASSERT(request->path.size > 0 && request->path.data[0] == '/');
    ASSERT(request->field_count <= HTTP_FIELDS_MAX);
    for (uint32_t i = 0; i < request->field_count; i++) {
        const struct http_field *field = &request->fields[i];
        ASSERT(field->name.size > 0 && memchr(field->name.data, ' ', field->name.size) == NULL);
        ASSERT(field->value.size == 0 ||
               memchr(field->value.data, '\n', field->value.size) == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    size_t step = 1 + data[0] % 16;
    struct bytes input = bytes_make(data + 1, size - 1);
    struct http_parser whole = {0}, pieces = {0};
    struct http_request request, again;
    size_t used = 0, used_again = 0;
    enum http_result result = http_parse(&whole, input, &request, &used);
    enum http_result result_again = HTTP_MORE;

    if (result == HTTP_REQUEST) check_accepted(input, &request, used);
    for (size_t shown = 0; result_again == HTTP_MORE && shown < input.size;) {
        shown = shown + step < input.size ? shown + step : input.size;
        uint8_t *copy = malloc(shown);
        memcpy(copy, input.data, shown);
        result_again = http_parse(&pieces, bytes_make(copy, shown), &again, &used_again);
        free(copy);
    }
    ASSERT(result == result_again && used == used_again && whole.status == pieces.status);
    return 0;
}
