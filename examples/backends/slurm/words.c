/* SPDX-License-Identifier: Apache-2.0 */
/* Parses the output of Slurm's programs: ids, states, records and reasons for refusals. */
#include "slurm.h"

#include "kolm/kit/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ---- Lines */

/* The next line of *at without spaces and carriage returns around it, into out; false at the end. A line that does not
 * fit is truncated. */
static bool next_line(const char **at, char *out, size_t capacity) {
    if (!**at) return false;
    const char *start = *at, *end = start + strcspn(start, "\n");
    *at = *end ? end + 1 : end;
    while (start < end && isspace((unsigned char)*start))
        start++;
    while (end > start && isspace((unsigned char)end[-1]))
        end--;
    (void)kit_format(out, capacity, "%.*s", (int)(end - start), start);
    return true;
}

/* ---- Ids */

static bool is_number(const char *text, size_t length) {
    uint64_t value;
    char digits[24];
    /* Slurm's ids have 32 bits; 0 and the highest values are invalid. */
    return length > 0 && length < sizeof digits && kit_format(digits, sizeof digits, "%.*s", (int)length, text) &&
           kit_parse_u64(digits, &value) && value > 0 && value < 0xfffffffeu;
}

static bool is_cluster(const char *text) {
    for (const char *at = text; *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr("._-", *at)) return false;
    return *text != '\0';
}

static bool set_id(slurm_id *out, const char *number, size_t length, const char *cluster) {
    if (!is_number(number, length) || (cluster && !is_cluster(cluster))) return false;
    *out = (slurm_id){.number = ""};
    (void)kit_format(out->number, sizeof out->number, "%.*s", (int)length, number);
    return kit_copy(out->cluster, sizeof out->cluster, cluster ? cluster : "");
}

bool slurm_id_read(const char *text, slurm_id *out) {
    char line[128];
    if (!next_line(&text, line, sizeof line)) return false;
    char *semicolon = strchr(line, ';');
    if (semicolon) *semicolon = '\0';
    return set_id(out, line, strlen(line), semicolon ? semicolon + 1 : NULL);
}

/* "Submitted batch job 4711 on cluster NAME" */
static bool read_sentence(const char *line, slurm_id *out) {
    static const char begins[] = "Submitted batch job ", middle[] = " on cluster ";
    if (strncmp(line, begins, sizeof begins - 1) != 0) return false;
    const char *number = line + sizeof begins - 1;
    size_t digits = strspn(number, "0123456789");
    const char *rest = number + digits;
    if (strncmp(rest, middle, sizeof middle - 1) == 0) return set_id(out, number, digits, rest + sizeof middle - 1);
    return *rest == '\0' && set_id(out, number, digits, NULL);
}

size_t slurm_ids(const char *text, slurm_id *out, size_t capacity) {
    char line[512];
    size_t count = 0;
    while (count < capacity && next_line(&text, line, sizeof line)) {
        slurm_id id;
        bool known = false;
        if (!slurm_id_read(line, &id) && !read_sentence(line, &id)) continue;
        for (size_t i = 0; i < count; i++)
            known = known || strcmp(out[i].number, id.number) == 0;
        if (!known) out[count++] = id;
    }
    return count;
}

/* ---- States */

static const struct {
    const char *name;
    slurm_phase phase;
} states[] = {
    {"PENDING", SLURM_WAITS},       {"REQUEUED", SLURM_WAITS},      {"REQUEUE_HOLD", SLURM_WAITS},
    {"REQUEUE_FED", SLURM_WAITS},   {"SPECIAL_EXIT", SLURM_WAITS},  {"RESV_DEL_HOLD", SLURM_WAITS},
    {"REVOKED", SLURM_WAITS}, /* in a federation: it runs on another cluster */
    {"LAUNCH_FAILED", SLURM_WAITS}, {"RECONFIG_FAIL", SLURM_WAITS}, {"RUNNING", SLURM_RUNS},
    {"CONFIGURING", SLURM_RUNS},    {"COMPLETING", SLURM_RUNS},     {"SUSPENDED", SLURM_RUNS},
    {"STOPPED", SLURM_RUNS},        {"SIGNALING", SLURM_RUNS},      {"STAGE_OUT", SLURM_RUNS},
    {"RESIZING", SLURM_RUNS},       {"POWER_UP_NODE", SLURM_RUNS},  {"EXPEDITING", SLURM_RUNS},
    {"UPDATE_DB", SLURM_RUNS},      {"COMPLETED", SLURM_ENDED},     {"FAILED", SLURM_ENDED},
    {"TIMEOUT", SLURM_ENDED},       {"CANCELLED", SLURM_ENDED},     {"OUT_OF_MEMORY", SLURM_ENDED},
    {"NODE_FAIL", SLURM_ENDED},     {"PREEMPTED", SLURM_ENDED},     {"BOOT_FAIL", SLURM_ENDED},
    {"DEADLINE", SLURM_ENDED},
};
#define STATES (sizeof states / sizeof *states)

