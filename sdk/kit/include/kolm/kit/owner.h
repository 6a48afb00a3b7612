/* SPDX-License-Identifier: Apache-2.0 */
/* The owner of a file, also within a user namespace. */
#ifndef KOLM_KIT_OWNER_H
#define KOLM_KIT_OWNER_H

#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* In a user namespace (a rootless container, `unshare -Ur`) all users that it does not map, including the real root,
 * appear as the same owner; they cannot be distinguished. Any thread. */
typedef enum kit_owner {
    KIT_OWNER_SELF, /* the user of this process, even if that is root */
    KIT_OWNER_ROOT,
    KIT_OWNER_OTHER,
    KIT_OWNER_UNMAPPED, /* a user outside of this namespace; also this process itself if its user is not mapped */
} kit_owner;
kit_owner kit_owner_of(uid_t uid);

#ifdef __cplusplus
}
#endif
#endif
