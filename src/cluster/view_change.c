#include "cluster/view_change.h"

#include "base/assert.h"
#include "base/memory.h"
#include "cluster/view_codec.h"

enum { CHANGE_FORMAT = 1, PART_SIZE_MAX = 2048, MARK_SEED = 0x7ab1e };

/* --- parts -------------------------------------------------------------------------------- */

static void write_settings(const struct cluster_view *view, struct writer *writer)
{
    view_settings_encode(view, writer);
    view_settings_more_encode(view, writer);
}

static void write_node(const struct view_node *node, struct writer *writer)
{
    view_node_encode(node, writer);
    view_node_more_encode(node, writer);
}

static void write_group(const struct view_group *group, struct writer *writer)
{
    view_group_encode(group, writer);
    view_group_more_encode(group, writer);
}

static uint64_t mark_of(struct buffer *part)
{
    uint64_t mark = hash64(MARK_SEED, buffer_bytes(part));

    buffer_clear(part);
    return mark;
}

void view_marks_free(struct view_marks *marks)
{
    memory_free(marks->groups);
    *marks = (struct view_marks){0};
}

void view_marks_take(struct view_marks *marks, const struct cluster_view *view)
{
    struct buffer part;

    buffer_init(&part, PART_SIZE_MAX);
    view_marks_free(marks);
    struct writer writer = writer_make(&part);
    marks->epoch = view->table_epoch;
    marks->version = view->cluster_version;
    write_settings(view, &writer);
    marks->settings = mark_of(&part);
    marks->node_count = view->node_count;
    for (uint32_t i = 0; i < view->node_count; i++) {
        marks->ids[i] = view->nodes[i].id;
        write_node(&view->nodes[i], &writer);
        marks->nodes[i] = mark_of(&part);
    }
    marks->group_count = view->group_count;
    marks->groups = memory_allocate((size_t)view->group_count * sizeof(*marks->groups));
    for (uint32_t i = 0; i < view->group_count; i++) {
        write_group(&view->groups[i], &writer);
        marks->groups[i] = mark_of(&part);
    }
    ASSERT(!writer.failed);
    buffer_free(&part);
}

/* Of all parts in their order. */
static uint64_t sum_of(const struct view_marks *marks)
{
    uint64_t sum = marks->settings;

    for (uint32_t i = 0; i < marks->node_count; i++)
        sum = hash_u64(sum ^ marks->nodes[i]);
    for (uint32_t i = 0; i < marks->group_count; i++)
        sum = hash_u64(sum ^ marks->groups[i]);
    return sum;
}

/* --- making ------------------------------------------------------------------------------- */

static bool node_is_as_before(const struct view_marks *base, node_id_t id, uint64_t mark)
{
    for (uint32_t i = 0; i < base->node_count; i++)
        if (base->ids[i] == id) return base->nodes[i] == mark;
    return false;
}

static void write_nodes(const struct view_marks *base, const struct view_marks *marks,
                        const struct cluster_view *view, struct writer *writer)
{
    uint32_t changed = 0;

    write_varint(writer, view->node_count);
    for (uint32_t i = 0; i < view->node_count; i++) {
        write_varint(writer, marks->ids[i]);
        changed += !node_is_as_before(base, marks->ids[i], marks->nodes[i]);
    }
    write_varint(writer, changed);
    for (uint32_t i = 0; i < view->node_count; i++)
        if (!node_is_as_before(base, marks->ids[i], marks->nodes[i]))
            write_node(&view->nodes[i], writer);
}

static void write_groups(const struct view_marks *base, const struct view_marks *marks,
                         const struct cluster_view *view, struct writer *writer)
{
    uint32_t changed = 0;

    for (uint32_t i = 0; i < view->group_count; i++)
        changed += base->groups[i] != marks->groups[i];
    write_varint(writer, changed);
    for (uint32_t i = 0; i < view->group_count && !writer->failed; i++) {
        if (base->groups[i] == marks->groups[i]) continue;
        write_varint(writer, i);
        write_group(&view->groups[i], writer);
    }
}

bool view_change_encode(const struct view_marks *base, const struct view_marks *marks,
                        const struct cluster_view *view, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);
    bool usable = base->epoch != 0 && base->epoch < view->table_epoch &&
                  base->group_count == view->group_count && view_has_more(view) &&
                  base->version >= VIEW_VERSION_ELASTIC;

    ASSERT(marks->epoch == view->table_epoch && buffer_size(buffer) == 0);
    if (!usable) return false;
    write_u8(&writer, CHANGE_FORMAT);
    write_varint(&writer, base->epoch);
    write_u64(&writer, sum_of(base));
    write_u64(&writer, sum_of(marks));
    write_settings(view, &writer);
    write_nodes(base, marks, view, &writer);
    write_groups(base, marks, view, &writer);
    if (!writer.failed) return true;
    buffer_clear(buffer); /* it has no more room than VIEW_CHANGE_SIZE_MAX */
    return false;
}

