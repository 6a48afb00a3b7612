/* SPDX-License-Identifier: Apache-2.0 */
/* Evaluates all previous calls: side effects, and breaches of kolm/backend.h. */
#include "conform/conform.h"
#include "host/host.h"

#include <string.h>

static bool is_known(const check *c, const host_breach *breach) {
    for (size_t i = 0; i < c->breach_count; i++)
        if (strcmp(c->breaches[i].text, breach->text) == 0) return true;
    return false;
}

void check_breach_heard(void *user, const host_breach *breach) {
    check *c = user;
    if (c->breach_count == CHECK_BREACHES_MAX || is_known(c, breach)) return;
    check_breach *b = &c->breaches[c->breach_count++];
    b->kind = (uint32_t)breach->kind;
    kit_copy(b->slot, sizeof b->slot, breach->slot);
    kit_copy(b->text, sizeof b->text, breach->text);
    kit_copy(b->remedy, sizeof b->remedy, breach->remedy);
}

/* What detect and cost leave behind has checks of its own. */
static bool is_of(const check_breach *b, host_breach_kind kind) {
    if (b->kind != (uint32_t)kind) return false;
    return kind != HOST_BREACH_LEFT || (strcmp(b->slot, "detect") != 0 && strcmp(b->slot, "cost") != 0);
}

/* Reports the first, and the number of others. */
static void judge(check *c, host_breach_kind kind) {
    const check_breach *first = NULL;
    size_t more = 0;
    for (size_t i = 0; i < c->breach_count; i++) {
        if (!is_of(&c->breaches[i], kind)) continue;
        if (first) more++;
        if (!first) first = &c->breaches[i];
    }
    if (!first) return;
    check_fail(c, "%s: %s", first->text, first->remedy);
    char others[40];
    size_t used = strlen(c->item->reason);
    kit_format(others, sizeof others, " (and %zu more of this kind)", more);
    if (more > 0) kit_copy(c->item->reason + used, sizeof c->item->reason - used, others);
}

void check_records(check *c) {
    judge(c, HOST_BREACH_RECORD);
}

void check_texts(check *c) {
    judge(c, HOST_BREACH_TEXT);
}

void check_reports(check *c) {
    judge(c, HOST_BREACH_REPORT);
}

void check_leaves_nothing(check *c) {
    judge(c, HOST_BREACH_LEFT);
}

void check_prints_nothing(check *c) {
    if (c->printed.length == 0) return;
    char first[200];
    kit_format(first, sizeof first, "%.*s", (int)strcspn(kit_buf_text(&c->printed), "\n"), kit_buf_text(&c->printed));
    check_fail(c, "it writes to its standard output or error (\"%s\"): use host->log", first);
}

void check_keeps_secrets(check *c) {
    if (c->row->manifest->auth_count + c->row->manifest->secret_count == 0)
        check_note(c, "it asks for none");
    else if (c->said.failed)
        check_skip(c, "too much output to search");
    else if (c->said.length > 0 && strstr(kit_buf_text(&c->said), CHECK_SECRET))
        check_fail(c, "its output contains the value of a secret");
}
