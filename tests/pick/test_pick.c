/* SPDX-License-Identifier: Apache-2.0 */
/* The picker's published numbers, filters, order, records and errors. */
#include "../suite.h"
#include "pick/pick.h"

#include <stdlib.h>
#include <string.h>

#define GB 1000000000ull

typedef struct row {
    const char *name, *kind;
    uint32_t tier;
    bool train;
    uint64_t price;
    uint32_t cold, perf;
    uint32_t score_available, score_absent;
    const char *text_available, *text_absent;
} row;

/* The fourteen entries of the registry's table, with the exact scores that follow from the formula. */
static const row rows[] = {
    {"local-cpu", "local", 1, true, 0, 0, 30000, 89500, 54500, "0.895", "0.545"},
    {"local-cuda", "local", 1, true, 0, 0, 100000, 100000, 65000, "1.000", "0.650"},
    {"local-mps", "local", 1, true, 0, 0, 85000, 97750, 62750, "0.978", "0.628"},
    {"local-mlx", "local", 2, true, 0, 0, 90000, 98500, 63500, "0.985", "0.635"},
    {"local-rocm", "local", 2, true, 0, 0, 85000, 97750, 62750, "0.978", "0.628"},
    {"local-directml", "local", 2, true, 0, 0, 70000, 95500, 60500, "0.955", "0.605"},
    {"modal", "cloud-serverless", 1, true, 2500000, 5, 95000, 82625, 47625, "0.826", "0.476"},
    {"runpod", "cloud-serverless", 1, true, 1200000, 60, 92000, 80500, 45500, "0.805", "0.455"},
    {"together", "cloud-managed", 1, true, PICK_UNPRICED, 0, 85000, 81750, 46750, "0.818", "0.468"},
    {"vast", "cloud-marketplace", 1, true, 500000, 60, 88000, 82700, 47700, "0.827", "0.477"},
    {"remote-ssh", "self-hosted", 1, true, 0, 0, 85000, 96250, 61250, "0.962", "0.612"},
    {"lambda", "cloud-marketplace", 2, true, 2000000, 90, 90000, 73250, 38250, "0.732", "0.382"},
    {"replicate", "cloud-serverless", 2, true, PICK_UNPRICED, 60, 80000, 73500, 38500, "0.735", "0.385"},
    {"fal", "cloud-serverless", 2, false, PICK_UNPRICED, 5, 60000, 77375, 42375, "0.774", "0.424"},
};
#define ROWS (sizeof rows / sizeof *rows)

static pick_candidate candidates[ROWS];

static void setup(void) {
    for (size_t i = 0; i < ROWS; i++) {
        const row *r = &rows[i];
        bool cloud = strncmp(r->kind, "cloud", 5) == 0;
        candidates[i] = (pick_candidate){
            .name = r->name,
            .offer.kind = r->kind,
            .offer.train = r->train,
            .offer.infer = true,
            .offer.airgap = cloud                           ? PICK_AIRGAP_NO
                            : strcmp(r->kind, "local") == 0 ? PICK_AIRGAP_YES
                                                            : PICK_AIRGAP_DEPENDS,
            .offer.price_micro_usd_per_hour = r->price,
            .offer.billing = r->price == PICK_UNPRICED ? "per-token" : "per-hour",
            .offer.cold_start_seconds = r->cold,
            .offer.tier = r->tier,
            .offer.vram = cloud ? PICK_VRAM_CAP : PICK_VRAM_OWN,
            .offer.vram_cap_bytes = 80 * GB,
            .offer.perf_units = r->perf,
            .state = "absent",
        };
    }
    candidates[0].offer.vram = PICK_VRAM_NONE;
    candidates[8].offer.vram = candidates[13].offer.vram = PICK_VRAM_NONE;
}

static pick_candidate *find(const char *name) {
    for (size_t i = 0; i < ROWS; i++) {
        if (strcmp(candidates[i].name, name) == 0) return &candidates[i];
    }
    ck_abort_msg("no candidate %s", name);
    return NULL;
}

static void make_available(const char *name, uint64_t memory_gb) {
    pick_candidate *c = find(name);
    c->available = true;
    c->state = "available";
    c->memory_bytes = memory_gb * GB;
}

static pick_result *pick(const pick_constraints *constraints) {
    kolm_error_t err = KIT_ERROR_INIT;
    pick_result *result = NULL;
    ck_assert_int_eq(pick_run(candidates, ROWS, constraints, &result, &err), KOLM_OK);
    return result;
}

static const char *winner(const pick_constraints *constraints) {
    pick_result *result = pick(constraints);
    const char *name = result->winner ? candidates[result->winner->candidate].name : "nobody";
    pick_result_free(result);
    return name;
}

