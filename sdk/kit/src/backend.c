/* SPDX-License-Identifier: Apache-2.0 */
/* Token detection, visible devices and LoRA estimates. */
#include "kolm/kit/backend.h"
#include "kolm/kit/text.h"

#include <string.h>
#include <strings.h>

int32_t kit_detected(kolm_detect_result_t *out_result, uint32_t state, const char *reason, const char *remedy,
                     const char *runtime) {
    out_result->state = state;
    if (reason != NULL) kit_copy(out_result->reason, sizeof out_result->reason, reason);
    if (remedy != NULL) kit_copy(out_result->remedy, sizeof out_result->remedy, remedy);
    if (runtime != NULL) kit_copy(out_result->runtime, sizeof out_result->runtime, runtime);
    return KOLM_OK;
}

static bool plausible_token(const char *token, uint64_t length) {
    if (length < 8 || length > 4096 || strlen(token) != length) return false;
    for (const char *p = token; *p != '\0'; p++)
        if (*p <= ' ' || *p > '~') return false;
    return true;
}

/* Unlike memset, the compiler must not remove this if the memory is not read again. */
static void wipe(char *bytes, size_t length) {
    volatile char *p = bytes;
    while (length-- > 0)
        *p++ = 0;
}

int32_t kit_detect_token(const kolm_host_v1_t *host, const char *variable, const char *where, const char *runtime,
                         kolm_detect_result_t *out_result, kolm_error_t *out_error) {
    char token[4200] = "", text[256];
    uint64_t length = 0;
    int32_t code = host->secret(host->user, variable, token, sizeof token, &length);
    if (code == KOLM_E_PERMISSION_DENIED && host->secret(host->user, variable, NULL, 0, NULL) == KOLM_E_OUT_OF_RANGE) {
        kit_format(text, sizeof text, "%s is set; not checked: use kolm compute detect --refresh", variable);
        return kit_detected(out_result, KOLM_DETECT_AVAILABLE, text, "", runtime);
    }
    if (code == KOLM_E_NOT_FOUND) {
        kit_format(text, sizeof text, "set %s; %s has the token", variable, where);
        kit_detected(out_result, KOLM_DETECT_ABSENT, "", text, "");
        kit_format(out_result->reason, sizeof out_result->reason, "%s is not set", variable);
        return KOLM_OK;
    }
    if (code == KOLM_E_OUT_OF_RANGE || (code == KOLM_OK && !plausible_token(token, length))) {
        wipe(token, sizeof token);
        kit_format(text, sizeof text, "copy the token again from %s", where);
        kit_detected(out_result, KOLM_DETECT_BROKEN, "", text, "");
        kit_format(out_result->reason, sizeof out_result->reason,
                   "%s is set, but cannot be a token: 8 to 4096 printable characters without spaces are expected",
                   variable);
        return KOLM_OK;
    }
    if (code != KOLM_OK) {
        wipe(token, sizeof token);
        return kit_fail(out_error, code, "list the variable under auth in the manifest", "the host does not provide %s",
                        variable);
    }
    if (length >= 12)
        kit_format(text, sizeof text, "%s is set (...%s); not checked: that needs the network", variable,
                   token + length - 4);
    else
        kit_format(text, sizeof text, "%s is set; not checked: that needs the network", variable);
    wipe(token, sizeof token);
    return kit_detected(out_result, KOLM_DETECT_AVAILABLE, text, "", runtime);
}

bool kit_setting(const kolm_host_v1_t *host, const char *key, const char *fallback, char *out_text, size_t capacity) {
    int32_t code = host->setting(host->user, key, out_text, capacity, NULL);
    return code == KOLM_OK || (code != KOLM_E_OUT_OF_RANGE && kit_copy(out_text, capacity, fallback));
}

