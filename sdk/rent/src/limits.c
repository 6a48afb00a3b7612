/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the user's limits for a rental. */
#include "vm.h"

#include "kolm/kit/backend.h"
#include "kolm/kit/text.h"

#include <string.h>

#define MICRO 1000000u
#define GIGABYTE_PER_MICRO 1000u

/* Reads a number of config.json in millionths; 0 if it is not set. */
static kit_status number(const kit_vm *vm, const kolm_host_v1_t *host, const char *key, uint64_t *out,
                         kolm_error_t *err) {
    char text[64];
    *out = 0;
    bool fits = kit_setting(host, key, "", text, sizeof text);
    if (fits && text[0] == '\0') return KOLM_OK;
    if (fits && kit_parse_micro(text, out) && *out > 0 && *out <= INT64_MAX / 3600) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write a number above 0, with at most six decimals",
                    "backends.%s.%s in config.json is not a number", vm->site.name, key);
}

/* A whole number that kolm itself passes as a setting. */
static uint64_t passed(const kolm_host_v1_t *host, const char *key) {
    char text[32];
    uint64_t value = 0;
    return kit_setting(host, key, "", text, sizeof text) && kit_parse_u64(text, &value) ? value : 0;
}

/* The smaller of those that are set. */
static uint64_t least(uint64_t a, uint64_t b) {
    return a == 0 ? b : b == 0 || a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* Reads ssh_user and ssh_port, for images with another account than the provider's default. */
static kit_status read_way_in(const kit_vm *vm, const kolm_host_v1_t *host, vm_limits *out, kolm_error_t *err) {
    char port[16];
    uint64_t number = 0;
    if (vm->wire_new != NULL) return KOLM_OK;
    if (kit_setting(host, "ssh_user", vm->user, out->ssh_user, sizeof out->ssh_user) &&
        kit_setting(host, "ssh_port", "0", port, sizeof port) && kit_parse_u64(port, &number) && number <= UINT16_MAX) {
        out->ssh_port = (uint16_t)number;
        return KOLM_OK;
    }
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "correct it in config.json",
                    "ssh_user or ssh_port of backends.%s cannot be used", vm->site.name);
}

kit_status vm_limits_read(const kit_vm *vm, const kolm_host_v1_t *host, vm_limits *out, kolm_error_t *err) {
    uint64_t budget = 0, rate = 0, hours = 0, vram = 0, disk = 0, poll = 0;
    KIT_TRY(number(vm, host, "budget_usd", &budget, err));
    KIT_TRY(number(vm, host, "max_price_usd", &rate, err));
    KIT_TRY(number(vm, host, "max_hours", &hours, err));
    KIT_TRY(number(vm, host, "min_vram_gb", &vram, err));
    if (vm->wire_new == NULL) KIT_TRY(number(vm, host, "disk_gb", &disk, err));
    KIT_TRY(number(vm, host, "poll_seconds", &poll, err));
    *out = (vm_limits){.budget_micro_usd = least(budget, passed(host, "job.budget_micro_usd")),
                       .rate_micro_usd = least(rate, passed(host, "job.max_price_micro_usd")),
                       .seconds = hours > 0 ? hours * 3600 / MICRO : VM_DEFAULT_HOURS * 3600u,
                       .poll_ms = poll / 1000,
                       .quote_micro_usd = passed(host, "job.quote_micro_usd"),
                       .wish = {.vram_bytes = most(vram * GIGABYTE_PER_MICRO, passed(host, "job.min_vram_bytes")),
                                .disk_bytes = disk * GIGABYTE_PER_MICRO}};
    if (out->seconds == 0) out->seconds = 1;
    KIT_TRY(read_way_in(vm, host, out, err));
    char off[16];
    out->keep_on =
        vm->wire_new == NULL && kit_setting(host, "power_off", "", off, sizeof off) && strcmp(off, "false") == 0;
    return KOLM_OK;
}
