/* Settings of databases. Nodes that do not know an entry for which written is enough, or what a
 * loss of power means for its replicas, must not be there: the cluster version says so. */
#include "cluster/meta_internal.h"

bool meta_database(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    struct cluster_view *settings = evaluation->settings;

    if (settings->cluster_version < VIEW_VERSION_MEMORY) {
        meta_refuse(&evaluation->reply,
                    "the cluster is at version %u, and durability is a setting from version %d on: "
                    "when all nodes run this version of holon, `holon upgrade finalize`",
                    settings->cluster_version, VIEW_VERSION_MEMORY);
        return true;
    }
    if (request->database >= VIEW_DATABASES_MAX) {
        meta_refuse(&evaluation->reply, "there is no database %u: they are numbered 0 to %d",
                    request->database, VIEW_DATABASES_MAX - 1);
        return true;
    }
    uint32_t bit = UINT32_C(1) << request->database;
    uint32_t databases =
        request->in_memory ? settings->memory_databases | bit : settings->memory_databases & ~bit;
    if (databases == settings->memory_databases) return true; /* as it is */
    settings->memory_databases = databases;
    meta_put_table_epoch(evaluation);
    return true;
}