/* --- applying ----------------------------------------------------------------------------- */

struct change_head {
    uint64_t base_epoch, base_sum, sum;
};

/* Into *view go the settings, too. */
static enum status read_head(struct reader *reader, struct change_head *ret_head,
                             struct cluster_view *view)
{
    uint8_t format = read_u8(reader);

    if (reader->failed) return STATUS_CORRUPT;
    if (format != CHANGE_FORMAT) return STATUS_VERSION;
    ret_head->base_epoch = read_varint(reader);
    ret_head->base_sum = read_u64(reader);
    ret_head->sum = read_u64(reader);
    enum status status = view_settings_decode(reader, view);
    if (status) return status;
    if (!view_has_more(view)) return STATUS_CORRUPT;
    view_settings_more_decode(reader, view);
    return reader->failed ? STATUS_CORRUPT : STATUS_OK;
}

enum status view_change_epochs(struct bytes bytes, uint64_t *ret_base, uint64_t *ret_epoch)
{
    struct reader reader = reader_make(bytes);
    struct cluster_view *view = memory_allocate_zero(sizeof(*view));
    struct change_head head;
    enum status status = read_head(&reader, &head, view);

    if (status == STATUS_OK) *ret_base = head.base_epoch;
    if (status == STATUS_OK) *ret_epoch = view->table_epoch;
    memory_free(view);
    return status;
}

/* Those that are not changed, as the base has them. */
static void read_nodes(struct reader *reader, const struct cluster_view *base,
                       struct cluster_view *view)
{
    bool known[NODES_MAX] = {false};
    uint64_t count = read_varint(reader);

    if (count == 0 || count > NODES_MAX) reader->failed = true;
    for (uint32_t i = 0; i < count && !reader->failed; i++) {
        uint64_t id = read_varint(reader);
        const struct view_node *node =
            id <= NODES_MAX ? cluster_view_node(base, (node_id_t)id) : NULL;
        view->nodes[i].id = (node_id_t)id;
        known[i] = node != NULL;
        if (known[i]) view->nodes[i] = *node;
        if (id == 0 || id > NODES_MAX) reader->failed = true;
    }
    if (reader->failed) return;
    view->node_count = (uint32_t)count;
    uint64_t changed = read_varint(reader);
    uint32_t at = 0;
    for (uint64_t i = 0; i < changed && !reader->failed; i++, at++) {
        struct view_node node;
        view_node_decode(reader, &node);
        view_node_more_decode(reader, &node);
        while (at < view->node_count && view->nodes[at].id != node.id)
            at++;
        if (at == view->node_count) reader->failed = true;
        if (reader->failed) return;
        view->nodes[at] = node;
        known[at] = true;
    }
    for (uint32_t i = 0; i < view->node_count; i++)
        if (!known[i]) reader->failed = true;
}

static void read_groups(struct reader *reader, struct cluster_view *view)
{
    uint64_t changed = read_varint(reader), least = 0;

    for (uint64_t i = 0; i < changed && !reader->failed; i++) {
        uint64_t number = read_varint(reader);
        if (number < least || number >= view->group_count) {
            reader->failed = true;
            return;
        }
        view_group_decode(reader, &view->groups[number]);
        view_group_more_decode(reader, &view->groups[number]);
        least = number + 1;
    }
}

static bool sums_to(const struct cluster_view *view, uint64_t sum)
{
    struct view_marks marks = {0};

    view_marks_take(&marks, view);
    bool same = sum_of(&marks) == sum;
    view_marks_free(&marks);
    return same;
}

enum status view_change_apply(struct bytes bytes, const struct cluster_view *base,
                              struct cluster_view *ret_view)
{
    struct reader reader = reader_make(bytes);
    struct cluster_view *view = memory_allocate_zero(sizeof(*view));
    struct change_head head;
    enum status status = read_head(&reader, &head, view);

    if (status) goto out;
    status = STATUS_NOT_FOUND;
    bool meant = head.base_epoch == base->table_epoch && view->group_count == base->group_count &&
                 cluster_id_equal(view->cluster, base->cluster) && view_has_more(base) &&
                 sums_to(base, head.base_sum);
    if (!meant) goto out;
    status = STATUS_CORRUPT;
    view->groups = memory_allocate((size_t)view->group_count * sizeof(*view->groups));
    memcpy(view->groups, base->groups, (size_t)view->group_count * sizeof(*view->groups));
    read_nodes(&reader, base, view);
    if (!reader.failed) read_groups(&reader, view);
    bool sound = !reader.failed && reader_left(&reader) == 0 &&
                 view->table_epoch > base->table_epoch && cluster_view_slots_covered(view) &&
                 sums_to(view, head.sum);
    if (!sound) goto out;
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
