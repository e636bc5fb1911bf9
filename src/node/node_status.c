/* /status: what `holon status` and the page show. */
#include <jansson.h>
#include <stdio.h>

#include "node/damage_place.h"
#include "node/node_snapshot.h"

enum { STATUS_PROBLEMS_MAX = 16 };

static const char *node_name(const struct cluster_view *view, node_id_t id)
{
    const struct view_node *node = cluster_view_node(view, id);
    return node ? node->name : "";
}

static uint64_t behind_of(const struct node_collector *collector, node_id_t id)
{
    const struct node *node = collector->node;
    uint64_t behind = collector->sum.behind[id];

    for (node_id_t other = 1; other <= node->member_count; other++)
        if (other != node->identity.node &&
            collector->reports[other].question == collector->question)
            behind += collector->reports[other].behind[id];
    return behind;
}

bool node_is_up(const struct node *node, node_id_t id)
{
    struct transport *transport = node->workers[0].transport;

    if (id == node->identity.node) return true;
    return transport != NULL && transport_is_up(transport, id);
}

static json_t *nodes_json(const struct node *node)
{
    const struct cluster_view *view = &node->workers[0].view;
    json_t *nodes = json_array();

    for (uint32_t i = 0; i < view->node_count; i++) {
        const struct view_node *known = &view->nodes[i];
        uint32_t leads = 0, replicas = 0;
        for (uint32_t g = 0; g < view->group_count; g++) {
            const struct view_group *group = &view->groups[g];
            leads += group->leader == known->id;
            for (uint32_t k = 0; k < group->replica_count; k++)
                replicas += group->replicas[k].node == known->id;
        }
        const char *release;
        uint32_t supports = node_upgrade_version(node, known->id, &release);
        uint64_t behind = node->collector ? behind_of(node->collector, known->id) : 0;
        json_array_append_new(
            nodes,
            json_pack("{s:i, s:s, s:s, s:b, s:s, s:i, s:i, s:i, s:I, s:s, s:s, s:s, s:s, s:s, s:i, "
                      "s:s}",
                      "id", (int)known->id, "name", known->name, "state",
                      node_is_up(node, known->id) ? "up" : "down", "draining",
                      known->state == VIEW_NODE_LEAVES, "labels", known->labels, "epoch",
                      (int)known->epoch, "leads", (int)leads, "replicas", (int)replicas, "behind",
                      (json_int_t)behind, "redis", known->redis, "redis_cluster",
                      known->redis_cluster, "peer", known->peer, "admin", known->admin, "hex_id",
                      known->hex_id, "supports", (int)supports, "version", release));
    }
    return nodes;
}

struct names {
    const char *of[NODES_MAX + 1]; /* by id; nobody's is "" */
};

static const char *name_in(const struct names *names, node_id_t id)
{
    return id <= NODES_MAX ? names->of[id] : "";
}

static bool append_group(const struct view_group *group, uint32_t number, const struct names *names,
                         struct buffer *buffer)
{
    enum status status = buffer_append_format(
        buffer,
        "{\"group\":%u,\"leader\":\"%s\",\"term\":%llu,\"slot_first\":%u,\"slot_last\":%u,"
        "\"replicas\":[",
        number, name_in(names, group->leader), (unsigned long long)group->leader_term,
        group->slot_first, group->slot_last);

    for (uint32_t k = 0; k < group->replica_count && status == STATUS_OK; k++)
        status = buffer_append_format(buffer, "%s\"%s\"", k > 0 ? "," : "",
                                      name_in(names, group->replicas[k].node));
    return status == STATUS_OK && buffer_append_format(buffer, "]}") == STATUS_OK;
}

/* Thousands of values as a tree took the loop 10 ms, so they are text at once. A name has no
 * character that JSON writes in another way (node_name_is_valid()). False: the buffer is full. */
static bool append_groups(const struct cluster_view *view, struct buffer *buffer)
{
    struct names names;
    bool first = true;

    for (node_id_t id = 0; id <= NODES_MAX; id++)
        names.of[id] = node_name(view, id);
    for (uint32_t g = 0; g < view->group_count; g++) {
        if (view->groups[g].replica_count == 0) continue;
        if (!first && buffer_append(buffer, bytes_of(","))) return false;
        if (!append_group(&view->groups[g], g, &names, buffer)) return false;
        first = false;
    }
    return true;
}

