/* Of a plan: what goes to each partition. */
#include "base/hash.h"
#include "base/memory.h"
#include "services/redis/exec.h"
#include "services/redis/guard.h"

static void count_piece(struct exec *exec, uint32_t partition)
{
    uint32_t *number = &exec->numbers[partition];
    if (*number == 0) *number = ++exec->piece_count;
}

static struct exec_piece *piece_of(struct exec *exec, uint32_t partition)
{
    uint32_t number = exec->numbers[partition];
    return number ? &exec->pieces[number - 1] : NULL;
}

static bool read_watch(struct reader *reader, struct redis_watch *ret_watch)
{
    if (reader_left(reader) == 0) return false;
    ret_watch->database = read_u8(reader);
    ret_watch->existed = read_u8(reader);
    ret_watch->namespace = read_u32(reader);
    ret_watch->version = read_u64(reader);
    ret_watch->key = read_sized(reader);
    return !reader->failed;
}

static uint32_t watch_partition(const struct exec *exec, const struct redis_watch *watch)
{
    return service_partition(exec->connection->service, key_slot(watch->key));
}

static bool guard_of(const struct exec *exec, uint32_t i, struct redis_guard *ret_guard)
{
    return exec->guards && exec->looking == NULL && guards_get(exec->guards, i, ret_guard);
}

static uint32_t guard_partition(const struct exec *exec, const struct redis_guard *guard)
{
    return service_partition(exec->connection->service, key_slot(guard->name));
}

/* A look asks the partitions that the command reads in, and those alone. */
static void number_pieces(struct exec *exec)
{
    struct reader reader = reader_make(buffer_bytes(&exec->watches));
    struct redis_watch watch;
    struct redis_guard guard;

    for (uint32_t i = 0; i < exec->command_count; i++) {
        const struct exec_command *command = &exec->commands[i];
        if (exec->looking && exec->looking != command) continue;
        for (struct exec_sub *sub = command->first; sub; sub = sub->next_of_command)
            count_piece(exec, sub->partition);
    }
    while (!exec->looking && read_watch(&reader, &watch))
        count_piece(exec, watch_partition(exec, &watch));
    for (uint32_t i = 0; guard_of(exec, i, &guard); i++)
        count_piece(exec, guard_partition(exec, &guard));
}

static void make_pieces(struct exec *exec)
{
    uint32_t count = exec->piece_count, partitions;

    exec->pieces = memory_allocate_zero(count * sizeof(exec->pieces[0]));
    exec->txn_pieces = memory_allocate_zero(count * sizeof(exec->txn_pieces[0]));
    partitions = exec->connection->service->options.view->partition_count;
    for (uint32_t i = 0; i < partitions; i++) {
        struct exec_piece *piece = piece_of(exec, i);
        if (piece) piece->partition = i;
    }
    for (uint32_t i = 0; i < count; i++) {
        buffer_init(&exec->pieces[i].body, BODY_SIZE_MAX);
        buffer_init(&exec->txn_pieces[i].reply, EXEC_REPLY_MAX);
    }
}

static void put_sub(struct exec *exec, struct exec_sub *sub)
{
    struct exec_piece *piece = piece_of(exec, sub->partition);

    if (piece == NULL) return;
    struct txn_piece *txn = &exec->txn_pieces[piece - exec->pieces];
    sub->next_of_piece = NULL;
    if (piece->last)
        piece->last->next_of_piece = sub;
    else
        piece->first = sub;
    piece->last = sub;
    piece->sub_count++;
    txn->write |= (sub->command->flags & REDIS_WRITES) != 0;
    txn->grows |= (sub->command->flags & REDIS_GROWS) != 0;
}

static void put_subs(struct exec *exec)
{
    for (uint32_t i = 0; i < exec->command_count; i++)
        for (struct exec_sub *sub = exec->commands[i].first; sub; sub = sub->next_of_command)
            put_sub(exec, sub);
}

