/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: a request that kolm-host accepts is complete and its numbers are in range, and the tree from which
 * plugins' settings are read contains no value of a secret. */
#include "fuzz.h"
#include "host/child/child.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void check_secrets(const child_request *request) {
    const cJSON *list = kit_json_get(request->json, "secrets"), *one;
    size_t count = 0;
    cJSON_ArrayForEach(one, list) {
        must(count < request->secret_count && strcmp(request->secrets[count].name, one->string) == 0);
        must((request->secrets[count].value != NULL) == (cJSON_IsString(one) != 0));
        must(!cJSON_IsString(one) || one->valuestring[0] == '\0');
        count++;
    }
    must(count == request->secret_count);
}

static void check(const child_request *request) {
    must(request->slot != NULL && request->name != NULL && request->path != NULL && request->scratch != NULL);
    must(request->later_bytes <= CHILD_LATER_MAX);
    must(request->deadline_ms >= 0 && request->grace_ms >= 0);
    kolm_infer_args_t args;
    (void)host_read_infer_args(request->args, &args);
    must(args.job_dir != NULL && args.input_path != NULL && args.output_path != NULL);
    check_secrets(request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    child_request request = {0};
    int fd = memfd_create("request", MFD_CLOEXEC);
    must(fd >= 0 && kit_write_all(fd, data, size, NULL) == KOLM_OK && lseek(fd, 0, SEEK_SET) == 0);
    kit_status status = child_request_read(fd, &request, &err);
    if (status == KOLM_OK)
        check(&request);
    else
        fuzz_refused(status, &err);
    for (size_t i = 0; i < request.secret_count; i++) {
        free(request.secrets[i].name);
        free(request.secrets[i].value);
    }
    free(request.secrets);
    cJSON_Delete(request.json);
    close(fd);
    return 0;
}
