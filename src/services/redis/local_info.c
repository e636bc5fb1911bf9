/* local_info.c - INFO: the sections and names of redis-server, as far as they mean something
 * here, and Holon's own. Numbers are of the node where it tells them, else of the worker. */
#include <inttypes.h>

#include "base/parse.h"
#include "services/redis/local.h"
#include "services/redis/local_functions.h"

enum { INFO_SIZE_MAX = 64 << 10, US_PER_S = 1000000 };

struct info {
    struct local_call *call;
    struct buffer *text;
    struct redis_facts facts;
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

    buffer_append_format(
        info->text,
        "# Server\r\nredis_version:" REDIS_VERSION_COMPATIBLE "\r\nholon_version:%s\r\n"
        "redis_mode:%s\r\nos:Linux\r\narch_bits:64\r\nmultiplexing_api:epoll\r\n"
        "process_id:%" PRIu64 "\r\nrun_id:%s\r\ntcp_port:%u\r\nserver_time_usec:%" PRId64 "\r\n"
        "uptime_in_seconds:%" PRIu64 "\r\nuptime_in_days:%" PRIu64 "\r\nio_threads_active:%u\r\n",
        info->facts.version, info->call->connection->cluster_port ? "cluster" : "standalone",
        info->facts.process_id, node ? node->hex_id : "", port,
        world_wall_time(service->options.world), uptime, uptime / 86400, info->facts.workers);
}

static void write_clients(struct info *info)
{
    buffer_append_format(info->text,
                         "# Clients\r\nconnected_clients:%" PRIu64 "\r\nmaxclients:%u\r\n"
                         "blocked_clients:0\r\n",
                         info->facts.connections, info->facts.max_connections);
}

static void write_memory(struct info *info)
{
    uint64_t used = info->facts.memory_bytes;

    buffer_append_format(info->text,
                         "# Memory\r\nused_memory:%" PRIu64 "\r\nused_memory_human:%.2fM\r\n"
                         "used_memory_rss:%" PRIu64 "\r\ntotal_system_memory:%" PRIu64 "\r\n"
                         "maxmemory:0\r\nmaxmemory_policy:noeviction\r\n",
                         used, (double)used / (1 << 20), used, info->facts.memory_system_bytes);
}

static void write_persistence(struct info *info)
{
    buffer_append_format(info->text, "# Persistence\r\nloading:0\r\naof_enabled:1\r\n"
                                     "aof_last_write_status:ok\r\nrdb_bgsave_in_progress:0\r\n");
}

static void write_stats(struct info *info)
{
    const struct redis_statistics *statistics = &info->call->service->statistics;

    buffer_append_format(
        info->text,
        "# Stats\r\ntotal_connections_received:%" PRIu64 "\r\ntotal_commands_processed:%" PRIu64
        "\r\ntotal_net_input_bytes:%" PRIu64 "\r\ntotal_net_output_bytes:%" PRIu64
        "\r\nrejected_connections:%" PRIu64 "\r\ntotal_error_replies:%" PRIu64
        "\r\nholon_outcomes_unknown:%" PRIu64 "\r\nholon_outcomes_unavailable:%" PRIu64
        "\r\nholon_outcomes_busy:%" PRIu64 "\r\n",
        info->facts.connections_received, info->facts.commands_processed, statistics->bytes_in,
        statistics->bytes_out, statistics->connections_rejected, statistics->errors,
        statistics->unknown, statistics->unavailable, statistics->busy);
}

static void write_replication(struct info *info)
{
    const struct cluster_view *view = info->call->service->options.view;
    uint32_t others = view->node_count ? view->node_count - 1 : 0;

    buffer_append_format(info->text, "# Replication\r\nrole:master\r\nconnected_slaves:%u\r\n",
                         others);
}

static void write_cluster(struct info *info)
{
    const struct cluster_view *view = info->call->service->options.view;

    buffer_append_format(info->text,
                         "# Cluster\r\ncluster_enabled:1\r\nholon_nodes:%u\r\n"
                         "holon_partitions:%u\r\nholon_replicas:%u\r\n",
                         view->node_count, view->partition_count, view->replicas);
}

static void write_keyspace(struct info *info)
{
    buffer_append_format(info->text, "# Keyspace\r\n"); /* DBSIZE asks the partitions */
}

static const struct {
    const char *name;
    void (*write)(struct info *info);
} sections[] = {
    {"server", write_server},   {"clients", write_clients},
    {"memory", write_memory},   {"persistence", write_persistence},
    {"stats", write_stats},     {"replication", write_replication},
    {"cluster", write_cluster}, {"keyspace", write_keyspace},
};

static bool is_asked(const struct local_call *call, const char *section)
{
    if (call->count == 1) return true;
    for (uint32_t i = 1; i < call->count; i++) {
        struct bytes word = call->arguments[i];
        if (redis_word_is(word, section) || redis_word_is(word, "all") ||
            redis_word_is(word, "default") || redis_word_is(word, "everything"))
            return true;
    }
    return false;
}

void local_info(struct local_call *call)
{
    struct buffer text;
    struct info info = {.call = call, .text = &text};

    buffer_init(&text, INFO_SIZE_MAX);
    service_facts(call->service, &info.facts);
    for (size_t i = 0; i < ARRAY_COUNT(sections); i++) {
        if (!is_asked(call, sections[i].name)) continue;
        if (buffer_size(&text)) buffer_append(&text, bytes_of("\r\n"));
        sections[i].write(&info);
    }
    resp_write_verbatim(call->out, buffer_bytes(&text));
    buffer_free(&text);
}
