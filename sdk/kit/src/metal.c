/* SPDX-License-Identifier: Apache-2.0 */
/* Metal from C: objc_msgSend for the name, sysctl and Mach for memory. On other systems it only reports "absent". */
#include "kolm/kit/metal.h"

#include "kolm/kit/backend.h"

#ifdef __APPLE__

#include <mach/mach.h>
#include <objc/message.h>
#include <objc/runtime.h>
#include <sys/sysctl.h>

extern id MTLCreateSystemDefaultDevice(void); /* Metal.framework */

static uint64_t free_bytes(void) {
    vm_statistics64_data_t numbers;
    mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
    vm_size_t page = 0;
    host_page_size(mach_host_self(), &page);
    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, (host_info64_t)&numbers, &count) != KERN_SUCCESS)
        return KOLM_MEMORY_UNKNOWN;
    return ((uint64_t)numbers.free_count + numbers.inactive_count) * page;
}

int32_t kit_detect_metal(const kolm_host_v1_t *host, const char *runtime, kolm_detect_result_t *out_result) {
    id device = MTLCreateSystemDefaultDevice();
    if (device == NULL)
        return kit_detected(out_result, KOLM_DETECT_ABSENT, "Metal has no device on this machine", "", "");
    id text = ((id(*)(id, SEL))objc_msgSend)(device, sel_registerName("name"));
    const char *name = ((const char *(*)(id, SEL))objc_msgSend)(text, sel_registerName("UTF8String"));
    uint64_t total = KOLM_MEMORY_UNKNOWN;
    size_t size = sizeof total;
    if (sysctlbyname("hw.memsize", &total, &size, NULL, 0) != 0) total = KOLM_MEMORY_UNKNOWN;
    const kolm_device_t record = {
        .struct_size = (uint32_t)sizeof record,
        .memory_kind = KOLM_MEMORY_SHARED,
        .total_memory_bytes = total,
        .free_memory_bytes = free_bytes(),
        .name = name,
        .id = "",
        .driver = "Metal",
        .runtime = runtime,
    };
    host->device(host->user, &record);
    return kit_detected(out_result, KOLM_DETECT_AVAILABLE, name, "", runtime);
}

#else

int32_t kit_detect_metal(const kolm_host_v1_t *host, const char *runtime, kolm_detect_result_t *out_result) {
    (void)host, (void)runtime;
    return kit_detected(out_result, KOLM_DETECT_ABSENT, "not an Apple machine", "", "");
}

#endif
