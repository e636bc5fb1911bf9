/* test_raft_harness.h - up to five Raft cores, their disks and a network between them, in one
 * thread and in simulated time. Deterministic by seed. Everything that crosses the network is
 * encoded and decoded; a crash loses what the disk had not finished. */
#ifndef HOLON_TESTS_RAFT_HARNESS_H
#define HOLON_TESTS_RAFT_HARNESS_H

#include "test_raft_check.h"
#include "unit.h"

enum { MS = 1000, HEARTBEAT = 50 * MS, QUEUE_MAX = 1 << 14, PENDING_MAX = 4096 };

static const struct raft_timing TIMING = {.heartbeat = HEARTBEAT,
                                          .election_timeout_min = 300 * MS,
                                          .election_timeout_max = 600 * MS,
                                          .lease = 240 * MS};

enum packet_kind { PACKET_RAFT, PACKET_HEARTBEAT, PACKET_ACK, PACKET_DOWN, PACKET_SNAPSHOT };

struct packet {
    enum packet_kind kind;
    uint64_t at; /* when it arrives */
    uint64_t number;
    int from, to; /* node indexes */
    uint8_t *bytes;
    size_t size;
    struct raft_heartbeat heartbeat;
    struct raft_heartbeat_ack ack;
    uint64_t generated_at;
    uint64_t index, term;
    struct raft_config config;
};

struct persist {
    uint64_t id, done_at;
    bool hard;
    struct raft_hard_state state;
    uint64_t truncate_from;
    struct raft_entry **entries;
    size_t entry_count;
};

struct peer {
    struct raft *raft; /* NULL: crashed */
    bool disk_stalled; /* writes are queued and never done */
    struct persist pending[PENDING_MAX];
    size_t pending_count;
    struct raft_config applied_config;
    uint64_t applied;
    int skew;                                    /* its clock runs that many thousandths too fast */
    uint64_t read_round, read_term, read_commit; /* one read under way; round 0: none */
};

struct net {
    uint64_t now; /* true time; each node has a clock of its own, see peer_now() */
    struct random random;
    int count;
    uint32_t bugs;
    struct peer peers[NODES];
    struct disk disks[NODES];
    struct judge judge;
    bool cut[NODES][NODES]; /* from, to */
    struct packet *queue;
    size_t queue_count;
    uint64_t packets;
    uint64_t delay_min, delay_max, disk_max; /* us */
    uint32_t drop, duplicate;                /* of 1000 */
    bool snapshots_by_hand;
    bool trims; /* as its driver does: what all have leaves memory */
    struct raft_config birth;
    uint64_t reads_done, snapshots_done, transfers_done, changes_done;
};

static inline uint64_t peer_now(const struct net *net, int i)
{
    int64_t now = (int64_t)net->now;
    return (uint64_t)(now + now * net->peers[i].skew / 1000);
}

/* --- configurations and entries --- */

static inline struct raft_config config_of(int voters, int learners)
{
    struct raft_config config = {.incoming_count = (uint8_t)voters,
                                 .learner_count = (uint8_t)learners};
    for (int i = 0; i < voters + learners; i++) {
        struct raft_member member = {.replica = {(uint64_t)i + 1}, .node = (node_id_t)i + 1};
        if (i < voters) config.incoming[i] = member;
        if (i >= voters) config.learners[i - voters] = member;
    }
    return config;
}

static inline struct raft_entry *entry_of(uint64_t value)
{
    struct raft_entry *entry = raft_entry_make(NULL, RAFT_ENTRY_NORMAL, sizeof(value));
    memcpy(entry->body, &value, sizeof(value));
    return entry;
}

static inline struct raft_entry *entry_copy(const struct raft_entry *entry)
{
    struct raft_entry *copy = raft_entry_make(NULL, entry->type, entry->size);
    memcpy(copy->body, entry->body, entry->size);
    copy->index = entry->index;
    copy->term = entry->term;
    return copy;
}

