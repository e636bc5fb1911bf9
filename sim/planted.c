#include "sim/planted.h"

#include "base/assert.h"
#include "cluster/meta.h"
#include "raft/raft.h"
#include "services/redis/limits.h"

#include <string.h>

static const struct sim_planted planted[] = {
    {SIM_CANARY, SIM_CANARY, 0, NULL, 60, "the canary: replies leave before their entry commits"},
    {"evaluate_before_noop", "evaluate_before_noop", 0, "new_leader_evaluates", 60,
     "WHY 1.1: a new leader evaluates before its own-term no-op is applied"},
    {"ready_from_before", "ready_from_before", 0, "leader_again", 5,
     "WHY 1.1: a leader that was ready in an earlier term takes itself for ready in this one"},
    {"stale_clock_lease", NULL, 0, "stale_clock", 60,
     "WHY 1.2: the lease is checked against the loop's cached time"},
    {"vote_after_restart", NULL, RAFT_BUG_VOTE_AFTER_RESTART, "vote_after_restart", 60,
     "WHY 1.3: a restarted follower votes at once"},
    {"lease_after_transfer", NULL, RAFT_BUG_LEASE_AFTER_TRANSFER, "lease_after_transfer", 60,
     "WHY 1.4: the lease survives a leadership transfer"},
    {"release_without_dep", "release_without_dep", 0, "read_of_uncommitted", 60,
     "WHY 1.5: a read does not wait for what it saw"},
    {"no_route_numbers", "no_route_numbers", 0, "route_change", 100,
     "WHY 1.6: frames of an older route are taken"},
    {"forget_window", "forget_window", 0, "away_for_minutes", 60,
     "WHY 2.1: the window of a living gateway is dropped"},
    {"serve_unregistered", "serve_unregistered", 0, "epoch_unregistered", 20,
     "B1: clients are served under an epoch that meta has not registered"},
    {"fence_ignored", "fence_ignored", 0, "fenced_gateway", 20,
     "B4: a request of a gateway that is fenced is evaluated"},
    {"log_old_replica_replayed", "log_old_replica_replayed", 0, "store_born_again", 20,
     "WHY 5.3: records of a former replica are replayed into its successor"},
    {"log_cut_too_much", "log_cut_too_much", 0, "torn_tail", 60,
     "WHY 5.4: an acknowledged tail is cut like a torn one"},
    {"speak_unconfirmed", "speak_unconfirmed", 0, "old_image", 20,
     "F11: a restart votes before anybody has said that its disk is the newest"},
    {"epoch_spoken_mute", "epoch_spoken_mute", 0, "old_image_mute", 20,
     "F11: the epoch of a start that was mute to its end counts as one that it spoke under"},
    {"failed_run_survived", "failed_run_survived", 0, "runs_fail", 20,
     "FAULTS rule 6: a node goes on with a store that it could not write"},
    {"log_skip_sync", "log_skip_sync", 0, "torn_tail", 60, "batches are not synced"},
    {"keep_overlay_on_stepdown", "keep_overlay_on_stepdown", 0, NULL, 150,
     "A4: proposed rows survive a step-down"},
    {"flush_copies_no_replaced", "flush_copies_no_replaced", 0, NULL, 400,
     "S-4: a row that is replaced while a flush copies is in neither the run nor the log"},
    {"state_copies_no_replaced", "state_copies_no_replaced", 0, NULL, 400,
     "S-1: a row that is replaced while a state is cut is not part of it"},
    {"dedup_not_in_snapshot", "dedup_not_in_snapshot", 0, NULL, 300,
     "X-1: remembered outcomes are not part of the replica's record"},
    {"ack_before_durable", NULL, RAFT_BUG_ACK_BEFORE_DURABLE, NULL, 60,
     "FAULTS rule 1: acknowledged before it is on disk"},
    {"count_self_early", NULL, RAFT_BUG_COUNT_SELF_EARLY, NULL, 60,
     "the leader's own copy counts before it is durable"},
    {"ignore_promise", NULL, RAFT_BUG_IGNORE_PROMISE, "broken_connection", 60,
     "D1: what voters owe the old leader is ignored"},
    {"expiry_not_logged", "expiry_not_logged", 0, "expired_and_back", 60,
     "K-4: an expired row is answered as absent without a logged delete"},
    {"expiry_without_mark", "expiry_without_mark", 0, "expired_and_back", 60,
     "K-4: the same while the log is full, and no entry is as late as the expiry"},
    {"cold_stale_absence", "cold_stale_absence", 0, NULL, 400,
     "A6: what the engine said is taken although a flush came in between"},
    {"parked_survives_route", "parked_survives_route", 0, NULL, 400,
     "B5: a request that waits for cold rows is evaluated although its route is over"},
    {"cold_order_lost", "cold_order_lost", 0, NULL, 200,
     "decision 0006: a later request of a client overtakes one that waits for cold rows"},
    {"heavy_starves", "heavy_starves", 0, "heavy_and_light", 20,
     "decision 0010: a heavy write waits for ever"},
    {"heavy_not_governed", "heavy_not_governed", 0, "heavy_and_light", 20,
     "F65: heavy writes do not wait for light ones"},
    {"slow_disk_keeps_leading", "slow_disk_keeps_leading", 0, "stalled_disk", 20,
     "F28: a leader whose disk stands still keeps its leadership"},
    {"stuck_loop_forgotten", "stuck_loop_forgotten", 0, "stuck_worker", 10,
     "F06: leadership goes back to a worker that is stuck again and again"},
    {"vouch_without_end", "vouch_without_end", 0, "resting_leaders", 20,
     "F06: a leader that beats no more is vouched for"},
    {"lease_of_life", NULL, RAFT_BUG_LEASE_OF_LIFE, "resting_leaders", 20,
     "D1: that a member's node lives extends its leader's lease"},
    {"withdrawals_ignored", "withdrawals_ignored", 0, "resting_followers", 20,
     "V-6: a replica that stopped while its group rests is not missed"},
    {"vote_twice", NULL, RAFT_BUG_VOTE_TWICE, "vote_not_durable", 60,
     "R-5: a vote is forgotten by a restart"},
    {"commit_old_term", NULL, RAFT_BUG_COMMIT_OLD_TERM, "figure_8", 60,
     "Raft paper, 5.4.2: entries of former terms are committed by counting"},
    {"damage_cut_like_torn", "damage_cut_like_torn", 0, "damaged_log", 60,
     "WHY 5.4: damage in the middle of the log is cut like a torn tail"},
    {"reserve_unused", "reserve_unused", 0, "start_on_full_disk", 10,
     "F27: a start on a full disk leaves DIR/reserve where it is"},
    {"log_bound_ignored", "log_bound_ignored", 0, "full_log", 20,
     "B-1: nothing is refused and nothing flushed, however large the log gets"},
    {"log_never_copies", "log_never_copies", 0, "pinned_log", 20,
     "WHY 5.2: a group without a leader holds back the log for ever"},
    {"log_copies_empty", "log_copies_empty", 0, "pinned_log", 60,
     "WHY 5.2: what is copied forward is not what was there"},
    {"log_copies_overwritten", "log_copies_overwritten", 0, "overwritten_tail", 20,
     "WHY 5.2: what a later leader overwrote is copied forward in its place"},
    {"lost_replica_reborn", "lost_replica_reborn", 0, "damaged_log", 60,
     "FAULTS rule 9: a replica whose log was lost is born again under its old id"},
    {"sealed_checksum_ignored", "sealed_checksum_ignored", 0, "damaged_identity", 60,
     "F22: the checksums of identity and table are not looked at"},
    {"damaged_files_stay", "damaged_files_stay", 0, "damaged_while_running", 10,
     "F23: damage of identity, tables, owners and mark is left to the next start"},
    {"repairing_founds", "repairing_founds", 0, "all_damaged", 5,
     "FAULTS rule 9: nodes in repair count as empty ones, and found a cluster"},
    {"salvage_without_plan", "salvage_without_plan", 0, "salvage_cut", 20,
     "F01: a salvage moves old files before its plan is durable"},
    {"fence_of_a_differing_replica_ignored", "fence_of_a_differing_replica_ignored", 0,
     "differing_replica", 5, "F23: a replica that differs from its peers goes on"},
    {"superseded_dropped", "superseded_dropped", 0, "superseded_replica", 20,
     "FAULTS rule 8: a sound replica is dropped because the table names another"},
    {"removed_not_kept", "removed_not_kept", 0, "superseded_replica", 20,
     "FAULTS rule 8: what a removed replica had is deleted without quarantine"},
    {"too_big_not_logged", "too_big_not_logged", 0, "too_big_in_pipelines", 60,
     "decision 0003: a write that is too big is answered, not logged, and its client goes on"},
    {"learner_counts", NULL, RAFT_BUG_LEARNER_COUNTS, NULL, 300, "learners count as voters"},
    {"overwrite_forgets_id", NULL, 0, NULL, 60,
     "10.2: a big value is overwritten without a garbage record for its parts"},
    {"stages_not_checked", NULL, 0, NULL, 40,
     "10.4: a value that was sent ahead is taken though parts of it never came"},
    {"staged_not_collected", NULL, 0, NULL, 100,
     "10.4: what was sent ahead and never taken stays for ever"},
    {"staged_again", NULL, 0, "leaders_move", 20,
     "V-5: each leader gives what was sent ahead its whole time again"},
    {"move_unseen", NULL, 0, "stale_mover", 20,
     "WHY 6.3: a wish that was made of an older table is taken"},
    {"settled_early", "settled_early", 0, "drained_nodes", 20,
     "WHY 6.3: a group is said to be settled while its new members are learners"},
    {"removed_while_moving", NULL, 0, "removed_nodes", 20,
     "WHY 6.5: a node is removed while a group on its way has a member there"},
    {"removed_by_inference", "removed_by_inference", 0, "drained_nodes", 20,
     "FAULTS rule 8: a voter that the table does not name any more goes by itself"},
    {"finalized_early", "finalized_early", 0, "upgraded_nodes", 20,
     "F13: an upgrade is said to be over while a node runs the version before"},
    {"used_up_reborn", "used_up_reborn", 0, "kept_too_late", 40,
     "FAULTS rule 9: a replica that went is born again when the table comes back to its id"},
    {"table_epochs_unheard", "table_epochs_unheard", 0, "one_link_cut", 40,
     "F43: a node that meta's leader does not hear gets no table from others"},
    {"relay_in_own_name", "relay_in_own_name", 0, "cut_link", 20,
     "F43: requests that were passed on count as those of who passed them on"},
    {"relay_answers_directly", "relay_answers_directly", 0, "cut_link", 20,
     "F43: answers do not go back the way that the requests came"},
    {"part_id_used_twice", NULL, 0, NULL, 100,
     "10.2: two values get the same id, for it is not that of the own entry"},
    {"memory_before_written", NULL, RAFT_BUG_WRITTEN_BEFORE_WRITTEN, "memory_power", 20,
     "decision 0012: an entry counts as written before it is"},
    {"memory_on_written_alone", NULL, RAFT_BUG_WRITTEN_IS_DURABLE, "memory_power_of_all", 20,
     "decision 0012: entries of databases on disk commit when they are written"},
    {"memory_loss_forgotten", "memory_loss_forgotten", 0, "memory_power", 20,
     "decision 0012: a replica that lost power votes with what it has left"},
    {"memory_without_mark", "memory_without_mark", 0, "memory_power", 20,
     "decision 0012: what is written is acknowledged before DIR/memory says so"},
    {"token_stays", NULL, 0, "joined_nodes", 20,
     "F14: a token lets in whoever has it, again and again"},
    {"id_given_again", NULL, 0, "joined_nodes", 5, "DESIGN 7: two nodes get the same id"},
    {"join_speaks_early", "join_speaks_early", 0, "joined_nodes", 20,
     "FAULTS rule 1: a node speaks before it is on its disk that it has joined"},
    {"joining_not_kept", "joining_not_kept", 0, "joined_nodes", 30,
     "F01: a node asks for a place before it is on its disk that it does"},
    {"stale_stamp_late", "stale_stamp_late", 0, "stale_reads", 20,
     "stale reads: a replica counts as fresh as of the leader's answer, not of the question"},
    {"stale_before_applied", "stale_before_applied", 0, "stale_reads", 20,
     "stale reads: a replica counts as fresh though it has not applied what its leader had committed"},
    {"stale_without_lease", "stale_without_lease", 0, "stale_leader", 20,
     "stale reads: a leader says how far it is without showing that it still leads"},
    {"partial_reply_kept", "partial_reply_kept", 0, NULL, 800,
     "B5: what came of a reply in parts is kept when the request is sent again"},
};

