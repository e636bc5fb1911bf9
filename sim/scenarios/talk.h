/* talk.h - clients that say what a scenario tells them, word for word, and what they hear, as text:
 * "OK", "3", "nil", "-ERR ...", "[OK nil 3]". They live on a machine of their own that never
 * fails. Thread: one. */
#ifndef HOLON_SIM_SCENARIOS_TALK_H
#define HOLON_SIM_SCENARIOS_TALK_H

#include "sim/sim_cluster.h"

enum { TALKERS_MAX = 32, TALK_TEXT_MAX = 160, TALK_KEY_MAX = 16 };

struct talk;
struct talker;

struct talk *talk_open(struct sim_cluster *cluster);
void talk_close(struct talk *talk); /* before the cluster is freed; NULL is fine */
/* A key in the partition of that group, which was not named before. */
void talk_name_key(struct talk *talk, uint32_t group, char ret_key[TALK_KEY_MAX]);
/* Somebody who speaks to that node. Belongs to the talk. */
struct talker *talk_join(struct talk *talk, node_id_t node);
void talk_leave(struct talker *talker);
/* Commands, one a line, their words separated by blanks; sent together. Forgets what was heard if
 * nothing is open. */
void talk_say(struct talker *talker, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Until all of it is answered. False: it is not after `duration`, or the connection was lost. */
bool talk_hear(struct talker *talker, uint64_t duration);
bool talk_is_answered(const struct talker *talker);
/* The reply to the last command; "": there is none yet. */
const char *talk_heard(const struct talker *talker);

#endif
