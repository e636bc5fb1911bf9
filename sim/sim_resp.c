#include "sim/sim_resp.h"

#include "base/assert.h"

enum { LINE_SIZE_MAX = 4096, BULK_SIZE_MAX = 1 << 26 };

void sim_resp_array(struct buffer *buffer, uint32_t count)
{
    enum status status = buffer_append_format(buffer, "*%u\r\n", count);
    ASSERT(status == STATUS_OK);
}

void sim_resp_bulk(struct buffer *buffer, struct bytes bytes)
{
    enum status status = buffer_append_format(buffer, "$%zu\r\n", bytes.size);
    ASSERT(status == STATUS_OK);
    status = buffer_append(buffer, bytes);
    ASSERT(status == STATUS_OK);
    status = buffer_append(buffer, bytes_of("\r\n"));
    ASSERT(status == STATUS_OK);
}

void sim_resp_text(struct buffer *buffer, const char *text)
{
    sim_resp_bulk(buffer, bytes_of(text));
}

bool sim_resp_integer(struct bytes line, int64_t *ret)
{
    bool minus = line.size > 0 && line.data[0] == '-';
    int64_t value = 0;

    if (line.size == (size_t)minus || line.size > 19) return false;
    for (size_t i = minus; i < line.size; i++) {
        if (line.data[i] < '0' || line.data[i] > '9') return false;
        value = value * 10 + (line.data[i] - '0');
    }
    *ret = minus ? -value : value;
    return true;
}

bool sim_resp_is_refusal(struct bytes error)
{
    return bytes_starts_with(error, bytes_of("UNAVAILABLE")) ||
           bytes_starts_with(error, bytes_of("BUSY")) ||
           bytes_starts_with(error, bytes_of("MISCONF")) ||
           bytes_starts_with(error, bytes_of("TOOBIG what"));
}

/* Elements of an array or map are only skipped. */
static int skip_elements(struct bytes input, int64_t count, size_t at, size_t *ret_size)
{
    for (int64_t i = 0; i < count; i++) {
        struct sim_reply element;
        size_t size;
        int found = sim_resp_parse(bytes_from(input, at), &element, &size);
        if (found != 1) return found;
        at += size;
    }
    *ret_size = at;
    return 1;
}

int sim_resp_parse(struct bytes input, struct sim_reply *ret_reply, size_t *ret_size)
{
    size_t line_end = 1;
    int64_t number = 0;

    if (input.size == 0) return 0;
    while (line_end + 1 < input.size &&
           !(input.data[line_end] == '\r' && input.data[line_end + 1] == '\n'))
        line_end++;
    if (line_end + 1 >= input.size) return input.size > LINE_SIZE_MAX ? -1 : 0;
    struct bytes line = bytes_make(input.data + 1, line_end - 1);
    size_t after = line_end + 2;
    *ret_size = after;
    *ret_reply = (struct sim_reply){.text = line};
    switch (input.data[0]) {
    case '+':
        ret_reply->kind = SIM_REPLY_STATUS;
        return 1;
    case '-':
        ret_reply->kind = SIM_REPLY_ERROR;
        return 1;
    case '_':
        ret_reply->kind = SIM_REPLY_NIL;
        return 1;
    case ':':
        ret_reply->kind = SIM_REPLY_INTEGER;
        return sim_resp_integer(line, &ret_reply->integer) ? 1 : -1;
    case '$':
        if (!sim_resp_integer(line, &number) || number > BULK_SIZE_MAX) return -1;
        ret_reply->kind = number < 0 ? SIM_REPLY_NIL : SIM_REPLY_BULK;
        if (number < 0) return 1;
        if (input.size - after < (size_t)number + 2) return 0;
        ret_reply->text = bytes_make(input.data + after, (size_t)number);
        *ret_size = after + (size_t)number + 2;
        return input.data[*ret_size - 2] == '\r' && input.data[*ret_size - 1] == '\n' ? 1 : -1;
    case '*':
    case '%':
        if (!sim_resp_integer(line, &number) || number > LINE_SIZE_MAX) return -1;
        ret_reply->kind = number < 0 ? SIM_REPLY_NIL : SIM_REPLY_OTHER;
        return skip_elements(input, input.data[0] == '%' ? number * 2 : number, after, ret_size);
    default:
        return -1;
    }
}
