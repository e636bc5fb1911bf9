/* Identity, tables, owners of stores and the log's mark are written seldom and read by starts
 * alone: damage of one would be met by the next start, and by that of every node at once after a
 * power loss, when the nodes that had it right in memory are gone (FAULTS F21-F25, F29). So each
 * pass of the scrubber compares them with what is in memory. What differs is copied to the
 * quarantine, and the file is written again, as one step.
 *
 * Nobody else writes these files meanwhile: saving is held (node_view.c), stores are not exchanged
 * (node_scrub_reads()), the log has a lock for its mark, and `birth` never changes.
 *
 * Only in our own place: if DIR is not the directory whose lock this process holds, or its identity
 * is a whole one of another node, directories were exchanged (F12, F32), and this process stops
 * instead of making a mix of two. A store whose directory is gone is damaged as a whole. */
#include <stdio.h>

#include "cluster/view_codec.h"
#include "node/node_internal.h"
#include "world/probe.h"

enum {
    RETRY_US = 60 * 1000 * 1000,
    SETTLE_US = 60 * 1000 * 1000, /* so long the check waits for a table that is saved */
};

/* --- the job: comparing ---------------------------------------------------------------------- */

static struct file_damage *damage_add(struct node_sealed *sealed, const char *reason,
                                      const char *file, uint64_t offset, const struct error *error)
{
    if (sealed->found_count == FILE_DAMAGES_MAX) {
        sealed->more = true;
        return NULL;
    }
    struct file_damage *damage = &sealed->found[sealed->found_count++];
    *damage = (struct file_damage){.offset = offset};
    snprintf(damage->reason, sizeof(damage->reason), "%s", reason);
    snprintf(damage->file, sizeof(damage->file), "%s", file);
    snprintf(damage->what, sizeof(damage->what), "%s", error->text);
    return damage;
}

/* What cannot be looked at (no descriptors, say) is neither sound nor damaged: soon again. */
static bool is_damage(struct node_sealed *sealed, enum status status)
{
    bool damage = status == STATUS_CORRUPT || status == STATUS_NOT_FOUND;

    if (!damage && status != STATUS_OK) sealed->unknown = true;
    return damage;
}

static void place_foreign(struct node_sealed *sealed, const char *what)
{
    struct error cause;

    error_set(&cause, STATUS_REFUSED, "%s", what);
    sealed->foreign = true;
    error_set(&sealed->error, STATUS_REFUSED,
              "%.400s: this process stops, so that no mix of two directories is made. Put back the "
              "one that belongs here, or move it away",
              cause.text);
}

/* The lock belongs to the file that was opened: who gets it has another one, and so has who is
 * refused by a third that has put its token there. */
static bool directory_is_ours(struct node *node)
{
    char path[PATH_SIZE_MAX], text[ERROR_TEXT_SIZE_MAX];
    struct file *file = NULL;

    path_join(path, node->options.data, "lock");
    enum status status = file_open(node->world, path, FILE_WRITE, &file, NULL);
    enum status locked = status == STATUS_OK ? file_lock(file, NULL) : STATUS_NOT_FOUND;
    bool taken = locked == STATUS_REFUSED && node_lock_is_of_another(node, file);
    file_close(file);
    if (locked == STATUS_REFUSED && !taken) return true;
    if ((status != STATUS_OK && status != STATUS_NOT_FOUND) ||
        (status == STATUS_OK && locked != STATUS_OK && !taken)) {
        node->sealed.unknown = true;
        return false;
    }
    snprintf(text, sizeof(text),
             "%.300s is not the lock that this process holds: the directory was removed or "
             "exchanged, or another process could take it",
             path);
    place_foreign(&node->sealed, text);
    return false;
}

/* A whole identity of another node is no damage; nor is one that has taken later epochs, or is of a
 * later version: another process has started with this directory since. */
static bool identity_is_foreign(struct node *node)
{
    const struct identity *ours = &node->sealed.identity;
    char text[ERROR_TEXT_SIZE_MAX];
    struct identity found;

    memset(&found, 0, sizeof(found));
    enum status status = identity_load(node->world, node->options.data, &found, NULL);
    if (status != STATUS_OK && status != STATUS_VERSION) return false;
    bool same = status == STATUS_OK && cluster_id_equal(found.cluster, ours->cluster) &&
                found.node == ours->node && found.store == ours->store;
    if (same && found.epoch_next <= ours->epoch_next) return false;
    if (same)
        snprintf(text, sizeof(text), "another process has started with %.300s since",
                 node->options.data);
    else if (status == STATUS_VERSION)
        snprintf(text, sizeof(text), "%.300s/identity was written by another version of Holon",
                 node->options.data);
    else
        snprintf(text, sizeof(text), "%.200s/identity is that of node %s, store %016llx, not of %s",
                 node->options.data, found.name, (unsigned long long)found.store, ours->name);
    place_foreign(&node->sealed, text);
    return true;
}

