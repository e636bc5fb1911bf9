#include "sim/scenarios/talk.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "node/node_internal.h"
#include "sim/sim_resp.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { INPUT_SIZE_MAX = 1 << 20, LINE_SIZE_MAX = 1024, WORDS_MAX = 64, STEP_US = 100 };

struct talker {
    struct talk *talk;
    node_id_t node;
    struct stream *stream;
    bool connecting, lost;
    struct buffer input, output;
    uint32_t due, heard;
    char text[TALK_TEXT_MAX];
};

struct talk {
    struct sim_cluster *cluster;
    struct sim_machine machine;
    struct sim_process *process;
    char addresses[SIM_NODES_MAX][64];
    struct talker *all[TALKERS_MAX];
    uint32_t count, keys;
};

/* --- what is heard --- */

static void append(struct talker *talker, const char *before, struct bytes text)
{
    size_t size = strlen(talker->text);

    snprintf(talker->text + size, sizeof(talker->text) - size, "%s%.*s", before, (int)text.size,
             (const char *)text.data);
}

static void take_value(struct talker *talker, struct bytes whole, const struct sim_reply *reply)
{
    struct sim_reply element;
    size_t at = 0, size;

    switch (reply->kind) {
    case SIM_REPLY_STATUS:
    case SIM_REPLY_INTEGER:
    case SIM_REPLY_BULK:
        append(talker, "", reply->text);
        return;
    case SIM_REPLY_ERROR:
        append(talker, "-", reply->text);
        return;
    case SIM_REPLY_NIL:
        append(talker, "", bytes_of("nil"));
        return;
    case SIM_REPLY_OTHER:
        break;
    }
    while (whole.data[at++] != '\n') {
    }
    append(talker, "", bytes_of("["));
    for (bool first = true; at < whole.size; first = false) {
        if (sim_resp_parse(bytes_from(whole, at), &element, &size) != 1) break;
        if (!first) append(talker, "", bytes_of(" "));
        take_value(talker, bytes_make(whole.data + at, size), &element);
        at += size;
    }
    append(talker, "", bytes_of("]"));
}

static void on_data(void *context, struct stream *stream, struct bytes data)
{
    struct talker *talker = context;
    struct sim_reply reply;
    size_t size;

    if (buffer_append(&talker->input, data)) {
        stream_abort(stream);
        return;
    }
    while (sim_resp_parse(buffer_bytes(&talker->input), &reply, &size) == 1) {
        talker->text[0] = '\0';
        take_value(talker, bytes_make(buffer_bytes(&talker->input).data, size), &reply);
        talker->heard++;
        buffer_consume(&talker->input, size);
    }
}

/* --- connections --- */

static void speak(struct talker *talker)
{
    if (talker->stream == NULL || talker->connecting || buffer_size(&talker->output) == 0) return;
    enum status status =
        buffer_append(stream_output(talker->stream), buffer_bytes(&talker->output));
    ASSERT(status == STATUS_OK);
    buffer_clear(&talker->output);
    stream_flush(talker->stream);
}

static void on_connected(void *context, struct stream *stream)
{
    struct talker *talker = context;

    talker->connecting = false;
    speak(talker);
}

static void on_closed(void *context, struct stream *stream, enum status reason)
{
    struct talker *talker = context;

    talker->stream = NULL;
    talker->connecting = false;
    talker->lost = true;
}

static const struct stream_events talker_events = {
    .on_data = on_data, .on_connected = on_connected, .on_closed = on_closed};

static void connect_inside(void *context)
{
    struct talker *talker = context;
    struct talk *talk = talker->talk;

    talker->connecting = true;
    talker->stream = world_connect(sim_process_world(talk->process, 0),
                                   talk->addresses[talker->node - 1], &talker_events, talker);
}

static void leave_inside(void *context)
{
    struct talker *talker = context;

    if (talker->stream) stream_abort(talker->stream);
}

static void speak_inside(void *context)
{
    speak(context);
}

static void call(struct talk *talk, void (*what)(void *), struct talker *talker)
{
    sim_world_call(&talk->process->worlds[0], 0, what, talker);
}

struct talk *talk_open(struct sim_cluster *cluster)
{
    struct talk *talk = memory_allocate_zero(sizeof(*talk));

