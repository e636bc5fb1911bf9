/* batches.c - drives RESP servers with batches of any commands: MULTI with what is in it, commands
 * of several keys, pipelines. Its unit is the batch, so that ten SETs sent together and one MSET
 * of ten keys can be compared.
 *
 *   bench-batches --to 127.0.0.1:7001,127.0.0.1:7002 -c 50 --seconds 5 \
 *       --batch "MULTI; SET {a}:# @; SET {b}:# @; EXEC"
 *
 * One thread, epoll. Each of c connections sends a batch with one send(), waits for all its
 * replies, then sends the next, whatever the replies were. Commands of a batch end at `;`, words at
 * spaces; `#` is a number below --keys, drawn anew for each `#`, in 12 digits; the word `@` is a
 * value of --size bytes. Of several --batch each connection draws one each time.
 *
 * A batch with an error in any reply, however deep, or a null array (EXEC, when something watched
 * was written) has failed: it is counted by the first word of its first error, and neither in
 * the rate nor in the latencies. A batch is counted for its connection, too, to tell who starves. A
 * gap is the time between two replies, of whichever connections.
 *
 * Prints one line of JSON. Ends with 1 if a connection breaks or no reply comes for 10 s. */
#include "base/assert.h"
#include "base/histogram.h"
#include "base/random.h"
#include "bench/link.h"

#include <stddef.h>
#include <stdint.h>

enum {
    BATCHES_MAX = 1024,
    COMMANDS_MAX = 256, /* of a batch */
    WORDS_MAX = 256,    /* of a command */
    NUMBERS_MAX = 1024, /* of a batch: places of # */
    NUMBER_DIGITS = 12,
    ERROR_WORDS_MAX = 16,
    ERROR_WORD_SIZE_MAX = 32,
    GAPS_MAX = 8192,
    GAP_US_MIN = 1000, /* shorter ones are not listed */
};

/* The bytes of a batch with places to patch. */
struct pattern {
    uint8_t *data;
    size_t size;
    uint32_t replies; /* one for each command */
    uint32_t number_count;
    size_t number_offsets[NUMBERS_MAX];
};

struct options {
    char *targets[TARGETS_MAX];
    uint32_t target_count;
    uint64_t clients, requests, seconds, warmup, keys, value_size, seed;
    const char *batches[BATCHES_MAX];
    uint32_t batch_count;
    bool fill;
};

struct connection {
    struct link link;
    uint32_t target;
    uint32_t replies_due; /* of the current batch */
    bool failed;          /* the current batch has */
    uint64_t sent_ns;
    uint64_t done; /* batches that did not fail, counted like the rate */
};

struct error_word {
    char text[ERROR_WORD_SIZE_MAX];
    uint64_t count;
};

struct gap {
    uint64_t start_us; /* of the monotonic clock */
    uint64_t us;
};

struct load {
    struct options options;
    struct pattern *patterns;
    struct connection *connections;
    int epoll;
    struct random random;
    struct histogram histogram;
    uint64_t started, start_ns, measure_ns, end_ns, last_reply_ns;
    uint64_t done, done_in_all, failed, nulls; /* batches; the last: nulls in replies */
    uint64_t outstanding;                      /* batches */
    struct error_word error_words[ERROR_WORDS_MAX];
    char first_error[256];
    struct gap gaps[GAPS_MAX];
    uint32_t gap_count;
    uint64_t gap_us_max;
};

/* What was met in one reply. */
struct verdict {
    struct bytes error; /* the first one, without the minus; no size: none */
    uint32_t nulls;
    bool aborted; /* a null array at the top */
};

/* ---- batches ---- */

/* A word, with its # replaced by zeros whose places are noted. */
static void word_append(struct pattern *pattern, struct buffer *out, struct bytes word,
                        const char *value, size_t value_size)
{
    struct buffer text;

    if (word.size == 1 && word.data[0] == '@') {
        append_resp(out, value, value_size);
        return;
    }
    size_t offsets[NUMBERS_MAX], count = 0;
    buffer_init(&text, VALUE_SIZE_MAX);
    for (size_t i = 0; i < word.size; i++) {
        if (word.data[i] != '#') {
            append(&text, &word.data[i], 1);
            continue;
        }
        if (pattern->number_count + count == NUMBERS_MAX)
            fail("--batch: at most %u #", NUMBERS_MAX);
        offsets[count++] = buffer_size(&text);
        append(&text, "000000000000", NUMBER_DIGITS);
    }
    struct bytes bytes = buffer_bytes(&text);
    append_resp(out, (const char *)bytes.data, bytes.size);
    size_t at = buffer_size(out) - 2 - bytes.size;
    for (size_t i = 0; i < count; i++)
        pattern->number_offsets[pattern->number_count++] = at + offsets[i];
    buffer_free(&text);
}

