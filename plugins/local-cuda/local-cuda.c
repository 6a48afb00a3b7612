/* SPDX-License-Identifier: Apache-2.0 */
/* NVIDIA GPUs, detected through NVML: all devices, total and free memory, MIG, visibility. */
#include "kolm/kit/backend.h"
#include "kolm/kit/text.h"
#include "kolm/kit/trainer.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * NVML (libnvidia-ml.so.1) is installed with the driver, works without a CUDA context and so without waking the cards,
 * and reports free memory and versions, which the driver API does not without a context. Signatures and numbers are as
 * documented by NVIDIA (NVML API reference, R535): nvmlReturn_t is an int; nvmlMemory_t is three unsigned long longs;
 * strings are written into the caller's arrays.
 */
/* NVML orders GPUs by bus, and detect reads the indices in CUDA_VISIBLE_DEVICES in that order; CUDA's default is the
 * fastest first. PyTorch's notes on reproducibility require CUBLAS_WORKSPACE_CONFIG. */
static const char *const env[] = {"CUDA_DEVICE_ORDER=PCI_BUS_ID",
                                  "CUDA_DEVICE_ORDER",
                                  "CUDA_VISIBLE_DEVICES",
                                  "CUBLAS_WORKSPACE_CONFIG=:4096:8",
                                  "CUDA_HOME",
                                  "CUDA_PATH",
                                  NULL};
static const kit_trainer trainer = {.device = "cuda", .env = env};

typedef struct nvml_device *nvml_device_t;
typedef struct nvml_memory {
    unsigned long long total, free, used;
} nvml_memory_t;

#define NVML_SUCCESS 0
#define NVML_ERROR_NO_PERMISSION 4
#define NVML_ERROR_DRIVER_NOT_LOADED 9
#define NVML_ERROR_LIB_RM_VERSION_MISMATCH 18

typedef struct nvml {
    int (*init)(void);
    int (*shutdown)(void);
    int (*driver_version)(char *version, unsigned length);
    int (*count)(unsigned *count);
    int (*by_index)(unsigned index, nvml_device_t *device);
    int (*name)(nvml_device_t device, char *name, unsigned length);
    int (*uuid)(nvml_device_t device, char *uuid, unsigned length);
    int (*memory)(nvml_device_t device, nvml_memory_t *memory);
    int (*mig_mode)(nvml_device_t device, unsigned *current, unsigned *pending);          /* may be missing */
    int (*mig_count)(nvml_device_t device, unsigned *count);                              /* may be missing */
    int (*mig_by_index)(nvml_device_t device, unsigned index, nvml_device_t *device_out); /* may be missing */
} nvml;

/* dlsym returns an object pointer; POSIX guarantees that it may be copied into a function pointer. */
static bool symbol(void *library, const char *name, void *out_function) {
    void *address = dlsym(library, name);
    memcpy(out_function, &address, sizeof address);
    return address != NULL;
}

static bool bind_nvml(void *library, nvml *out) {
    bool good = symbol(library, "nvmlInit_v2", &out->init) && symbol(library, "nvmlShutdown", &out->shutdown) &&
                symbol(library, "nvmlSystemGetDriverVersion", &out->driver_version) &&
                symbol(library, "nvmlDeviceGetCount_v2", &out->count) &&
                symbol(library, "nvmlDeviceGetHandleByIndex_v2", &out->by_index) &&
                symbol(library, "nvmlDeviceGetName", &out->name) && symbol(library, "nvmlDeviceGetUUID", &out->uuid) &&
                symbol(library, "nvmlDeviceGetMemoryInfo", &out->memory);
    bool mig = symbol(library, "nvmlDeviceGetMigMode", &out->mig_mode) &&
               symbol(library, "nvmlDeviceGetMaxMigDeviceCount", &out->mig_count) &&
               symbol(library, "nvmlDeviceGetMigDeviceHandleByIndex", &out->mig_by_index);
    if (!mig) out->mig_mode = NULL;
    return good;
}

