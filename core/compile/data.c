/* SPDX-License-Identifier: Apache-2.0 */
/* compile, first half: checking the request, preparing the data, choosing the backend. */
#include "fleet/budget.h"
#include "fleet/call.h"

#include "compile/compile.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool task_ok(const char *task) {
    size_t length = strlen(task);
    if (length == 0 || length > 64 || task[0] < 'a' || task[0] > 'z') return false;
    return strspn(task, "abcdefghijklmnopqrstuvwxyz0123456789_-") == length;
}

static bool version_ok(const char *version) {
    size_t length = strlen(version);
    if (length == 0 || length > 64 || strchr(".+-", version[0]) != NULL) return false;
    return strspn(version, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.+-") == length;
}

static bool one_of(const char *word, const char *const *words, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(word, words[i]) == 0) return true;
    return false;
}

static bool ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

/* --out names the file when it ends in .kolm, else the directory. */
static kit_status place_output(compile *c, kolm_error_t *err) {
    const compile_request *r = &c->request;
    kit_buf path = {0}, sidecar = {0}, failed = {0};
    if (r->out != NULL && ends_with(r->out, ".kolm")) {
        kit_buf_str(&path, r->out);
        kit_buf_add(&failed, r->out, strlen(r->out) - strlen(".kolm"));
        kit_buf_str(&failed, ".failed");
    } else {
        const char *directory = r->out != NULL ? r->out : ".";
        const char *slash = ends_with(directory, "/") ? "" : "/";
        kit_buf_fmt(&path, "%s%s%s-%s.kolm", directory, slash, r->task, r->version);
        kit_buf_fmt(&failed, "%s%s%s-%s.failed", directory, slash, r->task, r->version);
    }
    kit_buf_fmt(&sidecar, "%s%s", kit_buf_text(&path), RECEIPT_SIDECAR_SUFFIX);
    kit_status status = kit_buf_ok(&path, err);
    if (status == KOLM_OK) status = kit_buf_ok(&sidecar, err);
    if (status == KOLM_OK) status = kit_buf_ok(&failed, err);
    c->out_path = kit_buf_take(&path);
    c->sidecar_path = kit_buf_take(&sidecar);
    c->failed_path = kit_buf_take(&failed);
    return status;
}

/* Tests what only the kernel knows (name too long, read-only file system) now instead of after the training. */
static kit_status try_name(const char *path, const char *end, kolm_error_t *err) {
    kit_atomic_file file = {.fd = -1};
    kit_buf whole = {0};
    struct stat info;
    kit_buf_fmt(&whole, "%s%s", path, end);
    kit_status status = kit_buf_ok(&whole, err);
    if (status == KOLM_OK && lstat(whole.data, &info) != 0 && errno != ENOENT)
        status = kit_fail_errno(err, errno, "cannot write %s", whole.data);
    if (status == KOLM_OK) status = kit_atomic_open(whole.data, 0600, &file, err);
    kit_atomic_abort(&file);
    kit_buf_free(&whole);
    if (status != KOLM_OK && err != NULL)
        kit_copy(err->remedy, sizeof err->remedy, "choose another name or place with --out");
    return status;
}

static kit_status try_names(const compile *c, kolm_error_t *err) {
    KIT_TRY(try_name(c->sidecar_path, "", err));
    return try_name(c->failed_path, ".tmp-0123456789abcdef", err); /* as compile_write_failed builds it */
}

