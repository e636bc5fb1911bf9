/* local_info.c - INFO: the sections and names of redis-server, as far as they mean something
 * here, and Holon's own. Numbers are of the whole node, those of Keyspace of the whole cluster:
 * gather.c asks for them. What is not kept (times per command, averages) has no line. */
#include <inttypes.h>

#include "base/parse.h"
#include "cluster/identity.h"
#include "services/redis/gather.h"
#include "services/redis/local.h"
#include "services/redis/local_functions.h"

enum { INFO_SIZE_MAX = 64 << 10, US_PER_S = 1000000 };

struct info {
    struct local_call *call;
    struct buffer *text;
    struct redis_facts facts;
    const struct info_numbers *numbers;
};

static void write_server(struct info *info)
{
    struct redis_service *service = info->call->service;
    const struct cluster_view *view = service->options.view;
    const struct view_node *node = cluster_view_node(view, view->self);
    uint64_t uptime = info->facts.uptime_us / US_PER_S;
    struct address address;
    const char *own = stream_own_address(info->call->connection->stream);
    unsigned port = parse_address(bytes_of(own), true, &address) ? address.port : 0;
    char cluster[CLUSTER_ID_TEXT_SIZE];

    cluster_id_print(view->cluster, cluster);
    buffer_append_format(
        info->text,
        "# Server\r\nredis_version:" REDIS_VERSION_COMPATIBLE "\r\nholon_version:%s\r\n"
        "redis_mode:%s\r\nos:Linux\r\narch_bits:64\r\nmultiplexing_api:epoll\r\n"
        "process_id:%" PRIu64 "\r\nrun_id:%s\r\ntcp_port:%u\r\nserver_time_usec:%" PRId64 "\r\n"
        "uptime_in_seconds:%" PRIu64 "\r\nuptime_in_days:%" PRIu64 "\r\nio_threads_active:%u\r\n"
        "holon_workers:%u\r\nholon_workers_silent:%u\r\nholon_cluster_id:%s\r\n",
        info->facts.version, info->call->connection->cluster_port ? "cluster" : "standalone",
        info->facts.process_id, node ? node->hex_id : "", port,
        world_wall_time(service->options.world), uptime, uptime / 86400, info->facts.workers > 1,
        info->facts.workers, info->numbers->workers_silent, cluster);
}

static void write_clients(struct info *info)
{
    buffer_append_format(info->text,
                         "# Clients\r\nconnected_clients:%" PRIu64
                         "\r\ncluster_connections:0\r\nmaxclients:%u\r\nblocked_clients:0\r\n"
                         "tracking_clients:0\r\nclients_in_timeout_table:0\r\n",
                         info->facts.connections, info->facts.max_connections);
}

/* As redis-server writes sizes for people. */
static void write_human(struct buffer *text, const char *name, uint64_t bytes)
{
    static const char units[] = {'B', 'K', 'M', 'G', 'T'};
    double shown = (double)bytes;
    size_t unit = 0;

    while (shown >= 1024 && unit + 1 < sizeof(units)) {
        shown /= 1024;
        unit++;
    }
    buffer_append_format(text, "%s:%.*f%c\r\n", name, unit ? 2 : 0, shown, units[unit]);
}

static void write_memory(struct info *info)
{
    const struct redis_facts *facts = &info->facts;

    buffer_append_format(info->text, "# Memory\r\nused_memory:%" PRIu64 "\r\n",
                         facts->memory_bytes);
    write_human(info->text, "used_memory_human", facts->memory_bytes);
    buffer_append_format(info->text, "used_memory_rss:%" PRIu64 "\r\n", facts->memory_bytes);
    write_human(info->text, "used_memory_rss_human", facts->memory_bytes);
    buffer_append_format(info->text, "total_system_memory:%" PRIu64 "\r\n",
                         facts->memory_system_bytes);
    write_human(info->text, "total_system_memory_human", facts->memory_system_bytes);
    buffer_append_format(info->text,
                         "maxmemory:0\r\nmaxmemory_human:0B\r\nmaxmemory_policy:noeviction\r\n"
                         "mem_clients_normal:%" PRIu64 "\r\nholon_memory_limit:%" PRIu64 "\r\n",
                         info->numbers->statistics.bytes_held, facts->memory_limit);
}

static void write_persistence(struct info *info)
{
    buffer_append_format(
        info->text, "# Persistence\r\nloading:0\r\nasync_loading:0\r\n"
                    "rdb_bgsave_in_progress:0\r\nrdb_last_bgsave_status:ok\r\naof_enabled:1\r\n"
                    "aof_rewrite_in_progress:0\r\naof_last_write_status:ok\r\n");
    for (unsigned i = 0; i < REDIS_DATABASES; i++)
        if (info->call->service->options.view->memory_databases >> i & 1)
            buffer_append_format(info->text, "holon_db%u_durability:memory\r\n", i);
}

static void write_stats(struct info *info)
{
    const struct redis_statistics *statistics = &info->numbers->statistics;

    buffer_append_format(
        info->text,
        "# Stats\r\ntotal_connections_received:%" PRIu64 "\r\ntotal_commands_processed:%" PRIu64
        "\r\ntotal_net_input_bytes:%" PRIu64 "\r\ntotal_net_output_bytes:%" PRIu64
        "\r\nrejected_connections:%" PRIu64 "\r\nevicted_keys:0\r\nevicted_clients:%" PRIu64
        "\r\npubsub_channels:0\r\npubsub_patterns:0\r\ntotal_error_replies:%" PRIu64
        "\r\nholon_outcomes_unknown:%" PRIu64 "\r\nholon_outcomes_unavailable:%" PRIu64
        "\r\nholon_outcomes_busy:%" PRIu64 "\r\n",
        statistics->connections_received, statistics->commands, statistics->bytes_in,
        statistics->bytes_out, statistics->connections_rejected, statistics->clients_evicted,
        statistics->errors, statistics->unknown, statistics->unavailable, statistics->busy);
}

