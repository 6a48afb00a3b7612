/* SPDX-License-Identifier: Apache-2.0 */
/* kolm-host: one process, one plugin, one call. Not for people: kolm starts it and reads what it replies. */
#include "host/child/child.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void report_loaded(const kolm_backend_v1_t *table) {
    kit_buf members = {0};
    child_put_int(&members, "slots", child_table_slots(table));
    child_put_int(&members, "abi_minor", table->abi_minor);
    child_put_u64(&members, "features", table->features);
    child_put_text(&members, "version", table->version);
    child_put_text(&members, "vendor", table->vendor);
    child_put_text(&members, "licence", table->licence);
    child_put_text(&members, "homepage", table->homepage);
    child_reply_send("loaded", &members);
    kit_buf_free(&members);
}

static _Noreturn void serve(const child_request *request) {
    kolm_error_t error = KIT_ERROR_INIT;
    const void *symbol = NULL;
    if (request->airgap && child_sandbox(request, &error) != KOLM_OK) child_done(HOST_SANDBOX, &error, NULL);
    if (child_load(request, &symbol, &error) != KOLM_OK || child_table_check(symbol, request, &error) != KOLM_OK)
        child_done(HOST_NOT_LOADED, &error, NULL);
    report_loaded(symbol);
    child_run(request, symbol);
}

int main(int argc, char **argv) {
    (void)argv;
    struct stat st;
    child_request request;
    kolm_error_t error = KIT_ERROR_INIT;
    if (argc != 2 || fstat(HOST_FD_REQUEST, &st) != 0 || !S_ISFIFO(st.st_mode) || fstat(HOST_FD_REPLY, &st) != 0 ||
        !S_ISFIFO(st.st_mode)) {
        fputs("kolm-host is started by kolm itself, one process for each call of a backend. There is nothing to do for "
              "it here.\n",
              stderr);
        return 2;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* a pipe: what a plugin printed before it crashed is not to be lost */
    child_reply_open(HOST_FD_REPLY);
    if (child_request_read(HOST_FD_REQUEST, &request, &error) != KOLM_OK) child_done(HOST_NOT_LOADED, &error, NULL);
    if (child_fence(&request, HOST_FD_REQUEST, &error) != KOLM_OK) child_done(HOST_NOT_LOADED, &error, NULL);
    serve(&request);
}
