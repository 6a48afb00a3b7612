/* SPDX-License-Identifier: Apache-2.0 */
/* Checks owner and mode of a file against a named policy; the only place that does. */
#include "kolm/kit/trust.h"

#include <errno.h>
#include <unistd.h>

enum { SELF = 1, ROOT = 2, UNMAPPED = 4, SAME = 8 }; /* SAME: the uid of this process, whoever that is */

static const struct {
    unsigned owners;
    mode_t refused;
} policies[] = {
    [KIT_TRUST_PRIVATE] = {SELF, S_IRWXG | S_IRWXO},
    [KIT_TRUST_MADE] = {SAME, S_IRWXG | S_IRWXO},
    [KIT_TRUST_SECRET] = {SELF | ROOT, S_IRWXG | S_IRWXO},
    [KIT_TRUST_OWN] = {SELF | ROOT, S_IWGRP | S_IWOTH},
    [KIT_TRUST_SETTING] = {SELF | ROOT | UNMAPPED, S_IWGRP | S_IWOTH},
    [KIT_TRUST_SHARED] = {SAME | ROOT, S_IWOTH},
};

kit_owner kit_trust_owner(const struct stat *info) {
    return kit_owner_of(info->st_uid);
}

unsigned long kit_trust_owner_number(const struct stat *info) {
    return (unsigned long)info->st_uid;
}

bool kit_trust_is_sticky(const struct stat *info) {
    return S_ISDIR(info->st_mode) && (info->st_mode & S_ISVTX) != 0 && info->st_uid == 0;
}

kit_trust_fault kit_trust_stat(kit_trust policy, const struct stat *info) {
    static const unsigned kinds[] = {
        [KIT_OWNER_SELF] = SELF, [KIT_OWNER_ROOT] = ROOT, [KIT_OWNER_OTHER] = 0, [KIT_OWNER_UNMAPPED] = UNMAPPED};
    unsigned owner = kinds[kit_owner_of(info->st_uid)] | (info->st_uid == geteuid() ? SAME : 0u);
    if ((owner & policies[policy].owners) == 0) return KIT_TRUST_OWNER;
    return (info->st_mode & policies[policy].refused) != 0 ? KIT_TRUST_MODE : KIT_TRUST_GOOD;
}

kit_status kit_trust_make_directory(const char *path, kolm_error_t *err) {
    struct stat info;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return kit_fail_errno(err, errno, "cannot create the directory %s", path);
    if (lstat(path, &info) != 0) return kit_fail_errno(err, errno, "cannot access %s", path);
    if (S_ISDIR(info.st_mode) && kit_trust_stat(KIT_TRUST_MADE, &info) == KIT_TRUST_GOOD) return KOLM_OK;
    return kit_fail(err, KOLM_E_PERMISSION_DENIED, "", "%s is not a private directory of yours", path);
}