/* The state called word; cut: word is only a prefix of the name. -1: none or several match. */
static int find_state(const char *word, size_t length, bool cut) {
    int found = -1;
    for (size_t i = 0; i < STATES; i++) {
        if (strncmp(states[i].name, word, length) != 0) continue;
        if (states[i].name[length] == '\0') return (int)i;
        if (cut && length >= 4) found = found < 0 ? (int)i : (int)STATES;
    }
    return found == (int)STATES ? -1 : found;
}

void slurm_state_read(const char *text, slurm_state *out) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    *out = (slurm_state){.phase = SLURM_STRANGE};
    const char *at = text + strspn(text, " \t");
    bool first = true;
    for (size_t n; (n = strspn(at, letters)) > 0;) {
        bool cut = at[n] == '+' && (at[n + 1] == '\0' || isspace((unsigned char)at[n + 1]));
        int found = find_state(at, n, cut);
        slurm_phase phase = found < 0 ? SLURM_STRANGE : states[found].phase;
        /* The following ones are flags: one that means the job continues, or is unknown, overrides an end. */
        if (first || (out->phase == SLURM_ENDED && phase != SLURM_ENDED) ||
            (out->phase == SLURM_STRANGE && phase != SLURM_ENDED && phase != SLURM_STRANGE)) {
            out->phase = phase;
            (void)kit_format(out->name, sizeof out->name, "%.*s", found < 0 ? (int)n : (int)strlen(states[found].name),
                             found < 0 ? at : states[found].name);
        }
        first = false;
        at += n;
        at += strspn(at, "+,|");
    }
    uint64_t by;
    char number[24];
    at += strspn(at, " \t");
    if (first) /* not in Slurm's notation: for display */
        (void)kit_format(out->name, sizeof out->name, "%.*s", (int)strcspn(at, " \t\n"), at);
    if (strncmp(at, "by ", 3) != 0) return;
    (void)kit_format(number, sizeof number, "%.*s", (int)strspn(at + 3, "0123456789"), at + 3);
    out->has_by = kit_parse_u64(number, &by) && by <= UINT32_MAX;
    if (out->has_by) out->by = (uint32_t)by;
}

/* ---- Records of scontrol */

/* The value of KEY=value in a line of `scontrol --oneliner`; "" if it is missing, "(null)" or "N/A". */
static void field_of(const char *line, size_t length, const char *key, char *out, size_t capacity) {
    size_t n = strlen(key);
    const char *end = line + length;
    out[0] = '\0';
    for (const char *at = line; at + n < end; at++) {
        if (strncmp(at, key, n) != 0 || at[n] != '=' || (at != line && at[-1] != ' ')) continue;
        size_t rest = strcspn(at + n + 1, " \n");
        (void)kit_format(out, capacity, "%.*s", (int)rest, at + n + 1);
        if (strcmp(out, "(null)") == 0 || strcmp(out, "N/A") == 0) out[0] = '\0';
        return;
    }
}

/* "0:15": exit code and signal. */
static void read_exit(const char *text, slurm_job *out) {
    char code[24];
    const char *colon = strchr(text, ':');
    if (!colon) return;
    (void)kit_format(code, sizeof code, "%.*s", (int)(colon - text), text);
    if (!kit_parse_u64(code, &out->exit_code)) out->exit_code = 0;
    if (!kit_parse_u64(colon + 1, &out->signal)) out->signal = 0;
}

static void read_record(const char *line, size_t length, slurm_job *out) {
    char text[96];
    *out = (slurm_job){.exit_code = 0};
    field_of(line, length, "JobState", text, sizeof text);
    slurm_state_read(text, &out->state);
    field_of(line, length, "JobName", out->name, sizeof out->name);
    field_of(line, length, "Reason", out->reason, sizeof out->reason);
    field_of(line, length, "BatchHost", out->node, sizeof out->node);
    field_of(line, length, "TimeLimit", out->time, sizeof out->time);
    field_of(line, length, "MinMemoryNode", out->memory, sizeof out->memory);
    if (strcmp(out->memory, "0") == 0) out->memory[0] = '\0';
    field_of(line, length, "WorkDir", out->dir, sizeof out->dir);
    field_of(line, length, "Requeue", text, sizeof text);
    out->requeue = strcmp(text, "1") == 0;
    field_of(line, length, "Restarts", text, sizeof text);
    if (!kit_parse_u64(text, &out->restarts)) out->restarts = 0;
    field_of(line, length, "ExitCode", text, sizeof text);
    read_exit(text, out);
}

