/* SPDX-License-Identifier: Apache-2.0 */
/* The GPU of an Apple machine, asked through the Objective-C runtime from C; on other systems there is none. */
#ifndef KOLM_KIT_METAL_H
#define KOLM_KIT_METAL_H

#include "kolm/kit/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Reports the system's default Metal device to host->device and answers detect: AVAILABLE on a Mac with an Apple GPU, ABSENT
 * elsewhere. runtime is put into the device and the result. Total memory is that of the machine, which the GPU shares;
 * free memory is what the kernel calls free or inactive. */
int32_t kit_detect_metal(const kolm_host_v1_t *host, const char *runtime, kolm_detect_result_t *out_result);

#ifdef __cplusplus
}
#endif
#endif
