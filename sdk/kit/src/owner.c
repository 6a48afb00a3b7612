/* SPDX-License-Identifier: Apache-2.0 */
/* The owner of a file, even if the kernel shows several owners as one. */
#include "kolm/kit/owner.h"
#include "kolm/kit/file.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

/* user_namespaces(7): users that a namespace does not map appear as the overflow uid, /proc/sys/kernel/overflowuid. The
 * initial namespace maps all users: there that number is an ordinary user. */
static struct {
    bool partial; /* there are users that this namespace does not map */
    uid_t overflow;
} space = {.overflow = 65534};

static void look(void) {
    unsigned long inside, outside, count, covered = 0;
    FILE *map = fopen("/proc/self/uid_map", "re");
    if (map == NULL) return; /* a system without namespaces, or without /proc: owners are used as shown */
    bool any = false;
    while (fscanf(map, "%lu %lu %lu", &inside, &outside, &count) == 3) {
        any = true;
        covered += count;
    }
    fclose(map);
    space.partial = !any || covered < 4294967295ul;
    unsigned long number;
    FILE *overflow = fopen("/proc/sys/kernel/overflowuid", "re");
    if (overflow == NULL) return;
    if (fscanf(overflow, "%lu", &number) == 1) space.overflow = (uid_t)number;
    fclose(overflow);
}

kit_owner kit_owner_of(uid_t uid) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, look);
    /* First, because the user of this process itself may be unmapped. */
    if (space.partial && uid == space.overflow) return KIT_OWNER_UNMAPPED;
    if (uid == geteuid()) return KIT_OWNER_SELF;
    return uid == 0 ? KIT_OWNER_ROOT : KIT_OWNER_OTHER;
}
