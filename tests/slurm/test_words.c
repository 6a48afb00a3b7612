/* SPDX-License-Identifier: Apache-2.0 */
/* What Slurm's programs print, as parsed by the example backend: every state, ids among other lines, records,
 * refusals. */
#include "../suite.h"
#include "slurm.h"

#include <stdlib.h>
#include <string.h>

static void is_state(const char *text, slurm_phase phase, const char *name) {
    slurm_state state;
    slurm_state_read(text, &state);
    ck_assert_msg(state.phase == phase, "%s: phase %d", text, (int)state.phase);
    ck_assert_str_eq(state.name, name);
}

START_TEST(only_listed_states_end_a_job) {
    static const char *const ends[] = {"COMPLETED", "FAILED",    "TIMEOUT",   "CANCELLED", "OUT_OF_MEMORY",
                                       "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE"};
    static const char *const waits[] = {"PENDING",      "REQUEUED",      "REQUEUE_HOLD", "REQUEUE_FED",
                                        "SPECIAL_EXIT", "RESV_DEL_HOLD", "REVOKED"};
    static const char *const runs[] = {"RUNNING",   "CONFIGURING", "COMPLETING", "SUSPENDED",     "STOPPED",
                                       "SIGNALING", "STAGE_OUT",   "RESIZING",   "POWER_UP_NODE", "EXPEDITING"};
    static const char *const strange[] = {"ENDED", "COMPLETE", "COMPLETEDLY", "FAIL", "F", "CD"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        is_state(ends[i], SLURM_ENDED, ends[i]);
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++)
        is_state(waits[i], SLURM_WAITS, waits[i]);
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
        is_state(runs[i], SLURM_RUNS, runs[i]);
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++)
        is_state(strange[i], SLURM_STRANGE, strange[i]);
    is_state("", SLURM_STRANGE, "");
    is_state("   ", SLURM_STRANGE, "");
    is_state("42", SLURM_STRANGE, "42");
    is_state("completed", SLURM_STRANGE, "completed");
}
END_TEST

START_TEST(states_with_flags_and_cut_ones) {
    slurm_state state;
    is_state("COMPLETED+COMPLETING", SLURM_RUNS, "COMPLETING");
    is_state("COMPLETED,COMPLETING", SLURM_RUNS, "COMPLETING");
    is_state("NODE_FAIL+REQUEUED", SLURM_WAITS, "REQUEUED");
    is_state("COMPLETED+LATER_INVENTED", SLURM_STRANGE, "LATER_INVENTED");
    is_state("LATER_INVENTED+RUNNING", SLURM_RUNS, "RUNNING");
    is_state("CANCELLED+", SLURM_ENDED, "CANCELLED");
    is_state("OUT_OF_ME+", SLURM_ENDED, "OUT_OF_MEMORY");
    is_state("REQU+", SLURM_STRANGE, "REQU"); /* could be one of several */
    is_state("COMPLET+", SLURM_STRANGE, "COMPLET");
    is_state("F+", SLURM_STRANGE, "F");
    slurm_state_read("CANCELLED by 1000", &state);
    ck_assert(state.phase == SLURM_ENDED && state.has_by && state.by == 1000);
    slurm_state_read("CANCELLED by 0", &state);
    ck_assert(state.has_by && state.by == 0);
    slurm_state_read("CANCELLED by ", &state);
    ck_assert(!state.has_by);
    slurm_state_read("CANCELLED by 99999999999", &state);
    ck_assert(!state.has_by);
}
END_TEST

static void has_ids(const char *text, size_t count, const char *last, const char *cluster) {
    slurm_id ids[4];
    ck_assert_msg(slurm_ids(text, ids, 4) == count, "'%s'", text);
    if (count == 0) return;
    ck_assert_str_eq(ids[count - 1].number, last);
    ck_assert_str_eq(ids[count - 1].cluster, cluster);
}

