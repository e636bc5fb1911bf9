/* backup_key.h - private to the files of a backup: keys made of the one of a passphrase. */
#ifndef HOLON_WIRE_BACKUP_KEY_H
#define HOLON_WIRE_BACKUP_KEY_H

#include "wire/backup_file.h"

/* HKDF-SHA256 (RFC 5869); `use` tells keys of one salt apart. */
void backup_key_expand(const struct backup_key *key, struct bytes salt, const char *use,
                       uint8_t *ret_bytes, size_t size);

#endif
