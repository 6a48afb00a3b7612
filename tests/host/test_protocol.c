/* SPDX-License-Identifier: Apache-2.0 */
/* The private protocol between kolm and kolm-host: every member of every record is transferred, and a missing member
 * has no value. */
#include "../suite.h"
#include "host/internal.h"
#include "host/protocol.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_MAX 4096
#define TEXTS_MAX 16
#define LONGEST 1100 /* longer than any member */

typedef struct entry {
    const char *name;
    const host_record *record;
    size_t size;
} entry;

#define X(upper, lower, type) {#lower, &host_record_##lower, sizeof(type)},
static const entry events[] = {HOST_EVENTS(X)};
static const entry calls[] = {HOST_CALL_RECORDS(X)};
static const entry requests[] = {HOST_REQUEST_RECORDS(X)};
#undef X

static const struct {
    const entry *at;
    size_t count;
} lists[] = {
    {events, sizeof events / sizeof *events},
    {calls, sizeof calls / sizeof *calls},
    {requests, sizeof requests / sizeof *requests},
};

static char texts[TEXTS_MAX][LONGEST + 1];

/* Sets each member to a different value; texts have `length` bytes. */
static void fill(const host_record *record, void *out, size_t length) {
    ck_assert_uint_le(record->count, TEXTS_MAX);
    for (size_t i = 0; i < record->count; i++) {
        const host_member *member = &record->members[i];
        char *field = (char *)out + member->offset;
        const uint32_t small = UINT32_MAX - (uint32_t)i;
        const uint64_t large = UINT64_MAX - i; /* not representable as a double */
        const double real = 0.1 + (double)i;
        const bool flag = true;
        const char *text = texts[i];
        memset(texts[i], 'a' + (int)i, length);
        texts[i][length] = '\0';
        switch (member->kind) {
        case HOST_KIND_U32:
            memcpy(field, &small, sizeof small);
            break;
        case HOST_KIND_U64:
            memcpy(field, &large, sizeof large);
            break;
        case HOST_KIND_DOUBLE:
            memcpy(field, &real, sizeof real);
            break;
        case HOST_KIND_BOOL:
            memcpy(field, &flag, sizeof flag);
            break;
        case HOST_KIND_TEXT:
            memcpy(field, &text, sizeof text);
            break;
        case HOST_KIND_ARRAY:
            memset(field, text[0], member->size);
            break; /* without a NUL, like a plugin with a bug */
        }
    }
}

static const char *text_in(const host_member *member, const void *record) {
    const char *text;
    if (member->kind == HOST_KIND_ARRAY) return (const char *)record + member->offset;
    memcpy(&text, (const char *)record + member->offset, sizeof text);
    return text;
}

static void check_same(const entry *e, const void *sent, const void *got, size_t length, bool cut) {
    for (size_t i = 0; i < e->record->count; i++) {
        const host_member *member = &e->record->members[i];
        const char *a = (const char *)sent + member->offset, *b = (const char *)got + member->offset;
        if (member->kind == HOST_KIND_TEXT) {
            size_t wanted = cut && member->most > 0 && member->most < length ? member->most : length;
            ck_assert_msg(strlen(text_in(member, got)) == wanted && memcmp(text_in(member, got), texts[i], wanted) == 0,
                          "%s.%s", e->name, member->name);
        } else if (member->kind == HOST_KIND_ARRAY) {
            ck_assert_msg(strlen(b) == member->size - 1 && memcmp(a, b, member->size - 1) == 0, "%s.%s", e->name,
                          member->name);
        } else {
            ck_assert_msg(memcmp(a, b, member->size) == 0, "%s.%s", e->name, member->name);
        }
    }
}

static void check_nothing(const entry *e, const void *got) {
    static const char zeros[16];
    for (size_t i = 0; i < e->record->count; i++) {
        const host_member *member = &e->record->members[i];
        double real;
        if (member->kind == HOST_KIND_DOUBLE) {
            memcpy(&real, (const char *)got + member->offset, sizeof real);
            ck_assert(isnan(real));
        } else if (member->kind == HOST_KIND_TEXT || member->kind == HOST_KIND_ARRAY) {
            ck_assert_str_eq(text_in(member, got), "");
        } else {
            ck_assert(memcmp((const char *)got + member->offset, zeros, member->size) == 0);
        }
    }
}

static cJSON *parse(kit_buf *text) {
    cJSON *json = NULL;
    kit_buf_char(text, '}');
    ck_assert(kit_json_parse(kit_buf_text(text), text->length, &json, NULL) == KOLM_OK);
    return json;
}

/* As kolm-host writes it: texts are truncated. */
static void check_written(const entry *e, size_t length) {
    char sent[RECORD_MAX], got[RECORD_MAX];
    kit_buf text = {0};
    memset(sent, 0, sizeof sent);
    memset(got, 0x5A, sizeof got);
    fill(e->record, sent, length);
    kit_buf_char(&text, '{');
    host_record_write(&text, e->record, sent);
    cJSON *json = parse(&text);
    ck_assert_msg(host_record_read(json, e->record, got), "%s", e->name);
    check_same(e, sent, got, length, true);
    cJSON_Delete(json);
    kit_buf_free(&text);
}

/* As kolm writes requests: texts are complete. */
static void check_added(const entry *e, size_t length) {
    char sent[RECORD_MAX], got[RECORD_MAX];
    cJSON *json = cJSON_CreateObject();
    memset(sent, 0, sizeof sent);
    memset(got, 0x5A, sizeof got);
    fill(e->record, sent, length);
    ck_assert(host_record_add(json, e->record, sent));
    ck_assert_msg(host_record_read(json, e->record, got), "%s", e->name);
    check_same(e, sent, got, length, false);
    cJSON_Delete(json);
}

