/* meta_internal.h - what the evaluations of meta's requests share. Private to src/cluster/meta*.c.
 */
#ifndef HOLON_CLUSTER_META_INTERNAL_H
#define HOLON_CLUSTER_META_INTERNAL_H

#include "cluster/meta.h"
#include "cluster/meta_rows.h"

/* What one evaluation works with. */
struct meta_evaluation {
    struct row_context *rows;
    struct cluster_view *settings; /* of the settings row; no nodes, no groups */
    struct meta_node node;         /* meta_get_node() */
    struct meta_reply reply;
    struct buffer scratch;
    uint32_t planted; /* enum meta_planted_bug */
    uint32_t supports;
};

/* meta_codec.c */
bool meta_request_decode(struct bytes bytes, struct meta_request *ret_request);
void meta_reply_write(struct reply *reply, const struct meta_reply *content);

/* meta.c */
__attribute__((format(printf, 2, 3))) void meta_refuse(struct meta_reply *reply, const char *format,
                                                       ...);
/* What was found and cannot be read is ABSENT, and the reply a refusal. */
enum row_result meta_get_node(struct meta_evaluation *evaluation, node_id_t id);
enum row_result meta_get_group(struct meta_evaluation *evaluation, uint32_t id,
                               struct view_group *ret_group);
void meta_put_node(struct meta_evaluation *evaluation); /* evaluation->node */
void meta_put_group(struct meta_evaluation *evaluation, uint32_t id,
                    const struct view_group *group);
/* A change is done: the table epoch rises, and what else was changed of the settings is written. */
void meta_put_table_epoch(struct meta_evaluation *evaluation);
void meta_delete(struct meta_evaluation *evaluation, enum meta_row_kind kind, uint32_t id);
void meta_put(struct meta_evaluation *evaluation, enum meta_row_kind kind, uint32_t id);
void meta_take_addresses(struct view_node *node, const struct meta_request *request);

/* False of all: rows or budget are missing, run again. evaluation->node is the one that asks, but
 * for JOIN, TOKEN, MOVE, SETTLED, KEEP, FINALIZE and DATABASE. */

/* meta_rejoin.c */
bool meta_rejoin(struct meta_evaluation *evaluation, const struct meta_request *request);
bool meta_replace(struct meta_evaluation *evaluation, const struct meta_request *request);

/* meta_join.c */
bool meta_token_add(struct meta_evaluation *evaluation, const struct meta_request *request);
bool meta_join(struct meta_evaluation *evaluation, const struct meta_request *request);

/* meta_members.c */
bool meta_group_names(const struct view_group *group, node_id_t node);
bool meta_drain(struct meta_evaluation *evaluation, const struct meta_request *request);
bool meta_label(struct meta_evaluation *evaluation, const struct meta_request *request);
bool meta_remove(struct meta_evaluation *evaluation, const struct meta_request *request);

/* meta_moves.c */
bool meta_move(struct meta_evaluation *evaluation, const struct meta_request *request);
bool meta_settled(struct meta_evaluation *evaluation, const struct meta_request *request);
bool meta_keep(struct meta_evaluation *evaluation, const struct meta_request *request);

/* meta_database.c */
bool meta_database(struct meta_evaluation *evaluation, const struct meta_request *request);

/* meta_upgrade.c */
bool meta_finalize(struct meta_evaluation *evaluation, const struct meta_request *request);

#endif
