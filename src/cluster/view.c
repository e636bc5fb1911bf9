#include "cluster/view.h"

#include "base/assert.h"
#include "base/memory.h"
#include "cluster/view_codec.h"

/* The second is with what there is more of. Who does not know it says so, and takes the table for
 * that of another version, not for damage. */
enum { VIEW_FORMAT = 1, VIEW_FORMAT_MORE = 2 };

bool node_name_is_valid(struct bytes name)
{
    for (size_t i = 0; i < name.size; i++) {
        char c = (char)name.data[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
        if (!ok) return false;
    }
    return name.size > 0 && name.size < NODE_NAME_SIZE_MAX;
}

void cluster_view_init(struct cluster_view *view)
{
    memset(view, 0, sizeof(*view));
}

void cluster_view_free(struct cluster_view *view)
{
    memory_free(view->groups);
    cluster_view_init(view);
}

void cluster_view_assign(struct cluster_view *to, const struct cluster_view *from)
{
    ASSERT(to != from);
    struct view_group *old_groups = to->groups;
    uint32_t old_count = to->group_count;

    *to = *from;
    to->groups = memory_allocate((size_t)from->group_count * sizeof(*to->groups));
    if (from->group_count)
        memcpy(to->groups, from->groups, (size_t)from->group_count * sizeof(*to->groups));
    for (uint32_t i = 0; i < to->group_count; i++) {
        const struct view_group none = {0};
        const struct view_group *old = i < old_count ? &old_groups[i] : &none;
        to->groups[i].leader = old->leader;
        to->groups[i].leader_term = old->leader_term;
        to->groups[i].leader_since = old->leader_since;
        to->groups[i].last_leader = old->last_leader;
    }
    memory_free(old_groups);
}

void cluster_view_set_leader(struct cluster_view *view, struct group_id group, node_id_t leader,
                             uint64_t term, uint64_t now)
{
    ASSERT(group.value < view->group_count);
    struct view_group *known = &view->groups[group.value];

    if (known->leader == leader && known->leader_term == term) return;
    known->leader = leader;
    known->leader_term = term;
    known->leader_since = now;
    if (leader != 0) known->last_leader = leader;
}

const struct view_node *cluster_view_node(const struct cluster_view *view, node_id_t id)
{
    for (uint32_t i = 0; i < view->node_count; i++)
        if (view->nodes[i].id == id) return &view->nodes[i];
    return NULL;
}

/* An id that meta has given and its table does not have is that of a node that was removed. */
boot_epoch_t cluster_view_later_epoch(const struct cluster_view *view, node_id_t id,
                                      boot_epoch_t epoch)
{
    const struct view_node *node = cluster_view_node(view, id);

    if (node != NULL) return node->epoch > epoch ? node->epoch : 0;
    return id < view->next_node_id ? epoch + 1 : 0;
}

void cluster_view_index_slots(struct cluster_view *view)
{
    for (uint32_t p = 0; p < view->partition_count; p++) {
        const struct view_group *group = &view->groups[GROUP_DATA_FIRST + p];
        for (uint32_t slot = group->slot_first; slot <= group->slot_last; slot++)
            view->slot_partition[slot] = (uint16_t)p;
    }
}

void view_node_encode(const struct view_node *node, struct writer *writer)
{
    write_varint(writer, node->id);
    write_u64(writer, node->store);
    write_varint(writer, node->epoch);
    write_sized(writer, bytes_of(node->name));
    write_sized(writer, bytes_of(node->hex_id));
    write_sized(writer, bytes_of(node->redis));
    write_sized(writer, bytes_of(node->redis_cluster));
    write_sized(writer, bytes_of(node->peer));
    write_sized(writer, bytes_of(node->admin));
}

void read_text(struct reader *reader, char *ret_text, size_t size_max)
{
    struct bytes text = read_sized(reader);
    bool fits = text.size < size_max && (!text.size || memchr(text.data, 0, text.size) == NULL);

    if (!fits) reader->failed = true;
    if (reader->failed) text = bytes_make(NULL, 0);
    if (text.size) memcpy(ret_text, text.data, text.size);
    ret_text[text.size] = '\0';
}

void view_node_decode(struct reader *reader, struct view_node *ret_node)
{
    struct view_node node = {0};
    uint64_t id = read_varint(reader);

    node.id = (node_id_t)id;
    node.store = read_u64(reader);
    uint64_t epoch = read_varint(reader);
    node.epoch = (boot_epoch_t)epoch;
    read_text(reader, node.name, sizeof(node.name));
    read_text(reader, node.hex_id, sizeof(node.hex_id));
    read_text(reader, node.redis, sizeof(node.redis));
    read_text(reader, node.redis_cluster, sizeof(node.redis_cluster));
    read_text(reader, node.peer, sizeof(node.peer));
    read_text(reader, node.admin, sizeof(node.admin));
    if (id == 0 || id > NODES_MAX || epoch > UINT32_MAX) reader->failed = true;
    *ret_node = node;
}

void view_group_encode(const struct view_group *group, struct writer *writer)
{
    write_u16(writer, group->slot_first);
    write_u16(writer, group->slot_last);
    write_u8(writer, group->replica_count);
    for (uint32_t i = 0; i < group->replica_count; i++) {
        write_varint(writer, group->replicas[i].node);
        write_varint(writer, group->replicas[i].replica.value);
    }
}

void view_group_decode(struct reader *reader, struct view_group *ret_group)
{
    struct view_group group = {0};

    group.slot_first = read_u16(reader);
    group.slot_last = read_u16(reader);
    group.replica_count = read_u8(reader);
    if (group.replica_count > VIEW_REPLICAS_MAX) {
        reader->failed = true;
        group.replica_count = 0;
    }
    for (uint32_t i = 0; i < group.replica_count; i++) {
        uint64_t node = read_varint(reader);
        group.replicas[i].node = (node_id_t)node;
        group.replicas[i].replica.value = read_varint(reader);
        if (node == 0 || node > UINT32_MAX || group.replicas[i].replica.value == 0)
            reader->failed = true;
    }
    *ret_group = group;
}

void view_settings_encode(const struct cluster_view *view, struct writer *writer)
{
    write_u8(writer, view_has_more(view) ? VIEW_FORMAT_MORE : VIEW_FORMAT);
    write_u64(writer, view->cluster.high);
    write_u64(writer, view->cluster.low);
    write_varint(writer, view->table_epoch);
    write_varint(writer, view->cluster_version);
    write_varint(writer, view->partition_count);
    write_varint(writer, view->replicas);
    write_u8(writer, (uint8_t)view->reads);
    write_u64(writer, view->hash_secret[0]);
    write_u64(writer, view->hash_secret[1]);
    write_varint(writer, view->next_replica_id);
}

enum status view_settings_decode(struct reader *reader, struct cluster_view *view)
{
    uint8_t format = read_u8(reader);
    if (reader->failed) return STATUS_CORRUPT;
    if (format != VIEW_FORMAT && format != VIEW_FORMAT_MORE) return STATUS_VERSION;
    view->cluster.high = read_u64(reader);
    view->cluster.low = read_u64(reader);
    view->table_epoch = read_varint(reader);
    uint64_t version = read_varint(reader);
    uint64_t partitions = read_varint(reader);
    uint64_t replicas = read_varint(reader);
    uint8_t reads = read_u8(reader);
    view->hash_secret[0] = read_u64(reader);
    view->hash_secret[1] = read_u64(reader);
    view->next_replica_id = read_varint(reader);
    bool valid = !reader->failed && partitions >= 1 && partitions <= PARTITIONS_MAX &&
                 replicas >= 1 && replicas <= VIEW_REPLICAS_MAX && reads <= READS_QUORUM;
    if (!valid || version == 0) return STATUS_CORRUPT;
    if (version > VIEW_VERSION) return STATUS_VERSION;
    view->cluster_version = (uint32_t)version;
    if (view_has_more(view) != (format == VIEW_FORMAT_MORE)) return STATUS_VERSION;
    view->partition_count = (uint32_t)partitions;
    view->replicas = (uint32_t)replicas;
    view->reads = (enum reads_mode)reads;
    view->group_count = GROUP_DATA_FIRST + view->partition_count;
    return STATUS_OK;
}

/* --- from version 2 on -------------------------------------------------------------------- */

void view_settings_more_encode(const struct cluster_view *view, struct writer *writer)
{
    write_varint(writer, view->next_node_id);
    if (view->cluster_version >= VIEW_VERSION_MEMORY) write_varint(writer, view->memory_databases);
}

void view_settings_more_decode(struct reader *reader, struct cluster_view *view)
{
    uint64_t next = read_varint(reader);

    view->next_node_id = (node_id_t)next;
    if (next == 0 || next > UINT32_MAX) reader->failed = true;
    if (view->cluster_version < VIEW_VERSION_MEMORY) return;
    uint64_t databases = read_varint(reader);
    if (databases >> VIEW_DATABASES_MAX != 0) reader->failed = true;
    view->memory_databases = (uint32_t)databases;
}

void view_settings_more_none(struct cluster_view *view)
{
    view->next_node_id = 1;
    for (uint32_t i = 0; i < view->node_count; i++)
        if (view->nodes[i].id >= view->next_node_id) view->next_node_id = view->nodes[i].id + 1;
}

void view_node_more_encode(const struct view_node *node, struct writer *writer)
{
    write_u8(writer, (uint8_t)node->state);
    write_sized(writer, bytes_of(node->labels));
}

void view_node_more_decode(struct reader *reader, struct view_node *node)
{
    uint8_t state = read_u8(reader);

    node->state = (enum view_node_state)state;
    read_text(reader, node->labels, sizeof(node->labels));
    if (state > VIEW_NODE_LEAVES) reader->failed = true;
}

void view_group_more_encode(const struct view_group *group, struct writer *writer)
{
    write_u8(writer, group->moving);
    write_varint(writer, group->changed);
}

void view_group_more_decode(struct reader *reader, struct view_group *group)
{
    uint8_t moving = read_u8(reader);

    group->changed = read_varint(reader);
    group->moving = moving == 1;
    if (moving > 1) reader->failed = true;
}

static void view_more_encode(const struct cluster_view *view, struct writer *writer)
{
    view_settings_more_encode(view, writer);
    for (uint32_t i = 0; i < view->node_count; i++)
        view_node_more_encode(&view->nodes[i], writer);
    for (uint32_t i = 0; i < view->group_count; i++)
        view_group_more_encode(&view->groups[i], writer);
}

static void view_more_decode(struct reader *reader, struct cluster_view *view)
{
    view_settings_more_decode(reader, view);
    for (uint32_t i = 0; i < view->node_count; i++)
        view_node_more_decode(reader, &view->nodes[i]);
    for (uint32_t i = 0; i < view->group_count; i++)
        view_group_more_decode(reader, &view->groups[i]);
}

/* --- whole -------------------------------------------------------------------------------- */

/* The data groups must cover all slots in order, each once. */
bool cluster_view_slots_covered(const struct cluster_view *view)
{
    uint32_t next = 0;

    for (uint32_t i = GROUP_DATA_FIRST; i < view->group_count; i++) {
        const struct view_group *group = &view->groups[i];
        if (group->slot_first != next || group->slot_last < next) return false;
        if (group->slot_last >= SLOT_COUNT) return false;
        next = group->slot_last + 1u;
    }
    return next == SLOT_COUNT;
}

void cluster_view_encode(const struct cluster_view *view, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);

    view_settings_encode(view, &writer);
    write_varint(&writer, view->node_count);
    for (uint32_t i = 0; i < view->node_count; i++)
        view_node_encode(&view->nodes[i], &writer);
    for (uint32_t i = 0; i < view->group_count; i++)
        view_group_encode(&view->groups[i], &writer);
    if (view_has_more(view)) view_more_encode(view, &writer);
    ASSERT(!writer.failed); /* the caller gave the buffer VIEW_SIZE_MAX */
}