bool slurm_job_read(const char *text, const char *number, slurm_job *out) {
    while (*text) {
        char id[24];
        size_t length = strcspn(text, "\n");
        field_of(text, length, "JobId", id, sizeof id);
        if (strcmp(id, number) == 0) {
            read_record(text, length, out);
            return true;
        }
        text += length + (text[length] == '\n');
    }
    return false;
}

/* ---- Lines of sacct and squeue */

/* Splits line at its bars; missing fields are "". */
static void cut_fields(char *line, char *fields[], size_t count) {
    for (size_t i = 0; i < count; i++) {
        char *bar = strchr(line, '|');
        fields[i] = line;
        if (bar) *bar = '\0';
        line = bar ? bar + 1 : line + strlen(line);
    }
}

bool slurm_accounting_read(const char *text, const char *number, slurm_job *job) {
    char line[512], *fields[4];
    bool found = false;
    while (next_line(&text, line, sizeof line)) {
        cut_fields(line, fields, 4);
        if (strcmp(fields[0], number) != 0) continue;
        if (fields[1][0]) (void)kit_copy(job->name, sizeof job->name, fields[1]);
        slurm_state_read(fields[2], &job->state);
        read_exit(fields[3], job);
        found = true;
    }
    return found;
}

bool slurm_find_name(const char *text, const char *name, slurm_id *out) {
    static const char heading[] = "CLUSTER:";
    char line[512], cluster[64] = "", *fields[2];
    uint64_t highest = 0, value;
    while (next_line(&text, line, sizeof line)) {
        if (strncmp(line, heading, sizeof heading - 1) == 0) {
            const char *after = line + sizeof heading - 1;
            (void)kit_copy(cluster, sizeof cluster, after + strspn(after, " "));
        }
        cut_fields(line, fields, 2);
        if (strcmp(fields[1], name) != 0 || !kit_parse_u64(fields[0], &value) || value <= highest) continue;
        if (set_id(out, fields[0], strlen(fields[0]), cluster[0] ? cluster : NULL)) highest = value;
    }
    return highest > 0;
}

/* ---- Refusals and their remedies */

/* Skips "sbatch: ", "error: " and similar prefixes. */
static const char *without_prefixes(const char *line) {
    static const char *const prefixes[] = {"sbatch: ",
                                           "srun: ",
                                           "scontrol: ",
                                           "squeue: ",
                                           "sacct: ",
                                           "scancel: ",
                                           "error: ",
                                           "fatal: ",
                                           "allocation failure: ",
                                           "slurm_load_jobs error: "};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t n = strlen(prefixes[i]);
        if (strncmp(line, prefixes[i], n) != 0) continue;
        line += n;
        i = (size_t)-1;
    }
    return line;
}

void slurm_said(const char *text, char *out, size_t capacity) {
    char line[512];
    out[0] = '\0';
    while (next_line(&text, line, sizeof line)) {
        const char *said = without_prefixes(line);
        size_t length = strlen(out);
        if (!*said || strstr(out, said)) continue;
        if (length + 3 < capacity) (void)kit_format(out + length, capacity - length, "%s%s", length ? "; " : "", said);
    }
}

static bool says(const char *said, const char *words) {
    return strcasestr(said, words) != NULL;
}

