/* SPDX-License-Identifier: Apache-2.0 */
/* Checks that a plugin uses only the settings that its manifest declares. */
#include "conform/conform.h"
#include "host/host.h"

#include <string.h>

#define UNDECLARED_SHOWN 400 /* bytes */

void check_undeclared(void *user, const char *key) {
    check *c = user;
    char quoted[96];
    kit_format(quoted, sizeof quoted, "\"%s\"", key);
    if (strstr(kit_buf_text(&c->undeclared), quoted) || c->undeclared.length > UNDECLARED_SHOWN) return;
    kit_buf_fmt(&c->undeclared, "%s%s", c->undeclared.length > 0 ? ", " : "", quoted);
}

kit_status check_settings_take(check *c, kolm_error_t *err) {
    if (c->options->set_count == 0) return KOLM_OK;
    c->config = cJSON_CreateObject();
    cJSON *backends = c->config ? cJSON_AddObjectToObject(c->config, "backends") : NULL;
    cJSON *own = backends ? cJSON_AddObjectToObject(backends, c->row->name) : NULL;
    if (!own) return kit_no_memory(err);
    for (size_t i = 0; i < c->options->set_count; i++) {
        const char *one = c->options->set[i], *equals = strchr(one, '=');
        char key[80];
        if (!equals || equals == one || !kit_format(key, sizeof key, "%.*s", (int)(equals - one), one))
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write --set NAME=VALUE", "--set %.60s is not a setting",
                            one);
        if (c->row->manifest && c->row->manifest->declares_settings &&
            !host_settings_find(&c->row->manifest->settings, key))
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "`kolm compute info NAME` shows those that it has",
                            "--set: %s has no setting %s", c->row->name, key);
        cJSON_DeleteItemFromObjectCaseSensitive(own, key);
        if (!kit_json_put_string(own, key, equals + 1)) return kit_no_memory(err);
    }
    return KOLM_OK;
}

void check_settings(check *c) {
    if (!c->row->manifest->declares_settings)
        check_note(c, "its manifest declares no settings: kolm cannot warn a user of a mistyped one");
    else if (c->undeclared.length > 0)
        check_fail(c, "it asks for settings that its manifest does not declare, so they cannot be set: %s",
                   kit_buf_text(&c->undeclared));
}
