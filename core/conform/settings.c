/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a plugin keeps to the settings that its manifest declares. */
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

void check_settings(check *c) {
    if (!c->row->manifest->declares_settings)
        check_note(c, "its manifest declares no settings: kolm cannot tell a user of a mistyped one");
    else if (c->undeclared.length > 0)
        check_fail(c, "it asks for settings that its manifest does not declare, so they cannot be set: %s",
                   kit_buf_text(&c->undeclared));
}
