/* SPDX-License-Identifier: Apache-2.0 */
/* Prints a pick: the choice, its device, score and reason, the runners-up, and why the others were not chosen. */
#include "cli/pick_text.h"
#include "cli/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LIST_INDENT 4

/* "0.895", or "0.635 not detected". */
static const char *score_and_state(const pick_candidate *c, uint32_t score, char *out, size_t capacity) {
    char number[8], state[64];
    pick_score_text(score, number);
    pick_state_text(c, state, sizeof state);
    kit_format(out, capacity, "%s%s%s", number, *state ? " " : "", state);
    return out;
}

/* Columns to wrap at: a terminal's width; 0 (never) elsewhere, so that a script finds one line per list. */
static size_t line_width(const cli_context *context) {
    struct winsize size;
    if (!context->out_tty || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 40) return 0;
    return size.ws_col;
}

typedef struct list_writer {
    cli_context *context;
    size_t width, column;
    bool any;
} list_writer;

static void list_begin(list_writer *w, cli_context *context, const char *title) {
    *w = (list_writer){.context = context, .width = line_width(context), .column = strlen(title) + 1};
    cli_print(context, "%s", title);
}

static void list_item(list_writer *w, const char *text) {
    size_t length = strlen(text) + 2;
    if (w->any) cli_print(w->context, ",");
    if (w->any && w->width && w->column + length > w->width) {
        cli_print(w->context, "\n%*s%s", LIST_INDENT, "", text);
        w->column = LIST_INDENT + length;
    } else {
        cli_print(w->context, " %s", text);
        w->column += length;
    }
    w->any = true;
}

static void print_runners_up(cli_context *context, const pick_result *result) {
    list_writer w;
    char state[96], item[160];
    if (result->eligible_count < 2) return;
    list_begin(&w, context, "runners-up:");
    for (size_t i = 1; i < result->eligible_count && i <= PICK_RUNNERS_UP; i++) {
        const pick_entry *entry = &result->entries[i];
        const pick_candidate *c = &result->candidates[entry->candidate];
        score_and_state(c, entry->score, state, sizeof state);
        kit_format(item, sizeof item, "%s (%s)", c->name, cli_safe(state));
        list_item(&w, item);
    }
    cli_print(context, "\n");
}

static void filtered_item(list_writer *w, const pick_result *result, const pick_entry *entry) {
    const pick_candidate *c = &result->candidates[entry->candidate];
    char state[96];
    kit_buf item = {0};
    kit_buf_fmt(&item, "%s (", cli_safe(c->name));
    for (size_t r = 0; r < entry->reason_count; r++) {
        kit_buf_fmt(&item, "%s%s", r ? "; " : "", cli_safe(entry->reasons[r].text));
    }
    if (entry->eligible) {
        score_and_state(c, entry->score, state, sizeof state);
        kit_buf_fmt(&item, "rank %" PRIu32 ": %s", entry->rank, cli_safe(state));
    }
    kit_buf_char(&item, ')');
    list_item(w, kit_buf_text(&item));
    kit_buf_free(&item);
}

/* Filters first, then those that passed and only ranked lower. */
static void print_filtered(cli_context *context, const pick_result *result) {
    list_writer w;
    if (result->count <= PICK_RUNNERS_UP + 1 && result->eligible_count == result->count) return;
    list_begin(&w, context, "filtered out:");
    for (size_t i = result->eligible_count; i < result->count; i++)
        filtered_item(&w, result, &result->entries[i]);
    for (size_t i = PICK_RUNNERS_UP + 1; i < result->eligible_count; i++)
        filtered_item(&w, result, &result->entries[i]);
    cli_print(context, "\n");
}

static void print_warnings(cli_context *context, const pick_result *result) {
    for (size_t i = 0; i < result->eligible_count; i++) {
        const pick_entry *entry = &result->entries[i];
        const pick_candidate *c = &result->candidates[entry->candidate];
        if (!entry->unpriced_pass || !c->available) continue;
        cli_warn(context, "%s is billed %s: --max-price does not limit it", c->name,
                 c->offer.billing ? c->offer.billing : "otherwise");
    }
}

void cli_pick_print(cli_context *context, const pick_result *result) {
    const pick_candidate *best = result->best ? &result->candidates[result->best->candidate] : NULL;
    char number[8], state[96];
    if (best && result->winner) {
        pick_score_text(result->winner->score, number);
        cli_print(context, "picked:  %s\n", cli_styled(context, CLI_BOLD, best->name));
        if (best->device) cli_print(context, "device:  %s\n", cli_safe(best->device));
        cli_print(context, "score:   %s\n", number);
        cli_print(context, "reason:  available; score %s (%s)\n", number, best->offer.kind);
    } else {
        cli_print(context, "picked:  none\n");
        if (best) {
            score_and_state(best, result->best->score, state, sizeof state);
            cli_print(context, "best match: %s (%s)\n", best->name, cli_safe(state));
            cli_print(context, "lacks:   %s\n",
                      cli_safe(best->reason && *best->reason ? best->reason : "not detected"));
        }
    }
    print_runners_up(context, result);
    print_filtered(context, result);
    print_warnings(context, result);
}

static void print_terms(cli_context *context, const pick_result *result, const pick_entry *entry) {
    const pick_candidate *c = &result->candidates[entry->candidate];
    const uint32_t values[] = {entry->terms.available, entry->terms.cost, entry->terms.latency,
                               entry->terms.repro,     entry->terms.perf, entry->score};
    char place[16] = "-";
    if (c->refused) return;
    if (entry->eligible) kit_format(place, sizeof place, "%" PRIu32, entry->rank);
    cli_print(context, "  %4s  %-16s", place, c->name);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        cli_print(context, "  %" PRIu32 ".%05" PRIu32, values[i] / PICK_UNIT, values[i] % PICK_UNIT);
    }
    cli_print(context, "\n");
}

void cli_pick_explain(cli_context *context, const pick_result *result) {
    cli_print(context, "\nS = 0.35 available + 0.20 cost_inv + 0.15 latency_inv + 0.15 repro + 0.15 perf\n");
    cli_print(context, "  %4s  %-16s  %-7s  %-7s  %-7s  %-7s  %-7s  %s\n", "rank", "backend", "avail", "cost",
              "latency", "repro", "perf", "score");
    for (size_t i = 0; i < result->count; i++)
        print_terms(context, result, &result->entries[i]);
    if (result->flip_count == 0) {
        cli_print(context, "smallest change that would flip the choice: no single change would\n");
        return;
    }
    cli_print(context, "smallest change that would flip the choice: %s\n", cli_safe(result->flips[0].text));
    for (size_t i = 1; i < result->flip_count; i++)
        cli_print(context, "  also: %s\n", cli_safe(result->flips[i].text));
}
