/* SPDX-License-Identifier: Apache-2.0 */
/* The checks of cost, test and status. */
#include "conform/leases.h"
#include "host/host.h"

#include <string.h>

#define SLOT_MS 20000 /* for cost, which has 5 s in kolm itself */

/* ---- cost */

static bool cost(check *c, const kolm_cost_args_t *args, const host_audit *audit, host_result *out_result) {
    host_call_options options;
    kolm_error_t err = KIT_ERROR_INIT;
    check_call_options(c, &options);
    options.timeout_ms = SLOT_MS;
    options.audit = audit;
    kit_status status = host_cost(c->registry, c->row, args, &options, out_result, &err);
    if (!check_called(c, status, &err)) return false;
    check_hear(c, out_result);
    if (out_result->verdict == HOST_OK) return true;
    check_fail(c, "%s", out_result->error.text);
    return false;
}

static kolm_cost_args_t question(const check *c, uint64_t rows) {
    return (kolm_cost_args_t){.struct_size = (uint32_t)sizeof(kolm_cost_args_t),
                              .rows = rows,
                              .input_bytes = rows > INT64_MAX / 200 ? INT64_MAX : rows * 120,
                              .labels = 10,
                              .threads = 2,
                              .recipe = check_recipe(c)};
}

static bool same_cost(const kolm_cost_result_t *a, const kolm_cost_result_t *b) {
    return a->billing == b->billing && a->duration_ms == b->duration_ms && a->cost_micro_usd == b->cost_micro_usd &&
           a->confidence == b->confidence && strcmp(a->basis, b->basis) == 0;
}

void check_cost_pure(check *c) {
    const kolm_cost_args_t args = question(c, 5000);
    const host_audit audits[] = {{.repeats = 0}, {.repeats = 3}, {.bare = true}, {.later_bytes = 64}};
    host_result first, again;
    if (!(c->slots & HOST_SLOT_COST)) {
        check_skip(c, "it has no cost: `kolm compute quote` cannot quote it");
        return;
    }
    if (!cost(c, &args, NULL, &first)) return;
    for (size_t i = 0; i < sizeof audits / sizeof *audits; i++) {
        if (!cost(c, &args, &audits[i], &again)) return;
        if (!same_cost(&first.cost, &again.cost)) {
            check_fail(c, "the same question got two answers: only the arguments may decide");
            return;
        }
    }
    if (!first.cost.basis[0]) check_fail(c, "it does not say what its answer was computed from");
}

void check_cost_edges(check *c) {
    static const uint64_t rows[] = {0, 1, 1000000000, INT64_MAX};
    if (!(c->slots & HOST_SLOT_COST)) {
        check_skip(c, "it has no cost");
        return;
    }
    uint64_t last = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const kolm_cost_args_t args = question(c, rows[i]);
        host_result result;
        if (!cost(c, &args, NULL, &result)) return;
        if (result.cost.duration_ms < last) {
            check_fail(c, "%llu rows take less time than fewer rows do: a number overflowed",
                       (unsigned long long)rows[i]);
            return;
        }
        last = result.cost.duration_ms;
    }
}

void check_cost_left(check *c) {
    const host_audit audit = {.repeats = CHECK_REPEATS};
    const kolm_cost_args_t args = question(c, 5000);
    host_result result;
    if (!(c->slots & HOST_SLOT_COST)) {
        check_skip(c, "it has no cost");
        return;
    }
    if (!cost(c, &args, &audit, &result)) return;
    const host_left *left = &result.left;
    if (left->descriptors > 0 || left->threads > 0 || left->processes)
        check_fail(c, "cost leaves something open or running: it must only compute");
    else if (left->bytes_per_round > CHECK_LEAK_BYTES)
        check_fail(c, "each call keeps %llu bytes of memory", (unsigned long long)left->bytes_per_round);
}

/* An ordinary call, followed by a check of what is still open. */
static const host_audit watched = {.repeats = 0};

/* Reports why not. */
static bool may_call(check *c) {
    if (c->state != KOLM_DETECT_AVAILABLE) {
        check_skip(c, "not available here: %s", c->here);
        return false;
    }
    if (c->row->manifest->offer.airgap != PICK_AIRGAP_YES && !c->options->network) {
        check_skip(c, "it may use the network only with --network");
        return false;
    }
    return true;
}

/* ---- test */

void check_own_test(check *c) {
    host_call_options options;
    host_result result;
    kolm_error_t err = KIT_ERROR_INIT;
    if (!(c->slots & HOST_SLOT_TEST)) {
        check_skip(c, "it has no test: `kolm compute test` cannot prove it");
        return;
    }
    if (!may_call(c)) return;
    check_call_options(c, &options);
    options.network = c->options->network;
    options.timeout_ms = 600000;
    options.audit = &watched;
    lease_journal *journal = NULL;
    kit_status status = check_rent_begin(c, &options, &journal, &err);
    if (status == KOLM_OK) status = host_test(c->registry, c->row, 2, &options, &result, &err);
    if (status == KOLM_OK) check_rent_end(c, "test", journal, &result);
    if (!check_called(c, status, &err)) return;
    check_hear(c, &result);
    if (result.verdict != HOST_OK)
        check_fail(c, "%s", result.error.text);
    else if (!result.test.passed)
        check_fail(c, "it reports: %s", result.test.summary);
}

/* ---- status */

void check_status(check *c) {
    host_call_options options;
    host_result result;
    kolm_error_t err = KIT_ERROR_INIT;
    if (!(c->slots & HOST_SLOT_STATUS)) {
        check_note(c, "it has no status: it keeps nothing elsewhere");
        return;
    }
    if (!may_call(c)) return;
    check_call_options(c, &options);
    options.network = c->options->network;
    options.timeout_ms = 60000;
    options.audit = &watched;
    c->holdings = c->odd_holdings = c->removed = 0;
    kit_status status = host_status(c->registry, c->row, false, 0, &options, &result, &err);
    if (!check_called(c, status, &err)) return;
    check_hear(c, &result);
    if (result.verdict != HOST_OK)
        check_fail(c, "%s", result.error.text);
    else if (c->removed > 0)
        check_fail(c, "it removed something that it was not asked to remove");
    else if (c->odd_holdings > 0)
        check_fail(c, "%u of %u things have an unknown state, or no place, kind or name", c->odd_holdings, c->holdings);
    else
        check_note(c, "%u things are kept elsewhere", c->holdings);
}