static void check_view(struct node *node, const char *file, const struct buffer *body)
{
    char path[PATH_SIZE_MAX];
    struct error error;
    uint64_t offset = 0;

    if (buffer_size(body) == 0) return;
    path_join(path, node->options.data, file);
    enum status status =
        sealed_file_compare(node->world, path, VIEW_MAGIC, buffer_bytes(body), &offset, &error);
    if (is_damage(&node->sealed, status)) damage_add(&node->sealed, file, file, offset, &error);
}

static void check_owner(struct node *node, uint32_t store)
{
    struct node_sealed *sealed = &node->sealed;
    char name[32], file[40], path[PATH_SIZE_MAX];
    struct error error;
    uint64_t offset = 0;

    if (!engine_is_in_place(node->engines[store])) {
        sealed->stores_gone |= 1ull << store;
        return;
    }
    snprintf(name, sizeof(name), "store-%u", store);
    snprintf(file, sizeof(file), "store-%u/owner", store);
    path_join(path, node->options.data, name);
    enum status status =
        store_owner_compare(node->world, path, &sealed->identity, store, &offset, &error);
    if (!is_damage(sealed, status)) return;
    struct file_damage *damage = damage_add(sealed, "owner", file, offset, &error);
    if (damage != NULL) damage->store = store;
}

static void sealed_compare(struct node *node)
{
    struct node_sealed *sealed = &node->sealed;
    struct error error;
    uint64_t offset = 0;

    if (!directory_is_ours(node)) return;
    enum status status =
        identity_compare(node->world, node->options.data, &sealed->identity, &offset, &error);
    bool differs = status == STATUS_CORRUPT || status == STATUS_VERSION;
    if (differs && identity_is_foreign(node)) return;
    if (is_damage(sealed, status)) damage_add(sealed, "identity", "identity", offset, &error);
    check_view(node, "table", &sealed->table);
    check_view(node, VIEW_COPY_FILE, &sealed->table);
    check_view(node, "birth", &sealed->birth);
    for (uint32_t store = 0; store < STORES_MAX; store++)
        if (sealed->stores & 1ull << store) check_owner(node, store);
    offset = 0;
    status = log_mark_scrub(node->log, &offset, &error);
    if (status == STATUS_REFUSED) place_foreign(sealed, error.text);
    if (is_damage(sealed, status)) damage_add(sealed, "mark", "log/durable", offset, &error);
}

/* --- the job: evidence and healing ----------------------------------------------------------- */

/* All into one set: it is one disk that fails. "store-3/owner" becomes "store-3-owner" there. */
static enum status keep_evidence(struct node *node, struct error *error)
{
    struct node_sealed *sealed = &node->sealed;
    const char *data = node->options.data;
    char *set = sealed->set; /* kept until all is healed: tries do not fill the quarantine */
    struct buffer why;

    const char *reason = sealed->found_count > 1 ? "files" : sealed->found[0].reason;
    enum status status =
        set[0] != '\0' ? STATUS_OK : quarantine_name(node->world, data, reason, set, error);
    if (status) return status;
    buffer_init(&why, FILE_DAMAGES_MAX * (sizeof(sealed->found[0].what) + 128));
    for (uint32_t i = 0; i < sealed->found_count && status == STATUS_OK; i++) {
        struct file_damage *damage = &sealed->found[i];
        char as[sizeof(damage->file)];
        memcpy(as, damage->file, sizeof(as));
        for (char *at = as; *at != '\0'; at++)
            if (*at == '/') *at = '-';
        status = quarantine_copy(node->world, data, set, damage->file, as, error);
        if (status) break;
        memcpy(damage->quarantine, set, QUARANTINE_NAME_SIZE);
        buffer_append_format(&why, "%s offset %llu\n%s\n", damage->file,
                             (unsigned long long)damage->offset, damage->what);
    }
    buffer_append_format(&why, "%c", '\0');
    if (status == STATUS_OK)
        quarantine_explain(node->world, data, set, (const char *)buffer_bytes(&why).data);
    buffer_free(&why);
    return status;
}

static enum status heal(struct node *node, const struct file_damage *damage, struct error *error)
{
    const struct node_sealed *sealed = &node->sealed;
    const char *data = node->options.data;
    char name[32], path[PATH_SIZE_MAX];

    if (strcmp(damage->reason, "mark") == 0) return log_mark_renew(node->log, error);
    if (strcmp(damage->reason, "identity") == 0)
        return identity_save(node->world, data, &sealed->identity, error);
    if (strcmp(damage->reason, "owner") == 0) {
        snprintf(name, sizeof(name), "store-%u", damage->store);
        path_join(path, data, name);
        return store_owner_save(node->world, path, &sealed->identity, damage->store, error);
    }
    bool table = strcmp(damage->reason, "birth") != 0;
    path_join(path, data, damage->file);
    return sealed_file_write(node->world, path, VIEW_MAGIC,
                             buffer_bytes(table ? &sealed->table : &sealed->birth), error);
}

static void sealed_run(struct world_job *job)
{
    struct node *node = job->context;
    struct node_sealed *sealed = &node->sealed;

    sealed->status = STATUS_OK;
    sealed_compare(node);
    if (sealed->foreign || sealed->found_count == 0) return;
    if (PLANTED(node->world, "damaged_files_stay")) return;
    sealed->status = keep_evidence(node, &sealed->error);
    for (uint32_t i = 0; i < sealed->found_count && sealed->status == STATUS_OK; i++) {
        sealed->status = heal(node, &sealed->found[i], &sealed->error);
        sealed->found[i].healed = sealed->status == STATUS_OK;
    }
    quarantine_measure(node->world, node->options.data, &sealed->measured);
}

