/* SPDX-License-Identifier: Apache-2.0 */
/* Which backend does a job, and who said so: --backend, KOLM_BACKEND, `kolm compute use`, or the picker. */
#ifndef KOLM_FLEET_CHOOSE_H
#define KOLM_FLEET_CHOOSE_H

#include "fleet/registry.h"

/*
 * Precedence: --backend, then KOLM_BACKEND, then "backend" of config.json, then the picker. A backend that a person
 * named is used or is an error; it never becomes another one. One thread.
 */
typedef enum cli_chosen_by {
    CLI_BY_FLAG,
    CLI_BY_ENVIRONMENT,
    CLI_BY_CONFIG,
    CLI_BY_PICKER,
    CLI_BY_MODEL
} cli_chosen_by;

typedef struct cli_choose_options {
    const char *backend; /* value of --backend, or NULL */
    const char *maker; /* who made the model that is to be run: goes before the defaults and the picker when it is here
                          and available, and does not count otherwise. NULL: none */
    const char
        *format; /* of that model: only its maker, and who says that it answers with this format, is asked; one that
                           says nothing, or is not of this machine, only when a person names it. NULL: not about a model */
    pick_constraints constraints;
    bool airgap_strict; /* constraints.airgap is enforced by the kernel, on detection too */
    bool refresh;       /* do not believe the detection cache */
    bool picker_only;   /* the defaults of the user do not count: only backend, or else the picker */
} cli_choose_options;

typedef struct cli_choice {
    cli_registry *registry; /* owned; everything below points into it */
    cli_backend *backend;   /* who does it */
    cli_chosen_by by;
    char said[160]; /* "local-cuda (env: KOLM_BACKEND=local-cuda)": follows "using " in the [trainer] line */
    const char
        *site; /* CLI_BY_CONFIG: the machine's config.json, where that said it; NULL: the user's. Of the session */
    const char *by_name; /* "flag", "env", "config", "picker", "model": for receipts */
    uint32_t score;      /* of the backend, in PICK_UNITs */
    cJSON *record;       /* owned; the pick record (kolm.compute.pick/1) of this moment, also when a person chose */
} cli_choice;

/* Scans, detects (through the cache) and decides. On failure *out_exit is the exit code that belongs to it: 2 for an
 * unknown name, 3 when nothing is available or the named backend is not, 5 when the named backend does not do this or
 * a filter forbids it, 6 for a broken configuration. */
kit_status cli_choose(kolm_session *session, const cli_choose_options *options, cli_choice **out_choice, int *out_exit,
                      kolm_error_t *err) KIT_MUST_USE;
void cli_choice_free(cli_choice *choice);

/* The value of KOLM_BACKEND or of config.json's "backend" with who said it; NULL when only the picker can say. */
kit_status cli_default_backend(kolm_session *session, const char **out_name, cli_chosen_by *out_by,
                               kolm_error_t *err) KIT_MUST_USE;

#endif
