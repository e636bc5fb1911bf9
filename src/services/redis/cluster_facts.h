/* cluster_facts.h - what CLUSTER says besides the table of slots. Thread: the service's. */
#ifndef HOLON_SERVICES_REDIS_CLUSTER_FACTS_H
#define HOLON_SERVICES_REDIS_CLUSTER_FACTS_H

#include "services/redis/frontend.h"

void cluster_info(struct local_call *call);
void cluster_myid(struct local_call *call);
void cluster_keyslot(struct local_call *call);
void cluster_links(struct local_call *call);
void cluster_replicas(struct local_call *call);
void cluster_failure_reports(struct local_call *call);

/* Subcommands that would change the tables: replies what does it here instead. False: it is none.
 */
bool cluster_refused(struct local_call *call);

#endif
