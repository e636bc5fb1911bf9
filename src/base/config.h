/* config.h - reads the text of a config file: lines of `name = value`, in which `#` at the start
 * of a line or after a space begins a comment. A pure function; the caller reads the file and
 * knows the names.
 *
 * Names are a-z, 0-9, `_`, `-` and `.`. A value is the rest of the line without the spaces
 * around it, and may be empty. Every error names its line. */
#ifndef HOLON_BASE_CONFIG_H
#define HOLON_BASE_CONFIG_H

#include "base/bytes.h"
#include "base/status.h"

enum { CONFIG_SIZE_MAX = 64 * 1024, CONFIG_LINE_SIZE_MAX = 4096 };

/* Takes one setting; name and value live until it returns. To refuse, fills *error with
 * error_set() and returns its status: the line number is put before the text. */
typedef enum status config_setting_fn(void *context, const char *name, const char *value,
                                      unsigned line, struct error *error);

/* Calls on_setting for each setting in order and stops at the first error. STATUS_INVALID: not
 * `name = value`, or a byte that is no text; STATUS_TOO_LARGE: a bound above. */
enum status config_parse(struct bytes text, config_setting_fn *on_setting, void *context,
                         struct error *error);

#endif
