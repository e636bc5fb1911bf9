/* meta_rows.h - keys and values of the rows of meta (docs/reference/meta-rows.md).
 *   key: row prefix (slot 0x4000, service 2, namespace 0) | u8 kind | u32 id, big-endian */
#ifndef HOLON_CLUSTER_META_ROWS_H
#define HOLON_CLUSTER_META_ROWS_H

#include "cluster/view_codec.h"
#include "partition/row.h"

enum meta_row_kind {
    META_ROW_SETTINGS = 1, /* id 0 */
    META_ROW_NODE = 2,     /* id: node */
    META_ROW_GROUP = 3,    /* id: group */
    META_ROW_TOKEN = 4,    /* id: first four bytes of the hash */
};

enum { META_KEY_SIZE = ROW_PREFIX_SIZE + 5, META_ROW_TYPE = 1, META_ROW_SIZE_MAX = 4096 };

struct meta_key {
    uint8_t bytes[META_KEY_SIZE];
};

struct meta_node { /* value of a node's row */
    struct view_node node;
    boot_epoch_t epoch_last;   /* of the blocks reserved so far */
    uint64_t boot_token;       /* of the process that registered node.epoch */
    uint64_t rejoin_token;     /* of the last rejoin; 0: none */
    boot_epoch_t rejoin_first; /* block that was given to it */
    uint64_t ids_from; /* replicas with lower ids lived on the store that it had before; 0: none */
};

struct meta_key meta_key_make(enum meta_row_kind kind, uint32_t id);
/* False: not a row of meta. */
bool meta_key_parse(struct bytes key, enum meta_row_kind *ret_kind, uint32_t *ret_id);
static inline struct bytes meta_key_bytes(const struct meta_key *key)
{
    return bytes_make(key->bytes, sizeof(key->bytes));
}

/* Who knows the secret may join, once. */
enum { META_SECRET_HASH_SIZE = 32 };

struct meta_token {
    uint8_t hash[META_SECRET_HASH_SIZE]; /* SHA-256 of the secret */
    int64_t expires_ms;                  /* wall clock */
    node_id_t node;                      /* whose place it is for; 0: a new one */
};

/* `view` says whether rows have what came with version 2. Of a settings row that has not, nothing
 * of that is set: see view_settings_more_none(). */
void meta_settings_encode(const struct cluster_view *view, struct buffer *buffer);
enum status meta_settings_decode(struct bytes bytes, struct cluster_view *view);
void meta_node_encode(const struct cluster_view *view, const struct meta_node *node,
                      struct buffer *buffer);
enum status meta_node_decode(struct bytes bytes, struct meta_node *ret_node);
void meta_group_encode(const struct cluster_view *view, const struct view_group *group,
                       struct buffer *buffer);
enum status meta_group_decode(struct bytes bytes, struct view_group *ret_group);
void meta_token_encode(const struct meta_token *token, struct buffer *buffer);
enum status meta_token_decode(struct bytes bytes, struct meta_token *ret_token);

#endif