static kit_status check_output(compile *c, kolm_error_t *err) {
    struct stat info;
    KIT_TRY(place_output(c, err));
    if (kit_utf8_valid(c->out_path, strlen(c->out_path)) != strlen(c->out_path))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "choose another name or place with --out",
                        "%s is not UTF-8 text, so no receipt can name it", c->out_path);
    if (lstat(c->out_path, &info) == 0 && S_ISDIR(info.st_mode))
        return kit_fail(err, KOLM_E_ALREADY_EXISTS, "choose another name or place with --out", "%s is a directory",
                        c->out_path);
    if (lstat(c->out_path, &info) == 0 && !c->request.force) {
        session_tell(c->session,
                     &(session_event){.kind = SESSION_REPLACE, .text = c->out_path, .yes = &c->request.force});
        if (!c->request.force)
            return kit_fail(err, KOLM_E_ALREADY_EXISTS, "pass --force to replace it, or another --version or --out",
                            "%s exists already", c->out_path);
    }
    KIT_TRY(compile_check_failed(c, err));
    char *slash = strrchr(c->out_path, '/');
    if (slash == NULL || slash == c->out_path) return try_names(c, err);
    *slash = '\0';
    kit_status status = KOLM_OK;
    if (stat(c->out_path, &info) != 0)
        status = kit_fail_errno(err, errno, "cannot write in %s", c->out_path);
    else if (!S_ISDIR(info.st_mode))
        status = kit_fail_errno(err, ENOTDIR, "cannot write in %s", c->out_path);
    else if (access(c->out_path, W_OK | X_OK) != 0)
        status = kit_fail_errno(err, errno, "cannot write in %s", c->out_path);
    *slash = '/';
    return status == KOLM_OK ? try_names(c, err) : status;
}

/* The recipe that a manifest has for such a base. A base that is not found is reported when it is opened. */
static kit_status recognise(compile *c, kolm_error_t *err) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    char *path = NULL;
    if (job_base_find(c->request.base, &path, &ignored) != KOLM_OK) return KOLM_OK;
    kit_status status = fleet_recipe_of_base(c->session, c->request.backend, path, &c->recognised, err);
    free(path);
    return status;
}

/* Resolves auto as far as possible before the data is read: without a base, linear or nothing. */
static const char *automatic_recipe(const compile *c) {
    if (c->request.base == NULL) return "linear";
    return c->recognised.recipe[0] != '\0' ? c->recognised.recipe : "lora";
}

/* Checks options that depend on the recipe. */
static kit_status check_recipe(compile *c, kolm_error_t *err) {
    const compile_request *r = &c->request;
    bool automatic = strcmp(r->recipe, "auto") == 0;
    if (automatic && r->base != NULL) {
        kit_status status = recognise(c, err);
        if (status != KOLM_OK) c->reason = session_reason_of(status);
        KIT_TRY(status);
    }
    const char *recipe = automatic ? automatic_recipe(c) : r->recipe;
    if (r->set.count > 0 && automatic && r->base == NULL)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                        "leave it out, or pass --base MODEL, or --recipe NAME for a recipe with options",
                        "--set has options for the training of a base model, but there is none");
    kit_status status = fleet_recipe_find(c->session, r->backend, recipe, c->trainer, &c->needs, err);
    if (status != KOLM_OK && status != KOLM_E_INVALID_ARGUMENT) c->reason = session_reason_of(status);
    KIT_TRY(status);
    if (c->needs.base == HOST_BASE_REQUIRED && r->base == NULL)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "pass --base MODEL", "the %s recipe needs a base model", recipe);
    if (r->embed_base && r->base == NULL)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "pass --base MODEL, or leave it out",
                        "--embed-base puts the base into the artifact, but there is none");
    if (r->embed_base && !c->needs.embeds_base)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "leave out --embed-base: the base is found by its digest",
                        "the models of the %s recipe cannot carry their base", recipe);
    if (c->needs.base == HOST_BASE_NONE && r->base != NULL)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "leave one of them out, or pass --recipe lora",
                        "the %s recipe has no base model", recipe);
    return KOLM_OK;
}

/* No job may cost more than the environment allows, whatever was requested. */
static kit_status cap_budget(compile *c, kolm_error_t *err) {
    session_number *budget = &c->request.budget;
    bool capped = false;
    uint64_t cap = 0;
    KIT_TRY(fleet_budget_cap(&capped, &cap, err));
    if (!capped || (budget->set && budget->value <= cap)) return KOLM_OK;
    *budget = (session_number){.set = true, .value = cap};
    c->budget_capped = true;
    return KOLM_OK;
}