/* own: the path in the user's settings, or "". */
static void *open_nvml(const char *own) {
    if (own[0] != '\0') return own[0] == '/' ? dlopen(own, RTLD_NOW | RTLD_LOCAL) : NULL;
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    /* Windows installs it there for WSL2; the directory is not always in the loader's search path. */
    return library != NULL ? library : dlopen("/usr/lib/wsl/lib/libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
}

typedef struct sighting {
    const kolm_host_v1_t *host;
    const nvml *api;
    const char *visible; /* CUDA_VISIBLE_DEVICES, or NULL */
    char driver[128], runtime[KIT_TRAINER_RUNTIME];
    unsigned present, shown, slices;
    char first[128];
} sighting;

static void report(sighting *s, nvml_device_t device, const char *prefix) {
    char name[128] = "NVIDIA GPU", uuid[96] = "", shown[160];
    nvml_memory_t memory;
    if (s->api->name(device, name, sizeof name) != NVML_SUCCESS) kit_copy(name, sizeof name, "NVIDIA GPU");
    if (s->api->uuid(device, uuid, sizeof uuid) != NVML_SUCCESS) uuid[0] = '\0';
    /* Some boards return "not supported" (integrated memory) or "no permission" for parts of a shared card. */
    bool known = s->api->memory(device, &memory) == NVML_SUCCESS;
    kit_format(shown, sizeof shown, "%s%s", prefix, name);
    const kolm_device_t record = {
        .struct_size = (uint32_t)sizeof record,
        .memory_kind = KOLM_MEMORY_OWN,
        .total_memory_bytes = known ? memory.total : KOLM_MEMORY_UNKNOWN,
        .free_memory_bytes = known ? memory.free : KOLM_MEMORY_UNKNOWN,
        .index = s->shown,
        .name = shown,
        .id = uuid,
        .driver = s->driver,
        .runtime = s->runtime,
    };
    if (s->shown++ == 0) kit_copy(s->first, sizeof s->first, shown);
    s->host->device(s->host->user, &record);
}

/* In MIG mode each slice of a card is a device with its own memory; the card itself runs nothing. */
static bool report_slices(sighting *s, nvml_device_t card) {
    unsigned current = 0, pending = 0, most = 0;
    if (s->api->mig_mode == NULL || s->api->mig_mode(card, &current, &pending) != NVML_SUCCESS || current != 1)
        return false;
    if (s->api->mig_count(card, &most) != NVML_SUCCESS) return true; /* no slice to report, and the card is unusable */
    for (unsigned i = 0; i < most; i++) {
        nvml_device_t slice = NULL;
        char uuid[96] = "";
        if (s->api->mig_by_index(card, i, &slice) != NVML_SUCCESS) continue;
        s->present++;
        if (s->visible != NULL && (s->api->uuid(slice, uuid, sizeof uuid) != NVML_SUCCESS ||
                                   kit_visible_position(s->visible, UINT32_MAX, uuid) < 0))
            continue;
        s->slices++;
        report(s, slice, "MIG slice of ");
    }
    return true;
}

static void report_card(sighting *s, unsigned index) {
    nvml_device_t card = NULL;
    char uuid[96] = "";
    if (s->api->by_index(index, &card) != NVML_SUCCESS) return;
    if (report_slices(s, card)) return;
    s->present++;
    if (s->api->uuid(card, uuid, sizeof uuid) != NVML_SUCCESS) uuid[0] = '\0';
    if (kit_visible_position(s->visible, index, uuid) >= 0) report(s, card, "");
}

/* The driver version from the kernel, which is visible in containers, too. */
static bool driver_loaded(const kolm_host_v1_t *host) {
    char path[256];
    return kit_setting(host, "nvidia_proc", "/proc/driver/nvidia/version", path, sizeof path) &&
           access(path, F_OK) == 0;
}

static int32_t no_library(const kolm_host_v1_t *host, kolm_detect_result_t *out_result) {
    if (driver_loaded(host))
        return kit_detected(out_result, KOLM_DETECT_ABSENT,
                            "the NVIDIA driver is loaded, but its library libnvidia-ml.so.1 is missing",
                            "pass the device to the container (--gpus all), or install the driver's libraries", "");
    return kit_detected(out_result, KOLM_DETECT_ABSENT, "no NVIDIA driver: libnvidia-ml.so.1 is not installed",
                        "install the NVIDIA driver if this machine has such a card", "");
}

static int32_t init_failed(const kolm_host_v1_t *host, int code, kolm_detect_result_t *out_result) {
    if (code == NVML_ERROR_DRIVER_NOT_LOADED && driver_loaded(host))
        return kit_detected(
            out_result, KOLM_DETECT_BROKEN, "the NVIDIA driver is loaded, but none of its devices can be opened",
            "pass the device to the container (--gpus all), or check the permissions of /dev/nvidia*", "");
    if (code == NVML_ERROR_DRIVER_NOT_LOADED)
        return kit_detected(out_result, KOLM_DETECT_ABSENT,
                            "NVIDIA's library is installed, but no NVIDIA driver is loaded",
                            "load the driver (modprobe nvidia), or pass the device to the container (--gpus all)", "");
    if (code == NVML_ERROR_LIB_RM_VERSION_MISMATCH)
        return kit_detected(out_result, KOLM_DETECT_BROKEN,
                            "the NVIDIA library and the loaded kernel driver are of different versions",
                            "reboot, or reload the nvidia kernel modules: the driver was updated while it ran", "");
    if (code == NVML_ERROR_NO_PERMISSION)
        return kit_detected(out_result, KOLM_DETECT_BROKEN, "no permission on /dev/nvidia*",
                            "add yourself to the group that owns /dev/nvidiactl (often video), then log in again", "");
    char text[128];
    kit_format(text, sizeof text, "the NVIDIA driver does not start: NVML error %d", code);
    return kit_detected(out_result, KOLM_DETECT_BROKEN, text, "run nvidia-smi and check the kernel log (dmesg)", "");
}

static int32_t look(sighting *s, kolm_detect_result_t *out_result) {
    unsigned count = 0;
    char version[96] = "", text[256];
    if (s->api->driver_version(version, sizeof version) == NVML_SUCCESS)
        kit_format(s->driver, sizeof s->driver, "NVIDIA %s", version);
    int code = s->api->count(&count);
    if (code != NVML_SUCCESS) return init_failed(s->host, code, out_result);
    for (unsigned i = 0; i < count && s->host->time_left_ms(s->host->user) > 0; i++)
        report_card(s, i);
    if (s->shown > 0) {
        kit_format(text, sizeof text, "%u device%s: %s%s", s->shown, s->shown == 1 ? "" : "s", s->first,
                   s->shown > 1 ? ", ..." : "");
        return kit_trainer_detected(s->host, &trainer, text, out_result);
    }
    if (s->present > 0) {
        kit_format(text, sizeof text, "CUDA_VISIBLE_DEVICES hides all %u devices", s->present);
        return kit_detected(out_result, KOLM_DETECT_ABSENT, text, "unset CUDA_VISIBLE_DEVICES, or name a device in it",
                            "");
    }
    if (count > 0)
        return kit_detected(out_result, KOLM_DETECT_BROKEN,
                            "the driver lists cards but provides none: they are in MIG mode without slices, or lost",
                            "create MIG slices (nvidia-smi mig -cgi), or check the kernel log (dmesg)", "");
    return kit_detected(out_result, KOLM_DETECT_ABSENT, "the NVIDIA driver is loaded and has no card", "", "");
}

/* Counts the devices that NVML reports in *s, and reports them to the host in detect. */
static int32_t see(const kolm_host_v1_t *host, sighting *s, kolm_detect_result_t *out_result) {
    nvml api = {0};
    char own[512], missing[KIT_TRAINER_MISSING], remedy[KIT_TRAINER_MISSING];
    if (!kit_setting(host, "nvml_library", "", own, sizeof own))
        return kit_detected(out_result, KOLM_DETECT_BROKEN,
                            "backends.local-cuda.nvml_library in config.json is too long", "shorten it", "");
    void *library = open_nvml(own);
    if (library == NULL && own[0] != '\0') {
        char text[256];
        kit_format(text, sizeof text,
                   "backends.local-cuda.nvml_library in config.json names %.150s, which cannot be loaded", own);
        return kit_detected(out_result, KOLM_DETECT_BROKEN, text,
                            "name the absolute path of libnvidia-ml.so.1, or remove the setting", "");
    }
    if (library == NULL) return no_library(host, out_result);
    if (!bind_nvml(library, &api))
        return kit_detected(out_result, KOLM_DETECT_BROKEN,
                            "libnvidia-ml.so.1 is too old or not NVIDIA's: it lacks functions",
                            "install a driver of version 450 or newer", "");
    int code = api.init();
    if (code != NVML_SUCCESS) return init_failed(host, code, out_result);
    *s = (sighting){.host = host, .api = &api, .visible = secure_getenv("CUDA_VISIBLE_DEVICES")};
    (void)kit_trainer_runtime(host, &trainer, s->runtime, missing, remedy);
    int32_t status = look(s, out_result);
    api.shutdown();
    return status;
}

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    sighting s = {0};
    (void)args, (void)out_error;
    return see(host, &s, out_result);
}