/* The sentence of the first filter that name fails, "" if it passes all. */
static const char *why(const pick_constraints *constraints, const char *name) {
    static char text[320];
    pick_result *result = pick(constraints);
    text[0] = '\0';
    for (size_t i = 0; i < result->count; i++) {
        const pick_entry *entry = &result->entries[i];
        if (strcmp(candidates[entry->candidate].name, name) == 0 && entry->reason_count > 0) {
            kit_copy(text, sizeof text, entry->reasons[0].text);
        }
    }
    pick_result_free(result);
    return text;
}

START_TEST(scores_are_exact) {
    char text[8];
    for (size_t i = 0; i < ROWS; i++) {
        pick_terms terms;
        candidates[i].available = true;
        ck_assert_uint_eq(pick_score(&candidates[i], &terms), rows[i].score_available);
        ck_assert_uint_eq(terms.available + terms.cost + terms.latency + terms.repro + terms.perf,
                          rows[i].score_available);
        pick_score_text(rows[i].score_available, text);
        ck_assert_str_eq(text, rows[i].text_available);
        candidates[i].available = false;
        ck_assert_uint_eq(pick_score(&candidates[i], NULL), rows[i].score_absent);
        pick_score_text(rows[i].score_absent, text);
        ck_assert_str_eq(text, rows[i].text_absent);
    }
}
END_TEST

