/* SPDX-License-Identifier: Apache-2.0 */
/* A fake of NVIDIA's management library: the FAKE_* macros define its cards and faults. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef FAKE_INIT
#define FAKE_INIT 0 /* what nvmlInit_v2 returns */
#endif
#ifndef FAKE_CARDS
#define FAKE_CARDS 1
#endif
#ifndef FAKE_MEMORY
#define FAKE_MEMORY 0 /* what nvmlDeviceGetMemoryInfo returns */
#endif
#ifndef FAKE_SLICES
#define FAKE_SLICES -1 /* slices of card 0 in MIG mode; -1: MIG is off */
#endif

#define PUBLIC __attribute__((visibility("default")))
#define NOT_FOUND 6

/* A device is a number: cards from 1, slices of card 0 from 101. */
typedef unsigned long device;
typedef struct memory {
    unsigned long long total, free, used;
} memory;

PUBLIC int nvmlInit_v2(void);
PUBLIC int nvmlInit_v2(void) {
#ifdef FAKE_HANG
    for (;;)
        pause();
#endif
    return FAKE_INIT;
}

PUBLIC int nvmlShutdown(void);
PUBLIC int nvmlShutdown(void) {
    return 0;
}

PUBLIC int nvmlSystemGetDriverVersion(char *version, unsigned length);
PUBLIC int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    snprintf(version, length, "535.104.05");
    return 0;
}

PUBLIC int nvmlDeviceGetCount_v2(unsigned *count);
PUBLIC int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = FAKE_CARDS;
    return 0;
}

PUBLIC int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *out);
PUBLIC int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *out) {
    *out = index + 1;
    return (int)index < FAKE_CARDS ? 0 : NOT_FOUND;
}

PUBLIC int nvmlDeviceGetName(device d, char *name, unsigned length);
PUBLIC int nvmlDeviceGetName(device d, char *name, unsigned length) {
    snprintf(name, length, "NVIDIA Fake %lu\033[31m", d);
    return 0;
}

PUBLIC int nvmlDeviceGetUUID(device d, char *uuid, unsigned length);
PUBLIC int nvmlDeviceGetUUID(device d, char *uuid, unsigned length) {
    snprintf(uuid, length, "%s-%08lx-0000", d > 100 ? "MIG" : "GPU", 0xabc0u + d);
    return 0;
}

#ifndef FAKE_OLD
PUBLIC int nvmlDeviceGetMemoryInfo(device d, memory *out);
PUBLIC int nvmlDeviceGetMemoryInfo(device d, memory *out) {
    memset(out, 0xEE, sizeof *out);
    if (FAKE_MEMORY != 0) return FAKE_MEMORY;
    *out = (memory){.total = (d > 100 ? 10ull : 80ull) << 30, .free = (d > 100 ? 9ull : 70ull) << 30};
    return 0;
}
#endif

PUBLIC int nvmlDeviceGetMigMode(device d, unsigned *current, unsigned *pending);
PUBLIC int nvmlDeviceGetMigMode(device d, unsigned *current, unsigned *pending) {
    *current = *pending = d == 1 && FAKE_SLICES >= 0;
    return FAKE_SLICES >= 0 ? 0 : 3; /* not supported */
}

PUBLIC int nvmlDeviceGetMaxMigDeviceCount(device d, unsigned *count);
PUBLIC int nvmlDeviceGetMaxMigDeviceCount(device d, unsigned *count) {
    (void)d;
    *count = 7;
    return 0;
}

PUBLIC int nvmlDeviceGetMigDeviceHandleByIndex(device d, unsigned index, device *out);
PUBLIC int nvmlDeviceGetMigDeviceHandleByIndex(device d, unsigned index, device *out) {
    (void)d;
    *out = 101 + index;
    return (int)index < FAKE_SLICES ? 0 : NOT_FOUND;
}
