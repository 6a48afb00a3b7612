/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the lease room share. */
#ifndef KOLM_LEASE_INTERNAL_H
#define KOLM_LEASE_INTERNAL_H

#include "lease/lease.h"

#define LEASE_SUFFIX ".jsonl"

/* ---- read.c */
/* The next place of the list, zeroed but for its amounts, which are unknown; NULL when memory is out. */
lease_entry *lease_list_add(lease_list *list);
/* ---- age.c */
/* "" where the system has none. */
void lease_boot_read(char out_boot[LEASE_BOOT_BYTES]);
/* ---- past.c */
/* Appends what is gone in the list; on the disk when it returns. */
kit_status lease_past_add(const store_home *home, const lease_list *list, kolm_error_t *err) KIT_MUST_USE;
/* Reads all of it into entries that are gone; each lease once. */
kit_status lease_past_read(const store_home *home, const volatile sig_atomic_t *stop, lease_list *out_list,
                           uint64_t *out_unreadable, kolm_error_t *err) KIT_MUST_USE;

#endif
