/* backup_secret.h - the passphrase of a backup: of a file, of the environment or of a person at a
 * terminal; never of the command line, which everybody on the machine can read. */
#ifndef HOLON_CLI_BACKUP_SECRET_H
#define HOLON_CLI_BACKUP_SECRET_H

#include "base/bytes.h"
#include "base/status.h"

enum { SECRET_SIZE_MAX = 1024 };
#define SECRET_VARIABLE "HOLON_PASSPHRASE"

struct backup_secret {
    bool given;
    char text[SECRET_SIZE_MAX];
    size_t size;
};

/* Of the file ("": none), without the end of its line, or else of the environment. Not given if
 * there is none. */
enum status backup_secret_find(const char *file, struct backup_secret *ret_secret,
                               struct error *error);
/* Asks at the terminal, `twice` for a new one. STATUS_INVALID: there is none, or they differ. */
enum status backup_secret_ask(const char *what, bool twice, struct backup_secret *ret_secret,
                              struct error *error);
void backup_secret_forget(struct backup_secret *secret);
static inline struct bytes backup_secret_bytes(const struct backup_secret *secret)
{
    return bytes_make(secret->text, secret->size);
}

#endif
