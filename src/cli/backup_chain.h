/* backup_chain.h - a backup and those that it stands on, opened: manifests read and checked, keys
 * made. Only then is anything done with it. */
#ifndef HOLON_CLI_BACKUP_CHAIN_H
#define HOLON_CLI_BACKUP_CHAIN_H

#include "cli/backup_manifest.h"
#include "cli/backup_reader.h"
#include "cli/backup_secret.h"

enum { BACKUP_CHAIN_MAX = 32 };

struct backup_whole {
    struct backup_place place;
    struct backup_header header; /* of the manifest: id, salt, what the key is made of */
    struct backup_key key;       /* if encrypted */
    struct backup_manifest manifest;
};

struct backup_chain {
    struct backup_whole
        items[BACKUP_CHAIN_MAX]; /* [0]: the one that was asked for; [1]: its base */
    uint32_t count;
};

/* Asks for a passphrase at the terminal if one is needed and `secret` is not given. STATUS_REFUSED:
 * it is wrong; or it is given, and the backup is plain. */
enum status backup_whole_open(const char *path, struct backup_secret *secret,
                              struct backup_whole *ret_whole, struct error *error);
void backup_whole_close(struct backup_whole *whole);

/* `base`: where to look for bases first; "": nowhere. Then: where they were, and beside these. */
enum status backup_chain_open(const char *path, const char *base, struct backup_secret *secret,
                              struct backup_chain *ret_chain, struct error *error);
void backup_chain_close(struct backup_chain *chain);

static inline bool backup_is_encrypted(const struct backup_whole *whole)
{
    return whole->header.encryption != BACKUP_PLAIN;
}

#endif
