#include "sim/sim_decisions.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/parse.h"

#include <inttypes.h>
#include <string.h>

enum { LINE_MAX = 256, WORDS_MAX = 6 };
static const char magic[] = "holon-sim-decisions 1";

void sim_decisions_init(struct sim_decisions *decisions)
{
    *decisions = (struct sim_decisions){0};
    sim_plan_calm(&decisions->plan);
}

void sim_decisions_free(struct sim_decisions *decisions)
{
    memory_free(decisions->strikes);
    *decisions = (struct sim_decisions){0};
}

void sim_decisions_copy(struct sim_decisions *to, const struct sim_decisions *from)
{
    struct sim_strike *strikes = to->strikes;

    if (to->strike_capacity < from->strike_count)
        strikes = memory_resize(strikes, from->strike_count * sizeof(*strikes));
    uint32_t capacity =
        to->strike_capacity < from->strike_count ? from->strike_count : to->strike_capacity;
    *to = *from;
    to->strikes = strikes;
    to->strike_capacity = capacity;
    if (from->strike_count) memcpy(strikes, from->strikes, from->strike_count * sizeof(*strikes));
}

void sim_decisions_add(struct sim_decisions *decisions, const struct sim_strike *strike)
{
    if (decisions->strike_count == SIM_STRIKES_MAX) return;
    if (decisions->strike_count == decisions->strike_capacity) {
        decisions->strike_capacity =
            decisions->strike_capacity ? decisions->strike_capacity * 2 : 64;
        decisions->strikes = memory_resize(decisions->strikes, decisions->strike_capacity *
                                                                   sizeof(*decisions->strikes));
    }
    decisions->strikes[decisions->strike_count++] = *strike;
    if (decisions->path) sim_decisions_write(decisions, decisions->path);
}

/* --- the numbers of a plan --- */

enum { KEEP = -1 };

#define PLAN_FIELD(name, member, least) FIELD_##name,
enum field {
#include "sim/plan_fields.def"
    FIELD_COUNT
};
#undef PLAN_FIELD

uint32_t sim_plan_field_count(void)
{
    return FIELD_COUNT;
}

const char *sim_plan_field_name(uint32_t field)
{
    static const char *const names[] = {
#define PLAN_FIELD(name, member, least) #name,
#include "sim/plan_fields.def"
#undef PLAN_FIELD
    };
    ASSERT(field < FIELD_COUNT);
    return names[field];
}

uint64_t sim_plan_field_get(const struct sim_plan *plan, uint32_t field)
{
    switch ((enum field)field) {
#define PLAN_FIELD(name, member, least)                                                            \
    case FIELD_##name:                                                                             \
        return (uint64_t)plan->member;
#include "sim/plan_fields.def"
#undef PLAN_FIELD
    case FIELD_COUNT:
        break;
    }
    ASSERT(false);
    return 0;
}

void sim_plan_field_set(struct sim_plan *plan, uint32_t field, uint64_t value)
{
    switch ((enum field)field) {
#define PLAN_FIELD(name, member, least)                                                            \
    case FIELD_##name:                                                                             \
        plan->member = (typeof(plan->member))value;                                                \
        return;
#include "sim/plan_fields.def"
#undef PLAN_FIELD
    case FIELD_COUNT:
        break;
    }
    ASSERT(false);
}

bool sim_plan_field_least(uint32_t field, uint64_t *ret_value)
{
    static const int64_t leasts[] = {
#define PLAN_FIELD(name, member, least) least,
#include "sim/plan_fields.def"
#undef PLAN_FIELD
    };
    ASSERT(field < FIELD_COUNT);
    if (leasts[field] == KEEP) return false;
    *ret_value = (uint64_t)leasts[field];
    return true;
}

/* --- the file --- */