/* --- disks --- */

static inline void disk_cut(struct disk *disk, uint64_t from_index)
{
    while (disk->last_index >= from_index && disk->last_index > disk->base_index) {
        memory_free(disk->entries[disk->last_index]);
        disk->entries[disk->last_index--] = NULL;
    }
}

static inline void persist_do(struct net *net, int i, struct persist *persist, bool write)
{
    struct disk *disk = &net->disks[i];
    if (write && persist->hard) {
        if (persist->state.term < disk->state.term)
            VIOLATION(&net->judge, "R-5: term of %d goes back", i + 1);
        disk->state = persist->state;
    }
    if (write && persist->truncate_from) disk_cut(disk, persist->truncate_from);
    for (size_t k = 0; k < persist->entry_count; k++) {
        struct raft_entry *entry = persist->entries[k];
        if (!write || entry->index <= disk->base_index) {
            memory_free(entry);
            continue;
        }
        disk_cut(disk, entry->index);
        if (entry->index != disk->last_index + 1)
            VIOLATION(&net->judge, "hole in the log of %d at %llu", i + 1,
                      (unsigned long long)entry->index);
        judge_entry(&net->judge, entry, disk_term_at(disk, entry->index - 1));
        disk->entries[entry->index] = entry;
        disk->last_index = entry->index;
    }
    memory_free(persist->entries);
}

/* Does the first `count` writes of a node; tells the core unless it crashed. */
static inline void persist_first(struct net *net, int i, size_t count, bool write)
{
    struct peer *peer = &net->peers[i];
    for (size_t k = 0; k < count; k++)
        persist_do(net, i, &peer->pending[k], write);
    peer->pending_count -= count;
    memmove(peer->pending, peer->pending + count, peer->pending_count * sizeof(*peer->pending));
}

/* --- the network --- */

static inline struct packet *packet_add(struct net *net, enum packet_kind kind, int from, int to)
{
    assert_true(net->queue_count < QUEUE_MAX);
    struct packet *packet = &net->queue[net->queue_count++];
    uint64_t delay = random_between(&net->random, net->delay_min, net->delay_max);
    *packet = (struct packet){
        .kind = kind, .from = from, .to = to, .at = net->now + delay, .number = net->packets++};
    return packet;
}

static inline bool packet_lost(struct net *net, int from, int to)
{
    return net->cut[from][to] || random_chance(&net->random, net->drop, 1000);
}

static inline void send_raft(struct net *net, int from, const struct raft_message *message)
{
    int to = (int)message->to.value - 1;
    struct buffer buffer;
    if (packet_lost(net, from, to)) return;
    int copies = random_chance(&net->random, net->duplicate, 1000) ? 2 : 1;
    buffer_init(&buffer, 64 << 20);
    assert_int_equal(raft_message_encode(message, &buffer), STATUS_OK);
    for (int copy = 0; copy < copies; copy++) {
        struct packet *packet = packet_add(net, PACKET_RAFT, from, to);
        packet->size = buffer_size(&buffer);
        packet->bytes = memory_allocate(packet->size);
        memcpy(packet->bytes, buffer_bytes(&buffer).data, packet->size);
    }
    buffer_free(&buffer);
}

static inline void send_heartbeats(struct net *net, int i)
{
    const struct raft_config *config = raft_config(net->peers[i].raft);
    bool sent[NODES] = {false};
    const struct raft_member *lists[] = {config->incoming, config->outgoing, config->learners};
    size_t counts[] = {config->incoming_count, config->outgoing_count, config->learner_count};
    for (int list = 0; list < 3; list++) {
        for (size_t k = 0; k < counts[list]; k++) {
            struct raft_heartbeat heartbeat;
            int to = (int)lists[list][k].replica.value - 1;
            if (to == i || sent[to]) continue;
            sent[to] = true;
            if (!raft_heartbeat_make(net->peers[i].raft, lists[list][k].replica, &heartbeat))
                continue;
            if (packet_lost(net, i, to)) continue;
            struct packet *packet = packet_add(net, PACKET_HEARTBEAT, i, to);
            packet->heartbeat = heartbeat;
            packet->generated_at = peer_now(net, i);
        }
    }
}

