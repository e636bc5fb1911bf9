#include "cluster/identity.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/codec.h"
#include "cluster/view_codec.h"

static const char identity_magic[] = "HOLONID1";

enum {
    IDENTITY_FLAG_BORN = 1,
    IDENTITY_FLAG_CLEAN = 2,
    IDENTITY_FLAG_MADE = 4,
    IDENTITY_SIZE_MAX = 512
};

void cluster_id_print(struct cluster_id id, char ret_text[CLUSTER_ID_TEXT_SIZE])
{
    snprintf(ret_text, CLUSTER_ID_TEXT_SIZE, "%016llx%016llx", (unsigned long long)id.high,
             (unsigned long long)id.low);
}

const char *reads_mode_name(enum reads_mode reads)
{
    return reads == READS_QUORUM ? "quorum" : "lease";
}

static void identity_encode(const struct identity *identity, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);
    uint8_t flags = (uint8_t)((identity->born ? IDENTITY_FLAG_BORN : 0) |
                              (identity->clean ? IDENTITY_FLAG_CLEAN : 0) |
                              (identity->made ? IDENTITY_FLAG_MADE : 0));

    write_u8(&writer, (uint8_t)identity->state);
    write_u64(&writer, identity->cluster.high);
    write_u64(&writer, identity->cluster.low);
    write_u32(&writer, identity->node);
    write_u64(&writer, identity->store);
    write_u32(&writer, identity->epoch_first);
    write_u32(&writer, identity->epoch_last);
    write_u32(&writer, identity->epoch_next);
    write_u32(&writer, identity->proposal);
    write_u32(&writer, identity->stores);
    write_u32(&writer, identity->partitions);
    write_u32(&writer, identity->replicas);
    write_u8(&writer, (uint8_t)identity->reads);
    write_u8(&writer, flags);
    write_sized(&writer, bytes_of(identity->name));
    write_u32(&writer, identity->epoch_spoken);
    ASSERT(!writer.failed);
}

static bool identity_decode(struct bytes bytes, struct identity *ret_identity)
{
    struct reader reader = reader_make(bytes);
    struct identity identity = {0};

    uint8_t state = read_u8(&reader);
    identity.state = (enum identity_state)state;
    identity.cluster.high = read_u64(&reader);
    identity.cluster.low = read_u64(&reader);
    identity.node = read_u32(&reader);
    identity.store = read_u64(&reader);
    identity.epoch_first = read_u32(&reader);
    identity.epoch_last = read_u32(&reader);
    identity.epoch_next = read_u32(&reader);
    identity.proposal = read_u32(&reader);
    identity.stores = read_u32(&reader);
    identity.partitions = read_u32(&reader);
    identity.replicas = read_u32(&reader);
    uint8_t reads = read_u8(&reader);
    identity.reads = (enum reads_mode)reads;
    uint8_t flags = read_u8(&reader);
    identity.born = flags & IDENTITY_FLAG_BORN;
    identity.clean = flags & IDENTITY_FLAG_CLEAN;
    identity.made = flags & IDENTITY_FLAG_MADE;
    read_text(&reader, identity.name, sizeof(identity.name));
    /* Of 0.1.0, where every start that took an epoch counted as one that spoke. */
    identity.epoch_spoken = reader_left(&reader) > 0 ? read_u32(&reader) : identity.epoch_next - 1;

    bool valid =
        !reader.failed && (state == IDENTITY_ACCEPTED || state == IDENTITY_MEMBER) &&
        !cluster_id_is_none(identity.cluster) && identity.node != 0 && identity.store != 0 &&
        identity.epoch_next >= 1 && identity.epoch_spoken < identity.epoch_next &&
        identity.stores >= 1 && identity.stores <= STORES_MAX && identity.partitions >= 1 &&
        identity.partitions <= PARTITIONS_MAX && reads <= READS_QUORUM && identity.name[0] != '\0';
    if (!valid) return false;
    *ret_identity = identity;
    return true;
}

enum status identity_load(struct world *world, const char *directory, struct identity *ret_identity,
                          struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct buffer body;
    struct error cause = {0};

    path_join(path, directory, "identity");
    buffer_init(&body, SEALED_SIZE_MAX);
    enum status status = sealed_file_read(world, path, identity_magic, &body, &cause);
    if (status == STATUS_OK && !identity_decode(buffer_bytes(&body), ret_identity))
        status = error_set(&cause, STATUS_CORRUPT, "%.400s holds impossible values", path);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        error_set(error, status, "%s", cause.text);
    buffer_free(&body);
    return status;
}

