/* SPDX-License-Identifier: Apache-2.0 */
/* Apple's MLX: on a Mac its GPU, on Linux an MLX that the user installed and named; training comes with its own
 * version. */
#include "kolm/kit/backend.h"
#include "kolm/kit/metal.h"

#include <sys/stat.h>
#include <unistd.h>

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    (void)args, (void)out_error;
    char interpreter[512], text[256];
    if (!kit_setting(host, "runtime", "", interpreter, sizeof interpreter))
        return kit_detected(out_result, KOLM_DETECT_BROKEN, "backends.local-mlx.runtime in config.json is too long",
                            "shorten it", "");
    if (interpreter[0] == '\0') {
        int32_t status = kit_detect_metal(host, "", out_result);
        if (out_result->state == KOLM_DETECT_ABSENT)
            kit_detected(
                out_result, KOLM_DETECT_ABSENT, NULL,
                "to use MLX's own Linux builds, name their interpreter in config.json: backends.local-mlx.runtime",
                NULL);
        return status;
    }
    struct stat about;
    bool runs = interpreter[0] == '/' && stat(interpreter, &about) == 0 && S_ISREG(about.st_mode) &&
                access(interpreter, X_OK) == 0;
    if (!runs) {
        kit_format(text, sizeof text, "backends.local-mlx.runtime in config.json names %.150s, which cannot be run",
                   interpreter);
        return kit_detected(out_result, KOLM_DETECT_BROKEN, text,
                            "name the absolute path of a Python interpreter that has mlx-lm", "");
    }
    const kolm_device_t record = {
        .struct_size = (uint32_t)sizeof record,
        .memory_kind = KOLM_MEMORY_SHARED,
        .total_memory_bytes = KOLM_MEMORY_UNKNOWN,
        .free_memory_bytes = KOLM_MEMORY_UNKNOWN,
        .name = "MLX, as installed",
        .id = "",
        .driver = "",
        .runtime = interpreter,
    };
    host->device(host->user, &record);
    return kit_detected(out_result, KOLM_DETECT_AVAILABLE, "an interpreter for MLX is named in config.json", "",
                        interpreter);
}

static int32_t cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out_result,
                    kolm_error_t *out_error) {
    (void)host, (void)out_error;
    return kit_estimate_lora(args, 1200, out_result);
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .name = "local-mlx",
    .version = KOLM_VERSION,  .vendor = "kolm",
    .licence = "Apache-2.0",  .homepage = "https://kolm.example",
    .detect = detect,         .cost = cost,
};