__attribute__((format(printf, 3, 4))) static void add_problem(json_t *problems, const char *todo,
                                                              const char *format, ...)
{
    char what[1024];
    va_list arguments;

    if (json_array_size(problems) == STATUS_PROBLEMS_MAX) return;
    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    json_array_append_new(problems, json_pack("{s:s, s:s}", "what", what, "do", todo));
}

static void node_problems(const struct node *node, json_t *problems)
{
    const struct cluster_view *view = &node->workers[0].view;
    uint32_t up = 0;

    for (uint32_t i = 0; i < view->node_count; i++) {
        const struct view_node *known = &view->nodes[i];
        if (node_is_up(node, known->id)) {
            up++;
            continue;
        }
        add_problem(problems,
                    "start it again; with an empty directory if its disk is lost, then it is "
                    "filled by the others",
                    "node %s does not answer at %s", known->name, known->peer);
    }
    if (up <= view->node_count / 2)
        add_problem(problems, "bring nodes back, or repair the network between them",
                    "only %u of %u nodes are connected: no quorum, so writes and reads wait", up,
                    view->node_count);
    for (uint32_t i = 0; i < view->node_count && node->collector != NULL; i++) {
        uint64_t behind = behind_of(node->collector, view->nodes[i].id);
        if (behind > 0 && node_is_up(node, view->nodes[i].id))
            add_problem(problems,
                        "nothing: its leaders bring it up to date; if it lasts, look at the "
                        "node's disk and network",
                        "%llu replicas of node %s are behind", (unsigned long long)behind,
                        view->nodes[i].name);
    }
    if (view->node_count == 2)
        add_problem(problems, "run three nodes, or one",
                    "two nodes keep every write on both disks but cannot serve without each "
                    "other");
}

static void disk_problem(const struct node *node, json_t *problems)
{
    if ((node->disk.free > 0 || node->disk.low) && node->disk.reserve_told == 0)
        add_problem(
            problems, "free space there: it is made by itself",
            "%.100s/reserve could not be made: if this node ended now and the disk got full, "
            "it could not start again",
            node->options.data);
    if (!node->disk.low) return;
    add_problem(
        problems, "free space there, or delete data; writes are taken again by themselves",
        "%llu MiB left in %.100s, below --disk-reserve %llu MiB: requests that add data are "
        "refused",
        (unsigned long long)node->disk.free >> 20, node->options.data,
        (unsigned long long)node->options.disk_reserve >> 20);
}

static void log_problem(const struct node *node, json_t *problems)
{
    struct log_statistics log;

    if (node->log == NULL || log_pressure(node->log) < LOG_PRESSURE_SHORT) return;
    log_statistics(node->log, &log);
    add_problem(problems,
                "see to it that the partition has a leader and its store is whole; or raise "
                "--log-bytes-max and start again",
                "the log has %llu MiB, near --log-bytes-max %llu MiB, because partition %u still "
                "needs its oldest segment: %s",
                (unsigned long long)log.bytes_on_disk >> 20,
                (unsigned long long)log.bytes_max >> 20, log.oldest_group.value,
                log.pressure >= LOG_PRESSURE_FULL ? "writes are refused"
                                                  : "requests that add data are refused");
}

static void serve_problem(const struct node *node, json_t *problems)
{
    char why[160];

    if (node_can_serve_all(node, why, sizeof(why))) return;
    add_problem(problems,
                "nothing for a few seconds: elections take less than one; then see which nodes "
                "are down",
                "%s", why);
}

/* --- repair and quarantine -------------------------------------------------------------- */

static const char *repair_step_name(const struct node *node)
{
    switch (node->repair.file.step) {
    case REPAIR_MOVING:
        return "moving";
    case REPAIR_JOINING:
        return "joining";
    case REPAIR_FILLING:
        return "filling";
    }
    return "";
}