START_TEST(ids_among_other_lines) {
    has_ids("4711\n", 1, "4711", "");
    has_ids("4711", 1, "4711", "");
    has_ids(" 4711\r\n", 1, "4711", "");
    has_ids("4711;north-1\n", 1, "4711", "north-1");
    has_ids("Submitted batch job 4711\n", 1, "4711", "");
    has_ids("Submitted batch job 4711 on cluster north\n", 1, "4711", "north");
    has_ids("Welcome!\n1 job of yours waits\n4711\n\n", 1, "4711", "");
    has_ids("4711\nSubmitted batch job 4711\n", 1, "4711", "");
    has_ids("2026\n4711\n", 2, "4711", "");
    has_ids("", 0, "", "");
    has_ids("4711_3\n", 0, "", "");
    has_ids("-4711\n", 0, "", "");
    has_ids("4711;\n", 0, "", "");
    has_ids("4711;no such\n", 0, "", "");
    has_ids("0\n", 0, "", "");
    has_ids("4294967295\n", 0, "", "");
    has_ids("99999999999999999999999999\n", 0, "", "");
    has_ids("Submitted batch job\n", 0, "", "");
    has_ids("Submitted batch job 4711 or so\n", 0, "", "");
    has_ids("1\n2\n3\n4\n5\n6\n", 4, "4", "");
}
END_TEST

#define RECORD                                                                                                         \
    "JobId=12 JobName=kolm-x-0 UserId=root(0) QOS=(null) JobState=FAILED Reason=JobLaunchFailure Dependency=(null) "   \
    "Requeue=1 Restarts=2 ExitCode=0:9 TimeLimit=1-00:00:00 TimeMin=N/A BatchHost=kolm1 MinMemoryNode=0 "              \
    "Command=/x/job.sh sh -c JobState=RUNNING WorkDir=/x StdErr=/dev/null Power= \n"

START_TEST(records_of_scontrol) {
    slurm_job job;
    ck_assert(slurm_job_read(RECORD, "12", &job));
    ck_assert_str_eq(job.name, "kolm-x-0");
    ck_assert_str_eq(job.state.name, "FAILED");
    ck_assert_str_eq(job.reason, "JobLaunchFailure");
    ck_assert_str_eq(job.node, "kolm1");
    ck_assert_str_eq(job.time, "1-00:00:00");
    ck_assert_str_eq(job.memory, "");
    ck_assert_str_eq(job.dir, "/x");
    ck_assert(job.requeue && job.restarts == 2 && job.exit_code == 0 && job.signal == 9);
    ck_assert(!slurm_job_read(RECORD, "1", &job));
    ck_assert(!slurm_job_read("", "12", &job));
    ck_assert(!slurm_job_read("No jobs in the system\n", "12", &job));
}
END_TEST

START_TEST(records_of_arrays_and_heterogeneous_jobs) {
    slurm_job job;
    static const char several[] =
        "JobId=23 ArrayJobId=23 ArrayTaskId=2 JobName=a JobState=RUNNING WorkDir=/a\n"
        "JobId=24 ArrayJobId=23 ArrayTaskId=1 JobName=b JobState=COMPLETED WorkDir=/b\n"
        "JobId=25 HetJobId=25 HetJobOffset=0 JobName=c HetJobIdSet=25-26 JobState=PENDING WorkDir=/c\n"
        "JobId=26 HetJobId=25 HetJobOffset=1 JobName=d JobState=TIMEOUT WorkDir=/d"; /* truncated */
    const char *const names[] = {"a", "b", "c", "d"}, *const numbers[] = {"23", "24", "25", "26"};
    for (size_t i = 0; i < 4; i++) {
        ck_assert(slurm_job_read(several, numbers[i], &job));
        ck_assert_str_eq(job.name, names[i]);
    }
}
END_TEST