static void write_replication(struct info *info)
{
    const struct cluster_view *view = info->call->service->options.view;
    uint32_t others = view->node_count ? view->node_count - 1 : 0;

    buffer_append_format(info->text,
                         "# Replication\r\nrole:master\r\nconnected_slaves:%u\r\n"
                         "master_failover_state:no-failover\r\n",
                         others);
}

static void write_cpu(struct info *info)
{
    uint64_t system = info->facts.cpu_system_us, user = info->facts.cpu_user_us;

    buffer_append_format(info->text,
                         "# CPU\r\nused_cpu_sys:%" PRIu64 ".%06" PRIu64 "\r\n"
                         "used_cpu_user:%" PRIu64 ".%06" PRIu64 "\r\n",
                         system / US_PER_S, system % US_PER_S, user / US_PER_S, user % US_PER_S);
}

static void write_modules(struct info *info)
{
    buffer_append_format(info->text, "# Modules\r\n"); /* there are none */
}

static void write_errors(struct info *info)
{
    buffer_append_format(info->text, "# Errorstats\r\n");
    for (enum redis_error_word i = 0; i < REDIS_ERROR_WORD_COUNT; i++) {
        uint64_t count = info->numbers->statistics.errors_by_word[i];
        if (count == 0) continue;
        buffer_append_format(info->text, "errorstat_%s:count=%" PRIu64 "\r\n",
                             redis_error_word_name(i), count);
    }
}

static void write_cluster(struct info *info)
{
    const struct cluster_view *view = info->call->service->options.view;

    buffer_append_format(info->text,
                         "# Cluster\r\ncluster_enabled:1\r\nholon_nodes:%u\r\n"
                         "holon_partitions:%u\r\nholon_replicas:%u\r\n",
                         view->node_count, view->partition_count, view->replicas);
}

/* No database is shown rather than a part of one. */
static void write_keyspace(struct info *info)
{
    const struct info_numbers *numbers = info->numbers;

    buffer_append_format(info->text, "# Keyspace\r\n");
    if (!numbers->keyspace_known) {
        buffer_append_format(info->text, "holon_keyspace:unknown\r\nholon_partitions_silent:%u\r\n",
                             numbers->partitions_silent);
        return;
    }
    for (unsigned i = 0; i < REDIS_DATABASES; i++) {
        if (numbers->keys[i] == 0) continue;
        buffer_append_format(info->text, "db%u:keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=0\r\n",
                             i, numbers->keys[i], numbers->expires[i]);
    }
}

static const struct {
    const char *name;
    void (*write)(struct info *info);
} sections[] = {
    {"server", write_server},     {"clients", write_clients},
    {"memory", write_memory},     {"persistence", write_persistence},
    {"stats", write_stats},       {"replication", write_replication},
    {"cpu", write_cpu},           {"modules", write_modules},
    {"errorstats", write_errors}, {"cluster", write_cluster},
    {"keyspace", write_keyspace},
};

enum { EVERY_SECTION = (1 << ARRAY_COUNT(sections)) - 1 };

/* The bits of what a word asks for, those of its first letter being `candidates`. */
static uint32_t sections_of(struct bytes word, uint32_t candidates)
{
    for (; candidates != 0; candidates &= candidates - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(candidates);
        if (redis_word_is(word, sections[i].name)) return 1u << i;
    }
    bool all = redis_word_is(word, "all") || redis_word_is(word, "default") ||
               redis_word_is(word, "everything");
    return all ? EVERY_SECTION : 0;
}

/* A bit by section. One look at each word: there may be a million. */
static uint32_t sections_asked(const struct bytes *arguments, uint32_t count)
{
    uint32_t by_letter[REDIS_LETTERS] = {0};
    uint32_t asked = count == 1 ? EVERY_SECTION : 0;

    for (uint32_t i = 0; i < ARRAY_COUNT(sections); i++)
        by_letter[redis_letter(bytes_of(sections[i].name))] |= 1u << i;
    for (uint32_t i = 1; i < count && asked != EVERY_SECTION; i++)
        asked |= sections_of(arguments[i], by_letter[redis_letter(arguments[i])]);
    return asked;
}

bool info_section_is_asked(const struct bytes *arguments, uint32_t count, const char *section)
{
    return sections_asked(arguments, count) & sections_of(bytes_of(section), EVERY_SECTION);
}

void info_write(struct local_call *call, const struct info_numbers *numbers)
{
    struct buffer text;
    struct info info = {.call = call, .text = &text, .numbers = numbers};

    uint32_t asked = sections_asked(call->arguments, call->count);
    buffer_init(&text, INFO_SIZE_MAX);
    service_facts(call->service, &info.facts);
    for (size_t i = 0; i < ARRAY_COUNT(sections); i++) {
        if (!(asked & 1u << i)) continue;
        if (buffer_size(&text)) buffer_append(&text, bytes_of("\r\n"));
        sections[i].write(&info);
    }
    resp_write_verbatim(call->out, buffer_bytes(&text));
    buffer_free(&text);
}
