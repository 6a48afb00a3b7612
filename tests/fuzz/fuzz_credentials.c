/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: a credentials file yields the last value of each name, or is rejected without disclosing any byte of it;
 * it yields the same after it is written again line by line. */
#include "fuzz.h"
#include "store/store.h"

#include <string.h>

static store_home *home;

static store_credentials *read_again(const void *bytes, size_t size, kit_status *out_status, kolm_error_t *err) {
    store_credentials *set = NULL;
    fuzz_put("credentials", bytes, size);
    *out_status = store_credentials_read(home, &set, err);
    must((*out_status == KOLM_OK) == (set != NULL));
    return set;
}

/* The lines of the input as a shell would parse them: NAME, '=', value, without the blanks around both. */
static void write_again(const store_credentials *set, const char *text, kit_buf *out) {
    for (const char *at = text; *at != '\0'; at += strcspn(at, "\n"), at += *at == '\n') {
        char name[64];
        const char *start = at + strspn(at, " \t\v\f\r");
        size_t length = strspn(start, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
        if (*start == '#' || length == 0 || length >= sizeof name) continue;
        memcpy(name, start, length);
        name[length] = '\0';
        const char *value = store_secret(set, name, NULL);
        if (value != NULL) kit_buf_fmt(out, "%s=%s\n", name, value);
    }
}

static void check_same(const store_credentials *a, const store_credentials *b, const char *text) {
    static const char *const names[] = {"KOLM_MODAL_TOKEN", "ACME_TOKEN", "A", "_", "HF_TOKEN"};
    (void)text;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *left = store_secret(a, names[i], NULL), *right = store_secret(b, names[i], NULL);
        must((left != NULL) == (right != NULL) && (left == NULL || strcmp(left, right) == 0));
        must(left == NULL || (left[0] != '\0' && strchr(left, '\n') == NULL && strlen(store_secret_tail(left)) <= 4));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_status status = KOLM_OK;
    kit_buf again = {0}, text = {0};
    if (home == NULL) must(store_home_at(fuzz_directory(), &home, &err) == KOLM_OK);
    kit_buf_add(&text, data, size);
    store_credentials *set = read_again(data, size, &status, &err);
    if (status == KOLM_OK) {
        write_again(set, kit_buf_text(&text), &again);
        store_credentials *twice = read_again(kit_buf_text(&again), again.length, &status, &err);
        must(status == KOLM_OK);
        check_same(set, twice, kit_buf_text(&text));
        store_credentials_free(twice);
    } else {
        must(status == KOLM_E_DATA_LOSS && strstr(err.text, "expected NAME=value") != NULL);
        fuzz_refused(status, &err);
    }
    store_credentials_free(set);
    kit_buf_free(&again);
    kit_buf_free(&text);
    return 0;
}
