/* SPDX-License-Identifier: Apache-2.0 */
/* The user's settings, and their translation for sbatch. */
#include "slurm.h"

#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>

#define PATIENCE_SECONDS 900
#define SETTLE_SECONDS 90 /* NFS revalidates a directory after at most 60 s (acdirmax of nfs(5)) */

static kit_status too_long(const char *key, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "shorten it", "backends.slurm.%s in config.json is too long", key);
}

/* "kolm", or ["kolm","job","run"]. */
static kit_status read_trainer(const kolm_host_v1_t *host, slurm_settings *s, kolm_error_t *err) {
    static const char fallback[] = "[\"kolm\",\"job\",\"run\"]";
    char text[2048];
    cJSON *words = NULL, *word;
    if (!kit_setting(host, "trainer", fallback, text, sizeof text)) return too_long("trainer", err);
    if (text[0] != '[') {
        s->trainer_words = 1;
        return kit_strdup(text, &s->trainer[0], err);
    }
    KIT_TRY(kit_json_parse(text, strlen(text), &words, err));
    kit_status status = KOLM_OK;
    cJSON_ArrayForEach(word, words) {
        if (status != KOLM_OK) break;
        if (!cJSON_IsString(word) || s->trainer_words == SLURM_TRAINER_WORDS)
            status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write it like [\"kolm\",\"job\",\"run\"]",
                              "backends.slurm.trainer in config.json is not a list of at most %d words",
                              SLURM_TRAINER_WORDS);
        else
            status = kit_strdup(word->valuestring, &s->trainer[s->trainer_words++], err);
    }
    if (status == KOLM_OK && s->trainer_words == 0)
        status =
            kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name a program", "backends.slurm.trainer in config.json is empty");
    cJSON_Delete(words);
    return status;
}

static kit_status read_seconds(const kolm_host_v1_t *host, const char *key, uint64_t fallback, uint64_t *out,
                               kolm_error_t *err) {
    char text[24];
    *out = fallback;
    if (!kit_setting(host, key, "", text, sizeof text)) return too_long(key, err);
    if (text[0] && (!kit_parse_u64(text, out) || *out > 1000000))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use whole seconds, at most 1000000",
                        "backends.slurm.%s '%s' is not a number of seconds", key, text);
    return KOLM_OK;
}

static kit_status read_keep(const kolm_host_v1_t *host, bool *out, kolm_error_t *err) {
    char text[16];
    if (!kit_setting(host, "keep", "false", text, sizeof text) ||
        (strcmp(text, "true") != 0 && strcmp(text, "false") != 0))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write true or false",
                        "backends.slurm.keep in config.json is neither true nor false");
    *out = strcmp(text, "true") == 0;
    return KOLM_OK;
}

void slurm_settings_free(slurm_settings *settings) {
    for (size_t i = 0; i < settings->trainer_words; i++)
        free(settings->trainer[i]);
    settings->trainer_words = 0;
}

static kit_status read_texts(const kolm_host_v1_t *host, slurm_settings *out, kolm_error_t *err) {
    char home_default[512];
    const char *home = secure_getenv("HOME");
    kit_format(home_default, sizeof home_default, "%s/.cache/kolm-slurm", home && home[0] == '/' ? home : "/tmp");
    const struct {
        const char *key, *fallback;
        char *to;
        size_t capacity;
    } texts[] = {
        {"bin", "", out->bin, sizeof out->bin},
        {"shared_dir", home_default, out->shared_dir, sizeof out->shared_dir},
        {"cluster", "", out->cluster, sizeof out->cluster},
        {"partition", "", out->partition, sizeof out->partition},
        {"account", "", out->account, sizeof out->account},
        {"qos", "", out->qos, sizeof out->qos},
        {"constraint", "", out->constraint, sizeof out->constraint},
        {"reservation", "", out->reservation, sizeof out->reservation},
        {"wckey", "", out->wckey, sizeof out->wckey},
        {"time", "", out->time, sizeof out->time},
        {"memory", "", out->memory, sizeof out->memory},
        {"gpus", "", out->gpus, sizeof out->gpus},
        {"nodes", "1", out->nodes, sizeof out->nodes},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!kit_setting(host, texts[i].key, texts[i].fallback, texts[i].to, texts[i].capacity))
            return too_long(texts[i].key, err);
    return KOLM_OK;
}

kit_status slurm_settings_read(const kolm_host_v1_t *host, slurm_settings *out, kolm_error_t *err) {
    memset(out, 0, sizeof *out);
    KIT_TRY(read_texts(host, out, err));
    KIT_TRY(read_seconds(host, "patience", PATIENCE_SECONDS, &out->patience_seconds, err));
    KIT_TRY(read_seconds(host, "settle", SETTLE_SECONDS, &out->settle_seconds, err));
    KIT_TRY(read_keep(host, &out->keep, err));
    if (out->shared_dir[0] != '/')
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use an absolute path that every node sees",
                        "backends.slurm.shared_dir '%s' is not absolute", out->shared_dir);
    kit_status status = read_trainer(host, out, err);
    if (status != KOLM_OK) slurm_settings_free(out);
    return status;
}

