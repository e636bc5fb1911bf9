/* Memory for rows before it is needed: the system takes up to milliseconds for a huge page, which
 * must not be those of the worker's loop. */
#include "partition/host_internal.h"

struct spare_job {
    struct world_job job;
    struct partition_host *host;
    void *region;
};

static void spare_run(struct world_job *job)
{
    struct spare_job *spare = job->context;
    spare->region = slabs_region_make();
}

static void spare_done(struct world_job *job)
{
    struct spare_job *spare = job->context;
    struct partition_host *host = spare->host;
    slabs_region_give(host->row_memory, spare->region);
    host->spare = NULL;
    memory_free(spare);
}

void spare_consider(struct partition_host *host)
{
    if (host->spare != NULL || host->stopping || !slabs_want_region(host->row_memory)) return;
    struct spare_job *spare = memory_allocate_zero(sizeof(*spare));
    spare->job = (struct world_job){.run = spare_run, .done = spare_done, .context = spare};
    spare->host = host;
    host->spare = spare;
    world_job_start(host->world, LANE_READ, &spare->job);
}

void spare_close(struct partition_host *host)
{
    if (host->spare == NULL) return;
    if (host->spare->region != NULL) slabs_region_free(host->spare->region);
    memory_free(host->spare);
    host->spare = NULL;
}
