/* SPDX-License-Identifier: Apache-2.0 */
/* Modal's offers: the GPUs in its documentation, because no call lists them, at the workspace's prices. */
#include "api.h"

#include "kolm/kit/backend.h"
#include "kolm/kit/buf.h"
#include "kolm/kit/text.h"

#include <ctype.h>
#include <string.h>

#define GIGABYTE 1000000000u
#define KEY_BYTES 64
#define CPU_SANDBOX_FACTOR 3 /* price of a sandbox's core relative to a function's */

/* Memory is from https://modal.com/docs/guide/gpu; prices per hour are from a comparison published on the day
 * modal_vm.priced_on, and are used only if Modal does not report its own. */
typedef struct gpu {
    const char *name;
    uint32_t gigabytes;
    uint64_t micro_usd;
} gpu;
static const gpu gpus[] = {
    {"T4", 16, 590000},         {"L4", 24, 800000},         {"A10", 24, 1100000},          {"L40S", 48, 1950000},
    {"A100-40GB", 40, 2100000}, {"A100-80GB", 80, 2500000}, {"RTX-PRO-6000", 96, 3030000}, {"H100", 80, 3950000},
    {"H200", 141, 4540000},     {"B200", 192, 6250000},
};
#define CORE_MICRO_USD 141900u /* of a sandbox, per hour */
#define GIB_MICRO_USD 24200u

typedef struct rates {
    uint64_t gpus[sizeof gpus / sizeof *gpus];
    uint64_t core, gib;
    bool told[sizeof gpus / sizeof *gpus],
        told_parts; /* reported by Modal; those that are not are from the table above */
} rates;

/* ---- Settings */

kit_status modal_setting(const kit_rent_account *a, const char *key, const char *fallback, char *out, size_t capacity,
                         kolm_error_t *err) {
    if (kit_setting(a->host, key, fallback, out, capacity) && kit_text_is_plain(out, strlen(out))) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "correct it in config.json",
                    "%s of backends.modal in config.json cannot be used", key);
}

static kit_status number(const kit_rent_account *a, const char *key, uint64_t fallback, uint64_t most, uint64_t *out,
                         kolm_error_t *err) {
    char text[32];
    KIT_TRY(modal_setting(a, key, "", text, sizeof text, err));
    *out = fallback;
    if (text[0] == '\0' || (kit_parse_micro(text, out) && *out >= 125000 && *out <= most * 1000000)) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "correct it in config.json",
                    "%s of backends.modal in config.json cannot be used", key);
}

kit_status modal_read_size(const kit_rent_account *a, modal_size *out, kolm_error_t *err) {
    uint64_t cores = 0, memory = 0;
    KIT_TRY(number(a, "cpu", 2000000, 64, &cores, err));
    KIT_TRY(number(a, "memory_gb", 16000000, 336, &memory, err));
    *out = (modal_size){.milli_cpu = (uint32_t)(cores / 1000), .memory_mb = (uint32_t)(memory * 1024 / 1000000)};
    return KOLM_OK;
}

/* ---- Prices */

/* "gpu_a100-80gb" becomes " gpu a100 80gb ". */
static void words_of(const char *text, char out[KEY_BYTES]) {
    size_t n = 1;
    out[0] = ' ';
    for (; *text != '\0' && n + 2 < KEY_BYTES; text++) {
        char c = (char)tolower((unsigned char)*text);
        bool word = isalnum((unsigned char)c) != 0;
        if (word || out[n - 1] != ' ') out[n++] = word ? c : ' ';
    }
    if (out[n - 1] != ' ') out[n++] = ' ';
    out[n] = '\0';
}

static bool has(const char *words, const char *name) {
    char wanted[KEY_BYTES];
    words_of(name, wanted);
    return strstr(words, wanted) != NULL;
}

/* Takes one entry of the map, whose keys are undocumented. If several match, the highest price counts. */
static void take_rate(const char *key, uint64_t micro_usd, rates *out, bool *out_core_of_sandbox) {
    char words[KEY_BYTES];
    words_of(key, words);
    for (size_t i = 0; i < sizeof gpus / sizeof *gpus; i++)
        if (has(words, gpus[i].name) && micro_usd > out->gpus[i]) out->gpus[i] = micro_usd;
    if (has(words, "cpu")) {
        bool sandbox = has(words, "sandbox");
        uint64_t core = sandbox ? micro_usd : micro_usd * CPU_SANDBOX_FACTOR;
        if (sandbox ? !*out_core_of_sandbox || core > out->core : !*out_core_of_sandbox && core > out->core)
            out->core = core;
        *out_core_of_sandbox = *out_core_of_sandbox || sandbox;
    }
    if (has(words, "memory") && micro_usd > out->gib) out->gib = micro_usd;
}

