/* SPDX-License-Identifier: Apache-2.0 */
/* A backend as text and as JSON, as shared by list, detect, info and quote. */
#ifndef KOLM_CLI_BACKEND_TEXT_H
#define KOLM_CLI_BACKEND_TEXT_H

#include "cli/context.h"
#include "fleet/registry.h"

/* Source and date of the hourly price: "live price of 2026-12-01"; "" if free or unknown. Returns out. */
const char *cli_price_origin(const fleet_backend *backend, char *out, size_t capacity);
/* "0 $/hr", "2.50 $/hr", "per-token"; returns out. */
const char *cli_backend_price(const fleet_backend *backend, char *out, size_t capacity);
/* "fake card, 24.0 GiB, 21.6 GiB free, driver X 2";  */
void cli_device_text(const host_device *device, kit_buf *out);

/* Appends the backend to an array (or fills object): manifest fields, then "detection" (null when unknown). */
bool cli_put_backend(cJSON *array, const fleet_backend *backend);
bool cli_fill_backend(cJSON *object, const fleet_backend *backend);
bool cli_put_problem(cJSON *array, const char *name, const char *path, const char *why);

/* Prints one line for each backend that is not used (or for all, with taken_too): "what acme (/path/acme.so)". */
void cli_signed_print(cli_context *context, const cJSON *backends, const char *what, bool taken_too);

#endif