/* --- the loop's side ------------------------------------------------------------------------- */

static void sealed_tell(struct node *node)
{
    struct node_sealed *sealed = &node->sealed;

    node->repair.quarantine = sealed->measured;
    memcpy(sealed->told, sealed->found, sizeof(sealed->told));
    sealed->told_count = sealed->found_count;
    sealed->found_total += sealed->found_count;
    for (uint32_t i = 0; i < sealed->found_count; i++) {
        const struct file_damage *damage = &sealed->found[i];
        if (!damage->healed) {
            LOG_ERROR(node_logger(node), "repair", "%s; it cannot be written again yet: %s",
                      damage->what, sealed->error.text);
            continue;
        }
        SOMETIMES(node->world, "a damaged small file was healed while the node ran");
        LOG_WARN(node_logger(node), "repair",
                 "%s; it was written again from memory, what was there is in %s/quarantine/%s",
                 damage->what, node->options.data, damage->quarantine);
    }
}

/* Nothing is wrong any more: what could not be healed was written again in another way. */
static void forget_unhealed(struct node_sealed *sealed)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < sealed->told_count; i++)
        if (sealed->told[i].healed) sealed->told[kept++] = sealed->told[i];
    sealed->told_count = kept;
}

static void tell_stores_gone(struct node *node)
{
    for (uint32_t store = 0; store < STORES_MAX; store++) {
        struct error error;
        bool gone = node->sealed.stores_gone & 1ull << store;
        if (!gone || node->stores[store].state != STORE_SOUND) continue;
        error_set(&error, STATUS_CORRUPT,
                  "%.400s/store-%u was removed, or another directory is in its place",
                  node->options.data, store);
        node_scrub_store_damaged(node, store, &error);
    }
}

static void sealed_done(struct world_job *job)
{
    struct node *node = job->context;
    struct node_sealed *sealed = &node->sealed;

    sealed->busy = false;
    if (sealed->foreign) { /* saving stays held: nothing more is written there */
        node_fail(node, &sealed->error);
        return;
    }
    if (sealed->found_count > 0) sealed_tell(node);
    if (sealed->found_count == 0 && !sealed->unknown) forget_unhealed(sealed);
    tell_stores_gone(node);
    bool failed = sealed->unknown || sealed->status != STATUS_OK;
    if (!failed) sealed->set[0] = '\0';
    if (sealed->more || failed) {
        sealed->due = true;
        sealed->due_since = world_now(node->world) + (failed ? RETRY_US : 0);
    }
    node_save_let_go(node);
    node_scrub_go_on(node);
}

/* The view that is on disk, if it is: each change of it changes its epoch and is saved. */
static void take_views(struct node *node)
{
    struct node_sealed *sealed = &node->sealed;
    const struct cluster_view *view = &node->workers[0].view;

    buffer_clear(&sealed->table);
    buffer_clear(&sealed->birth);
    if (node->save.epoch_saved == view->table_epoch && view->table_epoch != 0)
        cluster_view_encode(view, &sealed->table);
    if (node->birth.group_count > 0) cluster_view_encode(&node->birth, &sealed->birth);
}

static void take_stores(struct node *node)
{
    node->sealed.stores = 0;
    for (uint32_t i = 0; i < node->identity.stores; i++) {
        const struct node_store *store = &node->stores[i];
        bool sound = store->state == STORE_SOUND || store->state == STORE_FILLING;
        if (sound && !store->busy && node->engines[i] != NULL) node->sealed.stores |= 1ull << i;
    }
}

void node_sealed_want(struct node *node)
{
    struct node_sealed *sealed = &node->sealed;

    if (sealed->due) return;
    sealed->due = true;
    sealed->due_since = world_now(node->world);
}

bool node_sealed_start(struct node *node)
{
    struct node_sealed *sealed = &node->sealed;
    uint64_t now = world_now(node->world);

    /* Before it is registered, a start may find that this disk is an older image. */
    if (!sealed->due || now < sealed->due_since || !node->booted || node->fail_pending)
        return false;
    bool saved = node->save.epoch_saved == node->workers[0].view.table_epoch;
    if (!saved && now - sealed->due_since < SETTLE_US) return false;
    if (!node_save_hold(node)) return false;
    sealed->due = false;
    sealed->busy = true;
    sealed->more = sealed->foreign = sealed->unknown = false;
    sealed->found_count = 0;
    sealed->stores_gone = 0;
    sealed->identity = node->identity;
    take_views(node);
    take_stores(node);
    sealed->job = (struct world_job){.run = sealed_run, .done = sealed_done, .context = node};
    world_job_start(node->world, LANE_READ, &sealed->job);
    return true;
}

void node_sealed_free(struct node *node)
{
    buffer_free(&node->sealed.table);
    buffer_free(&node->sealed.birth);
}