/* --- the driver of one core --- */

static inline void peer_apply(struct net *net, int i, uint64_t commit)
{
    struct peer *peer = &net->peers[i];
    for (uint64_t index = peer->applied + 1; index <= commit; index++) {
        const struct raft_entry *entry = raft_entry_at(peer->raft, index);
        assert_non_null(entry);
        judge_apply(&net->judge, entry, raft_term(peer->raft));
        if (entry->type != RAFT_ENTRY_CONFIG) continue;
        raft_config_decode(bytes_make(entry->body, entry->size), &peer->applied_config);
        peer->applied_config.index = index;
    }
    peer->applied = commit;
    raft_applied(peer->raft, commit);
}

static inline void peer_persist(struct net *net, int i, const struct raft_output *output)
{
    struct peer *peer = &net->peers[i];
    if (output->persist_id == 0) return;
    assert_true(peer->pending_count < PENDING_MAX);
    struct persist *persist = &peer->pending[peer->pending_count++];
    *persist = (struct persist){.id = output->persist_id,
                                .done_at = net->now,
                                .hard = output->hard_state_changed,
                                .state = output->hard_state,
                                .truncate_from = output->truncate_from,
                                .entry_count = output->entry_count};
    if (net->disk_max) persist->done_at += random_below(&net->random, net->disk_max);
    persist->entries = memory_allocate(output->entry_count * sizeof(struct raft_entry *));
    for (size_t k = 0; k < output->entry_count; k++)
        persist->entries[k] = entry_copy(output->entries[k]);
}

static inline void peer_read_done(struct net *net, int i, uint64_t round)
{
    struct peer *peer = &net->peers[i];
    bool same = raft_role(peer->raft) == RAFT_LEADER && raft_term(peer->raft) == peer->read_term;
    if (peer->read_round == 0 || (same && round < peer->read_round)) return;
    bool answered = same && raft_can_evaluate(peer->raft, peer_now(net, i));
    if (answered && raft_commit_index(peer->raft) < peer->read_commit)
        VIOLATION(&net->judge, "L-2: a read round of %d missed a commit", i + 1);
    net->reads_done += answered;
    peer->read_round = 0;
}

static inline void peer_snapshot_offer(struct net *net, int i, const struct raft_message *message)
{
    if (net->snapshots_by_hand) return;
    struct packet *packet = packet_add(net, PACKET_SNAPSHOT, i, (int)message->to.value - 1);
    packet->index = raft_commit_index(net->peers[i].raft);
    packet->term = raft_term_at(net->peers[i].raft, packet->index);
    packet->config = net->peers[i].applied_config;
}

static inline void peer_output(struct net *net, int i)
{
    struct peer *peer = &net->peers[i];
    if (peer->raft && net->trims) {
        uint64_t all = raft_everywhere_index(peer->raft);
        raft_trim(peer->raft, all < peer->applied ? all : peer->applied);
    }
    while (peer->raft && raft_has_output(peer->raft)) {
        struct raft_output output;
        judge_leader(&net->judge, peer->raft, (uint64_t)i + 1);
        judge_terms(&net->judge, peer->raft);
        judge_commit(&net->judge, peer->raft, net->disks);
        raft_take_output(peer->raft, &output);
        peer_persist(net, i, &output);
        for (size_t k = 0; k < output.message_count; k++) {
            const struct raft_message *message = &output.messages[k];
            uint64_t term = raft_term_at(peer->raft, message->index);
            judge_message(&net->judge, message, &net->disks[i], term);
            judge_everywhere(&net->judge, message, peer->raft, net->disks);
            if (message->type == RAFT_SNAPSHOT_OFFER) peer_snapshot_offer(net, i, message);
            if (message->type != RAFT_SNAPSHOT_OFFER) send_raft(net, i, message);
        }
        peer_apply(net, i, output.commit);
        peer_read_done(net, i, output.read_round);
    }
}

