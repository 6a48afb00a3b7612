/* SPDX-License-Identifier: Apache-2.0 */
/* DirectX 12 GPUs: DXGI under Windows, the paravirtual device under WSL2. */
#ifdef _WIN32
#define COBJMACROS
#include <dxgi.h>
#include <initguid.h>
#endif

#include "kolm/kit/backend.h"
#include "kolm/kit/trainer.h"

#include <stdio.h>
#include <string.h>
#ifndef _WIN32
#include <unistd.h>
#endif

static const char *const env[] = {"LD_LIBRARY_PATH", NULL};
static const kit_trainer trainer = {.device = "directml", .env = env};

#ifdef _WIN32

/* DXGI also lists software adapters (Microsoft Basic Render Driver), which are skipped: they are not GPUs. */
static uint32_t list_adapters(const kolm_host_v1_t *host, const char *runtime) {
    IDXGIFactory1 *factory = NULL;
    IDXGIAdapter1 *adapter = NULL;
    uint32_t shown = 0;
    if (FAILED(CreateDXGIFactory1(&IID_IDXGIFactory1, (void **)&factory))) return 0;
    for (UINT i = 0; IDXGIFactory1_EnumAdapters1(factory, i, &adapter) == S_OK; i++) {
        DXGI_ADAPTER_DESC1 about;
        char name[256] = "";
        if (SUCCEEDED(IDXGIAdapter1_GetDesc1(adapter, &about)) && !(about.Flags & DXGI_ADAPTER_FLAG_SOFTWARE)) {
            WideCharToMultiByte(CP_UTF8, 0, about.Description, -1, name, sizeof name, NULL, NULL);
            bool own = about.DedicatedVideoMemory >= (512u << 20);
            const kolm_device_t record = {
                .struct_size = (uint32_t)sizeof record,
                .memory_kind = own ? KOLM_MEMORY_OWN : KOLM_MEMORY_SHARED,
                .total_memory_bytes = own ? about.DedicatedVideoMemory : about.SharedSystemMemory,
                .free_memory_bytes = KOLM_MEMORY_UNKNOWN,
                .index = shown++,
                .name = name,
                .id = "",
                .driver = "DXGI",
                .runtime = runtime,
            };
            host->device(host->user, &record);
        }
        IDXGIAdapter1_Release(adapter);
    }
    IDXGIFactory1_Release(factory);
    return shown;
}

static int32_t look(const kolm_host_v1_t *host, const char *runtime, kolm_detect_result_t *out_result) {
    if (list_adapters(host, runtime) > 0)
        return kit_trainer_detected(host, &trainer, "DirectX 12 adapters found", out_result);
    return kit_detected(out_result, KOLM_DETECT_ABSENT, "no DirectX 12 adapter except the software one", "", "");
}

#else

/* Under WSL2 the GPU of Windows is /dev/dxg, and Windows mounts its DirectX libraries at /usr/lib/wsl/lib. */
static int32_t look(const kolm_host_v1_t *host, const char *runtime, kolm_detect_result_t *out_result) {
    char device[256], library[256];
    if (!kit_setting(host, "dxg", "/dev/dxg", device, sizeof device) ||
        !kit_setting(host, "d3d12_library", "/usr/lib/wsl/lib/libd3d12.so", library, sizeof library))
        return kit_detected(out_result, KOLM_DETECT_BROKEN, "dxg or d3d12_library in config.json is too long",
                            "shorten it", "");
    if (access(device, F_OK) != 0 && access(library, F_OK) == 0)
        return kit_detected(
            out_result, KOLM_DETECT_ABSENT, "WSL2 without a GPU device: the libraries exist, but /dev/dxg does not",
            "pass the device to the container (--device /dev/dxg), or update the GPU driver of Windows", "");
    if (access(device, F_OK) != 0)
        return kit_detected(out_result, KOLM_DETECT_ABSENT, "not Windows, and no WSL2 GPU device (/dev/dxg)", "", "");
    if (access(device, R_OK | W_OK) != 0)
        return kit_detected(out_result, KOLM_DETECT_BROKEN,
                            "the WSL2 GPU device /dev/dxg cannot be opened: no permission",
                            "check the permissions of /dev/dxg", "");
    if (access(library, R_OK) != 0)
        return kit_detected(out_result, KOLM_DETECT_BROKEN, "the WSL2 GPU device exists, but libd3d12.so does not",
                            "update WSL (wsl --update) and the GPU driver of Windows", "");
    const kolm_device_t record = {
        .struct_size = (uint32_t)sizeof record,
        .memory_kind = KOLM_MEMORY_SHARED, /* only Windows knows the size */
        .total_memory_bytes = KOLM_MEMORY_UNKNOWN,
        .free_memory_bytes = KOLM_MEMORY_UNKNOWN,
        .name = "WSL2 GPU",
        .id = "/dev/dxg",
        .driver = "dxgkrnl",
        .runtime = runtime,
    };
    host->device(host->user, &record);
    return kit_trainer_detected(host, &trainer, "the WSL2 GPU device", out_result);
}

#endif

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    char runtime[KIT_TRAINER_RUNTIME], missing[KIT_TRAINER_MISSING], remedy[KIT_TRAINER_MISSING];
    (void)args, (void)out_error;
    (void)kit_trainer_runtime(host, &trainer, runtime, missing, remedy);
    return look(host, runtime, out_result);
}

static int32_t cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out_result,
                    kolm_error_t *out_error) {
    (void)host, (void)out_error;
    return kit_estimate_lora(args, 1200, out_result);
}

static int32_t train(const kolm_host_v1_t *host, const kolm_train_args_t *args, kolm_train_result_t *out_result,
                     kolm_error_t *out_error) {
    return kit_trainer_train(host, &trainer, args, out_result, out_error);
}

static int32_t infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args, kolm_infer_result_t *out_result,
                     kolm_error_t *out_error) {
    return kit_trainer_infer(host, &trainer, args, out_result, out_error);
}

static int32_t test(const kolm_host_v1_t *host, const kolm_test_args_t *args, kolm_test_result_t *out_result,
                    kolm_error_t *out_error) {
    return kit_trainer_test(host, &trainer, args, out_result, out_error);
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT,
    .features = KOLM_FEATURE_MODEL_SLICES,
    .name = "local-directml",
    .version = KOLM_VERSION,
    .vendor = "kolm",
    .licence = "Apache-2.0",
    .homepage = "",
    .detect = detect,
    .cost = cost,
    .train = train,
    .infer = infer,
    .test = test,
};
