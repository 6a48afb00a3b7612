/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute quote: what a job would take and cost on every backend, with what the figures rest on. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "fleet/calls.h"
#include "host/host.h"
#include "session/site.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK 65536
#define COUNT_MAX 1000000000000u /* of rows and the like: above it a sum would not fit, and nobody means it */
#define BYTES_PER_ROW 120        /* assumed where only --rows is given: a short ticket */

typedef struct quote_options {
    const char *data, *recipe;
    session_number rows, bytes, labels, epochs, parameters;
    session_airgap airgap;
} quote_options;

/* Counts lines that are not blank, and bytes. The price of a job needs no parsing. */
static kit_status measure(const char *path, uint64_t *out_rows, uint64_t *out_bytes, kolm_error_t *err) {
    char *chunk = NULL;
    struct stat st;
    bool blank = true;
    int fd =
        strcmp(path, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    kit_status status = KOLM_OK;
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    if (fstat(fd, &st) != 0 || S_ISDIR(st.st_mode)) {
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "give a JSONL, CSV or TSV file", "%s is not a file", path);
        goto out;
    }
    chunk = malloc(CHUNK);
    if (!chunk) {
        status = kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
        goto out;
    }
    while (true) {
        ssize_t n = read(fd, chunk, CHUNK);
        if (n < 0 && errno == EINTR && !cli_interrupted()) continue;
        if (n < 0) status = kit_fail_errno(err, errno, "cannot read %s", path);
        if (n <= 0) break;
        if (memchr(chunk, '\0', (size_t)n)) {
            status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "give a JSONL, CSV or TSV file",
                              "%s is not text: it holds binary bytes", path);
            break;
        }
        *out_bytes += (uint64_t)n;
        for (ssize_t i = 0; i < n; i++) {
            if (chunk[i] == '\n') {
                *out_rows += !blank;
                blank = true;
            } else if (chunk[i] != ' ' && chunk[i] != '\r' && chunk[i] != '\t') {
                blank = false;
            }
        }
    }
    *out_rows += !blank;
    if (status == KOLM_OK && *out_rows == 0)
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "give a file with rows, or --rows N", "%s is empty", path);
out:
    free(chunk);
    close(fd);
    return status;
}

static kit_status job_of(const quote_options *o, kolm_cost_args_t *job, kolm_error_t *err) {
    long threads = sysconf(_SC_NPROCESSORS_ONLN);
    *job = (kolm_cost_args_t){.struct_size = (uint32_t)sizeof *job,
                              .epochs = (uint32_t)o->epochs.value,
                              .labels = o->labels.value,
                              .base_parameters = o->parameters.value,
                              .threads = threads > 0 ? (uint32_t)threads : 1,
                              .recipe = o->recipe           ? o->recipe
                                        : o->parameters.set ? "lora"
                                                            : "linear"};
    if (o->data) KIT_TRY(measure(o->data, &job->rows, &job->input_bytes, err));
    if (o->rows.set) job->rows = o->rows.value;
    if (o->bytes.set)
        job->input_bytes = o->bytes.value;
    else if (!o->data && job->rows < UINT64_MAX / BYTES_PER_ROW)
        job->input_bytes = job->rows * BYTES_PER_ROW;
    return KOLM_OK;
}

static const char *confidence_word(uint32_t confidence) {
    switch (confidence) {
    case KOLM_CONFIDENCE_MEASURED:
        return "measured";
    case KOLM_CONFIDENCE_MODEL:
        return "modelled";
    default:
        return "guess";
    }
}

/* Days since the price was written down, and where; -1 when that is not known. */
static int64_t price_age(const fleet_registry *registry, const fleet_backend *b) {
    struct stat st;
    if (stat(b->manifest_path, &st) != 0 || (int64_t)st.st_mtime > registry->now) return -1;
    return registry->now - (int64_t)st.st_mtime;
}

