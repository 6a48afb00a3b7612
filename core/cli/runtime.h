/* SPDX-License-Identifier: Apache-2.0 */
/* Python runtimes of backends: HOME/runtimes/NAME as `kolm compute setup` makes them, or an interpreter of the user's.
 */
#ifndef KOLM_CLI_RUNTIME_H
#define KOLM_CLI_RUNTIME_H

#include "kolm/kit/json.h"
#include "store/store.h"

/*
 * HOME/runtimes/NAME is a virtual environment; it is whole once HOME/runtimes/NAME/runtime.json is there, which is
 * written last. config.json {"runtimes": {"NAME": "/absolute/python"}} wins over it.
 */

/* Adds runtimes.NAME = HOME/runtimes/NAME/bin/python to config for each whole one that config does not name: what
 * backends are told (host/call.h) is then in one place. One readdir; nothing is started. */
kit_status cli_runtimes_add(const store_home *home, cJSON *config, kolm_error_t *err) KIT_MUST_USE;

#endif
