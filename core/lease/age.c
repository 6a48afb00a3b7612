/* SPDX-License-Identifier: Apache-2.0 */
/* The age of a lease, by clocks that cannot be set forward. */
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"
#include "lease/internal.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t read_clock(clockid_t id) {
    struct timespec now = {0};
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void lease_boot_read(char out_boot[LEASE_BOOT_BYTES]) {
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out_boot, LEASE_BOOT_BYTES - 1) : -1;
    if (fd >= 0) close(fd);
    out_boot[n > 0 ? n : 0] = '\0';
    out_boot[strspn(out_boot, "0123456789abcdef-")] = '\0';
}

void lease_clocks_read(lease_clocks *out) {
    lease_boot_read(out->boot);
    out->up_ms = read_clock(CLOCK_BOOTTIME);
    out->wall_ms = read_clock(CLOCK_REALTIME);
}

uint64_t lease_age_ms(const lease_entry *entry, const lease_clocks *now) {
    if (entry->up_ms > 0 && entry->boot[0] && strcmp(entry->boot, now->boot) == 0)
        return now->up_ms > entry->up_ms ? now->up_ms - entry->up_ms : 0;
    /* Recorded before this boot, or on another machine. */
    uint64_t by_wall = entry->made_ms > 0 && now->wall_ms > entry->made_ms ? now->wall_ms - entry->made_ms : 0;
    return by_wall < now->up_ms ? by_wall : now->up_ms;
}