static void price_text(const fleet_registry *registry, const fleet_backend *b, const char *site, char *out,
                       size_t capacity) {
    int64_t age = price_age(registry, b);
    if (b->offer->price_micro_usd_per_hour == 0)
        kit_copy(out, capacity, "free");
    else if (fleet_price_overridden(b))
        kit_copy(out, capacity, site ? "price from the machine's config.json" : "price from config.json");
    else if (age < 0)
        kit_copy(out, capacity, "price from the manifest");
    else if (age < 86400)
        kit_copy(out, capacity, "price from the manifest, today");
    else
        kit_format(out, capacity, "price from the manifest, %" PRId64 " days old", age / 86400);
}

static void print_quotes(cli_context *context, const fleet_registry *registry, const fleet_quote *quotes,
                         const kolm_cost_args_t *job) {
    char duration[32], cost[32], bytes[32], price[64];
    cli_print(context, "%" PRIu64 " rows, %s, recipe %s\n", job->rows,
              session_bytes(bytes, sizeof bytes, job->input_bytes), cli_safe(job->recipe));
    for (size_t i = 0; i < registry->count; i++) {
        const fleet_backend *b = &registry->backends[i];
        const kolm_cost_result_t *c = &quotes[i].cost;
        if (!quotes[i].answered) {
            cli_print(context, "  %-14s  %-9s  %-10s  %s\n", cli_safe(b->name), "-", "-", cli_safe(quotes[i].why));
            continue;
        }
        price_text(registry, b, session_site_said(&context->session, "backends", b->name, "cost_per_hour_usd"), price,
                   sizeof price);
        cli_print(context, "  %-14s  %-9s  %-10s  %-8s  %s; %s\n", b->name,
                  session_duration(duration, sizeof duration, c->duration_ms),
                  session_usd(cost, sizeof cost, c->cost_micro_usd), confidence_word(c->confidence), cli_safe(c->basis),
                  price);
    }
}

static bool put_quote(cJSON *array, const fleet_registry *registry, size_t i, const fleet_quote *quote) {
    static const char *const billings[] = {"free", "per-hour", "per-token", "per-call"};
    const fleet_backend *b = &registry->backends[i];
    const kolm_cost_result_t *c = &quote->cost;
    int64_t age = price_age(registry, b);
    cJSON *o = cJSON_CreateObject();
    bool good = o && kit_json_put_string(o, "name", b->name) && kit_json_put_bool(o, "answered", quote->answered);
    if (good && !quote->answered) good = kit_json_put_string(o, "why", quote->why);
    if (good && quote->answered) {
        good = (c->duration_ms == UINT64_MAX ? kit_json_put_null(o, "duration_ms")
                                             : kit_json_put_u64(o, "duration_ms", c->duration_ms)) &&
               (c->cost_micro_usd == UINT64_MAX ? kit_json_put_null(o, "cost_usd")
                                                : kit_json_put(o, "cost_usd", kit_json_micro(c->cost_micro_usd))) &&
               kit_json_put_string(o, "billing", billings[c->billing < 4 ? c->billing : 0]) &&
               kit_json_put_string(o, "confidence", confidence_word(c->confidence)) &&
               kit_json_put_string(o, "basis", c->basis) &&
               kit_json_put_string(o, "price_source", fleet_price_overridden(b) ? "config" : "manifest") &&
               (age < 0 ? kit_json_put_null(o, "price_age_seconds")
                        : kit_json_put_u64(o, "price_age_seconds", (uint64_t)age));
    }
    return cli_append(array, o, good);
}

static int print_as_json(cli_context *context, const fleet_registry *registry, const fleet_quote *quotes,
                         const kolm_cost_args_t *job) {
    cJSON *value = cJSON_CreateObject();
    bool good = value && kit_json_put_string(value, "schema", "kolm.compute.quote/1");
    cJSON *asked = good ? cJSON_AddObjectToObject(value, "job") : NULL;
    good = asked && kit_json_put_u64(asked, "rows", job->rows) &&
           kit_json_put_u64(asked, "input_bytes", job->input_bytes) && kit_json_put_u64(asked, "labels", job->labels) &&
           kit_json_put_u64(asked, "epochs", job->epochs) &&
           kit_json_put_u64(asked, "base_parameters", job->base_parameters) &&
           kit_json_put_string(asked, "recipe", job->recipe);
    cJSON *list = good ? cJSON_AddArrayToObject(value, "quotes") : NULL;
    good = list != NULL;
    for (size_t i = 0; good && i < registry->count; i++)
        good = put_quote(list, registry, i, &quotes[i]);
    return cli_print_json(context, cli_whole(value, good), CLI_EXIT_OK);
}

