/* SPDX-License-Identifier: Apache-2.0 */
/* Parses declared options, prints their help, and suggests the nearest option for a mistyped one. */
#include "cli/options.h"

#include "cli/cli.h"
#include "cli/log.h"
#include "cli/output.h"
#include "kolm/kit/text.h"
#include "model/path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AIRGAP_WORDS "strict|advisory"
#define AMOUNT_MAX_MICRO 1000000000000000u /* 10^9 dollars, or gigabytes: more is a mistake */
#define NEAREST_MAX 64                     /* bytes of an unknown option that are quoted */

void cli_list_free(session_words *list) {
    if (!list) return;
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    list->items = NULL;
    list->count = 0;
}

typedef struct parser {
    cli_context *context;
    const cli_syntax *syntax;
    int argc;
    char **argv;
    int at;
    size_t words;
    size_t plain_words; /* before "--" */
    uint64_t given;     /* one bit for each of at most 64 options */
} parser;

static const cli_option *by_name(const cli_syntax *syntax, const char *name, size_t length) {
    for (size_t i = 0; i < syntax->option_count; i++) {
        const cli_option *option = &syntax->options[i];
        if (strlen(option->name) == length && memcmp(option->name, name, length) == 0) return option;
    }
    return NULL;
}

static const cli_option *by_letter(const cli_syntax *syntax, char letter) {
    for (size_t i = 0; i < syntax->option_count; i++) {
        if (syntax->options[i].letter == letter) return &syntax->options[i];
    }
    return NULL;
}

static const char *kind_expectation(const cli_option *option) {
    switch (option->kind) {
    case CLI_U64:
        return "a whole number";
    case CLI_USD:
        return "a price in dollars such as 2.50";
    case CLI_GB:
        return "a number of gigabytes such as 80";
    case CLI_FRACTION:
        return "a number from 0 to 1 such as 0.85";
    case CLI_TIER:
        return "a tier from 1 to 9";
    case CLI_AIRGAP:
        return AIRGAP_WORDS;
    case CLI_MODE:
        return option->value;
    default:
        return option->value ? option->value : "a value";
    }
}

static int missing_value(parser *p, const cli_option *option) {
    return cli_usage_error(p->context, p->syntax->command, "--%s needs a value: %s", option->name,
                           kind_expectation(option));
}

/* Digits, and for amounts one point: then only its size can be wrong. */
static bool is_amount(const cli_option *option, const char *value) {
    size_t whole = strspn(value, "0123456789");
    if (option->kind == CLI_U64) return whole > 0 && value[whole] == '\0';
    if ((option->kind != CLI_USD && option->kind != CLI_GB) || whole == 0) return false;
    if (value[whole] != '.') return value[whole] == '\0';
    size_t rest = strspn(value + whole + 1, "0123456789");
    return rest > 0 && rest <= 6 && value[whole + 1 + rest] == '\0';
}

static int bad_value(parser *p, const cli_option *option, const char *value) {
    if (is_amount(option, value)) {
        return cli_usage_error(p->context, p->syntax->command, "--%s: '%s' is too large", option->name,
                               cli_safe(value));
    }
    return cli_usage_error(p->context, p->syntax->command, "--%s: '%s' is not %s", option->name, cli_safe(value),
                           kind_expectation(option));
}

