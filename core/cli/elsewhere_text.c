/* SPDX-License-Identifier: Apache-2.0 */
/* What backends keep elsewhere, as text. */
#include "cli/elsewhere_text.h"

#include "cli/output.h"

#include <stdlib.h>
#include <string.h>

static const char *text_of(const cJSON *row, const char *key) {
    const char *text = "";
    (void)kit_json_get_string(row, key, &text);
    return cli_safe(text);
}

static void print_row(cli_context *context, const cJSON *row) {
    char size[32] = "", age[32] = "", price[48] = "";
    uint64_t number = 0;
    const cJSON *cost = kit_json_get(row, "cost_per_hour_usd"); /* as kit_json_micro made it */
    if (kit_json_get_u64(row, "bytes", &number)) session_bytes(size, sizeof size, number);
    if (kit_json_get_u64(row, "age_seconds", &number)) session_duration(age, sizeof age, number * 1000);
    if (cJSON_IsRaw(cost) && strcmp(cost->valuestring, "0") != 0)
        kit_format(price, sizeof price, "$%.2f an hour; ", strtod(cost->valuestring, NULL));
    cli_print(context, "  %-8s %-10.10s ", text_of(row, "kind"), text_of(row, "name"));
    cli_print(context, "%-8s %9s %8s  %s", text_of(row, "state"), size, age, price);
    cli_print(context, "%s\n", text_of(row, "note"));
}

/* Grouped in order of arrival: by backend, then by place. */
void cli_elsewhere_print(cli_context *context, const fleet_holdings *e) {
    const cJSON *row, *asked;
    char before[512] = "";
    cJSON_ArrayForEach(asked, e->asked) {
        const char *backend = "", *error = NULL, *remedy = "", *summary = "";
        bool any = false;
        (void)kit_json_get_string(asked, "backend", &backend);
        (void)kit_json_get_string(asked, "remedy", &remedy);
        (void)kit_json_get_string(asked, "summary", &summary);
        cJSON_ArrayForEach(row, e->held) {
            const char *of = "", *place = "";
            char here[512];
            (void)kit_json_get_string(row, "backend", &of);
            (void)kit_json_get_string(row, "place", &place);
            if (strcmp(of, backend) != 0) continue;
            kit_format(here, sizeof here, "%s on %s", backend, place);
            if (strcmp(here, before) != 0) cli_print(context, "%s\n", cli_safe(here));
            kit_copy(before, sizeof before, here);
            print_row(context, row);
            any = true;
        }
        if (kit_json_get_string(asked, "error", &error)) {
            cli_warn(context, "%s: %s%s%s", backend, cli_safe(error), *remedy ? "; " : "", cli_safe(remedy));
        } else if (!any) {
            cli_print(context, "%s keeps nothing elsewhere%s%s\n", backend, *summary ? "; asked: " : "",
                      cli_safe(summary));
        }
    }
    if (cJSON_GetArraySize(e->asked) == 0)
        cli_print(context, "elsewhere: no backend that is set up keeps anything there\n");
}
