/* SPDX-License-Identifier: Apache-2.0 */
/* The kolm command: finds the verb in a table and runs it. */
#include "cli/cli.h"

#include "cli/log.h"
#include "cli/options.h"
#include "cli/output.h"
#include "kolm/kit/text.h"

#include <stdio.h>
#include <string.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

static const cli_command commands[] = {
    {"compile", "train a model from a JSONL file, score it, sign it", cli_cmd_compile},
    {"run", "answer with a compiled model", cli_cmd_run},
    {"export", "write a model as other programs read it (PEFT, transformers)", cli_cmd_export},
    {"score", "measure a compiled model again", cli_cmd_score},
    {"report", "write a page about a compiled model, or one that missed its gate", cli_cmd_report},
    {"inspect", "show what a compiled model holds", cli_cmd_inspect},
    {"verify", "check the signature and the receipts of a compiled model", cli_cmd_verify},
    {"keys", "list, make, trust and revoke signing keys", cli_cmd_keys},
    {"job", "run a job directory on this machine, for backends that send it here", cli_cmd_job},
    {"backend", "make, check, sign and explain backends", cli_cmd_backend},
    {"compute", "the backends: list, detect, pick, use, info, status, test, quote", cli_cmd_compute},
};

static void print_help(cli_context *context) {
    cli_print(context, "kolm picks where a model is trained or run, runs it there, and proves what happened.\n\n"
                       "usage: kolm COMMAND [options]\n\ncommands:\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        cli_print(context, "  %-10s  %s\n", commands[i].name, commands[i].help);
    }
    cli_print(context, "\n  kolm COMMAND --help shows more; kolm --version prints the version.\n\nfirst steps:\n  kolm "
                       "compile -t support_ticket_router -d tickets.jsonl\n  kolm run support_ticket_router-1.0.0.kolm "
                       "\"my invoice is wrong\"\n");
}

int cli_dispatch(cli_context *context, const char *prefix, const cli_command *table, size_t count, int argc,
                 char **argv) {
    const char *names[32];
    for (; argc > 1 && cli_log_option(context, argv[0]); argc--, argv++)
        continue;
    for (size_t i = 0; i < count && i < 32; i++) {
        if (strcmp(argv[0], table[i].name) == 0) return table[i].run(context, argc, argv);
        names[i] = table[i].name;
    }
    cli_options_find_json(context, argc, argv);
    const char *kind = argv[0][0] == '-' ? "option" : "command";
    const char *near = kit_nearest(argv[0], names, count < 32 ? count : 32);
    if (near) {
        return cli_usage_error(context, prefix, "unknown %s '%s'; did you mean '%s %s'?", kind, cli_safe(argv[0]),
                               prefix, near);
    }
    return cli_usage_error(context, prefix, "unknown %s '%s'", kind, cli_safe(argv[0]));
}

int cli_group_of(cli_context *context, const char *prefix, const char *summary, const cli_command *table, size_t count,
                 int argc, char **argv) {
    bool help =
        argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0);
    if (argc >= 2 && !help) return cli_dispatch(context, prefix, table, count, argc - 1, argv + 1);
    cli_print(context, "%s: %s\n\nusage: %s COMMAND [options]\n\ncommands:\n", prefix, summary, prefix);
    for (size_t i = 0; i < count; i++)
        cli_print(context, "  %-8s  %s\n", table[i].name, table[i].help);
    cli_print(context, "\n  %s COMMAND --help shows more.\n", prefix);
    return help ? CLI_EXIT_OK : CLI_EXIT_USAGE;
}

static int version(cli_context *context) {
    if (!context->json) {
        cli_print(context, "kolm %s (backend ABI %d.%d)\n", KOLM_VERSION, KOLM_ABI_MAJOR, KOLM_ABI_MINOR);
        return CLI_EXIT_OK;
    }
    cJSON *value = cJSON_CreateObject();
    bool good = value && kit_json_put_string(value, "schema", "kolm.version/1") &&
                kit_json_put_string(value, "version", KOLM_VERSION) &&
                kit_json_put_u64(value, "abi_major", KOLM_ABI_MAJOR) &&
                kit_json_put_u64(value, "abi_minor", KOLM_ABI_MINOR);
    return cli_print_json(context, cli_whole(value, good), CLI_EXIT_OK);
}

static int run(cli_context *context, int argc, char **argv) {
    if (argc < 2) {
        print_help(context);
        return CLI_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(context);
        return CLI_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        if (argc == 3 && strcmp(argv[2], "--json") == 0)
            context->json = true;
        else if (argc > 2)
            return cli_usage_error(context, "kolm", "unexpected word '%s'", cli_safe(argv[2]));
        return version(context);
    }
    return cli_dispatch(context, "kolm", commands, sizeof commands / sizeof *commands, argc - 1, argv + 1);
}

int main(int argc, char **argv) {
    cli_context context;
#if defined(__linux__)
    /* Tokens and the signing key pass through here: no core dump, no reading of this memory by other processes. */
    (void)prctl(PR_SET_DUMPABLE, 0);
#endif
    cli_standard_files_keep();
    cli_signals_install();
    cli_context_init(&context, argc > 0 ? argv[0] : "kolm");
    kolm_error_t err = KIT_ERROR_INIT;
    cli_options_find_json(&context, argc, argv);
    int exit_code = cli_log_setup(&context, &err) == KOLM_OK ? run(&context, argc, argv)
                                                             : cli_error(&context, CLI_EXIT_USAGE, &err);
    exit_code = cli_output_finish(&context, exit_code);
    cli_context_free(&context);
    return exit_code;
}