kit_status compile_check_request(compile *c, kolm_error_t *err) {
    static const char *const efforts[] = {"quick", "normal", "high"}, *const weights[] = {"none", "balanced"},
                             *const rules[] = {"majority", "drop", "keep", "error"}; /* as job_contradictions */
    compile_request *r = &c->request;
    c->reason = SESSION_REASON_USAGE;
    if (!task_ok(r->task))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                        "use lower-case letters, digits, '_' and '-', beginning with a letter, at most 64",
                        "--task '%s' is not a usable name", r->task);
    if (!version_ok(r->version))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use letters, digits, '.', '+' and '-', such as 1.0.0",
                        "--version '%s' is not a usable version", r->version);
    if (strcmp(r->recipe, "auto") != 0 && !host_recipe_name_ok(r->recipe))
        return kit_fail(
            err, KOLM_E_INVALID_ARGUMENT,
            "use auto, linear, lora, or a recipe of a backend: `kolm compile --help` lists those that were found",
            "--recipe '%s' is not the name of a recipe", r->recipe);
    KIT_TRY(cap_budget(c, err));
    KIT_TRY(model_trainer_options(&r->set, &c->trainer, err));
    KIT_TRY(check_recipe(c, err));
    if (!one_of(r->effort, efforts, 3))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use quick, normal or high", "--effort '%s' is unknown",
                        r->effort);
    if (!one_of(r->class_weight, weights, 2))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use none or balanced", "--class-weight '%s' is unknown",
                        r->class_weight);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(r->contradictions, rules[i]) == 0) c->contradictions = (job_contradictions)i;
    if (!one_of(r->contradictions, rules, sizeof rules / sizeof *rules))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use majority, drop, keep or error",
                        "--contradictions '%s' is unknown", r->contradictions);
    if (r->threads.set && (r->threads.value == 0 || r->threads.value > 1024))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use 1 to 1024", "--threads %llu is out of range",
                        (unsigned long long)r->threads.value);
    if (r->seed.set && r->seed.value > (uint64_t)KIT_JSON_MAX_INTEGER)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use at most 9007199254740991", "--seed %llu is too large",
                        (unsigned long long)r->seed.value);
    if (r->abstain.set && r->target_accuracy.set)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use only one of them",
                        "--abstain and --target-accuracy both set the threshold");
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    c->threads = r->threads.set ? (uint32_t)r->threads.value : processors > 0 ? (uint32_t)processors : 1;
    c->gates = (score_gates){.k_micro = r->gate.set ? (uint32_t)r->gate.value : 850000,
                             .accuracy_micro = r->min_accuracy.set ? (uint32_t)r->min_accuracy.value : 800000,
                             .allow_baseline = r->allow_baseline,
                             .balanced = compile_is_weighted(c)};
    c->airgap = r->airgap != SESSION_AIRGAP_OFF;
    KIT_TRY(check_output(c, err));
    /* Before anything else is read: hashing a base takes only seconds, and a wrong one is reported at once. */
    return r->base != NULL ? model_base_open(c->session, r->base, &c->base, err) : KOLM_OK;
}

/* ---- Data */

static kit_status decide_recipe(compile *c, kolm_error_t *err) {
    const compile_request *r = &c->request;
    c->recipe = r->recipe;
    if (strcmp(r->recipe, "auto") == 0 && r->base != NULL)
        c->recipe = automatic_recipe(c);
    else if (strcmp(r->recipe, "auto") == 0 && c->data.closed)
        c->recipe = "linear";
    else if (strcmp(r->recipe, "auto") == 0)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, c->data.closed_fix, "the outputs do not form a closed set: %s",
                        c->data.closed_why);
    if (c->recognised.recipe[0] != '\0' && c->needs.labels_only && !c->data.closed)
        return kit_fail(
            err, KOLM_E_INVALID_ARGUMENT, c->data.closed_fix,
            "%s is a base for the %s recipe, which learns labels, but the outputs do not form a closed set: %s",
            c->base.name, c->recipe, c->data.closed_why);
    if (c->needs.labels_only && c->data.labels > JOB_LABELS_MAX)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "pass --base MODEL to train a language model instead",
                        "the %s recipe learns labels, and %s", c->recipe, c->data.closed_why);
    if (compile_is_weighted(c) && !c->data.closed)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "leave out --class-weight",
                        "--class-weight weights labels, but the outputs do not form a closed set: %s",
                        c->data.closed_why);
    return KOLM_OK;
}

