/* SPDX-License-Identifier: Apache-2.0 */
/* Detects the GPU of a Mac through the Objective-C runtime, from C; reports none on other systems. */
#ifndef KOLM_KIT_METAL_H
#define KOLM_KIT_METAL_H

#include "kolm/kit/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Reports the system's default Metal device to host->device and fills the result of detect: AVAILABLE on a Mac with an
 * Apple GPU, ABSENT elsewhere. runtime is copied into the device and the result. Total memory is the system memory,
 * which the GPU shares; free memory is what the kernel reports as free or inactive. */
int32_t kit_detect_metal(const kolm_host_v1_t *host, const char *runtime, kolm_detect_result_t *out_result);

#ifdef __cplusplus
}
#endif
#endif
