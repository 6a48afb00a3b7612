/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the lease room. */
#ifndef KOLM_LEASE_INTERNAL_H
#define KOLM_LEASE_INTERNAL_H

#include "lease/lease.h"

#define LEASE_SUFFIX ".jsonl"

/* ---- read.c */
/* Appends an entry to the list, zeroed except for its amounts, which are unknown; NULL if out of memory. */
lease_entry *lease_list_add(lease_list *list);
/* ---- age.c */
/* The id of this boot; "" if the system has none. */
void lease_boot_read(char out_boot[LEASE_BOOT_BYTES]);
/* ---- past.c */
/* Appends the entries of the list that are gone, and syncs them to disk. */
kit_status lease_past_add(const store_home *home, const lease_list *list, kolm_error_t *err) KIT_MUST_USE;
/* Reads the whole file into entries that are gone, each lease once. */
kit_status lease_past_read(const store_home *home, const volatile sig_atomic_t *stop, lease_list *out_list,
                           uint64_t *out_unreadable, kolm_error_t *err) KIT_MUST_USE;

#endif