static int add_item(parser *p, session_words *list, const char *value, size_t length) {
    char **grown = realloc(list->items, (list->count + 1) * sizeof *grown);
    if (grown) list->items = grown;
    char *copy = grown ? strndup(value, length) : NULL;
    if (!copy) {
        kolm_error_t err = KIT_ERROR_INIT;
        err.code = kit_fail(&err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory while reading the options");
        return cli_fail(p->context, SESSION_REASON_NONE, &err);
    }
    list->items[list->count++] = copy;
    return -1;
}

/* Adds the names of "a,b" to the list. */
static int add_names(parser *p, const cli_option *option, const char *value) {
    session_words *list = option->target;
    while (true) {
        size_t length = strcspn(value, ",");
        if (length == 0) return bad_value(p, option, value);
        int exit_code = add_item(p, list, value, length);
        if (exit_code >= 0 || value[length] == '\0') return exit_code;
        value += length + 1;
    }
}

static bool word_among(const char *word, const char *alternatives) {
    size_t length = strlen(word);
    while (*alternatives) {
        size_t next = strcspn(alternatives, "|");
        if (next == length && memcmp(alternatives, word, length) == 0) return true;
        alternatives += next;
        if (*alternatives == '|') alternatives++;
    }
    return false;
}

static int set_number(parser *p, const cli_option *option, const char *value) {
    session_number *number = option->target;
    uint64_t parsed = 0;
    bool whole = option->kind == CLI_U64 || option->kind == CLI_TIER;
    bool good = whole ? kit_parse_u64(value, &parsed) : kit_parse_micro(value, &parsed);
    if (option->kind == CLI_FRACTION && parsed > 1000000) good = false;
    if (option->kind == CLI_TIER && (parsed < 1 || parsed > 9)) good = false;
    if ((option->kind == CLI_USD || option->kind == CLI_GB) && parsed > AMOUNT_MAX_MICRO) good = false;
    if (!good) return bad_value(p, option, value);
    number->set = true;
    number->value = parsed;
    return -1;
}

static int set_value(parser *p, const cli_option *option, const char *value) {
    if (*value == '\0') return missing_value(p, option);
    switch (option->kind) {
    case CLI_STRING:
        *(const char **)option->target = value;
        return -1;
    case CLI_LIST:
        return add_names(p, option, value);
    case CLI_WORDS:
        return add_item(p, option->target, value, strlen(value));
    case CLI_AIRGAP: {
        bool advisory = strcmp(value, "advisory") == 0;
        if (!advisory && strcmp(value, "strict") != 0) return bad_value(p, option, value);
        *(session_airgap *)option->target = advisory ? SESSION_AIRGAP_ADVISORY : SESSION_AIRGAP_STRICT;
        return -1;
    }
    case CLI_MODE: {
        cli_mode *mode = option->target;
        if (!word_among(value, option->value)) return bad_value(p, option, value);
        mode->set = true;
        mode->word = value;
        return -1;
    }
    default:
        return set_number(p, option, value);
    }
}

/* True if the next word can only be another option, so the value is missing. A lone "-" is a value, and so is "-1",
 * which the number parser then refuses by name. */
static bool looks_like_option(const parser *p, const char *word) {
    if (word[0] != '-' || word[1] == '\0') return false;
    if (word[1] == '-') return true;
    return word[2] == '\0' && (word[1] == 'h' || by_letter(p->syntax, word[1]));
}

/* Two values for a single-valued option: silently dropping the first could train on half of the data. */
static bool given_before(parser *p, const cli_option *option) {
    uint64_t bit = UINT64_C(1) << ((size_t)(option - p->syntax->options) % 64);
    bool before = (p->given & bit) != 0;
    p->given |= bit;
    return before && option->kind != CLI_FLAG && option->kind != CLI_LIST && option->kind != CLI_WORDS;
}

static int apply(parser *p, const cli_option *option, const char *inline_value) {
    if (given_before(p, option)) {
        return cli_usage_error(p->context, p->syntax->command, "--%s is given twice, but can be used only once",
                               option->name);
    }
    if (option->kind == CLI_FLAG) {
        if (inline_value) {
            return cli_usage_error(p->context, p->syntax->command, "--%s takes no value, but got '%s'", option->name,
                                   cli_safe(inline_value));
        }
        *(bool *)option->target = true;
        return -1;
    }
    if (inline_value) return set_value(p, option, inline_value);
    if (option->kind == CLI_AIRGAP) {
        *(session_airgap *)option->target = SESSION_AIRGAP_STRICT;
        return -1;
    }
    if (option->kind == CLI_MODE) {
        ((cli_mode *)option->target)->set = true;
        ((cli_mode *)option->target)->word = NULL;
        return -1;
    }
    if (p->at + 1 >= p->argc || looks_like_option(p, p->argv[p->at + 1])) return missing_value(p, option);
    return set_value(p, option, p->argv[++p->at]);
}

/* A verb that takes texts may have been given one that begins with '-'. */
static int unknown_word(parser *p, const char *word) {
    if (p->syntax->max_words != SIZE_MAX)
        return cli_usage_error(p->context, p->syntax->command, "unknown option '%s'", cli_safe(word));
    kolm_error_t err = KIT_ERROR_INIT;
    err.code = KOLM_E_INVALID_ARGUMENT;
    kit_format(err.text, sizeof err.text, "unknown option '%s'", cli_safe(word));
    kit_format(err.remedy, sizeof err.remedy,
               "for a text that begins with '-' put -- before it: %s FILE.kolm -- '%s'; options: `%s --help`",
               p->syntax->command, word, p->syntax->command);
    return cli_error(p->context, CLI_EXIT_USAGE, &err);
}

static int unknown_option(parser *p, const char *word, size_t length) {
    const char *names[67];
    size_t count = 0;
    names[count++] = "help";
    names[count++] = "json";
    names[count++] = "verbose";
    for (size_t i = 0; i < p->syntax->option_count && count < 67; i++)
        names[count++] = p->syntax->options[i].name;
    char name[NEAREST_MAX + 2], word_shown[NEAREST_MAX + 4];
    kit_format(name, sizeof name, "%.*s", (int)(length > NEAREST_MAX ? NEAREST_MAX : length), word);
    const char *near = word[0] ? kit_nearest(name, names, count) : NULL;
    if (near) {
        return cli_usage_error(p->context, p->syntax->command, "unknown option '--%s'; did you mean --%s?",
                               cli_safe(name), near);
    }
    return unknown_word(p, kit_format(word_shown, sizeof word_shown, "--%s", name) ? word_shown : name);
}

static void print_option(cli_context *context, const cli_option *option) {
    char left[96];
    char letter[8] = "    ";
    if (option->letter) kit_format(letter, sizeof letter, "-%c, ", option->letter);
    if (option->kind == CLI_FLAG) {
        kit_format(left, sizeof left, "%s--%s", letter, option->name);
    } else if (option->kind == CLI_MODE || option->kind == CLI_AIRGAP) {
        kit_format(left, sizeof left, "%s--%s[=%s]", letter, option->name,
                   option->kind == CLI_AIRGAP ? AIRGAP_WORDS : option->value);
    } else {
        kit_format(left, sizeof left, "%s--%s %s", letter, option->name, option->value ? option->value : "VALUE");
    }
    if (strlen(left) > 28) {
        cli_print(context, "  %s\n  %-28s  %s\n", left, "", option->help);
    } else {
        cli_print(context, "  %-28s  %s\n", left, option->help);
    }
}

static int print_help(parser *p) {
    const cli_syntax *syntax = p->syntax;
    cli_print(p->context, "%s\n\nusage: %s%s%s [options]\n\noptions:\n", syntax->summary, syntax->command,
              *syntax->words ? " " : "", syntax->words);
    for (size_t i = 0; i < syntax->option_count; i++) {
        if (syntax->options[i].help) print_option(p->context, &syntax->options[i]);
    }
    cli_print(p->context, "  %-28s  %s\n", "    --json", "print one JSON document instead of text");
    cli_print(p->context, "  %-28s  %s\n", "-v, --verbose", "show messages of backends; repeat for more");
    cli_print(p->context, "  %-28s  %s\n", "-h, --help", "print this help");
    if (syntax->notes) cli_print(p->context, "\n%s\n", syntax->notes);
    return CLI_EXIT_OK;
}

static int long_option(parser *p, const char *word) {
    const char *equals = strchr(word, '=');
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    const char *value = equals ? equals + 1 : NULL;
    const cli_option *option = by_name(p->syntax, word, length);
    if (option) return apply(p, option, value);
    if (strcmp(word, "help") == 0) return print_help(p);
    if (strcmp(word, "json") == 0) {
        p->context->json = true;
        return -1;
    }
    if (strcmp(word, "verbose") == 0 && cli_log_option(p->context, "--verbose")) return -1;
    return unknown_option(p, word, length);
}

static int short_option(parser *p, const char *word) {
    const cli_option *option = by_letter(p->syntax, word[1]);
    if (option && word[2] == '\0') return apply(p, option, NULL);
    if (strcmp(word, "-h") == 0) return print_help(p);
    if (cli_log_option(p->context, word)) return -1;
    return unknown_word(p, word);
}

/* The option that a bare file name was probably meant for. */
static const cli_option *first_of_files(const cli_syntax *syntax) {
    for (size_t i = 0; i < syntax->option_count; i++)
        if (syntax->options[i].value && strcmp(syntax->options[i].value, "FILE") == 0) return &syntax->options[i];
    return NULL;
}

static int add_word(parser *p, char *word) {
    if (p->words >= p->syntax->max_words) {
        if (p->syntax->max_words == 1)
            return cli_usage_error(p->context, p->syntax->command, "one %s at a time: unexpected word '%s'",
                                   p->syntax->words, cli_safe(word));
        const cli_option *meant = model_is_there(word) ? first_of_files(p->syntax) : NULL;
        if (meant)
            return cli_usage_error(p->context, p->syntax->command, "unexpected word '%s'; did you mean --%s %s?",
                                   cli_safe(word), meant->name, cli_safe(word));
        return cli_usage_error(p->context, p->syntax->command, "unexpected word '%s'", cli_safe(word));
    }
    p->syntax->words_out[p->words++] = word;
    return -1;
}

/* --json is honoured anywhere, even after the error that is about to be reported. */
void cli_options_find_json(cli_context *context, int argc, char **argv) {
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--json") == 0) context->json = true;
    }
}