START_TEST(half_goes_to_even) {
    static const struct {
        uint32_t score;
        const char *text;
    } cases[] = {
        {0, "0.000"},     {49, "0.000"},    {50, "0.000"},     {51, "0.001"},    {150, "0.002"},   {250, "0.002"},
        {99950, "1.000"}, {99949, "0.999"}, {100000, "1.000"}, {61250, "0.612"}, {61350, "0.614"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[8];
        pick_score_text(cases[i].score, text);
        ck_assert_str_eq(text, cases[i].text);
    }
}
END_TEST

START_TEST(fine_prices_round_once_half_to_even) {
    pick_candidate c = {.name = "x", .offer.kind = "local", .state = "absent"};
    pick_terms terms;
    static const struct {
        uint64_t price;
        uint32_t points;
    } cases[] = {
        {0, 20000},   {1, 20000},   {125, 20000}, {126, 19999},  {375, 19998},        {5000000, 0},
        {4999999, 0}, {4999875, 0}, {4999874, 1}, {60000000, 0}, {UINT64_MAX - 1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        c.offer.price_micro_usd_per_hour = cases[i].price;
        pick_score(&c, &terms);
        ck_assert_uint_eq(terms.cost, cases[i].points);
    }
}
END_TEST

START_TEST(available_outranks_any_score) {
    pick_constraints none = {0};
    pick_candidate *lambda = find("lambda");
    make_available("lambda", 0);
    lambda->offer.price_micro_usd_per_hour = 60000000;
    lambda->offer.cold_start_seconds = 600;
    lambda->offer.perf_units = 0;
    ck_assert_str_eq(winner(&none), "lambda"); /* 0.44, below 0.65 of local-cuda, which is not available */
}
END_TEST

START_TEST(ties_go_to_tier_then_name) {
    pick_constraints none = {0};
    make_available("local-rocm", 24);
    make_available("local-mps", 64);
    ck_assert_str_eq(winner(&none), "local-mps");
    find("local-mps")->offer.tier = 2;
    ck_assert_str_eq(winner(&none), "local-mps");
    find("local-rocm")->offer.tier = 1;
    ck_assert_str_eq(winner(&none), "local-rocm");
}
END_TEST

START_TEST(nothing_available_names_the_best_and_picks_none) {
    pick_constraints none = {0};
    pick_result *result = pick(&none);
    ck_assert_ptr_null(result->winner);
    ck_assert_str_eq(candidates[result->best->candidate].name, "local-cuda");
    ck_assert_uint_eq(result->flips[0].kind, PICK_FLIP_AVAILABLE);
    pick_result_free(result);
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_int_eq(pick_run(NULL, 0, &none, &result, &err), KOLM_OK);
    ck_assert_ptr_null(result->best);
    pick_result_free(result);
}
END_TEST

START_TEST(memory_counts_only_when_detected) {
    pick_constraints k = {.has_min_vram = true, .min_vram_bytes = 80 * GB};
    make_available("local-cpu", 0);
    ck_assert_str_eq(winner(&k), "nobody");
    ck_assert_str_eq(why(&k, "local-cpu"), "no accelerator memory, 80 GB requested");
    ck_assert_str_eq(why(&k, "local-cuda"), "no memory detected, 80 GB requested");
    make_available("local-cuda", 16);
    ck_assert_str_eq(winner(&k), "nobody");
    ck_assert_str_eq(why(&k, "local-cuda"), "16 GB < 80 GB");
    make_available("vast", 0);
    ck_assert_str_eq(winner(&k), "vast");
    find("local-cuda")->memory_bytes = 85520000000ull;
    ck_assert_str_eq(winner(&k), "local-cuda");
    k.min_vram_bytes = 81 * GB;
    ck_assert_str_eq(why(&k, "vast"), "80 GB < 81 GB");
}
END_TEST

START_TEST(every_filter_says_why) {
    pick_constraints k = {.has_budget = true, .budget_micro_usd_per_hour = 1000000};
    ck_assert_str_eq(why(&k, "modal"), "$2.50/hr > 1.00");
    ck_assert_str_eq(why(&k, "together"), "");
    k = (pick_constraints){.airgap = true};
    ck_assert_str_eq(why(&k, "vast"), "needs the network");
    ck_assert_str_eq(why(&k, "remote-ssh"), "needs --allow-private-remote and a private target");
    k.allow_private_remote = true;
    ck_assert_str_eq(why(&k, "remote-ssh"), "its target is not known to be loopback or private");
    find("remote-ssh")->private_target = true;
    ck_assert_str_eq(why(&k, "remote-ssh"), "");
    k = (pick_constraints){.has_max_tier = true, .max_tier = 1};
    ck_assert_str_eq(why(&k, "lambda"), "tier 2 > 1");
    k = (pick_constraints){0};
    ck_assert_str_eq(why(&k, "fal"), "inference only: does not train");
    find("vast")->train_slot = PICK_SLOT_MISSING;
    ck_assert_str_eq(why(&k, "vast"), ""); /* the manifest is enough for a pick, not for a compile */
    k.need_slot = true;
    ck_assert_str_eq(why(&k, "vast"), "detect only: training is not implemented yet in this version");
    k.infer = true;
    ck_assert_str_eq(why(&k, "fal"), "");
    k = (pick_constraints){.recipe = "linear"};
    ck_assert_str_eq(why(&k, "vast"), ""); /* it does not list recipes */
    find("vast")->offer.recipes = "lora, linear-2";
    ck_assert_str_eq(why(&k, "vast"), "makes lora, linear-2, not linear");
    find("vast")->offer.recipes = "lora, linear";
    ck_assert_str_eq(why(&k, "vast"), "");
    const char *names[] = {"modal"};
    k = (pick_constraints){.exclude = names, .exclude_count = 1};
    ck_assert_str_eq(why(&k, "modal"), "named by --exclude");
    find("modal")->refused = "writable by others";
    ck_assert_str_eq(why(&k, "modal"), "refused: writable by others");
}
END_TEST

START_TEST(the_modal_threshold_is_known) {
    pick_constraints none = {0};
    make_available("local-cpu", 0);
    make_available("modal", 0);
    pick_result *result = pick(&none);
    ck_assert_str_eq(candidates[result->winner->candidate].name, "local-cpu");
    bool found = false;
    for (size_t i = 0; i < result->flip_count; i++) {
        if (result->flips[i].kind != PICK_FLIP_PRICE) continue;
        found = true;
        ck_assert_uint_le(result->flips[i].value, 781250); /* $0.78/h: the figure in the guide */
        ck_assert_uint_ge(result->flips[i].value, 780000);
    }
    ck_assert(found);
    pick_result_free(result);
}
END_TEST

static cJSON *record_of(const pick_constraints *constraints) {
    kolm_error_t err = KIT_ERROR_INIT;
    cJSON *record = NULL;
    pick_result *result = pick(constraints);
    ck_assert_int_eq(pick_record(result, constraints, &record, &err), KOLM_OK);
    pick_result_free(result);
    return record;
}

/* Writes the record as text and reads it back, as through a file. */
static cJSON *reread(cJSON *record) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_buf text = {0};
    cJSON *again = NULL;
    ck_assert_int_eq(kit_json_pretty(record, &text, &err), KOLM_OK);
    ck_assert_int_eq(kit_json_parse(kit_buf_text(&text), text.length, &again, &err), KOLM_OK);
    kit_buf_free(&text);
    cJSON_Delete(record);
    return again;
}

static kit_status replay(const cJSON *record, kolm_error_t *err) {
    pick_question *question = NULL;
    pick_result *result = NULL;
    cJSON *again = NULL;
    kit_status status = pick_question_read(record, &question, err);
    if (status == KOLM_OK)
        status = pick_run(question->candidates, question->count, &question->constraints, &result, err);
    if (status == KOLM_OK) status = pick_record(result, &question->constraints, &again, err);
    if (status == KOLM_OK) status = pick_records_agree(record, again, err);
    cJSON_Delete(again);
    pick_result_free(result);
    pick_question_free(question);
    return status;
}

START_TEST(a_record_replays) {
    kolm_error_t err = KIT_ERROR_INIT;
    const char *names[] = {"vast"};
    pick_constraints k = {.has_budget = true,
                          .budget_micro_usd_per_hour = 1500000,
                          .has_min_vram = true,
                          .min_vram_bytes = 24 * GB,
                          .exclude = names,
                          .exclude_count = 1};
    make_available("runpod", 0);
    make_available("local-cpu", 0);
    find("fal")->refused = "bad manifest";
    cJSON *record = reread(record_of(&k));
    ck_assert_int_eq(replay(record, &err), KOLM_OK);
    ck_assert_str_eq(cJSON_GetObjectItem(record, "picked")->valuestring, "runpod");
    ck_assert_double_eq(cJSON_GetObjectItem(record, "score")->valuedouble, 0.805);
    cJSON_SetValuestring(cJSON_GetObjectItem(record, "picked"), "modal");
    ck_assert_int_eq(replay(record, &err), KOLM_E_DATA_LOSS);
    ck_assert_ptr_nonnull(strstr(err.text, "'picked'"));
    cJSON_Delete(record);
}
END_TEST

START_TEST(the_record_is_canonical_json) {
    kolm_error_t err = KIT_ERROR_INIT;
    pick_constraints k = {0};
    kit_buf text = {0};
    make_available("modal", 0);
    cJSON *record = record_of(&k);
    ck_assert_int_eq(kit_json_canonical(record, &text, &err), KOLM_OK);
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&text), "\"score\":0.82625"));
    kit_buf_free(&text);
    cJSON_Delete(record);
}
END_TEST

