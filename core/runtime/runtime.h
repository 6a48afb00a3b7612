/* SPDX-License-Identifier: Apache-2.0 */
/* Python runtimes of backends: HOME/runtimes/NAME, made by `kolm compute setup`, or an interpreter of the user's own.
 * */
#ifndef KOLM_RUNTIME_RUNTIME_H
#define KOLM_RUNTIME_RUNTIME_H

#include "kolm/kit/json.h"
#include "session/session.h"
#include "store/store.h"

/*
 * HOME/runtimes/NAME is a virtual environment; it is complete once HOME/runtimes/NAME/runtime.json exists, which is
 * written last. config.json {"runtimes": {"NAME": "/absolute/python"}} takes precedence.
 */

/* runtime.json of the environment at path, if it is complete and the Python that made it still exists: {"format",
 * "backend","lock_sha256","python","packages":{name: version},"bytes"}; else NULL. The caller frees it. */
cJSON *runtime_about(const char *path);

/* The Python of NAME: {"python": path, "own": it is from config.json, "about": runtime.json or null}; null if there is
 * none. The caller frees *out_value. */
kit_status runtime_of(kolm_session *session, const char *name, cJSON **out_value, kolm_error_t *err) KIT_MUST_USE;
/* The same as text: "Python 3.11.2 (34 packages, 1.2 GB) in PATH", "none". */
void runtime_text(const cJSON *value, kit_buf *out);
/* "torch 2.13.0, transformers 5.23.0": the packages in runtime.json with well-known prefixes; all if there are few. */
void runtime_packages(const cJSON *about, kit_buf *out);

#endif
