#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void assert_failed(const char *expression, const char *file, int line)
{
    fprintf(stderr,
            "holon: invariant broken at %s:%d: %s. This is a bug in holon; acknowledged data is "
            "safe in the log. Please report this line and start the node again.\n",
            file, line, expression);
    fflush(stderr);
    abort();
}
