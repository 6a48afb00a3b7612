/* SPDX-License-Identifier: Apache-2.0 */
/* AMD GPUs, detected through the kernel's KFD topology in sysfs. */
#include "kolm/kit/backend.h"
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"
#include "kolm/kit/trainer.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * /sys/class/kfd/kfd/topology/nodes/N/properties has one "key value" per line
 * (drivers/gpu/drm/amd/amdkfd/kfd_topology.c): a node with simd_count above 0 is a GPU; cpu_cores_count above 0 on the
 * same node makes it an APU, whose memory is the system's. drm_render_minor gives /dev/dri/renderDN and
 * /sys/class/drm/renderDN/device, where amdgpu has mem_info_vram_total and mem_info_vram_used, in bytes. ROCr numbers
 * GPUs in the order of their nodes. Newer kernels (6.6 and later) give an APU a node without processors, like a card's;
 * then its instruction set identifies it (LLVM's AMDGPU processor table lists the APUs).
 *
 * ROCR_VISIBLE_DEVICES (indices or GPU-<unique_id>) selects first; HIP_VISIBLE_DEVICES, or CUDA_VISIBLE_DEVICES if that
 * is not set, then selects by position among the rest (ROCm documentation, "GPU isolation techniques").
 */
static const char *const env[] = {"ROCR_VISIBLE_DEVICES",
                                  "HIP_VISIBLE_DEVICES",
                                  "CUDA_VISIBLE_DEVICES",
                                  "GPU_DEVICE_ORDINAL",
                                  "HSA_OVERRIDE_GFX_VERSION",
                                  "ROCM_PATH",
                                  NULL};
static const kit_trainer trainer = {.device = "rocm", .env = env};

typedef struct gpu {
    uint64_t simds, cpu_cores, render_minor, gfx, location, unique_id;
} gpu;

#define NODES_MAX 256 /* more than one machine has */

typedef struct sighting {
    const kolm_host_v1_t *host;
    char root[256];         /* of sysfs: "/sys", or a recorded tree */
    const char *rocr, *hip; /* the two lists, or NULL */
    gpu gpus[NODES_MAX];    /* by node */
    uint32_t present, shown;
    char first[128], runtime[KIT_TRAINER_RUNTIME];
} sighting;

static bool read_text(const char *path, char *out, size_t capacity) {
    kit_buf text = {0};
    bool good = kit_read_file(path, 65536, &text, NULL) == KOLM_OK && kit_copy(out, capacity, kit_buf_text(&text));
    kit_buf_free(&text);
    size_t length = strlen(out);
    while (good && length > 0 && (out[length - 1] == '\n' || out[length - 1] == ' '))
        out[--length] = '\0';
    return good;
}

static uint64_t property(const char *text, const char *key) {
    size_t length = strlen(key);
    for (const char *line = text; line != NULL && *line != '\0';
         line = strchr(line, '\n') != NULL ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, key, length) != 0 || line[length] != ' ') continue;
        char value[32] = "";
        uint64_t number = 0;
        size_t digits = strspn(line + length + 1, "0123456789");
        if (digits == 0 || digits >= sizeof value) return 0;
        memcpy(value, line + length + 1, digits);
        return kit_parse_u64(value, &number) ? number : 0;
    }
    return 0;
}

static uint64_t bytes_in(const sighting *s, const gpu *g, const char *name) {
    char path[512], text[64] = "";
    uint64_t value = 0;
    kit_format(path, sizeof path, "%s/class/drm/renderD%llu/device/%s", s->root, (unsigned long long)g->render_minor,
               name);
    return read_text(path, text, sizeof text) && kit_parse_u64(text, &value) ? value : KOLM_MEMORY_UNKNOWN;
}

static bool is_apu(const gpu *g) {
    static const uint64_t apus[] = {80001,  90002,  90009,  90012,  100303, 100305,
                                    100306, 110003, 110500, 110501, 110502, 110503};
    for (size_t i = 0; i < sizeof apus / sizeof *apus; i++)
        if (g->gfx == apus[i]) return true;
    return g->cpu_cores > 0;
}

static void report(sighting *s, const gpu *g) {
    char name[128] = "", path[512], id[32], driver[64] = "amdgpu";
    kit_format(path, sizeof path, "%s/class/drm/renderD%llu/device/product_name", s->root,
               (unsigned long long)g->render_minor);
    if (!read_text(path, name, sizeof name) || name[0] == '\0')
        kit_format(name, sizeof name, "AMD gfx%llu%llx%llx", (unsigned long long)(g->gfx / 10000),
                   (unsigned long long)(g->gfx / 100 % 100), (unsigned long long)(g->gfx % 100));
    kit_format(path, sizeof path, "%s/module/amdgpu/version", s->root);
    char version[64] = "";
    if (read_text(path, version, sizeof version)) kit_format(driver, sizeof driver, "amdgpu %s", version);
    kit_format(id, sizeof id, "%02llx:%02llx.%llx", (unsigned long long)(g->location >> 8 & 0xFF),
               (unsigned long long)(g->location >> 3 & 0x1F), (unsigned long long)(g->location & 7));
    bool shared = is_apu(g);
    uint64_t total = bytes_in(s, g, "mem_info_vram_total"), used = bytes_in(s, g, "mem_info_vram_used");
    const kolm_device_t record = {
        .struct_size = (uint32_t)sizeof record,
        .memory_kind = shared ? KOLM_MEMORY_SHARED : KOLM_MEMORY_OWN,
        .total_memory_bytes = total,
        .free_memory_bytes = total != KOLM_MEMORY_UNKNOWN && used <= total ? total - used : KOLM_MEMORY_UNKNOWN,
        .index = s->shown,
        .units = (uint32_t)(g->simds / 4), /* four SIMDs make a compute unit */
        .name = name,
        .id = id,
        .driver = driver,
        .runtime = s->runtime,
    };
    if (s->shown++ == 0) kit_copy(s->first, sizeof s->first, name);
    s->host->device(s->host->user, &record);
}