enum status identity_save(struct world *world, const char *directory,
                          const struct identity *identity, struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct buffer body;

    path_join(path, directory, "identity");
    buffer_init(&body, IDENTITY_SIZE_MAX);
    identity_encode(identity, &body);
    enum status status = sealed_file_write(world, path, identity_magic, buffer_bytes(&body), error);
    buffer_free(&body);
    return status;
}

enum status identity_compare(struct world *world, const char *directory,
                             const struct identity *identity, uint64_t *ret_offset,
                             struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct buffer body;

    path_join(path, directory, "identity");
    buffer_init(&body, IDENTITY_SIZE_MAX);
    identity_encode(identity, &body);
    enum status status =
        sealed_file_compare(world, path, identity_magic, buffer_bytes(&body), ret_offset, error);
    buffer_free(&body);
    return status;
}

/* --- whose store is it? -------------------------------------------------------------------- */

static const char owner_magic[] = "HOLONOW1";

enum { OWNER_SIZE_MAX = 64 };

static void owner_encode(const struct identity *identity, uint32_t number, struct buffer *body)
{
    buffer_init(body, OWNER_SIZE_MAX);
    struct writer writer = writer_make(body);
    write_u64(&writer, identity->cluster.high);
    write_u64(&writer, identity->cluster.low);
    write_u32(&writer, identity->node);
    write_u64(&writer, identity->store);
    write_u32(&writer, number);
    ASSERT(!writer.failed);
}

enum status store_owner_save(struct world *world, const char *store_directory,
                             const struct identity *identity, uint32_t number, struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct buffer body;

    path_join(path, store_directory, "owner");
    owner_encode(identity, number, &body);
    enum status status = sealed_file_write(world, path, owner_magic, buffer_bytes(&body), error);
    buffer_free(&body);
    return status;
}

enum status store_owner_check(struct world *world, const char *store_directory,
                              const struct identity *identity, uint32_t number, struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct buffer expected, found;

    path_join(path, store_directory, "owner");
    owner_encode(identity, number, &expected);
    buffer_init(&found, SEALED_SIZE_MAX);
    enum status status = sealed_file_read(world, path, owner_magic, &found, error);
    if (status == STATUS_OK && !bytes_equal(buffer_bytes(&expected), buffer_bytes(&found)))
        status =
            error_set(error, STATUS_CORRUPT,
                      "%.400s: this store belongs to another node or has another number", path);
    buffer_free(&expected);
    buffer_free(&found);
    return status;
}

enum status store_owner_compare(struct world *world, const char *store_directory,
                                const struct identity *identity, uint32_t number,
                                uint64_t *ret_offset, struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct buffer body;

    path_join(path, store_directory, "owner");
    owner_encode(identity, number, &body);
    enum status status =
        sealed_file_compare(world, path, owner_magic, buffer_bytes(&body), ret_offset, error);
    buffer_free(&body);
    return status;
}

/* --- epochs -------------------------------------------------------------------------------- */

enum status identity_take_epoch(struct world *world, const char *directory,
                                struct identity *identity, boot_epoch_t *ret_epoch,
                                struct error *error)
{
    struct identity next = *identity;

    ASSERT(identity->epoch_next < UINT32_MAX);
    next.epoch_next++;
    next.clean = false;
    enum status status = identity_save(world, directory, &next, error);
    if (status) return status;
    *ret_epoch = identity->epoch_next;
    *identity = next;
    return STATUS_OK;
}

enum status view_file_load(struct world *world, const char *directory, const char *file,
                           struct cluster_view *ret_view, struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct buffer body;
    struct error cause = {0};

    path_join(path, directory, file);
    buffer_init(&body, SEALED_SIZE_MAX);
    enum status status = sealed_file_read(world, path, VIEW_MAGIC, &body, &cause);
    if (status == STATUS_OK) {
        node_id_t self = ret_view->self;
        status = cluster_view_decode(buffer_bytes(&body), ret_view);
        ret_view->self = self;
        if (status) error_set(&cause, status, "%.400s: %s", path, status_text(status));
    }
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        error_set(error, status, "%s", cause.text);
    buffer_free(&body);
    return status;
}

enum status view_file_save(struct world *world, const char *directory, const char *file,
                           const struct cluster_view *view, struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct buffer body;

    path_join(path, directory, file);
    buffer_init(&body, VIEW_SIZE_MAX);
    cluster_view_encode(view, &body);
    enum status status = sealed_file_write(world, path, VIEW_MAGIC, buffer_bytes(&body), error);
    buffer_free(&body);
    return status;
}

