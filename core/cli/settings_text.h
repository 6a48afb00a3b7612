/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of a backend, as text and as JSON. */
#ifndef KOLM_CLI_SETTINGS_TEXT_H
#define KOLM_CLI_SETTINGS_TEXT_H

#include "cli/context.h"
#include "fleet/registry.h"

/* One line for each setting that the manifest declares, and whether config.json sets it; never a value, which may hold
 * a password. Prints nothing for a backend whose manifest could not be read. */
void cli_settings_print(cli_context *context, const fleet_backend *backend);
/* Puts "settings" into value: an array of {"key","type","summary","default","set"}, or null if the manifest declares
 * none and any key is accepted. False if out of memory. */
bool cli_settings_put(cli_context *context, cJSON *value, const fleet_backend *backend);

/* For `kolm compute info`: the recipes of one backend with the options of each. */
void cli_recipes_print(cli_context *context, const fleet_backend *backend);

#endif
