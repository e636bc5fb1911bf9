#include "services/redis/gather.h"

#include "base/assert.h"
#include "base/memory.h"

enum question_kind { ASK_NUMBERS, ASK_CLIENTS, QUESTION_KINDS };

struct redis_question_part {
    struct redis_question *question;
    bool answered;
    bool too_many; /* clients: the text did not fit */
    struct redis_statistics statistics;
    struct buffer clients;
};

struct redis_question {
    enum question_kind kind;
    struct redis_service *service; /* who asks; NULL: it has ended */
    struct fanout *fanout;         /* NULL: nobody waits any more */
    struct list link;              /* in service->questions */
    struct client_filter filter;
    uint32_t asker, worker_count;
    uint32_t holders; /* parts that are on their way, and the fan-out */
    struct redis_question_part parts[];
};

/* --- questions ------------------------------------------------------------------------------- */

static struct redis_question *question_make(struct fanout *fanout, enum question_kind kind,
                                            const struct client_filter *filter)
{
    struct redis_service *service = fanout->connection->service;
    uint32_t workers = service->options.worker_count;
    struct redis_question *question =
        memory_allocate_zero(sizeof(*question) + workers * sizeof(question->parts[0]));

    question->kind = kind;
    question->service = service;
    question->fanout = fanout;
    question->filter = *filter;
    question->asker = world_worker(service->options.world);
    question->worker_count = workers;
    question->holders = workers; /* the other workers, and the fan-out */
    for (uint32_t i = 0; i < workers; i++) {
        question->parts[i].question = question;
        buffer_init(&question->parts[i].clients, LIST_BYTES_MAX);
    }
    list_insert_before(&service->questions, &question->link);
    service->question_count[kind]++;
    return question;
}

static void question_release(struct redis_question *question)
{
    ASSERT(question->holders > 0);
    if (--question->holders > 0) return;
    if (question->service) {
        question->service->question_count[question->kind]--;
        list_remove(&question->link);
    }
    for (uint32_t i = 0; i < question->worker_count; i++)
        buffer_free(&question->parts[i].clients);
    memory_free((void *)question->filter.ids);
    memory_free(question);
}

void gather_forget_all(struct redis_service *service)
{
    while (!list_empty(&service->questions)) {
        struct redis_question *question =
            CONTAINER_OF(service->questions.next, struct redis_question, link);
        list_remove(&question->link);
        question->service = NULL;
    }
}

uint32_t redis_question_worker_count(const struct redis_question *question)
{
    return question->worker_count;
}

uint32_t redis_question_asker(const struct redis_question_part *part)
{
    return part->question->asker;
}

struct redis_question_part *redis_question_part(struct redis_question *question, uint32_t worker)
{
    return &question->parts[worker];
}

static void answer_part(struct redis_question_part *part, struct redis_service *service)
{
    const struct redis_question *question = part->question;

    if (question->kind == ASK_CLIENTS)
        part->too_many = !client_lines_write(service, &question->filter, &part->clients);
    else
        redis_service_statistics(service, &part->statistics);
}

void redis_question_answer(struct redis_question_part *part, struct redis_service *service)
{
    if (service) answer_part(part, service); /* a worker that serves nobody has nothing to say */
}

static bool all_answered(const struct redis_question *question)
{
    for (uint32_t i = 0; i < question->worker_count; i++)
        if (i != question->asker && !question->parts[i].answered) return false;
    return true;
}

/* Something that the fan-out waited for is there. */
static void step_done(struct fanout *fanout)
{
    ASSERT(fanout->open_count > 0);
    fanout->open_count--;
    connection_account(fanout->connection);
    if (fanout->open_count == 0 && !fanout->submitting) connection_wake(fanout->connection);
}

void redis_question_answered(struct redis_question_part *part)
{
    struct redis_question *question = part->question;
    struct fanout *fanout = question->fanout;

    part->answered = true;
    if (fanout) fanout->bytes += buffer_size(&part->clients);
    if (fanout && all_answered(question)) step_done(fanout);
    question_release(question);
}

void redis_question_drop(void *part)
{
    question_release(((struct redis_question_part *)part)->question);
}

/* --- asking ---------------------------------------------------------------------------------- */