enum status view_table_save(struct world *world, const char *directory, struct bytes body,
                            struct error *error)
{
    char path[PATH_SIZE_MAX];

    path_join(path, directory, "table");
    enum status status = sealed_file_write(world, path, VIEW_MAGIC, body, error);
    if (status) return status;
    path_join(path, directory, VIEW_COPY_FILE);
    return sealed_file_write(world, path, VIEW_MAGIC, body, error);
}

enum status view_table_load(struct world *world, const char *directory,
                            struct cluster_view *ret_view, bool *ret_copy, struct error *error)
{
    node_id_t self = ret_view->self;

    *ret_copy = false;
    enum status status = view_file_load(world, directory, "table", ret_view, error);
    if (status != STATUS_CORRUPT && status != STATUS_NOT_FOUND) return status;
    if (status == STATUS_NOT_FOUND)
        error_set(error, status, "%.300s/table is missing, though data is there", directory);
    cluster_view_free(ret_view);
    cluster_view_init(ret_view);
    ret_view->self = self;
    *ret_copy = view_file_load(world, directory, VIEW_COPY_FILE, ret_view, NULL) == STATUS_OK;
    return *ret_copy ? STATUS_OK : STATUS_CORRUPT;
}

/* --- a directory without an identity ------------------------------------------------------- */

enum { FOREIGN_NAMES_MAX = 4, FOREIGN_TEXT_SIZE = 128 }; /* as many are named in the error */

struct directory_check {
    bool data; /* what only a node writes */
    bool tables, quarantine;
    uint32_t foreign_count;
    char foreign[FOREIGN_TEXT_SIZE]; /* "`a`, `b`" */
};

static bool name_is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

/* What may be there before a founding: our own lock and pid, a founding or a repair that was
 * interrupted, the log file of `holon dev`, and what file systems put there. */
static void directory_check_name(void *context, const char *name)
{
    static const char *const harmless[] = {
        "lock",       "holon.pid",  "founding",     "founding.new", "identity.new",
        "table.new",  "birth.new",  "holon.log",    "lost+found",   "repair",
        "repair.new", "reserve",    "joining",      "joining.new",  "table-copy.new",
        "memory.new", "fenced.new", "salvaging.new"};
    struct directory_check *check = context;

    if (name_is_one_of(name, harmless, ARRAY_COUNT(harmless))) return;
    static const char *const tables[] = {"table", VIEW_COPY_FILE, "birth"};
    if (name_is_one_of(name, tables, ARRAY_COUNT(tables))) {
        check->tables = true;
        return;
    }
    static const char *const data[] = {"log", "memory", "fenced"};
    if (name_is_one_of(name, data, ARRAY_COUNT(data)) || strncmp(name, "store-", 6) == 0) {
        check->data = true;
        return;
    }
    if (strcmp(name, "quarantine") == 0) {
        check->quarantine = true;
        return;
    }
    if (check->foreign_count++ >= FOREIGN_NAMES_MAX) return;
    size_t used = strlen(check->foreign);
    snprintf(check->foreign + used, sizeof(check->foreign) - used, "%s`%.24s`", used ? ", " : "",
             name);
}

enum status directory_check_empty(struct world *world, const char *directory,
                                  enum directory_content *ret_content, struct error *error)
{
    struct directory_check check = {0};
    char path[PATH_SIZE_MAX], more[40] = "";
    struct file *file = NULL;

    /* The tables are written before the identity: with a founding under way they may stand
     * alone. */
    path_join(path, directory, "founding");
    bool has_founding = file_open(world, path, FILE_READ, &file, NULL) == STATUS_OK;
    file_close(file);

    enum status status = world_list_dir(world, directory, &check, directory_check_name, error);
    if (status) return status;
    if (check.foreign_count > FOREIGN_NAMES_MAX)
        snprintf(more, sizeof(more), " and %u more", check.foreign_count - FOREIGN_NAMES_MAX);
    if (check.foreign_count > 0)
        return error_set(error, STATUS_REFUSED,
                         "%.170s has no identity but is not empty (it holds %s%s): it is no "
                         "directory of Holon. Nothing was changed. Choose an empty directory, or "
                         "move its content away",
                         directory, check.foreign, more);
    *ret_content = check.data || (check.tables && !has_founding) ? DIRECTORY_LOST_IDENTITY
                   : check.quarantine                            ? DIRECTORY_QUARANTINE_ONLY
                                                                 : DIRECTORY_EMPTY;
    return STATUS_OK;
}