/* Each member in turn is missing, null, an array, or a number of another kind. */
static void check_missing(const entry *e) {
    static const char *const others[] = {"[]", "-1", "4294967296", "\"18446744073709551616\""};
    char sent[RECORD_MAX], got[RECORD_MAX];
    memset(sent, 0, sizeof sent);
    fill(e->record, sent, 5);
    for (size_t i = 0; i < e->record->count; i++) {
        const host_member *member = &e->record->members[i];
        cJSON *json = cJSON_CreateObject();
        ck_assert(host_record_add(json, e->record, sent));
        cJSON_DeleteItemFromObjectCaseSensitive(json, member->name);
        ck_assert_msg(!host_record_read(json, e->record, got), "%s without %s", e->name, member->name);
        for (size_t k = 0; k < sizeof others / sizeof *others; k++) {
            const bool fits =
                (member->kind == HOST_KIND_DOUBLE && others[k][0] != '[' && others[k][0] != '"') ||
                ((member->kind == HOST_KIND_TEXT || member->kind == HOST_KIND_ARRAY) && others[k][0] == '"');
            cJSON_AddItemToObject(json, member->name, cJSON_Parse(others[k]));
            ck_assert_msg(host_record_read(json, e->record, got) == fits, "%s.%s: %s", e->name, member->name,
                          others[k]);
            cJSON_DeleteItemFromObjectCaseSensitive(json, member->name);
        }
        cJSON_Delete(json);
    }
    cJSON *empty = cJSON_CreateObject();
    memset(got, 0x5A, sizeof got);
    ck_assert(!host_record_read(empty, e->record, got));
    check_nothing(e, got);
    memset(got, 0x5A, sizeof got);
    ck_assert(!host_record_read(NULL, e->record, got));
    check_nothing(e, got);
    cJSON_Delete(empty);
}

START_TEST(every_member_gets_across) {
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++) {
        for (size_t i = 0; i < lists[l].count; i++) {
            const entry *e = &lists[l].at[i];
            ck_assert_uint_le(e->size, RECORD_MAX);
            check_written(e, 5);
            check_written(e, LONGEST);
            check_added(e, 5);
            check_added(e, LONGEST);
            check_missing(e);
        }
    }
}
END_TEST

/* A text that a plugin left NULL, values that JSON numbers cannot have, and terminal controls. */
START_TEST(odd_values) {
    kit_buf text = {0};
    kolm_progress_t progress = {.loss = NAN, .tokens_per_second = INFINITY, .phase = NULL}, back;
    kit_buf_char(&text, '{');
    host_write_progress(&text, &progress);
    cJSON *json = parse(&text);
    ck_assert_str_eq(kit_buf_text(&text),
                     "{\"step\":\"0\",\"total\":\"0\",\"loss\":null,\"tokens_per_second\":null,\"phase\":\"\"}");
    ck_assert(host_read_progress(json, &back));
    ck_assert(isnan(back.loss) && isnan(back.tokens_per_second));
    cJSON_Delete(json);
    kit_buf_clear(&text);
    kit_buf_char(&text, '{');
    host_write_log(&text, &(host_log){KOLM_LOG_INFO, "\033[31m\xff\n"});
    json = parse(&text);
    ck_assert_str_eq(kit_buf_text(&text), "{\"level\":1,\"text\":\"\\\\x1B[31m\\\\xFF\\\\x0A\"}");
    cJSON_Delete(json);
    kit_buf_free(&text);
}
END_TEST

static bool has(const host_record *record, const char *name) {
    for (size_t i = 0; i < record->count; i++)
        if (strcmp(record->members[i].name, name) == 0) return true;
    return false;
}

/* Results are sent with the members of "done", and every event with the keys of its line. */
START_TEST(names_do_not_clash) {
    static const char *const keys[] = {HOST_KEY_EVENT, HOST_KEY_MECHANISMS, HOST_KEY_LACKS};
    static const char *const request_keys[] = {HOST_KEY_SETTINGS, HOST_KEY_DECLARED, HOST_KEY_SECRETS, HOST_KEY_ARGS,
                                               HOST_KEY_AUDIT,    HOST_KEY_PLUGIN,   HOST_KEY_FENCE};
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            ck_assert_msg(!has(events[i].record, keys[k]), "%s", keys[k]);
    for (size_t k = 0; k < sizeof request_keys / sizeof *request_keys; k++)
        ck_assert_msg(!has(&host_record_request, request_keys[k]), "%s", request_keys[k]);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (strstr(calls[i].name, "_result") == NULL) continue;
        for (size_t m = 0; m < calls[i].record->count; m++)
            ck_assert_msg(!has(&host_record_done, calls[i].record->members[m].name), "%s.%s", calls[i].name,
                          calls[i].record->members[m].name);
    }
}
END_TEST

START_TEST(events_have_names) {
    for (int event = 0; event < HOST_EVENT_COUNT; event++)
        ck_assert_int_eq(host_event_of(host_event_name((host_event)event)), event);
    ck_assert_int_eq(host_event_of(""), HOST_EVENT_COUNT);
    ck_assert_int_eq(host_event_of("DONE"), HOST_EVENT_COUNT);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("host-protocol");
    TCase *all = tcase_create("all");
    tcase_add_test(all, every_member_gets_across);
    tcase_add_test(all, odd_values);
    tcase_add_test(all, names_do_not_clash);
    tcase_add_test(all, events_have_names);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