static json_t *repair_json(const struct node *node)
{
    const struct node_repair *repair = &node->repair;

    if (!repair->active) return json_null();
    return json_pack(
        "{s:s, s:s, s:s, s:I, s:s, s:I, s:s, s:i, s:i}", "step", repair_step_name(node), "reason",
        repair->file.reason, "file", repair->file.file, "offset", (json_int_t)repair->file.offset,
        "what", repair->file.what, "began_us", (json_int_t)repair->file.began, "quarantine",
        repair->file.quarantine, "replicas", (int)repair->replicas, "rebuilt", (int)repair->voters);
}

static void repair_problems(const struct node *node, json_t *problems)
{
    const struct node_repair *repair = &node->repair;
    char todo[1200];

    if (repair->active && repair->file.step == REPAIR_FILLING)
        add_problem(problems, "nothing: its peers fill it; then it votes again",
                    "this node is in repair, %u of %u replicas are rebuilt; %.80s offset %llu was "
                    "damaged",
                    repair->voters, repair->replicas, repair->file.file,
                    (unsigned long long)repair->file.offset);
    else if (repair->active)
        add_problem(problems,
                    "start the other nodes; if most of them are lost for ever, put the quarantine "
                    "back and see `holon help salvage`",
                    "this node is in repair and waits for its peers; %.80s offset %llu was damaged",
                    repair->file.file, (unsigned long long)repair->file.offset);
    if (repair->quarantine.sets > 0 && !repair->active) {
        snprintf(todo, sizeof(todo),
                 "look at the disk; when the evidence is not needed any more: rm -r "
                 "%s/quarantine/*",
                 node->options.data);
        add_problem(problems, todo, "damaged files of this node are kept, %u sets with %llu bytes",
                    repair->quarantine.sets, (unsigned long long)repair->quarantine.bytes);
    }
}

static const char *store_state_name(const struct node_store *store)
{
    switch (store->state) {
    case STORE_SOUND:
        return "sound";
    case STORE_HALTED:
    case STORE_DETACHED:
        return "halted";
    case STORE_MOVING:
        return "moving";
    case STORE_FILLING:
        return "filling";
    }
    return "";
}

static json_t *stores_json(const struct node *node)
{
    json_t *stores = json_array();

    for (uint32_t i = 0; i < STORES_MAX; i++) {
        const struct node_store *store = &node->stores[i];
        char file[PATH_SIZE_MAX];
        uint64_t offset;
        if (store->state == STORE_SOUND) continue;
        damage_place(store->cause.text, store->path, file, sizeof(file), &offset);
        json_array_append_new(
            stores, json_pack("{s:i, s:s, s:s, s:s, s:I, s:s, s:s, s:i, s:i}", "store", (int)i,
                              "state", store_state_name(store), "path", store->path, "file", file,
                              "offset", (json_int_t)offset, "what", store->cause.text, "quarantine",
                              store->quarantine, "replicas", (int)store->replicas, "rebuilt",
                              (int)store->voters));
    }
    return stores;
}

static void store_problems(const struct node *node, json_t *problems)
{
    const char *obstacle = node_repair_obstacle(node);
    char todo[256];

    snprintf(todo, sizeof(todo), "stop this node and run holon salvage --data %.150s --dry-run",
             node->options.data);
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        const struct node_store *store = &node->stores[i];
        char file[PATH_SIZE_MAX];
        uint64_t offset;
        if (store->flush_error.status != STATUS_OK)
            add_problem(
                problems, "see what it says; it is tried again by itself",
                "store %u cannot be written, its rows stay in memory and in the log: %.200s", i,
                store->flush_error.text);
        if (store->state == STORE_SOUND) continue;
        damage_place(store->cause.text, store->path, file, sizeof(file), &offset);
        if (obstacle != NULL)
            add_problem(problems, todo,
                        "store %u is damaged (%.200s offset %llu) and its partitions do not answer "
                        "(%s): %.200s",
                        i, file, (unsigned long long)offset, obstacle, store->cause.text);
        else
            add_problem(problems, "nothing: its peers fill a fresh one; look at the disk",
                        "store %u was damaged (%.200s offset %llu), %u of %u replicas are rebuilt: "
                        "%.200s",
                        i, file, (unsigned long long)offset, store->voters, store->replicas,
                        store->cause.text);
    }
    if (node_lost_filling(node) > 0)
        add_problem(problems, "nothing: their peers fill them; do not stop others until then",
                    "%u replicas of this node that take the place of lost ones do not vote yet",
                    node_lost_filling(node));
    const struct lost_replica *first = node_lost_first(node);
    if (first != NULL && obstacle == NULL)
        add_problem(problems,
                    "nothing, if it lasts for seconds; else bring the other nodes of these "
                    "partitions back",
                    "%u replicas of this node are lost (the first: of group %u, in store-%u) and "
                    "wait for a leader without them",
                    node_lost_waiting(node), first->group.value,
                    group_store(first->group, node->identity.stores));
}