int cli_options_parse(cli_context *context, const cli_syntax *given, int argc, char **argv) {
    cli_syntax whole = *given;
    const cli_syntax *syntax = &whole;
    parser p = {.context = context, .syntax = syntax, .argc = argc, .argv = argv, .at = 1};
    bool ended = false;
    if (whole.max_words == 0 && *whole.words != '\0') {
        whole.max_words = 1;
        whole.min_words = *whole.words != '[';
    }
    if (whole.words_out == NULL) whole.words_out = argv;
    cli_options_find_json(context, argc, argv);
    for (; p.at < argc; p.at++) {
        char *word = argv[p.at];
        int result;
        if (ended || word[0] != '-' || word[1] == '\0') {
            result = add_word(&p, word);
        } else if (strcmp(word, "--") == 0) {
            ended = true;
            p.plain_words = p.words;
            continue;
        } else if (word[1] == '-') {
            result = long_option(&p, word + 2);
        } else {
            result = short_option(&p, word);
        }
        if (result >= 0) return result;
    }
    if (p.words < syntax->min_words) {
        return cli_usage_error(context, syntax->command, "missing %s", syntax->words);
    }
    if (!ended) p.plain_words = p.words;
    if (syntax->word_count_out) *syntax->word_count_out = p.words;
    if (syntax->plain_words_out) *syntax->plain_words_out = p.plain_words;
    return -1;
}
