/* SPDX-License-Identifier: Apache-2.0 */
/* Command-line options declared as a table: parsing, help text and errors all come from the same rows. */
#ifndef KOLM_CLI_OPTIONS_H
#define KOLM_CLI_OPTIONS_H

#include "cli/context.h"

/*
 * Accepted: --name value, --name=value, --flag, -t value; NOT -tvalue (write -t value). "--" ends the options. Every
 * verb also has --help (-h), --verbose (-v) and --json without declaring them. A word or flag that is not declared is a
 * usage error that quotes it and names the nearest declared one. If an option is given twice, the later one applies;
 * lists collect. Strings point into argv: nothing is copied, only a list's array is allocated.
 */
typedef enum cli_option_kind {
    CLI_FLAG,   /* bool */
    CLI_STRING, /* const char *: NULL if not given; an empty value is rejected */
    CLI_U64,    /* session_number: digits only */
    CLI_USD,    /* session_number: dollars with at most 6 decimals, at most 10^9, in micro dollars */
    CLI_GB, /* session_number: gigabytes (10^9 bytes) with at most 6 decimals, at most 10^9, in kilobytes: value * 1000 = bytes */
    CLI_FRACTION, /* session_number: 0 to 1 with at most 6 decimals, in millionths */
    CLI_LIST,     /* session_words: may be given several times, and each value may hold several names separated by
                   commas */
    CLI_WORDS,    /* session_words: may be given several times; each value is one item, whatever it contains */
    CLI_TIER,     /* session_number: 1 to 9 */
    CLI_AIRGAP, /* session_airgap: --airgap or --airgap=strict: strict; --airgap=advisory; never takes the next word */
    CLI_MODE,   /* cli_mode: --name alone, or --name=WORD where WORD is among `words`; never takes the next word */
} cli_option_kind;

void cli_list_free(session_words *list);

typedef struct cli_mode {
    bool set;
    const char *word; /* NULL if given without a word */
} cli_mode;

typedef struct cli_option {
    const char *name; /* without the dashes */
    char letter;      /* of the short form, 0 for none */
    cli_option_kind kind;
    void *target;
    const char *value; /* name of the value in help: "FILE"; for CLI_MODE the allowed words, separated by '|' */
    const char *help;  /* one line; NULL hides the option from help */
} cli_option;

typedef struct cli_syntax {
    const char *command; /* "kolm compute pick" */
    const char *words;   /* positional words in help: "NAME", "[TEXT...]", "" for none */
    const char *summary; /* one or more lines */
    const char *notes;   /* printed after the options; may be NULL */
    const cli_option *options;
    size_t option_count;
    size_t min_words; /* number of words allowed, if `words` does not define it: "NAME" is one, "[NAME]" one or none */
    size_t max_words; /* SIZE_MAX: any number; 0: as in `words` */
    char **words_out; /* room for argc pointers; NULL: argv itself, from its start */
    size_t *word_count_out;  /* may be NULL */
    size_t *plain_words_out; /* how many of them preceded "--"; may be NULL */
} cli_syntax;

/* For an initialiser: the table of options. */
#define CLI_ROWS(rows) .options = (rows), .option_count = sizeof(rows) / sizeof *(rows)

/* Sets context->json if --json occurs anywhere before "--". */
void cli_options_find_json(cli_context *context, int argc, char **argv);
/* -1: continue. Else the exit code of the verb: 0 after --help, CLI_EXIT_USAGE after an error that has been printed. */
int cli_options_parse(cli_context *context, const cli_syntax *syntax, int argc, char **argv) KIT_MUST_USE;

#endif