static inline void peer_disk(struct net *net, int i)
{
    struct peer *peer = &net->peers[i];
    while (!peer->disk_stalled && peer->pending_count && peer->pending[0].done_at <= net->now) {
        uint64_t id = peer->pending[0].id;
        persist_first(net, i, 1, true);
        raft_persisted(peer->raft, id, peer_now(net, i));
        peer_output(net, i);
    }
}

static inline void peer_open(struct net *net, int i, bool at_once)
{
    struct disk *disk = &net->disks[i];
    size_t count = disk->last_index - disk->base_index;
    struct raft_entry **entries = memory_allocate((count + 1) * sizeof(*entries));
    for (size_t k = 0; k < count; k++)
        entries[k] = entry_copy(disk->entries[disk->base_index + 1 + k]);
    struct raft_options options = {.self = {(uint64_t)i + 1},
                                   .node = (node_id_t)i + 1,
                                   .timing = TIMING,
                                   .now = peer_now(net, i),
                                   .vote_at_once = at_once,
                                   .stand_at_once = at_once,
                                   .random_seed = random_u64(&net->random),
                                   .hard_state = disk->state,
                                   .snapshot_index = disk->base_index,
                                   .snapshot_term = disk->base_term,
                                   .config = disk->base_config,
                                   .entries = entries,
                                   .entry_count = count,
                                   .planted_bugs = net->bugs};
    struct peer *peer = &net->peers[i];
    peer->raft = raft_open(&options);
    peer->applied_config = disk->base_config;
    peer->applied = disk->base_index;
    peer->read_round = 0;
    assert_non_null(peer->raft);
    memory_free(entries);
    peer_output(net, i);
}

/* Power loss: of the writes under way the first `survive` are done, though nobody was told. */
static inline void net_crash(struct net *net, int i, size_t survive)
{
    struct peer *peer = &net->peers[i];
    if (peer->raft == NULL) return;
    raft_close(peer->raft);
    peer->raft = NULL;
    if (survive > peer->pending_count) survive = peer->pending_count;
    persist_first(net, i, survive, true);
    persist_first(net, i, peer->pending_count, false);
    peer->disk_stalled = false;
}

static inline void net_restart(struct net *net, int i)
{
    if (net->peers[i].raft == NULL) peer_open(net, i, false);
}

/* Everyone else learns at about this time that the connection to `i` broke. */
static inline void net_link_down(struct net *net, int i)
{
    for (int to = 0; to < net->count; to++)
        if (to != i) packet_add(net, PACKET_DOWN, i, to);
}

/* Trims the memory and the log of a node as after an engine flush. */
static inline void net_flush(struct net *net, int i)
{
    struct peer *peer = &net->peers[i];
    struct disk *disk = &net->disks[i];
    uint64_t index = raft_commit_index(peer->raft);
    if (index > disk->last_index || index > raft_durable_index(peer->raft)) return;
    if (index <= disk->base_index || disk_term_at(disk, index) == 0) return;
    disk->base_term = disk_term_at(disk, index);
    for (uint64_t k = disk->base_index + 1; k <= index; k++) {
        memory_free(disk->entries[k]);
        disk->entries[k] = NULL;
    }
    disk->base_index = index;
    disk->base_config = peer->applied_config;
    raft_trim(peer->raft, index);
}