bool sim_decisions_write(const struct sim_decisions *decisions, const char *path)
{
    FILE *file = fopen(path, "w");

    if (file == NULL) return false;
    fprintf(file, "%s\nseed %" PRIu64 "\n", magic, decisions->seed);
    if (decisions->planted[0]) fprintf(file, "planted %s\n", decisions->planted);
    for (uint32_t i = 0; i < FIELD_COUNT; i++)
        fprintf(file, "plan %s %" PRIu64 "\n", sim_plan_field_name(i),
                sim_plan_field_get(&decisions->plan, i));
    for (uint32_t i = 0; i < decisions->strike_count; i++) {
        const struct sim_strike *strike = &decisions->strikes[i];
        fprintf(file, "strike %" PRIu64 " %s %" PRIu64 " %u\n", strike->time,
                sim_chaos_text((enum sim_chaos_kind)strike->kind), strike->random, strike->percent);
    }
    bool written = ferror(file) == 0;
    return fclose(file) == 0 && written;
}

static uint32_t split(char *line, struct bytes words[WORDS_MAX])
{
    uint32_t count = 0;

    for (char *at = line; *at && count < WORDS_MAX;) {
        size_t size = strcspn(at, " \n");
        if (size) words[count++] = bytes_make(at, size);
        at += size;
        if (*at) at++;
    }
    return count;
}

static bool read_plan_line(struct sim_plan *plan, const struct bytes words[WORDS_MAX])
{
    uint64_t value;

    if (!parse_u64(words[2], &value)) return false;
    for (uint32_t i = 0; i < FIELD_COUNT; i++) {
        if (!bytes_equal(words[1], bytes_of(sim_plan_field_name(i)))) continue;
        sim_plan_field_set(plan, i, value);
        return true;
    }
    return false;
}

static bool read_strike_line(struct sim_decisions *decisions, const struct bytes words[WORDS_MAX])
{
    struct sim_strike strike = {0};
    uint64_t percent;

    if (!parse_u64(words[1], &strike.time) || !parse_u64(words[3], &strike.random)) return false;
    if (!parse_u64(words[4], &percent) || percent > 100) return false;
    strike.percent = (uint8_t)percent;
    for (unsigned kind = 0; kind < SIM_CHAOS_COUNT; kind++) {
        if (!bytes_equal(words[2], bytes_of(sim_chaos_text(kind)))) continue;
        strike.kind = (uint8_t)kind;
        sim_decisions_add(decisions, &strike);
        return true;
    }
    return false;
}

static bool read_line(struct sim_decisions *decisions, char *line)
{
    struct bytes words[WORDS_MAX];
    uint32_t count = split(line, words);

    if (count == 0 || line[0] == '#') return true;
    if (count == 2 && bytes_equal(words[0], bytes_of("seed")))
        return parse_u64(words[1], &decisions->seed);
    if (count == 2 && bytes_equal(words[0], bytes_of("planted"))) {
        snprintf(decisions->planted, sizeof(decisions->planted), "%.*s", (int)words[1].size,
                 (const char *)words[1].data);
        return true;
    }
    if (count == 3 && bytes_equal(words[0], bytes_of("plan")))
        return read_plan_line(&decisions->plan, words);
    if (count == 5 && bytes_equal(words[0], bytes_of("strike")))
        return read_strike_line(decisions, words);
    return false;
}

bool sim_decisions_read(struct sim_decisions *decisions, const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "r");
    char line[LINE_MAX];
    uint32_t number = 0;
    bool good = true;

    if (file == NULL) {
        snprintf(text, size, "%s cannot be read", path);
        return false;
    }
    sim_decisions_init(decisions);
    while (good && fgets(line, sizeof(line), file)) {
        number++;
        good = number == 1 ? strcspn(line, "\n") == strlen(magic) &&
                                 strncmp(line, magic, strlen(magic)) == 0
                           : read_line(decisions, line);
    }
    fclose(file);
    if (good && number > 0) return true;
    snprintf(text, size, "%s:%u: not a line of \"%s\"", path, number, magic);
    sim_decisions_free(decisions);
    return false;
}
