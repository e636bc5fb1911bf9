/* engine_fixture.h - temporary directories and small calls for the tests of engines. */
#ifndef HOLON_TESTS_UNIT_ENGINE_FIXTURE_H
#define HOLON_TESTS_UNIT_ENGINE_FIXTURE_H

#include "storage/engine/engine.h"

/* Makes a directory under /tmp; the name is in path. */
void fixture_directory_make(char path[64]);
/* Deletes it and the files in it (one level of directories below it included). */
void fixture_directory_remove(const char *path);
/* Value of a key as a string, or NULL; valid until the next call. */
const char *fixture_get(struct engine *engine, const char *key, char room[256]);
/* Calls op on a run: "put k v", "del k", "range from to" separated by ';'; then ingests. */
enum status fixture_run(struct engine *engine, const char *script, struct error *error);

#endif