    talk->cluster = cluster;
    sim_cluster_addresses(cluster, talk->addresses);
    sim_machine_init(&talk->machine, cluster->sim, 0);
    talk->process = sim_process_make(&talk->machine, 1, NULL, NULL);
    talk->machine.process = talk->process;
    return talk;
}

void talk_close(struct talk *talk)
{
    if (talk == NULL) return;
    sim_process_end(talk->process, SIM_END_QUIET);
    for (uint32_t i = 0; i < talk->count; i++) {
        buffer_free(&talk->all[i]->input);
        buffer_free(&talk->all[i]->output);
        memory_free(talk->all[i]);
    }
    memory_free(talk);
}

struct talker *talk_join(struct talk *talk, node_id_t node)
{
    struct talker *talker = NULL;

    for (uint32_t i = 0; i < talk->count && talker == NULL; i++) /* one who left */
        if (talk->all[i]->lost) talker = talk->all[i];
    if (talker == NULL) {
        ASSERT(talk->count < TALKERS_MAX);
        talker = talk->all[talk->count++] = memory_allocate_zero(sizeof(*talker));
        buffer_init(&talker->input, INPUT_SIZE_MAX);
        buffer_init(&talker->output, INPUT_SIZE_MAX);
    }
    buffer_clear(&talker->input);
    buffer_clear(&talker->output);
    talker->talk = talk;
    talker->node = node;
    talker->lost = false;
    talker->due = talker->heard = 0;
    talker->text[0] = '\0';
    call(talk, connect_inside, talker);
    return talker;
}

void talk_leave(struct talker *talker)
{
    call(talker->talk, leave_inside, talker);
}

void talk_name_key(struct talk *talk, uint32_t group, char ret_key[TALK_KEY_MAX])
{
    const struct sim_node *node = &talk->cluster->nodes[1];
    const struct cluster_view *view = &node->now->node->workers[0].view;
    uint16_t slot;

    do {
        snprintf(ret_key, TALK_KEY_MAX, "k%u", talk->keys++);
        slot = key_slot(bytes_of(ret_key));
    } while (cluster_view_group_of_slot(view, slot).value != group);
}

/* --- what is said --- */

static void say_line(struct talker *talker, struct bytes line)
{
    struct bytes words[WORDS_MAX];
    uint32_t count = 0;

    for (size_t at = 0; at < line.size;) {
        size_t end = at;
        while (end < line.size && line.data[end] != ' ')
            end++;
        ASSERT(count < WORDS_MAX);
        if (end > at) words[count++] = bytes_make(line.data + at, end - at);
        at = end + 1;
    }
    sim_resp_array(&talker->output, count);
    for (uint32_t i = 0; i < count; i++)
        sim_resp_bulk(&talker->output, words[i]);
    talker->due++;
}

void talk_say(struct talker *talker, const char *format, ...)
{
    char text[LINE_SIZE_MAX];
    va_list arguments;

    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    ASSERT(size > 0 && (size_t)size < sizeof(text));
    if (talker->heard == talker->due) {
        talker->heard = talker->due = 0;
        talker->text[0] = '\0';
    }
    for (int at = 0; at < size;) {
        int end = at;
        while (end < size && text[end] != '\n')
            end++;
        say_line(talker, bytes_make(text + at, (size_t)(end - at)));
        at = end + 1;
    }
    sim_trace_text(talker->talk->cluster->sim, "talk to node %u: %s", talker->node, text);
    call(talker->talk, speak_inside, talker);
}

bool talk_is_answered(const struct talker *talker)
{
    return talker->lost || talker->heard == talker->due;
}

bool talk_hear(struct talker *talker, uint64_t duration)
{
    struct sim_cluster *cluster = talker->talk->cluster;
    uint64_t end = cluster->sim->now + duration;

    while (!talk_is_answered(talker) && cluster->sim->now < end)
        if (!sim_run_for(cluster->sim, STEP_US)) break;
    sim_trace_text(cluster->sim, "talk from node %u: %s", talker->node, talker->text);
    return talker->heard == talker->due;
}

const char *talk_heard(const struct talker *talker)
{
    return talker->heard == talker->due ? talker->text : "";
}