uint32_t sim_planted_redis_bit(const struct sim_planted *bug)
{
    static const struct {
        const char *name;
        uint32_t bit;
    } bits[] = {{"overwrite_forgets_id", REDIS_BUG_OVERWRITE_FORGETS_ID},
                {"stages_not_checked", REDIS_BUG_STAGES_NOT_CHECKED},
                {"staged_not_collected", REDIS_BUG_STAGED_NOT_COLLECTED},
                {"staged_again", REDIS_BUG_STAGED_AGAIN},
                {"part_id_used_twice", REDIS_BUG_ID_USED_TWICE}};

    for (size_t i = 0; i < ARRAY_COUNT(bits); i++)
        if (strcmp(bits[i].name, bug->name) == 0) return bits[i].bit;
    return 0;
}

uint32_t sim_planted_meta_bit(const struct sim_planted *bug)
{
    if (strcmp(bug->name, "move_unseen") == 0) return META_BUG_MOVE_UNSEEN;
    if (strcmp(bug->name, "removed_while_moving") == 0) return META_BUG_REMOVE_MOVING;
    if (strcmp(bug->name, "token_stays") == 0) return META_BUG_TOKEN_STAYS;
    return strcmp(bug->name, "id_given_again") == 0 ? META_BUG_ID_GIVEN_AGAIN : 0;
}

const struct sim_planted *sim_planted_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(planted); i++)
        if (strcmp(planted[i].name, name) == 0) return &planted[i];
    return NULL;
}

const struct sim_planted *sim_planted_all(size_t *ret_count)
{
    *ret_count = ARRAY_COUNT(planted);
    return planted;
}