bool gather_wanted(const struct redis_command *command, const struct bytes *arguments,
                   uint32_t count)
{
    struct client_filter filter;
    char error[128];

    if (command->id == REDIS_INFO) return true;
    if (command->id != REDIS_CLIENT || !redis_word_is(arguments[1], "list")) return false;
    bool right = client_filter_parse(arguments, count, &filter, error, sizeof(error));
    if (right) memory_free((void *)filter.ids);
    return right;
}

static void ask_workers(struct fanout *fanout, enum question_kind kind,
                        const struct client_filter *filter)
{
    static const uint32_t most[QUESTION_KINDS] = {INFO_QUESTIONS_MAX, LIST_QUESTIONS_MAX};
    struct redis_service *service = fanout->connection->service;
    struct gathering *gathering = fanout->gathering;

    if (service->options.ask == NULL || service->options.worker_count < 2) {
        memory_free((void *)filter->ids);
        return;
    }
    if (service->question_count[kind] >= most[kind]) {
        gathering->refused = true;
        memory_free((void *)filter->ids);
        return;
    }
    gathering->question = question_make(fanout, kind, filter);
    fanout->open_count++;
    service->options.ask(service->options.context, gathering->question);
}

/* Whoever has not answered by now is not waited for. */
static void on_patience(struct world_timer *timer)
{
    struct fanout *fanout = timer->context;
    struct redis_service *service = fanout->connection->service;
    struct redis_question *question = fanout->gathering->question;

    for (uint32_t i = 0; i < fanout->part_count; i++) {
        struct part *part = &fanout->parts[i];
        if (!part->open) continue;
        gateway_forget(service->options.gateway, &part->request);
        part->open = false;
        fanout->open_count--;
        fanout->gathering->numbers.partitions_silent++;
    }
    if (question && !all_answered(question)) {
        question->fanout = NULL;
        fanout->open_count--;
    }
    ASSERT(fanout->open_count == 0);
    connection_wake(fanout->connection);
}

static void start_clients(struct fanout *fanout, const struct bytes *arguments, uint32_t count)
{
    struct redis_service *service = fanout->connection->service;
    struct gathering *gathering = fanout->gathering;
    struct client_filter filter;
    char error[128];

    client_filter_parse(arguments, count, &filter, error, sizeof(error)); /* right: was wanted */
    buffer_init(&gathering->clients, LIST_BYTES_MAX);
    if (!client_lines_write(service, &filter, &gathering->clients))
        fanout_fail(fanout, "ERR more than 16 MiB of clients: use CLIENT LIST ID");
    fanout->bytes = buffer_size(&gathering->clients);
    ask_workers(fanout, ASK_CLIENTS, &filter);
}

static void start_info(struct fanout *fanout, bool keyspace, const struct bytes *arguments,
                       uint32_t count)
{
    struct client_filter none = {0};

    fanout_keep_options(fanout, arguments + 1, count - 1);
    ask_workers(fanout, ASK_NUMBERS, &none);
    fanout->gathering->numbers.keyspace_known = keyspace;
    if (keyspace) fanout_submit_everywhere(fanout, redis_command_by_id(REDIS_KEYSPACE));
}

void gather_start(struct connection *connection, const struct redis_command *command,
                  const struct bytes *arguments, uint32_t count)
{
    struct redis_service *service = connection->service;
    bool list = command->id == REDIS_CLIENT;
    bool keyspace =
        !list && service_has_view(service) && info_section_is_asked(arguments, count, "keyspace");
    enum fanout_kind kind = list ? FAN_CLIENTS : FAN_INFO;
    struct fanout *fanout = keyspace ? fanout_make_over_partitions(connection, command, kind)
                                     : fanout_make(connection, command, kind, 0);

    if (list) connection->last_subcommand = "list";
    fanout->gathering = memory_allocate_zero(sizeof(*fanout->gathering));
    fanout->submitting = true;
    if (list)
        start_clients(fanout, arguments, count);
    else
        start_info(fanout, keyspace, arguments, count);
    fanout->submitting = false;
    if (fanout->open_count == 0) {
        fanout_continue(connection); /* answered already */
        return;
    }
    fanout->gathering->patience = (struct world_timer){.fire = on_patience, .context = fanout};
    world_timer_start(service->options.world, &fanout->gathering->patience, GATHER_PATIENCE_US);
}

/* --- answers --------------------------------------------------------------------------------- */