/* --- damage met while running ----------------------------------------------------------------- */

static json_t *damaged_json(const struct log_damaged *damaged, const char *state,
                            const char *quarantine)
{
    return json_pack("{s:s, s:I, s:s, s:s, s:s}", "file", damaged->file, "offset",
                     (json_int_t)damaged->offset, "what", damaged->what, "state", state,
                     "quarantine", quarantine);
}

/* Segments of the log that are damaged, and the last one that was healed. */
static json_t *log_damage_json(const struct node *node)
{
    struct log_damaged damaged[LOG_DAMAGED_MAX];
    uint32_t count = node->log != NULL ? log_damages(node->log, damaged) : 0;
    json_t *all = json_array();

    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(
            all, damaged_json(&damaged[i], damaged[i].set_aside ? "set aside" : "needed", ""));
    if (node->scrub.healed.file[0] != '\0')
        json_array_append_new(all,
                              damaged_json(&node->scrub.healed, "healed", node->scrub.healed_in));
    return all;
}

static json_t *scrub_json(const struct node *node)
{
    const struct node_scrub *scrub = &node->scrub;

    return json_pack(
        "{s:I, s:I, s:I, s:b, s:I, s:b, s:I, s:I}", "rate", (json_int_t)node->options.scrub_rate,
        "bytes", (json_int_t)scrub->bytes, "passes", (json_int_t)scrub->passes, "under_way",
        scrub->under_way || scrub->wanted_now, "last_pass_us", (json_int_t)scrub->ended,
        "rows_under_way", scrub->verifying > 0, "ranges_compared",
        node->collector ? (json_int_t)node->collector->sum.host.verify_ranges : 0, "differences",
        node->collector ? (json_int_t)node->collector->sum.host.verify_differences : 0);
}

static json_t *copying_json(const struct node *node)
{
    struct copy_gate_statistics copy;

    copy_gate_statistics(node->copy_gate, &copy);
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "rate", (json_int_t)copy.rate, "sync_alone_us",
                     (json_int_t)copy.alone_us, "sync_late_us", (json_int_t)copy.late_us,
                     "sync_worst_us", (json_int_t)copy.worst_us, "slowed", (json_int_t)copy.slowed);
}

static void log_damage_problems(const struct node *node, json_t *problems)
{
    struct log_damaged damaged[LOG_DAMAGED_MAX];
    uint32_t count = node->log != NULL ? log_damages(node->log, damaged) : 0;
    struct log_statistics log;

    for (uint32_t i = 0; i < count; i++) {
        if (damaged[i].set_aside) {
            add_problem(problems,
                        "look at the disk; it is moved to the quarantine when that has room",
                        "%.120s offset %llu was damaged (%s); nothing was lost", damaged[i].file,
                        (unsigned long long)damaged[i].offset, damaged[i].what);
            continue;
        }
        log_statistics(node->log, &log);
        add_problem(problems,
                    "nothing, if it lasts for seconds: what it is needed for is flushed; else see "
                    "to it that the partition has a leader and its store is whole",
                    "%.120s offset %llu is damaged (%s), and partition %u still needs the log from "
                    "before it",
                    damaged[i].file, (unsigned long long)damaged[i].offset, damaged[i].what,
                    log.oldest_group.value);
    }
    const struct node_scrub *scrub = &node->scrub;
    if (scrub->healed.file[0] != '\0' && node->repair.quarantine.sets > 0)
        add_problem(problems, "look at the disk",
                    "%.120s offset %llu was damaged; nothing was lost, it is kept in quarantine/%s",
                    scrub->healed.file, (unsigned long long)scrub->healed.offset, scrub->healed_in);
}