static int32_t cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out_result,
                    kolm_error_t *out_error) {
    (void)host, (void)out_error;
    return kit_estimate_lora(args, 4500, out_result); /* one recent card, packed rows */
}

/* One process per card. In MIG mode CUDA gives a process only one slice of a card, and slices cannot communicate. */
static uint32_t processes(const kolm_host_v1_t *host) {
    kolm_detect_result_t ignored = {.struct_size = (uint32_t)sizeof ignored};
    sighting s = {0};
    char text[16];
    uint64_t asked = 0;
    if (kit_setting(host, "processes", "", text, sizeof text) && kit_parse_u64(text, &asked) && asked >= 1 &&
        asked <= 64)
        return (uint32_t)asked;
    if (see(host, &s, &ignored) != KOLM_OK || s.shown < 2 || s.slices > 0) return 1;
    if (host->features & KOLM_FEATURE_NETWORK) return s.shown;
    host->log(host->user, KOLM_LOG_WARNING,
              "training on one card: several need processes that communicate through sockets, which the airgap does "
              "not allow");
    return 1;
}

static int32_t train(const kolm_host_v1_t *host, const kolm_train_args_t *args, kolm_train_result_t *out_result,
                     kolm_error_t *out_error) {
    kit_trainer with = trainer;
    with.processes = processes(host);
    return kit_trainer_train(host, &with, args, out_result, out_error);
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
    .name = "local-cuda",
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