int kit_visible_position(const char *list, uint32_t index, const char *uuid) {
    if (list == NULL) return (int)index;
    int position = 0;
    for (const char *from = list;; position++) {
        from += strspn(from, " ");
        size_t length = strcspn(from, ",");
        size_t end = length;
        while (end > 0 && from[end - 1] == ' ')
            end--;
        char entry[96];
        uint64_t number = 0;
        if (end == 0 || end >= sizeof entry) return -1;
        memcpy(entry, from, end);
        entry[end] = '\0';
        bool is_index = kit_parse_u64(entry, &number);
        bool is_uuid = strncmp(entry, "GPU-", 4) == 0 || strncmp(entry, "MIG-", 4) == 0;
        if (!is_index && !is_uuid) return -1;
        if (is_index && number < UINT32_MAX && number == index) return position; /* UINT32_MAX: no index */
        if (is_uuid && uuid != NULL && strncasecmp(uuid, entry, end) == 0) return position;
        if (from[length] == '\0') return -1;
        from += length + 1;
    }
}

/* Thousandths of the rate at 3B. */
static uint64_t scale_of(uint64_t parameters) {
    static const struct {
        uint64_t most;
        uint64_t thousandths;
    } steps[] = {{1500000000ull, 1600},
                 {3000000000ull, 1000},
                 {7000000000ull, 550},
                 {14000000000ull, 300},
                 {30000000000ull, 150}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (parameters <= steps[i].most) return steps[i].thousandths;
    return 70;
}

/* Overflow becomes the largest number below "unknown", so that more rows never look cheaper. */
#define MOST ((uint64_t)INT64_MAX)

static uint64_t add(uint64_t a, uint64_t b) {
    return a > MOST - (b < MOST ? b : MOST) ? MOST : a + b;
}

static uint64_t multiply(uint64_t a, uint64_t b) {
    return b != 0 && a > MOST / b ? MOST : a * b;
}

/* a * b / c without overflow of a * b. */
static uint64_t scaled(uint64_t a, uint64_t b, uint64_t c) {
    return add(multiply(a / c, b), multiply(a % c, b) / c);
}

static uint64_t lora_ms(const kolm_cost_args_t *args, uint32_t tokens_per_second_3b, uint64_t *out_tokens) {
    uint64_t epochs = args->epochs != 0 ? args->epochs : 3;
    uint64_t parameters = args->base_parameters != 0 ? args->base_parameters : 3000000000ull;
    uint64_t rate = (uint64_t)tokens_per_second_3b * scale_of(parameters); /* thousandths of tokens a second */
    *out_tokens = multiply(epochs, add(args->input_bytes / 4, multiply(16, args->rows)));
    return rate == 0 ? UINT64_MAX : add((uint64_t)args->cold_start_seconds * 1000, scaled(*out_tokens, 1000000, rate));
}

int32_t kit_estimate_lora(const kolm_cost_args_t *args, uint32_t tokens_per_second_3b, kolm_cost_result_t *out_result) {
    uint64_t tokens = 0;
    out_result->duration_ms = lora_ms(args, tokens_per_second_3b, &tokens);
    out_result->confidence = KOLM_CONFIDENCE_NONE;
    out_result->billing = args->price_micro_usd_per_hour == 0 ? KOLM_BILLING_FREE : KOLM_BILLING_PER_HOUR;
    bool known = args->price_micro_usd_per_hour != UINT64_MAX && out_result->duration_ms != UINT64_MAX;
    out_result->cost_micro_usd =
        known ? scaled(out_result->duration_ms, args->price_micro_usd_per_hour, 3600000) : UINT64_MAX;
    kit_format(out_result->basis, sizeof out_result->basis,
               "about %llu tokens at %u tokens/s for a 3B model, %u s cold start; disk and traffic not included",
               (unsigned long long)tokens, tokens_per_second_3b, args->cold_start_seconds);
    return KOLM_OK;
}

int32_t kit_estimate_unpriced(const kolm_cost_args_t *args, uint32_t tokens_per_second_3b, uint32_t billing,
                              const char *basis, kolm_cost_result_t *out_result) {
    uint64_t tokens = 0;
    out_result->duration_ms = lora_ms(args, tokens_per_second_3b, &tokens);
    out_result->confidence = KOLM_CONFIDENCE_NONE;
    out_result->billing = billing;
    out_result->cost_micro_usd = UINT64_MAX;
    kit_copy(out_result->basis, sizeof out_result->basis, basis);
    return KOLM_OK;
}