static void command_append(struct pattern *pattern, struct buffer *out, struct bytes text,
                           const char *value, size_t value_size)
{
    struct bytes words[WORDS_MAX];
    size_t count = 0;

    for (size_t i = 0; i < text.size;) {
        size_t end = i;
        while (end < text.size && text.data[end] != ' ')
            end++;
        if (end > i) {
            if (count == WORDS_MAX) fail("--batch: a command has at most %u words", WORDS_MAX);
            words[count++] = bytes_make(text.data + i, end - i);
        }
        i = end + 1;
    }
    if (count == 0) fail("--batch: an empty command");
    if (buffer_append_format(out, "*%zu\r\n", count)) fail("a request is too large");
    for (size_t i = 0; i < count; i++)
        word_append(pattern, out, words[i], value, value_size);
    if (++pattern->replies > COMMANDS_MAX) fail("--batch: at most %u commands", COMMANDS_MAX);
}

static void pattern_make(struct pattern *pattern, const char *text, const char *value,
                         size_t value_size)
{
    struct buffer out;

    buffer_init(&out, LINK_BYTES_MAX);
    while (text) {
        const char *end = strchr(text, ';');
        size_t size = end ? (size_t)(end - text) : strlen(text);

        command_append(pattern, &out, bytes_make(text, size), value, value_size);
        text = end ? end + 1 : NULL;
    }
    pattern->size = buffer_size(&out);
    pattern->data = memory_allocate(pattern->size);
    memcpy(pattern->data, buffer_bytes(&out).data, pattern->size);
    buffer_free(&out);
}

static void patterns_make(struct load *load)
{
    const struct options *options = &load->options;
    char *value = memory_allocate(options->value_size + 1);

    for (uint64_t i = 0; i < options->value_size; i++)
        value[i] = (char)('a' + random_below(&load->random, 26));
    load->patterns = memory_allocate_zero(options->batch_count * sizeof(*load->patterns));
    for (uint32_t i = 0; i < options->batch_count; i++)
        pattern_make(&load->patterns[i], options->batches[i], value, options->value_size);
    memory_free(value);
}

/* ---- sending ---- */

/* Sends the next batch, or nothing if the run is over. */
static void batch_send(struct load *load, struct connection *connection, uint64_t now)
{
    const struct options *options = &load->options;

    if (options->seconds && now >= load->end_ns) return;
    if (options->requests && load->started == options->requests) return;
    const struct pattern *pattern =
        &load->patterns[random_below(&load->random, options->batch_count)];
    uint8_t *at = link_append(&connection->link, pattern->data, pattern->size);
    for (uint32_t i = 0; i < pattern->number_count; i++) {
        uint64_t number =
            options->fill ? load->started : random_below(&load->random, options->keys);
        for (size_t digit = NUMBER_DIGITS; digit > 0 && number > 0; number /= 10)
            at[pattern->number_offsets[i] + --digit] = (uint8_t)('0' + number % 10);
    }
    load->started++;
    load->outstanding++;
    connection->replies_due = pattern->replies;
    connection->failed = false;
    connection->sent_ns = now;
    link_flush(&connection->link, load->epoll);
}

/* ---- replies ---- */

static int64_t line_number(struct bytes line)
{
    int64_t value;

    if (!parse_i64(bytes_make(line.data + 1, line.size - 1), &value) || value < -1)
        fail("a reply of a bad length");
    return value;
}

/* The size of the first reply with all that is in it, 0 if it is not whole. */
static size_t reply_take(struct bytes bytes, struct verdict *verdict)
{
    size_t size = 0;

    for (int64_t left = 1; left > 0; left--) {
        const uint8_t *end = memchr(bytes.data + size, '\n', bytes.size - size);
        if (!end) return 0;
        struct bytes line = bytes_make(bytes.data + size, (size_t)(end - bytes.data) - size - 1);
        int64_t number = 0;
        bool is_first = size == 0;
        size += line.size + 2;
        switch (line.data[0]) {
        case '+':
        case ':':
            break;
        case '_':
            verdict->nulls++;
            break;
        case '-':
            if (verdict->error.size == 0) verdict->error = bytes_make(line.data + 1, line.size - 1);
            break;
        case '$':
            number = line_number(line);
            if (number < 0)
                verdict->nulls++;
            else
                size += (size_t)number + 2;
            break;
        case '*':
            number = line_number(line);
            if (number < 0)
                verdict->aborted |= is_first;
            else
                left += number;
            break;
        default:
            fail("a reply begins with byte %u", line.data[0]);
        }
        if (size > bytes.size) return 0;
    }
    return size;
}

