/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target of a provider of jobs: how it interprets answers. The first byte selects the request, followed by the
 * answers. */
#include "api.h" /* of the provider */
#include "http_double.h"

#include <string.h>

/* Defined by the build: QUEUE, CHECK and LIST of the provider, and OWN, the type of its private record. */

#define HANDLE "j-0123456789abcdef"

static const kit_service_site site = {.name = "acme",
                                      .title = "ACME",
                                      .variable = "ACME_TOKEN",
                                      .where = "there",
                                      .money = "there",
                                      .base = "https://api.acme.example",
                                      .scheme = "Bearer "};

static const kit_queue_backend backend = {.site = &site, .queue = &QUEUE, .recipe = "hosted-lora"};

static void tell(void *user, const char *kind, const char *name, const char *handle, bool in_use, const char *note) {
    (void)user, (void)in_use;
    must(kind[0] != '\0' && name[0] != '\0' && handle != NULL && note != NULL);
}

static kit_status ask(kit_queue_task *task, char what, kolm_error_t *err) {
    kit_queue_look seen = {0};
    kit_queue_price price = {0};
    char text[KIT_RENT_HANDLE_BYTES] = "";
    bool done = false;
    switch (what % 8) {
    case 0: {
        kit_status status = QUEUE.look(task, HANDLE, &seen, err);
        must(memchr(seen.word, '\0', sizeof seen.word) != NULL && memchr(seen.why, '\0', sizeof seen.why) != NULL);
        return status;
    }
    case 1: {
        if (QUEUE.find == NULL) return KOLM_OK;
        kit_status status = QUEUE.find(task, "kolm-1", text, err);
        must(status != KOLM_OK || kit_rent_is_handle(text));
        return status;
    }
    case 2:
        return QUEUE.price != NULL ? QUEUE.price(task, &price, err) : KOLM_OK;
    case 3:
        return QUEUE.cancel(task, HANDLE, err);
    case 4:
        return QUEUE.remove != NULL ? QUEUE.remove(task, "kolm-1", HANDLE, &done, err) : KOLM_OK;
    case 5:
        return QUEUE.logs != NULL ? QUEUE.logs(task, HANDLE, err) : KOLM_OK;
    case 6:
        return CHECK(task, text, sizeof text, err);
    default:
        return LIST(task, tell, NULL, err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kit_queue_task task = {.backend = &backend, .host = &http_double_host, .name = "kolm-1", .rows_fd = -1};
    kolm_error_t err = KIT_ERROR_INIT;
    if (size == 0) return 0;
    fuzz_parts parts = {.at = (const char *)data + 1, .left = size - 1};
    http_double_answers(&parts);
    task.own = calloc(1, sizeof(OWN));
    must(task.own != NULL && kit_service_open(&site, &http_double_host, &task.service, &err) == KOLM_OK);
    kit_status status = ask(&task, (char)data[0], &err);
    must(status == KOLM_OK || err.text[0] != '\0');
    kit_service_close(&task.service);
    free(task.own);
    return 0;
}
