/* http_reply.c - responses: always with a length, so that the connection can go on. */
#include "wire/http.h"

const char *http_status_text(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } texts[] = {
        {200, "OK"},
        {400, "Bad Request"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {413, "Content Too Large"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i].status == status) return texts[i].text;
    }
    return "Unknown";
}

enum status http_write_response(struct buffer *buffer, unsigned status, const char *content_type,
                                struct bytes body, bool head_only, bool keep_alive)
{
    size_t start = buffer_size(buffer);
    enum status result = buffer_append_format(
        buffer,
        "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n%s%s\r\n",
        status, http_status_text(status), content_type, body.size,
        status == 405 ? "Allow: GET, HEAD\r\n" : "", keep_alive ? "" : "Connection: close\r\n");

    if (result == STATUS_OK && !head_only) result = buffer_append(buffer, body);
    if (result) buffer->end = buffer->start + start; /* all or nothing */
    return result;
}
