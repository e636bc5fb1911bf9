#include "sim/sim_feature.h"

#include "base/assert.h"
#include "base/parse.h"

#include <inttypes.h>
#include <string.h>

enum { TABLE_LINE_MAX = 256 };

const char *sim_feature_text(enum sim_feature feature)
{
    static const char *const texts[] = {
#define FEATURE(name, text) text,
#include "sim/features.def"
    };
    ASSERT(feature < SIM_FEATURE_COUNT);
    return texts[feature];
}

static bool is_near(uint64_t seen, uint64_t now)
{
    return seen != 0 && now + 1 - seen <= SIM_FEATURE_WINDOW_US;
}

void sim_feature_seen(struct sim *sim, enum sim_feature feature)
{
    struct sim_features *features = sim->features;

    for (unsigned fault = 0; fault < SIM_FAULT_COUNT; fault++)
        features->cells[fault][feature] += is_near(sim->fault_seen[fault], sim->now);
    sim->feature_seen[feature] = sim->now + 1;
}

void sim_feature_fault(struct sim *sim, enum sim_fault fault)
{
    struct sim_features *features = sim->features;

    for (unsigned feature = 0; feature < SIM_FEATURE_COUNT; feature++)
        features->cells[fault][feature] += is_near(sim->feature_seen[feature], sim->now);
    sim->fault_seen[fault] = sim->now + 1;
}

void sim_feature_tag(struct sim *sim, const char *tag)
{
    static const struct {
        enum sim_feature feature;
        const char *tag;
    } tags[] = {
#define FEATURE_TAG(name, tag) {SIM_FEATURE_##name, tag},
#include "sim/features.def"
    };

    for (size_t i = 0; i < ARRAY_COUNT(tags); i++)
        if (strcmp(tags[i].tag, tag) == 0) sim_feature_seen(sim, tags[i].feature);
}

const char *sim_feature_impossible(enum sim_fault fault, enum sim_feature feature)
{
    static const struct {
        enum sim_fault fault;
        enum sim_feature feature;
        const char *reason;
    } cells[] = {
#define IMPOSSIBLE(fault, feature, reason) {SIM_FAULT_##fault, SIM_FEATURE_##feature, reason},
#include "sim/impossible.def"
#undef IMPOSSIBLE
        {SIM_FAULT_COUNT, SIM_FEATURE_COUNT, NULL},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cells); i++)
        if (cells[i].fault == fault && cells[i].feature == feature) return cells[i].reason;
    return NULL;
}

void sim_features_add(struct sim_features *to, const struct sim_features *from)
{
    for (unsigned fault = 0; fault < SIM_FAULT_COUNT; fault++)
        for (unsigned feature = 0; feature < SIM_FEATURE_COUNT; feature++)
            to->cells[fault][feature] += from->cells[fault][feature];
}

static bool load_line(struct sim_features *features, char *line)
{
    char *fault = strchr(line, '\t');
    char *feature = fault ? strchr(fault + 1, '\t') : NULL;
    uint64_t count;

    if (feature == NULL) return false;
    *fault++ = 0;
    *feature++ = 0;
    feature[strcspn(feature, "\n")] = 0;
    if (!parse_u64(bytes_of(line), &count)) return false;
    for (unsigned i = 0; i < SIM_FAULT_COUNT; i++)
        for (unsigned j = 0; j < SIM_FEATURE_COUNT; j++)
            if (strcmp(sim_fault_text(i), fault) == 0 && strcmp(sim_feature_text(j), feature) == 0)
                features->cells[i][j] += count;
    return true; /* of another version: such a row is no more */
}

bool sim_features_load(struct sim_features *features, const char *path)
{
    FILE *file = fopen(path, "r");
    char line[TABLE_LINE_MAX];
    bool good = true;

    if (file == NULL) return true;
    while (good && fgets(line, sizeof(line), file))
        good = load_line(features, line);
    fclose(file);
    return good;
}

bool sim_features_save(const struct sim_features *features, const char *path)
{
    FILE *file = fopen(path, "w");

    if (file == NULL) return false;
    for (unsigned i = 0; i < SIM_FAULT_COUNT; i++)
        for (unsigned j = 0; j < SIM_FEATURE_COUNT; j++)
            if (features->cells[i][j])
                fprintf(file, "%" PRIu64 "\t%s\t%s\n", features->cells[i][j], sim_fault_text(i),
                        sim_feature_text(j));
    bool written = ferror(file) == 0;
    return fclose(file) == 0 && written;
}

void sim_features_print(const struct sim_features *features, FILE *file)
{
    fprintf(file, "| fault |");
    for (unsigned feature = 0; feature < SIM_FEATURE_COUNT; feature++)
        fprintf(file, " %s |", sim_feature_text(feature));
    fprintf(file, "\n| --- |");
    for (unsigned feature = 0; feature < SIM_FEATURE_COUNT; feature++)
        fprintf(file, " --: |");
    for (unsigned fault = 0; fault < SIM_FAULT_COUNT; fault++) {
        fprintf(file, "\n| %s |", sim_fault_text(fault));
        for (unsigned feature = 0; feature < SIM_FEATURE_COUNT; feature++) {
            uint64_t count = features->cells[fault][feature];
            if (count)
                fprintf(file, " %" PRIu64 " |", count);
            else
                fprintf(file, " %s |", sim_feature_impossible(fault, feature) ? "-" : "**0**");
        }
    }
    fprintf(file, "\n");
}

uint32_t sim_features_empty(const struct sim_features *features, FILE *file)
{
    uint32_t empty = 0;

    for (unsigned fault = 0; fault < SIM_FAULT_COUNT; fault++) {
        for (unsigned feature = 0; feature < SIM_FEATURE_COUNT; feature++) {
            if (features->cells[fault][feature]) continue;
            if (sim_feature_impossible(fault, feature)) continue;
            fprintf(file, "never met: %s during %s\n", sim_fault_text(fault),
                    sim_feature_text(feature));
            empty++;
        }
    }
    return empty;
}
