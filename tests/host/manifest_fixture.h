/* SPDX-License-Identifier: Apache-2.0 */
/* A valid manifest, field by field, and the same with one field changed. */
#ifndef KOLM_TESTS_MANIFEST_FIXTURE_H
#define KOLM_TESTS_MANIFEST_FIXTURE_H

#include "kolm/kit/buf.h"

#include <string.h>

static const struct field {
    const char *key, *good;
} good_fields[] = {
    {"name", "\"acme\""},
    {"kind", "\"cloud-serverless\""},
    {"tier", "2"},
    {"train", "true"},
    {"infer", "false"},
    {"airgap", "\"no\""},
    {"billing", "\"per-hour\""},
    {"cost_per_hour_usd", "1.25"},
    {"cold_start_seconds", "30"},
    {"vram_cap_gb", "80"},
    {"perf", "0.95"},
    {"auth", "[\"ACME_TOKEN\"]"},
    {"requires", "[{\"env\":\"ACME_REGION\"},{\"path\":\"/dev/acme\"},{\"config\":\"region\"}]"},
    {"runtime", "\"serverless GPU\""},
    {"summary", "\"GPUs of ACME by the second.\""},
};
#define FIELDS (sizeof good_fields / sizeof *good_fields)

/* The valid manifest with one field replaced (value "" omits it) or added. */
static inline void build(kit_buf *out, const char *key, const char *value) {
    bool replaced = false, first = true;
    kit_buf_clear(out);
    kit_buf_char(out, '{');
    for (size_t i = 0; i < FIELDS; i++) {
        const char *text = good_fields[i].good;
        if (key && strcmp(key, good_fields[i].key) == 0) {
            text = value;
            replaced = true;
        }
        if (*text == '\0') continue;
        kit_buf_fmt(out, "%s\"%s\":%s", first ? "" : ",", good_fields[i].key, text);
        first = false;
    }
    if (key && !replaced) kit_buf_fmt(out, ",\"%s\":%s", key, value);
    kit_buf_char(out, '}');
}

#endif
