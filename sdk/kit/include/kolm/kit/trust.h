/* SPDX-License-Identifier: Apache-2.0 */
/* Named policies that check whether a file's owner and mode let another user read or change it. */
#ifndef KOLM_KIT_TRUST_H
#define KOLM_KIT_TRUST_H

#include "kolm/kit/owner.h"
#include "kolm/kit/status.h"
#include <stdbool.h>
#include <sys/stat.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Who may own a file, and which permissions it must not have. "self" is the effective user of this process, "unmapped"
 * an owner that this user namespace does not map (kolm/kit/owner.h). Only the file itself is checked: a user who may
 * write to a directory above it can still replace it.
 */
typedef enum kit_trust {
    KIT_TRUST_PRIVATE, /* self; no permissions for group and others: tokens */
    KIT_TRUST_MADE,    /* the same, or unmapped if this process is too: what it created itself, such as scratch files
                          and sockets */
    KIT_TRUST_SECRET,  /* self or root; no permissions for group and others: keys, which root may have installed */
    KIT_TRUST_OWN,     /* self or root; not writable by group or others: what decides whom or what to trust */
    KIT_TRUST_SETTING, /* self, root or unmapped; not writable by group or others: a configuration, also in a rootless
                          container */
    KIT_TRUST_SHARED,  /* self, root, or unmapped if this process is too; not writable by others. The caller must check
                          the group */
} kit_trust;

typedef enum kit_trust_fault {
    KIT_TRUST_GOOD,
    KIT_TRUST_OWNER, /* it belongs to another user */
    KIT_TRUST_MODE,  /* it has a permission that it must not have */
} kit_trust_fault;

/* Checks the owner first. Any thread. */
kit_trust_fault kit_trust_stat(kit_trust policy, const struct stat *info);

/* Creates a directory (0700) in a place where others may write, such as /tmp. If it exists, it must satisfy
 * KIT_TRUST_MADE and not be a symbolic link: otherwise PERMISSION_DENIED, without a remedy (any user may have created
 * it). */
kit_status kit_trust_make_directory(const char *path, kolm_error_t *err) KIT_MUST_USE;

/* The owner of a file. */
kit_owner kit_trust_owner(const struct stat *info);
unsigned long kit_trust_owner_number(const struct stat *info); /* for display */
/* True for a directory owned by root in which users cannot rename or remove each other's files, such as /tmp. */
bool kit_trust_is_sticky(const struct stat *info);

#ifdef __cplusplus
}
#endif
#endif