static kit_status make_job_directory(compile *c, kolm_error_t *err) {
    store_home *home = NULL;
    char *root = NULL;
    KIT_TRY(session_home(c->session, &home, err));
    KIT_TRY(store_home_create(home, err));
    KIT_TRY(store_home_place(home, STORE_RECEIPTS, &c->chain_path, err));
    KIT_TRY(store_home_place(home, STORE_KEYS, &c->keys_dir, err));
    /* Fail now, not after an hour of training. */
    KIT_TRY(receipt_key_check(c->keys_dir, err));
    KIT_TRY(receipt_chain_ready(c->chain_path, err));
    KIT_TRY(store_home_place(home, STORE_JOBS, &root, err));
    kit_status status = job_directory_make(root, &c->job, err);
    free(root);
    return status;
}

static kit_status open_data(compile *c, kolm_error_t *err) {
    KIT_TRY(compile_data_check(&c->request.data, "--data", err));
    KIT_TRY(compile_data_check(&c->request.eval, "--eval", err));
    KIT_TRY(compile_data_open(c->session, &c->request.data, &c->data_files, err));
    return compile_data_open(c->session, &c->request.eval, &c->eval_files, err);
}

kit_status compile_prepare_data(compile *c, kolm_error_t *err) {
    const compile_request *r = &c->request;
    c->reason = SESSION_REASON_DATA;
    kit_status status = open_data(c, err);
    if (status == KOLM_OK) {
        status = make_job_directory(c, err);
        if (status != KOLM_OK) c->reason = SESSION_REASON_USAGE;
    }
    if (status == KOLM_OK) {
        job_prepare_options options = {
            .data = c->data_files.at,
            .data_count = c->data_files.count,
            .eval = c->eval_files.at,
            .eval_count = c->eval_files.count,
            .reader = {.input_col = r->input_col, .output_col = r->output_col, .no_header = r->no_header},
            .skip_bad = r->skip_bad,
            .contradictions = c->contradictions,
            .seed = r->seed.value,
            .job_dir = c->job.job,
            .private_dir = c->job.private,
            .cancel = c->session->stop,
        };
        status = job_prepare(&options, &c->data, err);
        if (status == KOLM_E_RESOURCE_EXHAUSTED) c->reason = SESSION_REASON_INTERNAL;
    }
    if (status == KOLM_OK) session_tell(c->session, &(session_event){.kind = SESSION_DATA_READ, .compile = c});
    if (status == KOLM_OK) compile_warn_data(c);
    if (status == KOLM_OK) status = decide_recipe(c, err);
    if (status == KOLM_OK && c->recognised.recipe[0] != '\0')
        session_note(c->session, "[recipe]", "%s, the recipe for bases with a %s, such as %s (--recipe takes another)",
                     c->recipe, c->recognised.by, c->base.name);
    else if (status == KOLM_OK && r->base != NULL && strcmp(r->recipe, "auto") == 0)
        session_note(c->session, "[recipe]",
                     "%s, which fine-tunes %s: its files are those of no other recipe's bases "
                     "(--recipe takes another)",
                     c->recipe, c->base.name);
    return status;
}

/* ---- Choice */

static kit_status quote(compile *c, kolm_error_t *err) {
    const fleet_backend *backend = c->choice->backend;
    kolm_cost_args_t args = {
        .rows = c->data.train_rows,
        .input_bytes = c->data.train_input_bytes,
        .labels = c->data.closed ? c->data.labels : 0,
        .price_micro_usd_per_hour = backend->offer->price_micro_usd_per_hour,
        .cold_start_seconds = backend->offer->cold_start_seconds,
        .base_parameters = c->base.weight_bytes / 2, /* most weights are stored in 16 bits */
        .threads = c->threads,
        .recipe = c->recipe,
    };
    host_result *result = calloc(1, sizeof *result);
    if (result == NULL) return kit_no_memory(err);
    const fleet_call call = {
        .slot = HOST_SLOT_COST, .airgap = c->request.airgap, .private_remote = c->private_remote, .cost = &args};
    kit_status status = fleet_call_one(c->session, c->choice->registry, backend, &call, result, err);
    c->quoted_micro = status == KOLM_OK && result->verdict == HOST_OK ? result->cost.cost_micro_usd : RECEIPT_UNKNOWN;
    if (c->quoted_micro != RECEIPT_UNKNOWN) c->quoted_micro += fleet_price_once(backend) + fleet_second_start(backend);
    free(result);
    return status;
}