/* --- small files ------------------------------------------------------------------------------ */

static json_t *file_damage_json(const struct node *node)
{
    json_t *all = json_array();

    for (uint32_t i = 0; i < node->sealed.told_count; i++) {
        const struct file_damage *damage = &node->sealed.told[i];
        json_array_append_new(all, json_pack("{s:s, s:s, s:I, s:s, s:s, s:s}", "reason",
                                             damage->reason, "file", damage->file, "offset",
                                             (json_int_t)damage->offset, "what", damage->what,
                                             "state", damage->healed ? "healed" : "damaged",
                                             "quarantine", damage->quarantine));
    }
    return all;
}

static void file_damage_problems(const struct node *node, json_t *problems)
{
    for (uint32_t i = 0; i < node->sealed.told_count; i++) {
        const struct file_damage *damage = &node->sealed.told[i];
        if (!damage->healed)
            add_problem(problems,
                        "see why it cannot be written again (the log of this node says it); before "
                        "that do not stop this node: what it knows is in memory alone",
                        "%s offset %llu is damaged and not written again yet", damage->file,
                        (unsigned long long)damage->offset);
        else if (node->repair.quarantine.sets > 0)
            add_problem(problems, "look at the disk",
                        "%s offset %llu was damaged; it was written again from memory, and is kept "
                        "in quarantine/%s",
                        damage->file, (unsigned long long)damage->offset, damage->quarantine);
    }
}

/* --- replicas that differed ------------------------------------------------------------------- */

/* Nothing that a whole pass has looked at since. */
static bool is_news(const struct node *node, uint64_t since)
{
    return node->scrub.whole_began < since;
}

static json_t *fenced_json(const struct node *node)
{
    json_t *all = json_array();

    for (uint32_t i = 0; i < node->fence.count; i++) {
        const struct fenced_replica *fenced = &node->fence.replicas[i];
        json_array_append_new(
            all, json_pack("{s:i, s:I, s:I, s:s, s:s}", "group", (int)fenced->group.value,
                           "replica", (json_int_t)fenced->replica.value, "found_us",
                           (json_int_t)fenced->found, "state",
                           fenced->replaced_at != 0 ? "rebuilt" : "fenced", "what", fenced->what));
    }
    return all;
}

static json_t *disputed_json(const struct node *node)
{
    const struct node_fence *fence = &node->fence;

    if (fence->disputed_at == 0 || !is_news(node, fence->disputed_at)) return json_null();
    return json_pack("{s:i, s:s}", "group", (int)fence->disputed.value, "what",
                     fence->disputed_what);
}

static json_t *memory_json(const struct node *node)
{
    json_t *databases = json_array();

    for (int i = 0; i < VIEW_DATABASES_MAX; i++)
        if (node->workers[0].view.memory_databases >> i & 1)
            json_array_append_new(databases, json_integer(i));
    return databases;
}

/* Those that a loss of power took, as long as the table names them. */
static uint32_t forgetful_count(const struct node *node)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < node->lost_count; i++)
        count += !node->lost[i].filling &&
                 node_memory_has(node, node->lost[i].group.value, node->lost[i].replica);
    return count;
}

static void memory_problem(const struct node *node, json_t *problems)
{
    uint32_t count = forgetful_count(node);

    if (count == 0) return;
    add_problem(
        problems,
        "nothing, where the others have kept it: they fill it. If partitions stay without a "
        "leader, too few have: stop the nodes that lost power, run `holon salvage --data DIR "
        "--accept-loss` on each, start them: the longest logs count, and the last writes of "
        "databases with durability memory may be missing",
        "%u replicas of node %s lost power while a database had durability memory, and may have "
        "forgotten what they acknowledged: they do not vote",
        count, node->identity.name);
}

