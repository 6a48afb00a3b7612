/* SPDX-License-Identifier: Apache-2.0 */
/* Starts one of Slurm's programs and keeps what it prints. */
#include "slurm.h"

#include "kolm/kit/child.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MAX 64
#define KEPT_MAX (1u << 20)
#define COMMAND_MS 60000

extern char **environ;

void slurm_output_free(slurm_output *output) {
    kit_buf_free(&output->out);
    kit_buf_free(&output->err);
    *output = (slurm_output){.exit_code = 127};
}

static bool has_programs(const char *dir) {
    char path[512];
    return kit_format(path, sizeof path, "%s/sbatch", dir) && access(path, X_OK) == 0;
}

const char *slurm_bin(const slurm_settings *settings) {
    static const char *const usual[] = {"/usr/bin", "/usr/local/bin", "/opt/slurm/bin", "/usr/local/slurm/bin"};
    if (settings->bin[0]) return has_programs(settings->bin) ? settings->bin : NULL;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (has_programs(usual[i])) return usual[i];
    return NULL;
}

static void keep(kit_buf *out, const char *bytes, size_t length) {
    if (out->length + length <= KEPT_MAX) kit_buf_add(out, bytes, length);
}

static void keep_out(void *user, const char *bytes, size_t length) {
    keep(&((slurm_output *)user)->out, bytes, length);
}

static void keep_err(void *user, const char *bytes, size_t length) {
    keep(&((slurm_output *)user)->err, bytes, length);
}

/* The environment of the program, which points into our own: without the variables that contradict a setting. */
static char **environment(const slurm_settings *settings) {
    size_t count = 0, kept = 0;
    while (environ[count])
        count++;
    char **env = calloc(count + 1, sizeof *env);
    for (size_t i = 0; env && i < count; i++)
        if (!slurm_overrides(settings, environ[i])) env[kept++] = environ[i];
    return env;
}

kit_status slurm_command(const slurm_settings *settings, const char *program, const char *const *argv,
                         slurm_output *out_output, kolm_error_t *err) {
    const char *words[WORDS_MAX + 2] = {program};
    const char *bin = slurm_bin(settings);
    char path[600];
    size_t count = 0;
    *out_output = (slurm_output){.exit_code = 127};
    while (argv[count] && count < WORDS_MAX) {
        words[count + 1] = argv[count];
        count++;
    }
    if (argv[count]) return kit_fail(err, KOLM_E_INTERNAL, "report this", "a command line for %s is too long", program);
    if (!bin || !kit_format(path, sizeof path, "%s/%s", bin, program))
        return kit_fail(err, KOLM_E_NOT_FOUND,
                        "install Slurm's client commands, or set backends.slurm.bin in config.json",
                        "Slurm's %s was not found", program);
    char **env = environment(settings);
    if (!env) return kit_no_memory(err);
    const kit_child child = {.path = path,
                             .argv = words,
                             .envp = (const char *const *)env,
                             .user = out_output,
                             .out = keep_out,
                             .err = keep_err,
                             .timeout_ms = COMMAND_MS};
    kit_child_end end;
    kit_status status = kit_child_run(&child, &end, err);
    if (status == KOLM_OK) out_output->exit_code = end.signal_number > 0 ? 128 + end.signal_number : end.exit_code;
    free(env);
    return status;
}