bool slurm_is_away(const char *said) {
    static const char *const words[] = {
        "unable to contact slurm controller",
        "socket timed out",
        "zero bytes were transmitted",
        "connection refused",
        "connection timed out",
        "in standby mode",
        "temporarily unable to accept",
        "resource temporarily",
        "communication connection failure",
        "communication shutdown failure",
        "slurmctld is starting",
        "unexpected message received",
        "no route to host",
        "network is unreachable",
        "transport endpoint",
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (says(said, words[i])) return true;
    return false;
}

bool slurm_is_forgotten(const char *said) {
    return says(said, "invalid job id");
}

bool slurm_has_no_accounting(const char *said) {
    return says(said, "accounting storage is disabled");
}

/* A part of Slurm's message, the setting that it is about ("": none), and the remedy. The first match counts: specific
 * messages precede the general one that Slurm prints with them ("Requested node configuration is not available"). */
static const struct {
    const char *words, *key, *help;
} remedies[] = {
    {"accounting/QOS policy", "",
     "a limit of the account or the qos is reached: wait until your other jobs have ended, request less (time, nodes, "
     "gpus, memory), or use another account or qos; sacctmgr show assoc user=$USER tree lists yours"},
    {"SubmitJob", "",
     "you have as many jobs in the queue as the account or the qos allows: wait until some have ended"},
    {"account/partition combination", "account",
     "sacctmgr show assoc user=$USER format=cluster,account,partition lists which accounts may use which partitions"},
    {"account not permitted to use this partition", "account",
     "use one that the partition accepts, or another partition"},
    {"QOS not permitted to use this partition", "qos", "use one that the partition accepts, or another partition"},
    {"group not permitted to use this partition", "partition", "use one that you may use; sinfo -s lists them"},
    {"invalid partition", "partition", "sinfo -s lists all"},
    {"No partition specified", "partition", "this cluster has no default; sinfo -s lists all"},
    {"partition configuration not available", "partition",
     "it is down, or has too few nodes; sinfo -s lists the state of the partitions"},
    {"required partition not available", "partition",
     "it is down or drained; sinfo -s lists the state of the partitions"},
    {"qos", "qos", "sacctmgr show assoc user=$USER format=account,qos lists those that you may use"},
    {"time limit", "time",
     "the partition or the qos allows less (or requires one): sinfo -o '%P %l' lists what partitions allow"},
    {"--time", "time", "write minutes, HH:MM:SS or D-HH:MM:SS"},
    {"--mem", "memory", "write it like 16G"},
    {"memory", "memory", "no node of the partition has as much: sinfo -N -o '%N %P %m' lists what they have (MB)"},
    {"gres", "gpus", "the partition does not have that, or not as many per node: sinfo -o '%P %G' lists what there is"},
    {"gpu", "gpus", "write it like 2 or a100:2; sinfo -o '%P %G' lists what there is"},
    {"feature", "constraint", "sinfo -o '%P %f' lists the features that nodes have"},
    {"reservation", "reservation", "scontrol show reservation lists all, and their users"},
    {"wckey", "wckey", "sacctmgr show wckey user=$USER lists yours"},
    {"node count", "nodes", "write a number, or MIN-MAX, that the partition allows"},
    {"invalid account", "account", "sacctmgr show assoc user=$USER format=account lists yours"},
    {"--account", "account", "sacctmgr show assoc user=$USER format=account lists yours"},
    {"--partition", "partition", "sinfo -s lists all"},
    {"--cluster", "cluster", "sacctmgr show clusters lists all"},
    {"authentication", "", "munge of this machine must run and share its key with the cluster: ask its administrator"},
    {"munge", "", "munge of this machine must run and share its key with the cluster: ask its administrator"},
    {"user id", "", "the cluster does not know you as a user: ask its administrator"},
    {"permission denied", "", "you may not submit there: ask the administrator of the cluster"},
};

static const char *quoted_value(const char *value, char *room, size_t capacity) {
    if (!*value) return "";
    (void)kit_format(room, capacity, " ('%.64s')", value);
    return room;
}

void slurm_remedy(const slurm_settings *settings, const char *said, uint32_t threads, char *out, size_t capacity) {
    char source[96], shown[80];
    const char *value;
    for (size_t i = 0; i < sizeof remedies / sizeof *remedies; i++) {
        if (!says(said, remedies[i].words)) continue;
        if (!remedies[i].key[0]) {
            (void)kit_copy(out, capacity, remedies[i].help);
            return;
        }
        slurm_source_of(settings, remedies[i].key, source, sizeof source, &value);
        (void)kit_format(out, capacity, "%s %s%s: %s", *value ? "correct" : "set", source,
                         quoted_value(value, shown, sizeof shown), remedies[i].help);
        return;
    }
    if (says(said, "node configuration") || says(said, "processors") || says(said, "CPU count"))
        (void)kit_format(out, capacity,
                         "no node has everything that was requested: %u processors (--threads), and memory, gpus, "
                         "nodes and constraint of backends.slurm in config.json; sinfo -N -l lists what nodes have",
                         threads);
    else
        (void)kit_copy(out, capacity,
                       "this is the answer of Slurm, or of a rule of the site, to what backends.slurm in config.json "
                       "and the SBATCH_ variables of the environment request");
}