static void fenced_problems(const struct node *node, json_t *problems)
{
    const struct node_fence *fence = &node->fence;
    const char *obstacle = node_repair_obstacle(node);

    for (uint32_t i = 0; i < fence->count; i++) {
        const struct fenced_replica *fenced = &fence->replicas[i];
        if (fenced->replaced_at != 0 && is_news(node, fenced->replaced_at))
            add_problem(problems,
                        "look at memory and disk of this machine; this goes when holon scrub has "
                        "found all equal",
                        "replica %llu of group %u differed from its peers and was rebuilt by them: "
                        "%s",
                        (unsigned long long)fenced->replica.value, fenced->group.value,
                        fenced->what);
        else if (fenced->replaced_at == 0)
            add_problem(problems,
                        obstacle == NULL
                            ? "nothing: its peers rebuild it; look at memory and disk of this "
                              "machine"
                            : "nobody can say which of two replicas is right: compare them, empty "
                              "the directory of the node that is wrong, or see `holon help "
                              "salvage`",
                        "replica %llu of group %u differs from its peers and has stopped: %s",
                        (unsigned long long)fenced->replica.value, fenced->group.value,
                        fenced->what);
    }
    if (fence->disputed_at != 0 && is_news(node, fence->disputed_at))
        add_problem(problems,
                    "bring the other nodes back, if some are down: then a majority decides; run "
                    "three replicas",
                    "the replicas of group %u differ, and which is wrong cannot be told: %s",
                    fence->disputed.value, fence->disputed_what);
}

static int append_text(const char *text, size_t size, void *buffer)
{
    return buffer_append(buffer, bytes_make(text, size)) ? -1 : 0;
}

bool node_status_json(struct node *node, struct buffer *buffer)
{
    const struct cluster_view *view = &node->workers[0].view;
    char cluster[CLUSTER_ID_TEXT_SIZE];
    json_t *problems = json_array();
    uint32_t led = 0, moving = cluster_view_moving(view);

    cluster_id_print(view->cluster, cluster);
    for (uint32_t g = GROUP_DATA_FIRST; g < view->group_count; g++)
        led += view->groups[g].leader != 0;
    node_problems(node, problems);
    serve_problem(node, problems);
    disk_problem(node, problems);
    log_problem(node, problems);
    repair_problems(node, problems);
    store_problems(node, problems);
    log_damage_problems(node, problems);
    file_damage_problems(node, problems);
    fenced_problems(node, problems);
    memory_problem(node, problems);
    json_t *status = json_pack(
        "{s:s, s:s, s:s, s:b, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:s, s:o, s:o, s:o, s:i, "
        "s:{s:i, s:I}, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o}",
        "cluster", cluster, "node", node->options.name, "version", HOLON_VERSION, "ready",
        node->ready, "uptime_ms", (json_int_t)((world_now(node->world) - node->started) / 1000),
        "table_epoch", (json_int_t)view->table_epoch, "cluster_version", (int)view->cluster_version,
        "partitions", (int)view->partition_count, "partitions_led", (int)led, "groups_moving",
        (int)moving, "replicas", (int)view->replicas, "reads", reads_mode_name(view->reads),
        "nodes", nodes_json(node), "repair", repair_json(node), "stores", stores_json(node),
        "lost_replicas", (int)node_lost_waiting(node), "quarantine", "sets",
        (int)node->repair.quarantine.sets, "bytes", (json_int_t)node->repair.quarantine.bytes,
        "log_damage", log_damage_json(node), "file_damage", file_damage_json(node), "scrub",
        scrub_json(node), "fenced", fenced_json(node), "disputed", disputed_json(node), "moves",
        node_moves_json(node), "problems", problems, "memory_databases", memory_json(node),
        "lost_power", (int)forgetful_count(node), "copying", copying_json(node));
    bool whole = buffer_append(buffer, bytes_of("{")) == STATUS_OK &&
                 json_dump_callback(status, append_text, buffer, JSON_COMPACT | JSON_EMBED) == 0 &&
                 buffer_append(buffer, bytes_of(",\"groups\":[")) == STATUS_OK &&
                 append_groups(view, buffer) && buffer_append(buffer, bytes_of("]}")) == STATUS_OK;
    json_decref(status);
    return whole;
}
