/* SPDX-License-Identifier: Apache-2.0 */
/* Which backend runs a job, and who chose it: --backend, KOLM_BACKEND, `kolm compute use`, or the picker. */
#ifndef KOLM_FLEET_CHOOSE_H
#define KOLM_FLEET_CHOOSE_H

#include "fleet/registry.h"

/*
 * Precedence: --backend, KOLM_BACKEND, "backend" in config.json, the picker. A backend named by the user is used or is
 * an error; kolm never falls back to another one. One thread.
 */
typedef enum fleet_chosen_by {
    FLEET_BY_FLAG,
    FLEET_BY_ENVIRONMENT,
    FLEET_BY_CONFIG,
    FLEET_BY_PICKER,
    FLEET_BY_MODEL
} fleet_chosen_by;

typedef struct fleet_choose_options {
    const char *backend; /* value of --backend, or NULL */
    const char *maker;   /* the backend that made the model to be run: takes precedence over the defaults and the picker
                          if it is found and available, ignored otherwise. NULL: none */
    /* The format of that model: the candidates are its maker and the backends whose manifest lists this format. A
     * backend that lists none, or is not on this machine, is a candidate only if the user names it. NULL: no model. */
    const char *format;
    pick_constraints constraints;
    bool airgap_strict;        /* the kernel enforces constraints.airgap, during detection too */
    bool refresh;              /* ignore the detection cache */
    fleet_registry **registry; /* a registry opened earlier, which is taken; NULL, or pointing to NULL: open one */
    bool picker_only;          /* ignore the user's defaults: use only backend or the picker */
} fleet_choose_options;

typedef struct fleet_choice {
    fleet_registry *registry; /* owned; everything below points into it */
    fleet_backend *backend;   /* the chosen one */
    fleet_chosen_by by;
    char said[160]; /* "local-cuda (env: KOLM_BACKEND=local-cuda)": follows "using " in the [trainer] line */
    /* FLEET_BY_CONFIG: path of the machine's config.json if the choice comes from there; NULL: from the user's. Owned
     * by the session. */
    const char *site;
    const char *by_name; /* "flag", "env", "config", "picker", "model": for receipts */
    uint32_t score;      /* of the backend, in PICK_UNITs */
    cJSON *record;       /* owned; the pick record (kolm.compute.pick/1), made even if the user chose */
} fleet_choice;

/* Scans, detects (through the cache) and chooses. On failure *out_reason is USAGE for an unknown name, NOTHING if no
 * backend, or not the named one, is available, BACKEND if the named backend does not support this or a filter excludes
 * it, DATA for an invalid configuration. */
kit_status fleet_choose(kolm_session *session, const fleet_choose_options *options, fleet_choice **out_choice,
                        session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;
void fleet_choice_free(fleet_choice *choice);

/* The value of KOLM_BACKEND, or of "backend" in config.json, and its source; NULL if the picker decides. */
kit_status fleet_default_backend(kolm_session *session, const char **out_name, fleet_chosen_by *out_by,
                                 kolm_error_t *err) KIT_MUST_USE;

#endif