/* Head and guards of a piece, up to its watches. */
static void write_head(struct exec *exec, struct exec_piece *piece)
{
    struct writer writer = writer_make(&piece->body);
    struct redis_guard guard;

    for (uint32_t i = 0; guard_of(exec, i, &guard); i++)
        piece->guard_count += guard_partition(exec, &guard) == piece->partition;
    if (piece->guard_count == 0) {
        redis_batch_begin(&writer, piece->watch_count);
        return;
    }
    redis_batch_begin_guards(&writer, piece->guard_count);
    for (uint32_t i = 0; guard_of(exec, i, &guard); i++)
        if (guard_partition(exec, &guard) == piece->partition)
            redis_batch_write_guard(&writer, &guard);
    redis_batch_begin_watches(&writer, piece->watch_count);
}

/* The watches of all pieces, behind their counts. False: they do not fit. */
static bool write_watches(struct exec *exec)
{
    struct redis_watch watch;
    bool fits = true;

    exec->conditional = false;
    for (int pass = 0; pass < 2; pass++) {
        struct reader reader = reader_make(buffer_bytes(&exec->watches));
        for (uint32_t i = 0; pass == 1 && i < exec->piece_count; i++)
            write_head(exec, &exec->pieces[i]);
        while (!exec->looking && read_watch(&reader, &watch)) {
            struct exec_piece *piece = piece_of(exec, watch_partition(exec, &watch));
            struct writer writer = writer_make(&piece->body);
            if (pass == 0)
                piece->watch_count++;
            else
                redis_batch_write_watch(&writer, &watch);
            fits = fits && !writer.failed;
        }
    }
    return fits;
}

static bool write_subs(struct exec *exec, struct exec_piece *piece)
{
    struct writer writer = writer_make(&piece->body);
    uint32_t planted = exec->connection->service->options.limits.planted;
    bool validates = exec->looking == NULL && !(planted & REDIS_BUG_LOOK_NOT_VALIDATED);

    redis_batch_begin_commands(&writer, exec->seed, piece->sub_count);
    exec->conditional = exec->conditional || piece->watch_count > 0 || piece->guard_count > 0;
    for (struct exec_sub *sub = piece->first; sub; sub = sub->next_of_piece) {
        struct redis_batch_command command = {
            .expects = sub->expects && validates, .digest = sub->digest, .body = sub->body};
        exec->conditional = exec->conditional || command.expects;
        redis_batch_write_command(&writer, &command);
    }
    return !writer.failed;
}

static void refuse_too_big(struct exec *exec)
{
    exec_format_too_big(exec->connection->service, exec->wrong_text, sizeof(exec->wrong_text));
    exec->wrong = exec->wrong_text;
}

static bool finish_piece(struct exec *exec, uint32_t index)
{
    const struct redis_service *service = exec->connection->service;
    struct exec_piece *piece = &exec->pieces[index];
    struct txn_piece *txn = &exec->txn_pieces[index];

    bool fits = write_subs(exec, piece);
    /* Of one partition the entry says whether it fits; a prepared piece is kept as a row. */
    if (exec->piece_count > 1 && buffer_size(&piece->body) > service->options.limits.stage_from)
        fits = false;
    txn->slot = service->options.view->groups[GROUP_DATA_FIRST + piece->partition].slot_first;
    txn->body = buffer_bytes(&piece->body);
    if (!fits) refuse_too_big(exec);
    return fits;
}

bool exec_build(struct exec *exec)
{
    uint32_t partitions = exec->connection->service->options.view->partition_count;
    bool fits = exec->wrong == NULL;

    number_pieces(exec);
    make_pieces(exec);
    put_subs(exec);
    if (fits && !write_watches(exec)) {
        refuse_too_big(exec);
        fits = false;
    }
    for (uint32_t i = 0; i < exec->piece_count && fits; i++)
        fits = finish_piece(exec, i);
    memset(exec->numbers, 0, partitions * sizeof(exec->numbers[0]));
    return fits;
}

void exec_unbuild(struct exec *exec)
{
    for (uint32_t i = 0; i < exec->piece_count; i++) {
        buffer_free(&exec->pieces[i].body);
        buffer_free(&exec->txn_pieces[i].reply);
    }
    memory_free(exec->pieces);
    memory_free(exec->txn_pieces);
    exec->pieces = NULL;
    exec->txn_pieces = NULL;
    exec->piece_count = 0;
}
