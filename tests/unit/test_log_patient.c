/* Patient entries: handed over with what others wait for, or after LOG_PATIENT_US. */
#include "log_fixture.h"

enum { MS = 1000 };

struct patient {
    struct log_fixture *fixture;
    struct log_queue *queue;
    uint64_t durable, effects, syncs;
};

static void patient_durable(void *context, uint64_t position)
{
    struct patient *patient = context;
    assert_true(position > patient->durable);
    patient->durable = position;
}

static void mark(struct patient *patient)
{
    patient->effects = patient->fixture->disk->effects;
    patient->syncs = patient->fixture->disk->syncs;
}

static void begin(struct patient *patient, struct log_fixture *fixture)
{
    *patient = (struct patient){.fixture = fixture};
    patient->queue = log_queue_open(fixture->log, &fixture->disk->world, patient, patient_durable);
    log_append_state(patient->queue, GROUP, REPLICA, &(struct log_state){.term = 1});
    log_queue_submit(patient->queue);
    fake_disk_pass(fixture->disk, 10 * MS); /* and the mark */
    assert_true(log_queue_idle(patient->queue));
    mark(patient);
}

static uint64_t append(struct patient *patient, uint64_t index, bool is_patient)
{
    struct log_entry entry = {
        .index = index, .term = 1, .type = 3, .patient = is_patient, .body = bytes_of("body")};
    uint64_t position = log_append_entry(patient->queue, GROUP, REPLICA, &entry);
    log_queue_submit(patient->queue);
    fake_disk_run(patient->fixture->disk);
    return position;
}

static void end(struct patient *patient)
{
    fake_disk_pass(patient->fixture->disk, 10 * MS);
    assert_true(log_queue_idle(patient->queue));
    log_queue_close(patient->queue);
}

static void test_a_patient_entry_goes_with_the_next_one(void **state)
{
    struct log_fixture *fixture = *state;
    struct patient patient;
    begin(&patient, fixture);
    uint64_t before = patient.durable, batches = fixture_statistics(fixture).batches;
    append(&patient, 1, true);
    append(&patient, 2, true);
    assert_int_equal(fixture->disk->effects, patient.effects);
    assert_int_equal(patient.durable, before);
    assert_false(log_queue_idle(patient.queue));
    uint64_t position = append(&patient, 3, false);
    assert_int_equal(patient.durable, position);
    assert_int_equal(fixture_statistics(fixture).batches, batches + 1);
    assert_int_equal(fixture->disk->syncs, patient.syncs + 1);
    assert_true(log_queue_idle(patient.queue));
    end(&patient);
}

/* What comes meanwhile does not put it off. */
static void test_a_patient_entry_waits_no_longer_than_it_may(void **state)
{
    struct log_fixture *fixture = *state;
    struct patient patient;
    begin(&patient, fixture);
    uint64_t position = append(&patient, 1, true);
    fake_disk_pass(fixture->disk, LOG_PATIENT_US / 2);
    append(&patient, 2, true);
    assert_int_equal(fixture->disk->effects, patient.effects);
    fake_disk_pass(fixture->disk, LOG_PATIENT_US / 2);
    assert_true(patient.durable > position); /* both */
    mark(&patient);
    position = append(&patient, 3, true); /* and its time begins anew */
    fake_disk_pass(fixture->disk, LOG_PATIENT_US - 1);
    assert_true(patient.durable < position);
    fake_disk_pass(fixture->disk, 1);
    assert_int_equal(patient.durable, position);
    end(&patient);
}

static void test_a_patient_entry_that_is_waited_for_after_all_goes_at_once(void **state)
{
    struct log_fixture *fixture = *state;
    struct patient patient;
    begin(&patient, fixture);
    uint64_t position = append(&patient, 1, true);
    log_queue_hurry(patient.queue);
    log_queue_submit(patient.queue);
    fake_disk_run(fixture->disk);
    assert_int_equal(patient.durable, position);
    log_queue_hurry(patient.queue); /* before it is appended, in one turn */
    position = append(&patient, 2, true);
    assert_int_equal(patient.durable, position);
    log_queue_hurry(patient.queue); /* for nothing */
    log_queue_submit(patient.queue);
    position = append(&patient, 3, true);
    assert_true(patient.durable < position);
    end(&patient);
}

/* Votes and terms are waited for, whatever they come with. */
static void test_a_state_behind_a_patient_entry_does_not_wait(void **state)
{
    struct log_fixture *fixture = *state;
    struct patient patient;
    begin(&patient, fixture);
    append(&patient, 1, true);
    uint64_t position =
        log_append_state(patient.queue, GROUP, REPLICA, &(struct log_state){.term = 2});
    log_queue_submit(patient.queue);
    fake_disk_run(fixture->disk);
    assert_int_equal(patient.durable, position);
    end(&patient);
}

/* It was promised to nobody, and is not there or is whole. */
static void test_a_process_that_is_killed_meanwhile_has_written_nothing(void **state)
{
    struct log_fixture *fixture = *state;
    struct patient patient;
    begin(&patient, fixture);
    append(&patient, 1, false);
    append(&patient, 2, true);
    fixture_abandon(fixture);
    fake_disk_kill(fixture->disk);
    fixture_open(fixture);
    const struct log_recovered *group = fixture_recovered(fixture, GROUP);
    assert_non_null(group);
    assert_int_equal(group->entry_count, 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_a_patient_entry_goes_with_the_next_one),
        CASE(test_a_patient_entry_waits_no_longer_than_it_may),
        CASE(test_a_patient_entry_that_is_waited_for_after_all_goes_at_once),
        CASE(test_a_state_behind_a_patient_entry_does_not_wait),
        CASE(test_a_process_that_is_killed_meanwhile_has_written_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