/* Keys and expiring keys of each database, in turn (evaluate_keyspace). */
static bool take_keyspace(struct info_numbers *numbers, struct bytes reply)
{
    int64_t counts[2 * REDIS_DATABASES];
    uint64_t size;

    if (!resp_read_array(&reply, &size) || size != ARRAY_COUNT(counts)) return false;
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++)
        if (!resp_read_integer(&reply, &counts[i])) return false;
    for (size_t i = 0; i < REDIS_DATABASES; i++) {
        numbers->keys[i] += (uint64_t)counts[2 * i];
        numbers->expires[i] += (uint64_t)counts[2 * i + 1];
    }
    return true;
}

void gather_take_part(struct part *part, enum gateway_outcome outcome, struct bytes reply)
{
    struct info_numbers *numbers = &part->fanout->gathering->numbers;

    if (outcome != GATEWAY_REPLY || !take_keyspace(numbers, reply)) numbers->partitions_silent++;
}

static uint32_t silent_workers(const struct gathering *gathering, uint32_t worker_count)
{
    const struct redis_question *question = gathering->question;
    uint32_t silent = 0;

    if (gathering->refused) return worker_count - 1;
    for (uint32_t i = 0; question && i < question->worker_count; i++)
        silent += i != question->asker && !question->parts[i].answered;
    return silent;
}

static void write_clients(struct fanout *fanout, struct resp_writer *out, uint32_t silent)
{
    const struct redis_question *question = fanout->gathering->question;
    struct buffer *text = &fanout->gathering->clients;
    bool too_many = false;

    if (silent) {
        resp_write_error_format(out,
                                "BUSY %u of %u workers of this node did not answer within %d ms: "
                                "the list would not be whole, try again",
                                silent, fanout->connection->service->options.worker_count,
                                GATHER_PATIENCE_US / 1000);
        return;
    }
    for (uint32_t i = 0; question && i < question->worker_count; i++) {
        const struct redis_question_part *part = &question->parts[i];
        too_many |= part->too_many || buffer_append(text, buffer_bytes(&part->clients));
    }
    if (too_many)
        resp_write_error(out, "ERR more than 16 MiB of clients: use CLIENT LIST ID");
    else
        resp_write_verbatim(out, buffer_bytes(text));
}

/* All of these counters are u64, so a sum is a loop. */
static void add_statistics(struct redis_statistics *sum, const struct redis_statistics *part)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)part;

    _Static_assert(sizeof(*sum) % sizeof(uint64_t) == 0, "counters only");
    for (size_t i = 0; i < sizeof(*sum) / sizeof(uint64_t); i++)
        to[i] += from[i];
}

static void write_info(struct fanout *fanout, struct resp_writer *out, uint32_t silent)
{
    struct gathering *gathering = fanout->gathering;
    struct connection *connection = fanout->connection;
    struct local_call call = {.connection = connection,
                              .service = connection->service,
                              .command = fanout->command,
                              .arguments = fanout->scan_arguments,
                              .count = fanout->scan_count,
                              .out = out};

    redis_service_statistics(connection->service, &gathering->numbers.statistics);
    for (uint32_t i = 0; gathering->question && i < gathering->question->worker_count; i++) {
        const struct redis_question_part *part = &gathering->question->parts[i];
        if (part->answered) add_statistics(&gathering->numbers.statistics, &part->statistics);
    }
    gathering->numbers.workers_silent = silent;
    gathering->numbers.keyspace_known &= gathering->numbers.partitions_silent == 0;
    info_write(&call, &gathering->numbers);
}

void gather_write(struct fanout *fanout, struct resp_writer *out)
{
    uint32_t silent =
        silent_workers(fanout->gathering, fanout->connection->service->options.worker_count);

    if (fanout->kind == FAN_CLIENTS)
        write_clients(fanout, out, silent);
    else
        write_info(fanout, out, silent);
}

void gather_free(struct fanout *fanout)
{
    struct gathering *gathering = fanout->gathering;

    if (gathering == NULL) return;
    world_timer_stop(fanout->connection->service->options.world, &gathering->patience);
    if (gathering->question) {
        gathering->question->fanout = NULL;
        question_release(gathering->question);
    }
    buffer_free(&gathering->clients);
    memory_free(gathering);
}