START_TEST(lines_of_sacct_and_squeue) {
    slurm_job job = {.node = "kolm1"};
    slurm_id id;
    static const char lines[] = "12|kolm-x|CANCELLED by 1000|0:15\n12.batch|batch|CANCELLED|0:15\n13|y|COMPLETED|0:0\n";
    ck_assert(slurm_accounting_read(lines, "12", &job));
    ck_assert_str_eq(job.state.name, "CANCELLED");
    ck_assert(job.state.has_by && job.state.by == 1000 && job.signal == 15);
    ck_assert_str_eq(job.node, "kolm1");
    ck_assert(slurm_accounting_read("12|x|NODE_FAIL|1:0\n12|x|COMPLETED|0:0\n", "12", &job)); /* requeued */
    ck_assert_str_eq(job.state.name, "COMPLETED");
    ck_assert(!slurm_accounting_read("Slurm accounting storage is disabled\n", "12", &job));
    ck_assert(!slurm_accounting_read("12", "1", &job));
    ck_assert(slurm_find_name("JOBID|NAME\n9|kolm-x\n11|kolm-x\n10|kolm-x\n12|kolm-xy\n", "kolm-x", &id));
    ck_assert_str_eq(id.number, "11");
    ck_assert_str_eq(id.cluster, "");
    ck_assert(slurm_find_name("CLUSTER: a\nJOBID|NAME\n7|z\n\nCLUSTER: b\nJOBID|NAME\n9|kolm-x\n", "kolm-x", &id));
    ck_assert_str_eq(id.cluster, "b");
    ck_assert(!slurm_find_name("JOBID|NAME\n", "kolm-x", &id));
    ck_assert(!slurm_find_name("kolm-x\n", "kolm-x", &id));
}
END_TEST

START_TEST(what_was_said) {
    char said[200], small[12];
    slurm_said("sbatch: error: invalid partition specified: nowhere\n"
               "sbatch: error: Batch job submission failed: Invalid partition name specified\n"
               "sbatch: error: Batch job submission failed: Invalid partition name specified\n\n",
               said, sizeof said);
    ck_assert_str_eq(
        said, "invalid partition specified: nowhere; Batch job submission failed: Invalid partition name specified");
    slurm_said("allocation failure: Invalid qos specification", said, sizeof said);
    ck_assert_str_eq(said, "Invalid qos specification");
    slurm_said("sbatch: error: ", said, sizeof said);
    slurm_said("error: one\nerror: two and more of it\n", small, sizeof small);
    ck_assert_uint_lt(strlen(small), sizeof small);
    ck_assert(slurm_is_away("Unable to contact slurm controller (connect failure)"));
    ck_assert(slurm_is_away("Batch job submission failed: Socket timed out on send/recv operation"));
    ck_assert(slurm_is_away("Slurm temporarily unable to accept job, sleeping and retrying"));
    ck_assert(slurm_is_away("Zero Bytes were transmitted or received"));
    ck_assert(slurm_is_away("Slurm backup controller in standby mode"));
    ck_assert(!slurm_is_away("Invalid qos specification"));
    ck_assert(!slurm_is_away(""));
    ck_assert(slurm_is_forgotten("Invalid job id specified") && !slurm_is_forgotten("Invalid user id"));
    ck_assert(slurm_has_no_accounting("Slurm accounting storage is disabled"));
    ck_assert(!slurm_has_no_accounting("Problem talking to the database"));
}
END_TEST

/* Slurm's text, and the setting with which the remedy begins; "" if none. */
static const struct {
    const char *said, *key;
} refusals[] = {
    {"invalid partition specified: nowhere; Batch job submission failed: Invalid partition name specified",
     "partition"},
    {"No partition specified or system default partition", "partition"},
    {"User's group not permitted to use this partition", "partition"},
    {"Requested partition configuration not available now", "partition"},
    {"Invalid account or account/partition combination specified", "account"},
    {"Job's account not permitted to use this partition (low allows none not lab)", "account"},
    {"You must specify an account with --account", "account"},
    {"Invalid qos specification", "qos"},
    {"Job's QOS not permitted to use this partition (low allows normal not long)", "qos"},
    {"Requested time limit is invalid (missing or exceeds some limit)", "time"},
    {"Invalid --time specification", "time"},
    {"Memory specification can not be satisfied; Batch job submission failed: Requested node configuration is not "
     "available",
     "memory"},
    {"Memory required by task is not available", "memory"},
    {"Invalid --mem specification", "memory"},
    {"Invalid generic resource (gres) specification", "gpus"},
    {"Invalid feature specification", "constraint"},
    {"Requested reservation is invalid", "reservation"},
    {"Access denied to requested reservation", "reservation"},
    {"Invalid wckey specification", "wckey"},
    {"\"x\" is not a valid node count", "nodes"},
    {"Node count specification invalid", "nodes"},
    {"Problem talking to database; 'other' can't be reached now, or it is an invalid entry for --cluster.", "cluster"},
    {"Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", ""},
    {"QOSMaxSubmitJobPerUserLimit", ""},
    {"Requested node configuration is not available", ""},
    {"More processors requested than permitted", ""},
    {"Protocol authentication error", ""},
    {"Invalid user id", ""},
    {"Unspecified error", ""},
};

