#include "cluster/meta_rows.h"

#include "base/assert.h"
#include "base/memory.h"
#include "cluster/meta.h"

struct meta_key meta_key_make(enum meta_row_kind kind, uint32_t id)
{
    struct meta_key key;

    row_prefix_store(key.bytes, ROW_SLOT_META, SERVICE_META, 0);
    key.bytes[ROW_PREFIX_SIZE] = (uint8_t)kind;
    store_u32_be(key.bytes + ROW_PREFIX_SIZE + 1, id);
    return key;
}

bool meta_key_parse(struct bytes key, enum meta_row_kind *ret_kind, uint32_t *ret_id)
{
    struct meta_key settings = meta_key_make(META_ROW_SETTINGS, 0);

    if (key.size != META_KEY_SIZE) return false;
    if (memcmp(key.data, settings.bytes, ROW_PREFIX_SIZE) != 0) return false;
    *ret_kind = (enum meta_row_kind)key.data[ROW_PREFIX_SIZE];
    *ret_id = load_u32_be(key.data + ROW_PREFIX_SIZE + 1);
    return true;
}

void meta_settings_encode(const struct cluster_view *view, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);

    view_settings_encode(view, &writer);
    if (view_has_more(view)) view_settings_more_encode(view, &writer);
    ASSERT(!writer.failed);
}

enum status meta_settings_decode(struct bytes bytes, struct cluster_view *view)
{
    struct reader reader = reader_make(bytes);
    enum status status = view_settings_decode(&reader, view);

    if (status) return status;
    if (view_has_more(view)) view_settings_more_decode(&reader, view);
    return reader.failed ? STATUS_CORRUPT : STATUS_OK;
}

void meta_node_encode(const struct cluster_view *view, const struct meta_node *node,
                      struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);

    view_node_encode(&node->node, &writer);
    write_u32(&writer, node->epoch_last);
    write_u64(&writer, node->boot_token);
    write_u64(&writer, node->rejoin_token);
    write_u32(&writer, node->rejoin_first);
    if (view_has_more(view)) {
        view_node_more_encode(&node->node, &writer);
        write_varint(&writer, node->ids_from);
    }
    ASSERT(!writer.failed);
}

enum status meta_node_decode(struct bytes bytes, struct meta_node *ret_node)
{
    struct reader reader = reader_make(bytes);
    struct meta_node node = {0};

    view_node_decode(&reader, &node.node);
    node.epoch_last = read_u32(&reader);
    node.boot_token = read_u64(&reader);
    node.rejoin_token = read_u64(&reader);
    node.rejoin_first = read_u32(&reader);
    if (!reader.failed && reader_left(&reader) > 0) {
        view_node_more_decode(&reader, &node.node);
        node.ids_from = read_varint(&reader);
    }
    if (reader.failed) return STATUS_CORRUPT;
    *ret_node = node;
    return STATUS_OK;
}

void meta_group_encode(const struct cluster_view *view, const struct view_group *group,
                       struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);

    view_group_encode(group, &writer);
    if (view_has_more(view)) view_group_more_encode(group, &writer);
    ASSERT(!writer.failed);
}

enum status meta_group_decode(struct bytes bytes, struct view_group *ret_group)
{
    struct reader reader = reader_make(bytes);
    struct view_group group;

    view_group_decode(&reader, &group);
    if (!reader.failed && reader_left(&reader) > 0) view_group_more_decode(&reader, &group);
    if (reader.failed) return STATUS_CORRUPT;
    *ret_group = group;
    return STATUS_OK;
}

void meta_token_encode(const struct meta_token *token, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);

    write_bytes(&writer, bytes_make(token->hash, sizeof(token->hash)));
    write_u64(&writer, (uint64_t)token->expires_ms);
    if (token->node != 0) write_u32(&writer, token->node);
    ASSERT(!writer.failed);
}

enum status meta_token_decode(struct bytes bytes, struct meta_token *ret_token)
{
    struct reader reader = reader_make(bytes);
    struct bytes hash = read_bytes(&reader, META_SECRET_HASH_SIZE);

    if (reader.failed) return STATUS_CORRUPT;
    memcpy(ret_token->hash, hash.data, META_SECRET_HASH_SIZE);
    ret_token->expires_ms = (int64_t)read_u64(&reader);
    ret_token->node = reader_left(&reader) > 0 ? read_u32(&reader) : 0;
    return reader.failed ? STATUS_CORRUPT : STATUS_OK;
}

/* --- reading the committed rows ------------------------------------------------------- */

struct meta_walk {
    struct cluster_view *view;
    uint32_t groups_seen;
    bool settings_only;
    bool seen_settings;
    enum status status;
};

static bool meta_walk_row(void *context, const struct row_found *row)
{
    struct meta_walk *walk = context;
    struct cluster_view *view = walk->view;
    enum meta_row_kind kind;
    uint32_t id;

    if (!meta_key_parse(row->key, &kind, &id)) return true; /* rows of later versions */
    if (kind == META_ROW_SETTINGS) {
        walk->status = meta_settings_decode(row->value, view);
        walk->seen_settings = walk->status == STATUS_OK;
        if (!walk->seen_settings || walk->settings_only) return false;
        memory_free(view->groups);
        view->groups = memory_allocate_zero((size_t)view->group_count * sizeof(*view->groups));
        return true;
    }
    if (!walk->seen_settings) return true;
    if (kind == META_ROW_NODE) {
        struct meta_node node;
        walk->status = meta_node_decode(row->value, &node);
        if (walk->status == STATUS_OK && view->node_count == NODES_MAX)
            walk->status = STATUS_CORRUPT;
        if (walk->status == STATUS_OK) view->nodes[view->node_count++] = node.node;
    } else if (kind == META_ROW_GROUP) {
        if (id >= view->group_count) return true;
        walk->status = meta_group_decode(row->value, &view->groups[id]);
        walk->groups_seen++;
    }
    return walk->status == STATUS_OK;
}

uint64_t meta_rows_epoch(const struct row_table *table)
{
    struct cluster_view *view = memory_allocate_zero(sizeof(*view));
    struct meta_walk walk = {.view = view, .settings_only = true};

    row_table_committed_each(table, bytes_make(NULL, 0), &walk, meta_walk_row);
    uint64_t epoch = walk.seen_settings ? view->table_epoch : 0;
    memory_free(view);
    return epoch;
}

enum status meta_rows_view(const struct row_table *table, struct cluster_view *ret_view)
{
    struct cluster_view *view = memory_allocate_zero(sizeof(*view));
    struct meta_walk walk = {.view = view};

    row_table_committed_each(table, bytes_make(NULL, 0), &walk, meta_walk_row);
    enum status status = walk.status;
    if (status == STATUS_OK && !walk.seen_settings) status = STATUS_NOT_FOUND;
    if (status == STATUS_OK) {
        bool whole = walk.groups_seen == view->group_count && view->node_count > 0 &&
                     cluster_view_slots_covered(view);
        if (!whole) status = STATUS_CORRUPT;
    }
    if (status == STATUS_OK) {
        if (!view_has_more(view)) view_settings_more_none(view);
        cluster_view_index_slots(view);
        view->self = ret_view->self;
        cluster_view_free(ret_view);
        *ret_view = *view;
        view->groups = NULL;
    }
    memory_free(view->groups);
    memory_free(view);
    return status;
}