enum status cluster_view_decode(struct bytes bytes, struct cluster_view *ret_view)
{
    struct reader reader = reader_make(bytes);
    struct cluster_view *view = memory_allocate_zero(sizeof(*view));
    enum status status = view_settings_decode(&reader, view);

    if (status) goto out;
    status = STATUS_CORRUPT;
    uint64_t node_count = read_varint(&reader);
    if (reader.failed || node_count == 0 || node_count > NODES_MAX) goto out;
    view->node_count = (uint32_t)node_count;
    for (uint32_t i = 0; i < view->node_count; i++)
        view_node_decode(&reader, &view->nodes[i]);
    view->groups = memory_allocate_zero((size_t)view->group_count * sizeof(*view->groups));
    for (uint32_t i = 0; i < view->group_count; i++)
        view_group_decode(&reader, &view->groups[i]);
    if (view_has_more(view))
        view_more_decode(&reader, view);
    else
        view_settings_more_none(view);
    if (reader.failed || reader_left(&reader) != 0 || !cluster_view_slots_covered(view)) goto out;

    cluster_view_index_slots(view);
    cluster_view_free(ret_view);
    *ret_view = *view;
    view->groups = NULL;
    status = STATUS_OK;

out:
    memory_free(view->groups);
    memory_free(view);
    return status;
}

uint32_t cluster_view_moving(const struct cluster_view *view)
{
    uint32_t moving = 0;

    for (uint32_t g = 0; g < view->group_count; g++)
        moving += view->groups[g].moving;
    return moving;
}