static kit_status check_budget(compile *c, kolm_error_t *err) {
    const compile_request *r = &c->request;
    char quoted[32], budget[32];
    const char *limit = c->budget_capped ? FLEET_BUDGET_VARIABLE : "--budget";
    bool free = c->choice->backend->offer->price_micro_usd_per_hour == 0;
    if (!r->budget.set || (c->quoted_micro == RECEIPT_UNKNOWN && free)) return KOLM_OK;
    if (c->quoted_micro == RECEIPT_UNKNOWN && r->budget.value == 0) {
        c->reason = SESSION_REASON_NOTHING;
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "choose a free backend, or set a budget above 0",
                        "%s cannot say what this job costs, and %s 0 allows no cost", c->choice->backend->name, limit);
    }
    if (c->quoted_micro == RECEIPT_UNKNOWN && fleet_keeps_budget(c->choice->backend)) return KOLM_OK;
    if (c->quoted_micro == RECEIPT_UNKNOWN) {
        session_warn(c->session, "%s cannot say what this job costs: %s does not limit it", c->choice->backend->name,
                     limit);
        return KOLM_OK;
    }
    if (c->quoted_micro <= r->budget.value) return KOLM_OK;
    c->reason = SESSION_REASON_NOTHING;
    return kit_fail(
        err, KOLM_E_FAILED_PRECONDITION,
        c->budget_capped ? "raise " FLEET_BUDGET_VARIABLE
                           ", choose a cheaper backend (`kolm compute quote`), or train on fewer rows"
                         : "raise --budget, choose a cheaper backend (`kolm compute quote`), or train on fewer rows",
        "this job is quoted at %s on %s, above the budget of %s%s", session_usd(quoted, sizeof quoted, c->quoted_micro),
        c->choice->backend->name, session_usd(budget, sizeof budget, r->budget.value),
        c->budget_capped ? " of " FLEET_BUDGET_VARIABLE : "");
}

kit_status compile_choose(compile *c, kolm_error_t *err) {
    const compile_request *r = &c->request;
    fleet_choose_options options = {
        .backend = r->backend,
        .airgap_strict = r->airgap == SESSION_AIRGAP_STRICT,
        .constraints = {.recipe = c->recipe,
                        .need_answers = true,
                        .airgap = c->airgap,
                        .allow_private_remote = r->allow_private_remote,
                        .has_budget = r->max_price.set,
                        .budget_micro_usd_per_hour = r->max_price.value,
                        .has_job_budget = r->budget.set,
                        .job_budget_micro_usd = r->budget.value,
                        .has_min_vram = r->min_vram.set,
                        .min_vram_bytes = r->min_vram.value * 1000,
                        .has_max_tier = r->max_tier.set,
                        .max_tier = (uint32_t)r->max_tier.value,
                        .exclude = (const char *const *)r->exclude.items,
                        .exclude_count = r->exclude.count},
    };
    c->reason = SESSION_REASON_NOTHING;
    KIT_TRY(fleet_choose(c->session, &options, &c->choice, &c->reason, err));
    session_tell(c->session, &(session_event){.kind = SESSION_BACKEND_CHOSEN, .compile = c});
    const char *unread = host_manifest_unread(c->choice->backend->manifest);
    if (unread)
        session_warn(c->session, "the manifest of %s is of a later version, and this kolm does not know: %s",
                     c->choice->backend->name, unread);
    c->reason = SESSION_REASON_USAGE;
    KIT_TRY(fleet_recipe_check(c->choice->backend, c->recipe, c->trainer, err));
    c->private_remote = c->airgap && r->allow_private_remote &&
                        c->choice->backend->offer->airgap == PICK_AIRGAP_DEPENDS && c->choice->backend->private_target;
    c->reason = SESSION_REASON_BACKEND;
    KIT_TRY(quote(c, err));
    session_tell(c->session, &(session_event){.kind = SESSION_QUOTED, .compile = c});
    return check_budget(c, err);
}
