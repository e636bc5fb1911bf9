#include "cluster/founding_message.h"

#include "base/assert.h"
#include "cluster/view_codec.h"

enum { FOUNDING_FORMAT = 1 };

static void hello_encode(const struct founding_message *message, struct writer *writer)
{
    write_u8(writer, (uint8_t)message->state);
    write_u8(writer, message->wants_reply);
    write_u64(writer, message->cluster.high);
    write_u64(writer, message->cluster.low);
    write_u32(writer, message->proposal);
    write_u64(writer, message->store);
    write_u64(writer, message->token);
    write_u32(writer, message->settings.partitions);
    write_u32(writer, message->settings.replicas);
    write_u8(writer, (uint8_t)message->settings.reads);
    write_u32(writer, message->settings.stores);
    write_sized(writer, bytes_of(message->name));
    write_sized(writer, bytes_of(message->line));
    write_sized(writer, bytes_of(message->redis));
    write_sized(writer, bytes_of(message->redis_cluster));
    write_sized(writer, bytes_of(message->admin));
}

static void hello_decode(struct reader *reader, struct founding_message *message)
{
    uint8_t state = read_u8(reader);
    message->state = (enum founding_state)state;
    message->wants_reply = read_u8(reader) != 0;
    message->cluster.high = read_u64(reader);
    message->cluster.low = read_u64(reader);
    message->proposal = read_u32(reader);
    message->store = read_u64(reader);
    message->token = read_u64(reader);
    message->settings.partitions = read_u32(reader);
    message->settings.replicas = read_u32(reader);
    uint8_t reads = read_u8(reader);
    message->settings.reads = (enum reads_mode)reads;
    message->settings.stores = read_u32(reader);
    read_text(reader, message->name, sizeof(message->name));
    read_text(reader, message->line, sizeof(message->line));
    read_text(reader, message->redis, sizeof(message->redis));
    read_text(reader, message->redis_cluster, sizeof(message->redis_cluster));
    read_text(reader, message->admin, sizeof(message->admin));
    if (state > FOUNDING_REPAIRING || reads > READS_QUORUM) reader->failed = true;
}

void founding_message_encode(const struct founding_message *message, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);

    write_u8(&writer, FOUNDING_FORMAT);
    write_u8(&writer, (uint8_t)message->kind);
    switch (message->kind) {
    case FOUNDING_HELLO:
    case FOUNDING_REJOIN:
        hello_encode(message, &writer);
        break;
    case FOUNDING_PROPOSE:
        write_u32(&writer, message->proposal);
        write_bytes(&writer, message->view);
        break;
    case FOUNDING_START:
        write_u64(&writer, message->cluster.high);
        write_u64(&writer, message->cluster.low);
        write_u32(&writer, message->proposal);
        break;
    case FOUNDING_REFUSED:
        write_sized(&writer, bytes_of(message->text));
        break;
    case FOUNDING_JOINED:
        write_u64(&writer, message->token);
        write_u32(&writer, message->epoch_first);
        write_u32(&writer, message->epoch_last);
        write_u32(&writer, message->settings.stores);
        write_bytes(&writer, message->view);
        break;
    }
    ASSERT(!writer.failed);
}

enum status founding_message_decode(struct bytes bytes, struct founding_message *ret_message)
{
    struct reader reader = reader_make(bytes);

    memset(ret_message, 0, sizeof(*ret_message));
    uint8_t format = read_u8(&reader);
    if (reader.failed) return STATUS_CORRUPT;
    if (format != FOUNDING_FORMAT) return STATUS_VERSION;
    ret_message->kind = (enum founding_kind)read_u8(&reader);
    switch (ret_message->kind) {
    case FOUNDING_HELLO:
    case FOUNDING_REJOIN:
        hello_decode(&reader, ret_message);
        break;
    case FOUNDING_PROPOSE:
        ret_message->proposal = read_u32(&reader);
        ret_message->view = read_bytes(&reader, reader_left(&reader));
        break;
    case FOUNDING_START:
        ret_message->cluster.high = read_u64(&reader);
        ret_message->cluster.low = read_u64(&reader);
        ret_message->proposal = read_u32(&reader);
        break;
    case FOUNDING_REFUSED:
        read_text(&reader, ret_message->text, sizeof(ret_message->text));
        break;
    case FOUNDING_JOINED:
        ret_message->token = read_u64(&reader);
        ret_message->epoch_first = read_u32(&reader);
        ret_message->epoch_last = read_u32(&reader);
        ret_message->settings.stores = read_u32(&reader);
        ret_message->view = read_bytes(&reader, reader_left(&reader));
        break;
    default:
        return STATUS_CORRUPT;
    }
    return reader.failed || reader_left(&reader) != 0 ? STATUS_CORRUPT : STATUS_OK;
}