static void error_count(struct load *load, struct bytes text)
{
    char word[ERROR_WORD_SIZE_MAX];
    size_t size = 0;

    while (size < text.size && size + 1 < sizeof(word) && text.data[size] > ' ' &&
           text.data[size] != '"' && text.data[size] != '\\')
        size++;
    memcpy(word, text.data, size);
    word[size] = '\0';
    if (load->failed++ == 0)
        snprintf(load->first_error, sizeof(load->first_error), "%.*s",
                 (int)(text.size < 200 ? text.size : 200), (const char *)text.data);
    for (size_t i = 0; i < ERROR_WORDS_MAX; i++) {
        struct error_word *known = &load->error_words[i];
        bool is_free = known->count == 0, is_last = i + 1 == ERROR_WORDS_MAX;
        if (is_free) snprintf(known->text, sizeof(known->text), "%s", is_last ? "other" : word);
        if (is_last || strcmp(known->text, word) == 0) {
            known->count++;
            return;
        }
    }
}

static void batch_done(struct load *load, struct connection *connection, uint64_t now)
{
    load->outstanding--;
    if (connection->failed) return;
    load->done_in_all++;
    if (now < load->measure_ns) return;
    histogram_record(&load->histogram, (now - connection->sent_ns + 500) / 1000);
    connection->done++;
    load->done++;
}

static void connection_parse(struct load *load, struct connection *connection, uint64_t now)
{
    while (buffer_size(&connection->link.in) > 0) {
        struct verdict verdict = {0};
        size_t size = reply_take(buffer_bytes(&connection->link.in), &verdict);

        if (size == 0) return;
        if (connection->replies_due == 0) fail("a reply too many");
        connection->replies_due--;
        load->nulls += verdict.nulls;
        if ((verdict.error.size > 0 || verdict.aborted) && !connection->failed) {
            error_count(load, verdict.error.size > 0 ? verdict.error : bytes_of("null"));
            connection->failed = true;
        }
        buffer_consume(&connection->link.in, size);
        if (connection->replies_due == 0) batch_done(load, connection, now);
    }
}

static void gap_note(struct load *load, uint64_t now)
{
    uint64_t us = (now - load->last_reply_ns) / 1000;

    if (load->last_reply_ns < load->measure_ns || (load->options.seconds && now > load->end_ns))
        return;
    if (us > load->gap_us_max) load->gap_us_max = us;
    if (us >= GAP_US_MIN && load->gap_count < GAPS_MAX)
        load->gaps[load->gap_count++] =
            (struct gap){.start_us = load->last_reply_ns / 1000, .us = us};
}

static void connection_read(struct load *load, struct connection *connection)
{
    if (!link_receive(&connection->link, load->options.targets[connection->target])) return;
    uint64_t now = now_ns();
    gap_note(load, now);
    load->last_reply_ns = now;
    connection_parse(load, connection, now);
    if (connection->replies_due == 0) batch_send(load, connection, now);
}

/* ---- the run ---- */

static void load_run(struct load *load)
{
    const struct options *options = &load->options;
    struct epoll_event events[EVENTS_MAX];

    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->connections = memory_allocate_zero(options->clients * sizeof(*load->connections));
    for (uint32_t i = 0; i < options->clients; i++) {
        struct connection *connection = &load->connections[i];
        connection->target = i % options->target_count;
        link_open(&connection->link, load->epoll, options->targets[connection->target], connection);
    }
    load->start_ns = now_ns();
    load->measure_ns = load->start_ns + options->warmup * 1000000000u;
    load->end_ns = load->measure_ns + options->seconds * 1000000000u;
    load->last_reply_ns = load->start_ns;
    for (uint32_t i = 0; i < options->clients; i++)
        batch_send(load, &load->connections[i], now_ns());
    while (load->outstanding > 0) {
        int count = epoll_wait(load->epoll, events, EVENTS_MAX, STALL_MS);

        if (count == 0 && now_ns() - load->last_reply_ns > STALL_MS * UINT64_C(1000000))
            fail("no reply for %u ms; %llu batches are outstanding", STALL_MS,
                 (unsigned long long)load->outstanding);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) link_flush(&connection->link, load->epoll);
            if (events[i].events & ~(uint32_t)EPOLLOUT) connection_read(load, connection);
        }
    }
}

static int compare_done(const void *left, const void *right)
{
    uint64_t a = ((const struct connection *)left)->done;
    uint64_t b = ((const struct connection *)right)->done;

    return (a > b) - (a < b);
}

static void print_lists(const struct load *load)
{
    const char *between = "";

    printf(", \"error_words\": {");
    for (size_t i = 0; i < ERROR_WORDS_MAX && load->error_words[i].count > 0; i++) {
        printf("%s\"%s\": %llu", between, load->error_words[i].text,
               (unsigned long long)load->error_words[i].count);
        between = ", ";
    }
    printf("}, \"gap_max_us\": %llu, \"gaps\": [", (unsigned long long)load->gap_us_max);
    between = "";
    for (uint32_t i = 0; i < load->gap_count; i++) {
        printf("%s[%llu, %llu]", between, (unsigned long long)load->gaps[i].start_us,
               (unsigned long long)load->gaps[i].us);
        between = ", ";
    }
    printf("]}\n");
}

