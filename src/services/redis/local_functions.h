/* local_functions.h - the functions of local commands, named in commands.def. */
#ifndef HOLON_SERVICES_REDIS_LOCAL_FUNCTIONS_H
#define HOLON_SERVICES_REDIS_LOCAL_FUNCTIONS_H

#include "services/redis/frontend.h"

#define REDIS_COMMAND(...)
#define REDIS_LOCAL(id, number, name, arity, flags, local, ...) void local(struct local_call *call);
#include "services/redis/commands.def"
#undef REDIS_COMMAND
#undef REDIS_LOCAL

#endif