/* Reads the workspace's prices; those that Modal does not report are from the table above. */
static kit_status read_rates(kit_rent_account *a, rates *out, kolm_error_t *err) {
    Modal__Empty request = MODAL__EMPTY__INIT;
    ProtobufCMessage *answer = NULL;
    bool of_sandbox = false;
    const modal_call call = {
        .rpc = "WorkspaceBillingRates", .request = &request.base, .answer = &modal__billing_rates__descriptor};
    *out = (rates){0};
    KIT_TRY(modal_ask(a, &call, &answer, NULL, err));
    const Modal__BillingRates *told = (const Modal__BillingRates *)answer;
    for (size_t i = 0; i < told->n_rates; i++) {
        uint64_t micro_usd = 0;
        if (kit_parse_micro(told->rates[i]->value, &micro_usd) && micro_usd < 1000000000)
            take_rate(told->rates[i]->key, micro_usd, out, &of_sandbox);
    }
    modal_free(answer);
    out->told_parts = out->core != 0 && out->gib != 0;
    for (size_t i = 0; i < sizeof gpus / sizeof *gpus; i++) {
        out->told[i] = out->gpus[i] != 0;
        if (out->gpus[i] == 0) out->gpus[i] = gpus[i].micro_usd;
    }
    if (out->core == 0) out->core = CORE_MICRO_USD;
    if (out->gib == 0) out->gib = GIB_MICRO_USD;
    return KOLM_OK;
}

static uint64_t price_of(const rates *r, const modal_size *size, const gpu *g) {
    uint64_t price = g != NULL ? r->gpus[g - gpus] : 0;
    return price + r->core * size->milli_cpu / 1000 + r->gib * size->memory_mb / 1024;
}

static const gpu *gpu_named(const char *name) {
    for (size_t i = 0; i < sizeof gpus / sizeof *gpus; i++)
        if (strcmp(gpus[i].name, name) == 0) return &gpus[i];
    return NULL;
}

kit_status modal_price(kit_rent_account *a, const char *offer, uint64_t *out_micro_usd, kolm_error_t *err) {
    modal_size size;
    rates now;
    KIT_TRY(modal_read_size(a, &size, err));
    KIT_TRY(read_rates(a, &now, err));
    *out_micro_usd = price_of(&now, &size, gpu_named(offer));
    return KOLM_OK;
}

/* ---- Offers */

static void keep(const rates *r, const modal_size *size, const gpu *g, kit_rent_offer *out, size_t capacity,
                 size_t *count) {
    kit_rent_offer offer = {.micro_usd_per_hour = price_of(r, size, g),
                            .is_reference = !r->told_parts || (g != NULL && !r->told[g - gpus])};
    char card[48] = "no GPU";
    if (g != NULL) kit_format(card, sizeof card, "1x %s (%u GB)", g->name, (unsigned)g->gigabytes);
    kit_copy(offer.id, sizeof offer.id, g != NULL ? g->name : MODAL_NO_GPU);
    kit_format(offer.what, sizeof offer.what, "%s, %.3g cores, %.3g GiB", card, size->milli_cpu / 1000.0,
               size->memory_mb / 1024.0);
    kit_rent_offer_keep(&offer, out, capacity, count);
}

kit_status modal_offers(void *state, kit_rent_offer *out, size_t capacity, size_t *out_count, kolm_error_t *err) {
    kit_rent_account *a = state;
    char wanted[32];
    modal_size size;
    rates now;
    *out_count = 0;
    KIT_TRY(modal_setting(a, "gpu", "", wanted, sizeof wanted, err));
    KIT_TRY(modal_read_size(a, &size, err));
    bool none = strcmp(wanted, MODAL_NO_GPU) == 0;
    if (wanted[0] != '\0' && !none && gpu_named(wanted) == NULL)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "`kolm compute info modal` lists them",
                        "gpu of backends.modal in config.json cannot be used: kolm does not know the Modal GPU %.30s",
                        wanted);
    KIT_TRY(read_rates(a, &now, err));
    if (none && a->wish.vram_bytes == 0) keep(&now, &size, NULL, out, capacity, out_count);
    for (size_t i = 0; !none && i < sizeof gpus / sizeof *gpus; i++)
        if ((wanted[0] == '\0' || strcmp(wanted, gpus[i].name) == 0) &&
            (uint64_t)gpus[i].gigabytes * GIGABYTE >= a->wish.vram_bytes)
            keep(&now, &size, &gpus[i], out, capacity, out_count);
    return KOLM_OK;
}
