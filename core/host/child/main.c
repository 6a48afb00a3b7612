/* SPDX-License-Identifier: Apache-2.0 */
/* kolm-host: one process, one plugin, one call. Started only by kolm, which reads its reply. */
#include "host/child/child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

static void report_loaded(const kolm_backend_v1_t *table) {
    child_reply_loaded(&(host_loaded){.slots = child_table_slots(table),
                                      .abi_minor = table->abi_minor,
                                      .features = table->features,
                                      .version = table->version,
                                      .vendor = table->vendor,
                                      .licence = table->licence,
                                      .homepage = table->homepage});
}

/* Sets up the fence, before the plugin's first instruction. */
static kit_status close_off(const child_request *request, kolm_error_t *err) {
    child_proof proof = {0};
    const char *profile = request->airgap ? "strict" : "fence";
    kit_status status = KOLM_OK;
#if defined(__linux__)
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        status = kit_fail_errno(err, errno, "cannot set up the fence around the backend: no_new_privs");
    child_proof_add(&proof.mechanisms, "no_new_privs");
    child_proof_add(&proof.mechanisms, "not_dumpable");
#endif
    if (request->unfenced) {
        child_proof_add(&proof.lacks, "fence_off_in_config");
    } else if (status == KOLM_OK) {
        if (!host_call_is_light(request->slot))
            status = child_separate(request, &proof, err); /* not for detect and cost, which take milliseconds */
        child_selftest_begin();
        if (status == KOLM_OK) status = child_landlock(request, &proof, err);
        if (status == KOLM_OK) status = child_unseen(request, &proof, err);
        if (status == KOLM_OK) status = child_selftest(request, &proof, err);
    }
    if (proof.landlock == 0) profile = request->airgap ? "sockets" : "none";
    if (status == KOLM_OK && request->airgap) status = child_sandbox(&proof, err);
    if (proof.run > 0) child_proof_add(&proof.mechanisms, "self_test");
    child_proof_report(&proof, profile);
    kit_buf_free(&proof.mechanisms);
    kit_buf_free(&proof.lacks);
    return status;
}

static _Noreturn void serve(const child_request *request) {
    kolm_error_t error = KIT_ERROR_INIT;
    const void *symbol = NULL;
    /* First: in a user namespace the owners of files can no longer be determined. */
    if (child_check_file(request, &error) != KOLM_OK) child_done(HOST_NOT_LOADED, &error, false, NULL);
    if (close_off(request, &error) != KOLM_OK) child_done(HOST_SANDBOX, &error, false, NULL);
    if (child_load(request, &symbol, &error) != KOLM_OK || child_table_check(symbol, request, &error) != KOLM_OK)
        child_done(HOST_NOT_LOADED, &error, false, NULL);
    report_loaded(symbol);
    child_run(request, symbol);
}

int main(int argc, char **argv) {
    struct stat st;
    child_request request;
    kolm_error_t error = KIT_ERROR_INIT;
    if (argc == 2) child_fork_server(argv[1]);
    if (argc != 2 || fstat(HOST_FD_REQUEST, &st) != 0 || !S_ISFIFO(st.st_mode) || fstat(HOST_FD_REPLY, &st) != 0 ||
        !S_ISFIFO(st.st_mode)) {
        fputs("kolm-host is started by kolm itself, one process for each call of a backend. There is nothing to do for "
              "it here.\n",
              stderr);
        return 2;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* a pipe: do not lose the output of a crashing plugin */
    child_reply_open(HOST_FD_REPLY);
    if (child_request_read(HOST_FD_REQUEST, &request, &error) != KOLM_OK)
        child_done(HOST_NOT_LOADED, &error, false, NULL);
    if (child_limit(&request, HOST_FD_REQUEST, &error) != KOLM_OK) child_done(HOST_NOT_LOADED, &error, false, NULL);
    child_leases_open(&request);
    serve(&request);
}
