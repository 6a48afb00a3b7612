/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: whatever lines a trainer writes, what is handed on has its texts and numbers in range, the first error and the
 * first result are those that count, and a line that is no event is told a few times and then no more. */
#include "fuzz.h"

#include "kolm/kit/text.h"
#include "../../sdk/trainer/src/internal.h"

#include <string.h>

static size_t logs;

static bool whole(const char *text) {
    return text != NULL && kit_utf8_valid(text, strlen(text)) == strlen(text);
}

static void on_log(void *user, uint32_t level, const char *text) {
    (void)user;
    logs++;
    must(level <= KOLM_LOG_ERROR && whole(text));
}

static void on_progress(void *user, const kolm_progress_t *progress) {
    (void)user;
    must(progress->struct_size == sizeof *progress && whole(progress->phase));
}

static void on_metric(void *user, const char *name, double value) {
    (void)user;
    (void)value;
    must(whole(name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const kolm_host_v1_t host = {.log = on_log, .progress = on_progress, .metric = on_metric};
    trainer_heard heard = {.host = &host, .error = KIT_ERROR_INIT};
    const char *text = (const char *)data;
    size_t lines = 0;
    logs = 0;
    while (size > 0) {
        const char *lf = memchr(text, '\n', size);
        size_t length = lf != NULL ? (size_t)(lf - text) : size, step = length + (lf != NULL ? 1 : 0);
        const cJSON *result = heard.result;
        const kolm_error_t error = heard.error;
        trainer_hear(&heard, text, length);
        lines++;
        must(result == NULL || heard.result == result);
        must(error.code == KOLM_OK || memcmp(&error, &heard.error, sizeof error) == 0);
        must(heard.result == NULL || cJSON_IsObject(heard.result));
        text += step;
        size -= step;
    }
    must(heard.strange <= lines && logs <= lines);
    must(heard.error.code == KOLM_OK || (heard.error.code <= KOLM_E_UNAUTHENTICATED && heard.error.text[0] != '\0'));
    must(whole(heard.error.text) && whole(heard.error.remedy));
    cJSON_Delete(heard.result);
    return 0;
}