/* ---- As arguments */

static kit_status add_option(slurm_options *o, const char *option, const char *value, kolm_error_t *err) {
    if (!value[0]) return KOLM_OK;
    if (o->count == SLURM_OPTIONS_MAX) return kit_fail(err, KOLM_E_INTERNAL, "report this", "too many options");
    if (!kit_format(o->room[o->count], sizeof o->room[0], "--%s=%s", option, value))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "shorten it", "the value of --%s is too long", option);
    o->argv[o->count] = o->room[o->count];
    o->argv[++o->count] = NULL;
    return KOLM_OK;
}

kit_status slurm_options_who(const slurm_settings *s, slurm_options *out, kolm_error_t *err) {
    *out = (slurm_options){.count = 0};
    KIT_TRY(add_option(out, "clusters", s->cluster, err));
    KIT_TRY(add_option(out, "partition", s->partition, err));
    KIT_TRY(add_option(out, "account", s->account, err));
    KIT_TRY(add_option(out, "qos", s->qos, err));
    KIT_TRY(add_option(out, "constraint", s->constraint, err));
    KIT_TRY(add_option(out, "reservation", s->reservation, err));
    return add_option(out, "wckey", s->wckey, err);
}

kit_status slurm_options_all(const slurm_settings *s, slurm_options *out, kolm_error_t *err) {
    KIT_TRY(slurm_options_who(s, out, err));
    KIT_TRY(add_option(out, "time", s->time, err));
    KIT_TRY(add_option(out, "mem", s->memory, err));
    KIT_TRY(add_option(out, "gpus-per-node", s->gpus, err));
    return add_option(out, "nodes", s->nodes, err);
}

/* ---- The equivalent variables of sbatch */

/* Variables and the setting that they correspond to. Variables of the same kind may contradict it (sbatch refuses --mem
 * together with SBATCH_MEM_PER_CPU): if the configuration has the setting, none of them is passed on. */
static const struct {
    const char *key, *variable;
} variables[] = {
    {"cluster", "SBATCH_CLUSTERS"},
    {"cluster", "SLURM_CLUSTERS"},
    {"partition", "SBATCH_PARTITION"},
    {"account", "SBATCH_ACCOUNT"},
    {"qos", "SBATCH_QOS"},
    {"constraint", "SBATCH_CONSTRAINT"},
    {"reservation", "SBATCH_RESERVATION"},
    {"time", "SBATCH_TIMELIMIT"},
    {"memory", "SBATCH_MEM_PER_NODE"},
    {"memory", "SBATCH_MEM_PER_CPU"},
    {"memory", "SBATCH_MEM_PER_GPU"},
    {"gpus", "SBATCH_GPUS_PER_NODE"},
    {"gpus", "SBATCH_GPUS"},
    {"gpus", "SBATCH_GPUS_PER_TASK"},
    {"gpus", "SBATCH_GRES"},
};

static const char *value_of(const slurm_settings *s, const char *key) {
    const struct {
        const char *key, *value;
    } values[] = {
        {"cluster", s->cluster},
        {"partition", s->partition},
        {"account", s->account},
        {"qos", s->qos},
        {"memory", s->memory},
        {"constraint", s->constraint},
        {"reservation", s->reservation},
        {"time", s->time},
        {"gpus", s->gpus},
        {"nodes", s->nodes},
        {"wckey", s->wckey},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (strcmp(values[i].key, key) == 0) return values[i].value;
    return "";
}

void slurm_source_of(const slurm_settings *s, const char *key, char *out, size_t capacity, const char **out_value) {
    *out_value = value_of(s, key);
    for (size_t i = 0; !(*out_value)[0] && i < sizeof variables / sizeof *variables; i++) {
        const char *value = strcmp(variables[i].key, key) == 0 ? secure_getenv(variables[i].variable) : NULL;
        if (!value || !*value) continue;
        *out_value = value;
        kit_format(out, capacity, "%s in the environment", variables[i].variable);
        return;
    }
    kit_format(out, capacity, "backends.slurm.%s in config.json", key);
}

bool slurm_overrides(const slurm_settings *s, const char *entry) {
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        size_t n = strlen(variables[i].variable);
        if (strncmp(entry, variables[i].variable, n) == 0 && entry[n] == '=')
            return value_of(s, variables[i].key)[0] != '\0';
    }
    return false;
}
