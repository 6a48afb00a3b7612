/* SPDX-License-Identifier: Apache-2.0 */
/* The host room: finds plugins, runs each call in a process of its own, and reports what happened. */
#ifndef KOLM_HOST_HOST_H
#define KOLM_HOST_HOST_H

/*
 * manifest.h  the registry entry of a backend: every field of NAME.json
 * settings.h  the settings that a manifest declares, and the check of config.json against them
 * scan.h      the search path, and the trust checks of files: host_scan, host_find
 * call.h      one call, one process, one verdict: host_detect_all, host_cost, host_train, host_infer, host_test,
 *             host_status, host_reclaim
 *
 * In the order of use:
 *
 *     host_scan_options where = {.user_dir = home_backends, .config = config};
 *     host_registry *registry;
 *     host_scan(&where, &registry, &err);                     list, pick: registry->rows[i].manifest is all they need
 *     host_detect_all(registry, rows, n, &options, results, &err);
 *     host_train(registry, host_find(registry, "acme"), job_dir, threads, &options, &result, &err);
 *     host_registry_free(registry);
 */

#include "host/call.h"
#include "host/manifest.h"
#include "host/scan.h"

#endif