static inline void snapshot_arrives(struct net *net, const struct packet *packet)
{
    struct peer *peer = &net->peers[packet->to];
    struct disk *disk = &net->disks[packet->to];
    struct replica_id to = {(uint64_t)packet->to + 1};
    bool ok = peer->raft != NULL && !peer->disk_stalled;
    if (ok && packet->index > raft_commit_index(peer->raft)) {
        uint64_t last = peer->pending_count ? peer->pending[peer->pending_count - 1].id : 0;
        persist_first(net, packet->to, peer->pending_count, true);
        if (last) raft_persisted(peer->raft, last, peer_now(net, packet->to));
        bool matches = disk_term_at(disk, packet->index) == packet->term;
        if (!matches) disk_cut(disk, disk->base_index + 1);
        for (uint64_t k = disk->base_index + 1; k <= packet->index; k++) {
            memory_free(disk->entries[k]);
            disk->entries[k] = NULL;
        }
        disk->base_index = packet->index;
        disk->base_term = packet->term;
        disk->base_config = packet->config;
        if (disk->last_index < packet->index) disk->last_index = packet->index;
        peer->applied_config = packet->config;
        peer->applied = packet->index;
        net->snapshots_done += raft_install_snapshot(peer->raft, packet->index, packet->term,
                                                     &packet->config, peer_now(net, packet->to));
        peer_output(net, packet->to);
    }
    struct raft *sender = net->peers[packet->from].raft;
    if (sender) raft_snapshot_sent(sender, to, packet->index, ok);
    if (sender) peer_output(net, packet->from);
}

static inline void packet_arrives(struct net *net, struct packet *packet)
{
    struct raft *raft = net->peers[packet->to].raft;
    uint64_t now = peer_now(net, packet->to);
    if (packet->kind == PACKET_SNAPSHOT) {
        snapshot_arrives(net, packet);
        return;
    }
    if (raft == NULL || (packet->kind != PACKET_DOWN && net->cut[packet->from][packet->to])) return;
    if (packet->kind == PACKET_RAFT) {
        struct reader reader = reader_make(bytes_make(packet->bytes, packet->size));
        struct raft_message message;
        assert_int_equal(raft_message_decode(&reader, NULL, &message), STATUS_OK);
        raft_step(raft, &message, now);
        raft_message_clear(&message);
    } else if (packet->kind == PACKET_HEARTBEAT) {
        struct raft_heartbeat_ack ack;
        raft_heartbeat_receive(raft, &packet->heartbeat, (node_id_t)packet->from + 1, now, &ack);
        struct raft_message claim = {
            .type = RAFT_APPEND_REPLY, .from = {(uint64_t)packet->to + 1}, .index = ack.match};
        uint64_t term = raft_term_at(raft, ack.match);
        judge_message(&net->judge, &claim, &net->disks[packet->to], term);
        if (!packet_lost(net, packet->to, packet->from)) {
            struct packet *reply = packet_add(net, PACKET_ACK, packet->to, packet->from);
            reply->ack = ack;
            reply->generated_at = packet->generated_at;
        }
    } else if (packet->kind == PACKET_ACK) {
        raft_heartbeat_acked(raft, &packet->ack, packet->generated_at, now);
    } else {
        raft_peer_down(raft, (node_id_t)packet->from + 1, now);
    }
    peer_output(net, packet->to);
}

/* Delivers what is due, the earliest first. */
static inline void net_deliver(struct net *net)
{
    for (;;) {
        size_t best = SIZE_MAX;
        for (size_t k = 0; k < net->queue_count; k++) {
            const struct packet *packet = &net->queue[k];
            const struct packet *first = best == SIZE_MAX ? NULL : &net->queue[best];
            if (packet->at > net->now) continue;
            bool sooner = first == NULL || packet->at < first->at ||
                          (packet->at == first->at && packet->number < first->number);
            if (sooner) best = k;
        }
        if (best == SIZE_MAX) return;
        struct packet packet = net->queue[best];
        net->queue[best] = net->queue[--net->queue_count];
        packet_arrives(net, &packet);
        memory_free(packet.bytes);
    }
}