/* Removes every key of the question, one at a time: each error must name the key, and none may crash. */
static void without_each_key(const char *path) {
    pick_constraints k = {0};
    for (int i = 0;; i++) {
        kolm_error_t err = KIT_ERROR_INIT;
        cJSON *record = reread(record_of(&k));
        cJSON *object = record;
        if (strcmp(path, "constraints") == 0) object = cJSON_GetObjectItem(record, "constraints");
        if (strcmp(path, "candidate") == 0) object = cJSON_GetArrayItem(cJSON_GetObjectItem(record, "candidates"), 3);
        if (strcmp(path, "detection") == 0) {
            object = cJSON_GetArrayItem(cJSON_GetObjectItem(record, "candidates"), 3);
            object = cJSON_GetObjectItem(object, "detection");
        }
        cJSON *item = cJSON_GetArrayItem(object, i);
        if (!item) {
            cJSON_Delete(record);
            break;
        }
        char *name = strdup(item->string);
        cJSON_Delete(cJSON_DetachItemViaPointer(object, item));
        kit_status status = replay(record, &err);
        ck_assert_msg(status != KOLM_OK, "a record without %s.%s was taken", path, name);
        ck_assert_msg(strstr(err.text, name) != NULL, "%s is not named in: %s", name, err.text);
        free(name);
        cJSON_Delete(record);
    }
}

START_TEST(a_record_without_a_key_is_refused) {
    static const char *const paths[] = {"", "constraints", "candidate", "detection"};
    without_each_key(paths[_i]);
}
END_TEST

START_TEST(a_foreign_document_is_refused) {
    kolm_error_t err = KIT_ERROR_INIT;
    static const char *const texts[] = {"{}", "[]", "3", "{\"schema\":\"other/1\"}",
                                        "{\"schema\":\"kolm.compute.pick/1\",\"candidates\":{}}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        cJSON *value = NULL;
        ck_assert_int_eq(kit_json_parse(texts[i], strlen(texts[i]), &value, &err), KOLM_OK);
        ck_assert_int_eq(replay(value, &err), KOLM_E_INVALID_ARGUMENT);
        cJSON_Delete(value);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("pick");
    TCase *tests = tcase_create("pick");
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, scores_are_exact);
    tcase_add_test(tests, half_goes_to_even);
    tcase_add_test(tests, fine_prices_round_once_half_to_even);
    tcase_add_test(tests, available_outranks_any_score);
    tcase_add_test(tests, ties_go_to_tier_then_name);
    tcase_add_test(tests, nothing_available_names_the_best_and_picks_none);
    tcase_add_test(tests, memory_counts_only_when_detected);
    tcase_add_test(tests, every_filter_says_why);
    tcase_add_test(tests, the_modal_threshold_is_known);
    tcase_add_test(tests, a_record_replays);
    tcase_add_test(tests, the_record_is_canonical_json);
    tcase_add_loop_test(tests, a_record_without_a_key_is_refused, 0, 4);
    tcase_add_test(tests, a_foreign_document_is_refused);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
