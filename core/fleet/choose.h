/* SPDX-License-Identifier: Apache-2.0 */
/* Which backend does a job, and who said so: --backend, KOLM_BACKEND, `kolm compute use`, or the picker. */
#ifndef KOLM_FLEET_CHOOSE_H
#define KOLM_FLEET_CHOOSE_H

#include "fleet/registry.h"

/*
 * Precedence: --backend, then KOLM_BACKEND, then "backend" of config.json, then the picker. A backend that a person
 * named is used or is an error; it never becomes another one. One thread.
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
    const char *maker; /* who made the model that is to be run: goes before the defaults and the picker when it is here
                          and available, and does not count otherwise. NULL: none */
    /* Of that model: the candidates are its maker and the backends whose manifest lists this format. A backend that lists
     * none, or is not on this machine, is a candidate only when the user names it. NULL: not about a model. */
    const char *format;
    pick_constraints constraints;
    bool airgap_strict; /* constraints.airgap is enforced by the kernel, on detection too */
    bool refresh;       /* do not believe the detection cache */
    bool picker_only;   /* the defaults of the user do not count: only backend, or else the picker */
} fleet_choose_options;

typedef struct fleet_choice {
    fleet_registry *registry; /* owned; everything below points into it */
    fleet_backend *backend;   /* who does it */
    fleet_chosen_by by;
    char said[160]; /* "local-cuda (env: KOLM_BACKEND=local-cuda)": follows "using " in the [trainer] line */
    /* FLEET_BY_CONFIG: the machine's config.json, where that said it; NULL: the user's. Of the session. */
    const char *site;
    const char *by_name; /* "flag", "env", "config", "picker", "model": for receipts */
    uint32_t score;      /* of the backend, in PICK_UNITs */
    cJSON *record;       /* owned; the pick record (kolm.compute.pick/1) of this moment, also when a person chose */
} fleet_choice;

/* Scans, detects (through the cache) and decides. On failure *out_reason is USAGE for an unknown name, NOTHING when
 * nothing is available or the named backend is not, BACKEND when the named backend does not do this or a filter forbids
 * it, DATA for a broken configuration. */
kit_status fleet_choose(kolm_session *session, const fleet_choose_options *options, fleet_choice **out_choice,
                        session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;
void fleet_choice_free(fleet_choice *choice);

/* The value of KOLM_BACKEND or of config.json's "backend" with who said it; NULL when only the picker can say. */
kit_status fleet_default_backend(kolm_session *session, const char **out_name, fleet_chosen_by *out_by,
                                 kolm_error_t *err) KIT_MUST_USE;

#endif
