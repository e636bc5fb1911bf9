/* local.h - what the files of local commands share. */
#ifndef HOLON_SERVICES_REDIS_LOCAL_H
#define HOLON_SERVICES_REDIS_LOCAL_H

#include "base/assert.h"
#include "services/redis/frontend.h"

/* The version of redis-server whose behaviour is kept; clients choose features by it. */
#define REDIS_VERSION_COMPATIBLE "7.0.15"

/* CLIENT SETNAME and HELLO ... SETNAME. False: refused, and the error is written. */
bool local_set_name(struct local_call *call, struct bytes name);

#endif