static int quote(cli_context *context, const quote_options *o) {
    kolm_error_t err = KIT_ERROR_INIT;
    fleet_registry *registry = NULL;
    fleet_quote *quotes = NULL;
    kolm_cost_args_t job;
    int exit_code = CLI_EXIT_OK;
    kit_status status = job_of(o, &job, &err);
    if (status == KOLM_OK) status = fleet_registry_open(&context->session, &registry, &err);
    if (status == KOLM_OK) status = fleet_registry_settle(&context->session, registry, &err);
    if (status == KOLM_OK) {
        quotes = calloc(registry->count ? registry->count : 1, sizeof *quotes);
        if (!quotes) status = kit_fail(&err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    }
    if (status == KOLM_OK) status = fleet_call_costs(&context->session, registry, &job, o->airgap, quotes, &err);
    if (status != KOLM_OK)
        exit_code = cli_fail(context, SESSION_REASON_NONE, &err);
    else if (context->json)
        exit_code = print_as_json(context, registry, quotes, &job);
    else
        print_quotes(context, registry, quotes, &job);
    free(quotes);
    fleet_registry_free(registry);
    return exit_code;
}

int cli_compute_quote(cli_context *context, int argc, char **argv) {
    quote_options o = {0};
    const cli_option options[] = {
        {"data", 'd', CLI_STRING, &o.data, "FILE",
         "the training data: rows and bytes are counted; - for standard input"},
        {"rows", 0, CLI_U64, &o.rows, "N", "training rows, instead of -d"},
        {"bytes", 0, CLI_U64, &o.bytes, "N", "bytes of all inputs"},
        {"labels", 0, CLI_U64, &o.labels, "N", "distinct outputs, where known"},
        {"recipe", 0, CLI_STRING, &o.recipe, "NAME", "linear, lora, or what a backend makes"},
        {"base-parameters", 0, CLI_U64, &o.parameters, "N", "parameters of the base model"},
        {"epochs", 0, CLI_U64, &o.epochs, "N", "passes over the data; the backend's own number otherwise"},
        {"airgap", 0, CLI_AIRGAP, &o.airgap, NULL,
         "ask no backend that needs the network, and keep the others from it (strict)"},
    };
    const cli_syntax syntax = {.command = "kolm compute quote",
                               .words = "",
                               .summary = "Says what a job would take and cost on every backend.",
                               .options = options,
                               .option_count = sizeof options / sizeof *options};
    int result = cli_options_parse(context, &syntax, argc, argv);
    if (result >= 0) return result;
    if (!o.data && !o.rows.set)
        return cli_usage_error(context, syntax.command, "nothing to quote: give -d FILE or --rows N");
    if (o.recipe && !host_recipe_name_ok(o.recipe))
        return cli_usage_error(context, syntax.command, "--recipe: '%s' is not the name of a recipe",
                               cli_safe(o.recipe));
    if (o.rows.value > COUNT_MAX || o.bytes.value > COUNT_MAX * 1000 || o.labels.value > COUNT_MAX ||
        o.parameters.value > COUNT_MAX * 1000)
        return cli_usage_error(context, syntax.command, "one of the numbers is too large for any job");
    if (o.rows.set && o.rows.value == 0)
        return cli_usage_error(context, syntax.command, "--rows 0: there is nothing to quote");
    if (o.epochs.value > UINT32_MAX)
        return cli_usage_error(context, syntax.command, "--epochs: the number is too large");
    return quote(context, &o);
}