static void load_print(struct load *load)
{
    const struct options *options = &load->options;
    const struct histogram *histogram = &load->histogram;
    double seconds = (double)(load->last_reply_ns - load->measure_ns) / 1e9;

    qsort(load->connections, options->clients, sizeof(*load->connections), compare_done);
    printf("{\"clients\": %llu, \"seconds\": %.3f, \"ops\": %llu, \"ops_in_all\": %llu, "
           "\"ops_per_s\": %.0f, \"p50_us\": %llu, \"p99_us\": %llu, \"p999_us\": %llu, "
           "\"max_us\": %llu, \"client_min\": %llu, \"client_median\": %llu, "
           "\"client_max\": %llu, \"errors\": %llu, \"nulls\": %llu",
           (unsigned long long)options->clients, seconds, (unsigned long long)load->done,
           (unsigned long long)load->done_in_all, seconds > 0 ? (double)load->done / seconds : 0,
           (unsigned long long)histogram_percentile(histogram, 50),
           (unsigned long long)histogram_percentile(histogram, 99),
           (unsigned long long)histogram_percentile(histogram, 99.9),
           (unsigned long long)histogram->max, (unsigned long long)load->connections[0].done,
           (unsigned long long)load->connections[options->clients / 2].done,
           (unsigned long long)load->connections[options->clients - 1].done,
           (unsigned long long)load->failed, (unsigned long long)load->nulls);
    print_lists(load);
    if (load->failed) fprintf(stderr, "first error: %s\n", load->first_error);
}

static _Noreturn void usage(void)
{
    fail("usage: bench-batches --to HOST:PORT[,HOST:PORT...] --batch COMMANDS [--batch ...]\n"
         "  -c N             connections (50)\n"
         "  -n N             batches in all; or\n"
         "  --seconds N      how long, after --warmup N seconds (0) that do not count\n"
         "  --keys N         each # of a batch is a number below it (1000000)\n"
         "  --size N         bytes of the value that @ is (64)\n"
         "  --fill           all # of a batch are one number, from 0 to --keys; -n is --keys\n"
         "  --seed N         of what is drawn (1)");
}

static uint64_t *option_number(struct options *options, const char *name)
{
    const struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {
        {"-c", &options->clients},        {"-n", &options->requests},
        {"--keys", &options->keys},       {"--seconds", &options->seconds},
        {"--size", &options->value_size}, {"--warmup", &options->warmup},
        {"--seed", &options->seed},
    };

    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++)
        if (strcmp(name, numbers[i].name) == 0) return numbers[i].value;
    return NULL;
}

static void options_check(const struct options *options)
{
    if (options->target_count == 0) fail("--to is missing");
    if (options->batch_count == 0) fail("--batch is missing");
    if (options->fill && options->batch_count > 1) fail("--fill goes with one --batch");
    if (options->clients < 1 || options->clients > CLIENTS_MAX) fail("-c: 1 to %u", CLIENTS_MAX);
    if (options->value_size > VALUE_SIZE_MAX) fail("--size: at most %u", VALUE_SIZE_MAX);
    if (options->keys < 1 || options->keys > UINT32_MAX) fail("--keys: 1 to %u", UINT32_MAX);
    if (!options->seconds == !options->requests) fail("give either -n (or --fill) or --seconds");
}

static void options_parse(struct options *options, int argc, char **argv)
{
    *options = (struct options){.clients = 50, .keys = 1000000, .value_size = 64, .seed = 1};
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        uint64_t *number = option_number(options, name);

        if (strcmp(name, "--fill") == 0) {
            options->fill = true;
            continue;
        }
        if (!value) usage();
        i++;
        if (number) {
            if (!parse_u64(bytes_of(value), number)) fail("%s: want a number", name);
        } else if (strcmp(name, "--to") == 0) {
            options->target_count = targets_parse(options->targets, value);
        } else if (strcmp(name, "--batch") == 0) {
            if (options->batch_count == BATCHES_MAX) fail("--batch: at most %u", BATCHES_MAX);
            options->batches[options->batch_count++] = value;
        } else {
            usage();
        }
    }
    if (options->fill) options->requests = options->keys;
    options_check(options);
}

int main(int argc, char **argv)
{
    struct load *load = memory_allocate_zero(sizeof(*load));

    options_parse(&load->options, argc, argv);
    random_seed(&load->random, load->options.seed);
    histogram_init(&load->histogram);
    patterns_make(load);
    load_run(load);
    load_print(load);
    return 0;
}
