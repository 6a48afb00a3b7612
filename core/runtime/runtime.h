/* SPDX-License-Identifier: Apache-2.0 */
/* Python runtimes of backends: HOME/runtimes/NAME as `kolm compute setup` makes them, or an interpreter of the user's.
 */
#ifndef KOLM_RUNTIME_RUNTIME_H
#define KOLM_RUNTIME_RUNTIME_H

#include "kolm/kit/json.h"
#include "session/session.h"
#include "store/store.h"

/*
 * HOME/runtimes/NAME is a virtual environment; it is complete once HOME/runtimes/NAME/runtime.json exists, which is
 * written last. config.json {"runtimes": {"NAME": "/absolute/python"}} wins over it.
 */

/* runtime.json of the environment at path, if it is complete and the Python that made it still exists: {"format",
 * "backend","lock_sha256","python","packages":{name: version},"bytes"}; else NULL. The caller frees it. */
cJSON *runtime_about(const char *path);

/* What can run NAME: {"python": path, "own": named in config.json, "about": runtime.json or null}; null
 * where there is nothing. The caller frees *out_value. */
kit_status runtime_of(kolm_session *session, const char *name, cJSON **out_value, kolm_error_t *err) KIT_MUST_USE;
/* The same for people: "Python 3.11.2 (34 packages, 1.2 GB) in PATH", "none". */
void runtime_text(const cJSON *value, kit_buf *out);
/* "torch 2.13.0, transformers 5.23.0": of runtime.json, the packages whose names begin with a word that a person may
 * look for; all of them when there are few. */
void runtime_packages(const cJSON *about, kit_buf *out);

#endif