static int by_number(const struct dirent **a, const struct dirent **b) {
    uint64_t x = 0, y = 0;
    if (!kit_parse_u64((*a)->d_name, &x) || !kit_parse_u64((*b)->d_name, &y)) return 0;
    return x < y ? -1 : x > y;
}

static int is_number(const struct dirent *entry) {
    uint64_t ignored;
    return kit_parse_u64(entry->d_name, &ignored);
}

static void look_at_node(sighting *s, const char *node) {
    char path[640], text[8192] = "";
    kit_format(path, sizeof path, "%s/class/kfd/kfd/topology/nodes/%s/properties", s->root, node);
    if (s->present == NODES_MAX || !read_text(path, text, sizeof text)) return;
    gpu g = {property(text, "simd_count"),       property(text, "cpu_cores_count"),
             property(text, "drm_render_minor"), property(text, "gfx_target_version"),
             property(text, "location_id"),      property(text, "unique_id")};
    if (g.simds > 0) s->gpus[s->present++] = g;
}

/* Position of this GPU in ROCr's list, -1 if hidden. */
static int rocr_position(const sighting *s, uint32_t index) {
    char id[32];
    kit_format(id, sizeof id, "GPU-%016llx", (unsigned long long)s->gpus[index].unique_id);
    return kit_visible_position(s->rocr, index, s->gpus[index].unique_id != 0 ? id : NULL);
}

/* HIP counts the GPUs that ROCr lists, in that order: the position of a GPU is the number of those before it. */
static void report_visible(sighting *s) {
    for (uint32_t i = 0; i < s->present; i++) {
        int position = rocr_position(s, i);
        uint32_t place = 0;
        for (uint32_t j = 0; j < s->present; j++) {
            int other = rocr_position(s, j);
            if (other >= 0 && other < position) place++;
        }
        if (position >= 0 && kit_visible_position(s->hip, place, NULL) >= 0) report(s, &s->gpus[i]);
    }
}

static int32_t conclude(const sighting *s, const char *kfd, kolm_detect_result_t *out_result) {
    char text[256];
    if (s->present == 0)
        return kit_detected(out_result, KOLM_DETECT_ABSENT, "the amdgpu driver is loaded, but has no compute GPU", "",
                            "");
    if (s->shown == 0) {
        kit_format(text, sizeof text, "ROCR_, HIP_ or CUDA_VISIBLE_DEVICES hides all %u devices", s->present);
        return kit_detected(out_result, KOLM_DETECT_ABSENT, text, "unset it, or name a device in it", "");
    }
    if (access(kfd, R_OK | W_OK) != 0) {
        kit_format(text, sizeof text, "%s exists, but %s cannot be opened: %s", s->first, kfd,
                   errno == ENOENT ? "it does not exist" : "no permission");
        return kit_detected(
            out_result, KOLM_DETECT_BROKEN, text,
            "add yourself to the groups render and video and log in again, or pass --device /dev/kfd to the container",
            "");
    }
    kit_format(text, sizeof text, "%u device%s: %s%s", s->shown, s->shown == 1 ? "" : "s", s->first,
               s->shown > 1 ? ", ..." : "");
    return kit_trainer_detected(s->host, &trainer, text, out_result);
}

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    (void)args, (void)out_error;
    sighting s = {.host = host};
    char path[512], kfd[256], missing[KIT_TRAINER_MISSING], remedy[KIT_TRAINER_MISSING];
    struct dirent **nodes = NULL;
    /* For unusual installations, and for tests on recorded trees. */
    if (!kit_setting(host, "sysfs_root", "/sys", s.root, sizeof s.root) ||
        !kit_setting(host, "kfd", "/dev/kfd", kfd, sizeof kfd))
        return kit_detected(out_result, KOLM_DETECT_BROKEN, "sysfs_root or kfd in config.json is too long",
                            "shorten it", "");
    s.rocr = secure_getenv("ROCR_VISIBLE_DEVICES");
    s.hip = secure_getenv("HIP_VISIBLE_DEVICES");
    if (s.hip == NULL) s.hip = secure_getenv("CUDA_VISIBLE_DEVICES");
    kit_format(path, sizeof path, "%s/class/kfd/kfd/topology/nodes", s.root);
    (void)kit_trainer_runtime(host, &trainer, s.runtime, missing, remedy);
    int count = scandir(path, &nodes, is_number, by_number);
    if (count < 0)
        return kit_detected(out_result, KOLM_DETECT_ABSENT, "no AMD GPU driver: the kernel has no KFD topology",
                            "load amdgpu with KFD if this machine has such a card", "");
    for (int i = 0; i < count; i++) {
        look_at_node(&s, nodes[i]->d_name);
        free(nodes[i]);
    }
    free(nodes);
    report_visible(&s);
    return conclude(&s, kfd, out_result);
}

static int32_t cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out_result,
                    kolm_error_t *out_error) {
    (void)host, (void)out_error;
    return kit_estimate_lora(args, 3500, out_result);
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
    .name = "local-rocm",
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