static inline void net_step(struct net *net)
{
    struct raft *rafts[NODES];
    uint64_t clocks[NODES];
    net->now += MS;
    net_deliver(net);
    for (int i = 0; i < net->count; i++) {
        struct raft *raft = net->peers[i].raft;
        if (raft == NULL) continue;
        peer_disk(net, i);
        bool beats = net->now % HEARTBEAT == (uint64_t)i * 7 * MS;
        if (beats && raft_role(raft) == RAFT_LEADER) send_heartbeats(net, i);
        if (raft_next_deadline(raft) <= peer_now(net, i)) raft_tick(raft, peer_now(net, i));
        peer_output(net, i);
    }
    for (int i = 0; i < net->count; i++) {
        rafts[i] = net->peers[i].raft;
        clocks[i] = peer_now(net, i);
    }
    judge_leases(&net->judge, rafts, clocks, (size_t)net->count);
}

static inline void net_run(struct net *net, uint64_t ms)
{
    for (uint64_t i = 0; i < ms && net->judge.violation[0] == 0; i++)
        net_step(net);
}

/* --- making, looking, doing --- */

static inline struct net *net_make(int count, int voters, uint64_t seed, uint32_t bugs)
{
    struct net *net = memory_allocate_zero(sizeof(*net));
    net->queue = memory_allocate(QUEUE_MAX * sizeof(*net->queue));
    random_seed(&net->random, seed);
    net->count = count;
    net->bugs = bugs;
    net->now = 1000 * MS;
    net->delay_min = 1 * MS;
    net->delay_max = 1 * MS;
    net->birth = config_of(voters, 0);
    for (int i = 0; i < count; i++) {
        /* Who is not in the first configuration is born without one, as a future learner. */
        if (i < voters) net->disks[i].base_config = net->birth;
        peer_open(net, i, i == 0);
    }
    return net;
}

static inline void net_free(struct net *net)
{
    for (int i = 0; i < net->count; i++) {
        net_crash(net, i, 0);
        disk_cut(&net->disks[i], net->disks[i].base_index + 1);
    }
    for (size_t k = 0; k < net->queue_count; k++)
        memory_free(net->queue[k].bytes);
    memory_free(net->queue);
    memory_free(net);
}

/* The leader of the highest term, or -1. */
static inline int net_leader(const struct net *net)
{
    int leader = -1;
    for (int i = 0; i < net->count; i++) {
        const struct raft *raft = net->peers[i].raft;
        if (raft == NULL || raft_role(raft) != RAFT_LEADER) continue;
        if (leader < 0 || raft_term(raft) > raft_term(net->peers[leader].raft)) leader = i;
    }
    return leader;
}

/* Runs until somebody may evaluate. Returns who, or -1 after `ms`. */
static inline int net_elect(struct net *net, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++) {
        net_run(net, 1);
        int leader = net_leader(net);
        if (leader >= 0 && raft_can_evaluate(net->peers[leader].raft, peer_now(net, leader)))
            return leader;
    }
    return -1;
}

static inline uint64_t net_propose(struct net *net, int i, uint64_t value)
{
    uint64_t index = raft_propose(net->peers[i].raft, entry_of(value));
    peer_output(net, i);
    return index;
}

static inline void net_isolate(struct net *net, int i, bool cut)
{
    for (int other = 0; other < net->count; other++) {
        if (other == i) continue;
        net->cut[i][other] = cut;
        net->cut[other][i] = cut;
    }
}

static inline void net_read(struct net *net, int i)
{
    struct peer *peer = &net->peers[i];
    bool send_now;
    if (peer->raft == NULL || peer->read_round != 0) return;
    peer->read_commit = net->judge.commit_max;
    peer->read_term = raft_term(peer->raft);
    peer->read_round = raft_read_begin(peer->raft, peer_now(net, i), &send_now);
    if (peer->read_round && send_now) send_heartbeats(net, i);
    peer_output(net, i);
}

#define ASSERT_SOUND(net) assert_string_equal((net)->judge.violation, "")

#endif