START_TEST(remedies_name_what_was_wrong) {
    const slurm_settings settings = {.partition = "gpu"};
    char remedy[500], begins[100];
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        slurm_remedy(&settings, refusals[i].said, 8, remedy, sizeof remedy);
        ck_assert_str_ne(remedy, "");
        bool partition = strcmp(refusals[i].key, "partition") == 0;
        kit_format(begins, sizeof begins, "%s backends.slurm.%s in config.json%s: ", partition ? "correct" : "set",
                   refusals[i].key, partition ? " ('gpu')" : "");
        if (refusals[i].key[0])
            ck_assert_msg(strncmp(remedy, begins, strlen(begins)) == 0, "%s: %s", refusals[i].said, remedy);
        else
            ck_assert_msg(strncmp(remedy, "correct ", 8) != 0 && strncmp(remedy, "set ", 4) != 0, "%s: %s",
                          refusals[i].said, remedy);
    }
    slurm_remedy(&settings, "Requested node configuration is not available", 8, remedy, sizeof remedy);
    ck_assert_ptr_nonnull(strstr(remedy, "8 processors (--threads)"));
}
END_TEST

START_TEST(where_a_value_comes_from) {
    const slurm_settings none = {.bin = ""}, some = {.memory = "1G", .qos = "long"};
    char source[100];
    const char *value;
    setenv("SBATCH_QOS", "short", 1);
    slurm_source_of(&some, "qos", source, sizeof source, &value);
    ck_assert_str_eq(source, "backends.slurm.qos in config.json");
    ck_assert_str_eq(value, "long");
    slurm_source_of(&none, "qos", source, sizeof source, &value);
    ck_assert_str_eq(source, "SBATCH_QOS in the environment");
    ck_assert_str_eq(value, "short");
    unsetenv("SBATCH_QOS");
    slurm_source_of(&none, "qos", source, sizeof source, &value);
    ck_assert_str_eq(source, "backends.slurm.qos in config.json");
    ck_assert_str_eq(value, "");
    ck_assert(slurm_overrides(&some, "SBATCH_MEM_PER_CPU=9"));
    ck_assert(slurm_overrides(&some, "SBATCH_QOS=short"));
    ck_assert(!slurm_overrides(&none, "SBATCH_MEM_PER_CPU=9"));
    ck_assert(!slurm_overrides(&some, "SBATCH_MEM_PER_CPUS=9"));
    ck_assert(!slurm_overrides(&some, "SBATCH_QOS"));
    ck_assert(!slurm_overrides(&some, "PATH=/bin"));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("slurm-words");
    TCase *tests = tcase_create("words");
    tcase_add_test(tests, only_listed_states_end_a_job);
    tcase_add_test(tests, states_with_flags_and_cut_ones);
    tcase_add_test(tests, ids_among_other_lines);
    tcase_add_test(tests, records_of_scontrol);
    tcase_add_test(tests, records_of_arrays_and_heterogeneous_jobs);
    tcase_add_test(tests, lines_of_sacct_and_squeue);
    tcase_add_test(tests, what_was_said);
    tcase_add_test(tests, remedies_name_what_was_wrong);
    tcase_add_test(tests, where_a_value_comes_from);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
