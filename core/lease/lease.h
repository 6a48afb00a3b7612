/* SPDX-License-Identifier: Apache-2.0 */
/* Leases: the journals of calls that may cost money, what is still open in them, and total costs. */
/* Sources: journal.c, read.c, age.c and totals.c. */
#ifndef KOLM_LEASE_LEASE_H
#define KOLM_LEASE_LEASE_H

#include "kolm/backend.h"
#include "kolm/kit/json.h"
#include "store/store.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Journals. Each call that may rent something has its own: HOME/leases/BACKEND-ID.jsonl, ID 16 hex digits. The
 * directory exists only while it contains a journal: if it is missing, nothing is open, which costs one stat(2).
 *
 *   line 1       {"journal":1,"backend":NAME,"job":ID,"boot":ID}, written by kolm; job is "" if there is none, boot is
 *                the system's boot id
 *   other lines  one event each, host_lease_line (host/protocol.h), written and synced by kolm-host before the backend
 *                continues (host/child/leases.c); by kolm itself when it settles what is left ("gone"), and when the
 *                user strikes a lease off ("forget", whose handle is the number of a damaged line)
 *
 * The owner. A journal is locked (kit/lock.h) from before it gets its name until its call has ended. The lock belongs
 * to the open file description that kolm and kolm-host share, so it is held as long as either lives: if kolm was
 * killed, the backend can still end what it rented, undisturbed. A journal that can be locked has no owner; the reaper
 * (fleet/reap.h) takes its open leases. Process ids are not used.
 *
 * Reading. Only complete lines count: a line without its LF was never acknowledged, so nothing was created because of
 * it; it is ignored, and truncated by the next process that writes. Empty lines are ignored. A complete line that is
 * not an event is a lease that cannot be identified: LEASE_DAMAGED, shown until the user strikes it off. It does not
 * affect the lines after it. A handle or an end whose intent is damaged still counts for its name. A damaged first line
 * loses only the job: the backend is in the file name. A journal that cannot be read, or is larger than
 * LEASE_JOURNAL_MAX, counts as one damaged line, number 0; so do all entries of a journal beyond LEASE_ENTRIES_MAX.
 *
 * The past. When all leases of a journal are gone, they are appended to HOME/leases.jsonl, one line each, and the
 * journal is removed. Each line has the journal's name, so that after a crash in between each lease still counts once.
 * The file is rotated under its lock each time that it has grown past another LEASE_PAST_MOST bytes: lines older than
 * LEASE_PAST_DAYS days are removed. It never contains an open lease.
 *
 * Times are milliseconds since 1970. They are only shown: setting the clock forward must not make a lease older,
 * because an old lease that the provider does not list is assumed to be gone. So an event also has the time since boot
 * (CLOCK_BOOTTIME), which the age of a lease is computed from. After a reboot, or with a journal of an older kolm, its
 * age is the smaller of two: by the clock, and the time since boot.
 *
 * Threads: any; a lease_journal may be used by one thread at a time.
 */

#define LEASE_ID_BYTES 64u /* "acme-0123456789abcdef" */
#define LEASE_BOOT_BYTES 40u
#define LEASE_LINE_MAX 16384u         /* bytes; a longer line counts as damaged */
#define LEASE_JOURNAL_MAX (16u << 20) /* bytes; no call writes that many */
#define LEASE_ENTRIES_MAX 4096u       /* entries listed per journal */
#define LEASE_PAST_MOST (1u << 20)
#define LEASE_PAST_DAYS 400

typedef enum lease_state {
    LEASE_OPEN,    /* may exist, and may be billed */
    LEASE_GONE,    /* recorded as gone */
    LEASE_DAMAGED, /* a line that cannot be parsed: unknown */
} lease_state;

typedef struct lease_entry {
    lease_state state;
    bool owned; /* the call that rented it is still running */
    char journal[LEASE_ID_BYTES];
    char backend[33];
    char job[64];  /* "" unknown */
    uint64_t line; /* LEASE_DAMAGED: its number, from 1 */
    char name[KOLM_LEASE_NAME_BYTES_MAX + 1];
    char handle[KOLM_LEASE_HANDLE_BYTES_MAX + 1]; /* the last one; "" none */
    char kind[KOLM_LEASE_KIND_BYTES_MAX + 1];
    char place[KOLM_LEASE_PLACE_BYTES_MAX + 1];
    char note[KOLM_LEASE_NOTE_BYTES_MAX + 1];
    uint64_t begun_ms, gone_ms; /* 0: unknown, or not yet */
    uint64_t made_ms;           /* when the last intent or handle was recorded */
    uint64_t up_ms;             /* the same, since the boot with the id boot; 0: unknown */
    char boot[LEASE_BOOT_BYTES];
    uint64_t price_micro_usd_per_hour, billed_micro_usd; /* UINT64_MAX: unknown */
} lease_entry;

typedef struct lease_list {
    lease_entry *at;
    size_t count, room;
} lease_list;

/* Parses the bytes of a journal, and appends its entries to list. *out_whole (may be NULL): bytes up to the last LF.
 * Fails only with RESOURCE_EXHAUSTED. */
kit_status lease_read(const char *bytes, size_t length, const char *id, lease_list *list, size_t *out_whole,
                      kolm_error_t *err) KIT_MUST_USE;
void lease_list_free(lease_list *list);
/* Moves the entries of from to the end of list, and frees from. */
kit_status lease_list_join(lease_list *list, lease_list *from, kolm_error_t *err) KIT_MUST_USE;
/* Number of entries that are not LEASE_GONE. */
size_t lease_list_open(const lease_list *list);
/* The total cost of the entries. False if the cost of one is unknown, or one is not gone; *out_micro_usd is then the
 * sum of the known ones. */
bool lease_list_billed(const lease_list *list, uint64_t *out_micro_usd);

/* ---- Age */
typedef struct lease_clocks {
    char boot[LEASE_BOOT_BYTES]; /* "" unknown */
    uint64_t up_ms, wall_ms;     /* since boot, and since 1970 */
} lease_clocks;
void lease_clocks_read(lease_clocks *out);
/* Milliseconds since the lease was begun, or since its last handle was recorded, if it has one. May be too low, but on
 * the machine that recorded it never too high, however its clock was set. On another machine that shares the home, or
 * after a reboot, it is too high by as much as the current clock is ahead of the one that recorded it. */
uint64_t lease_age_ms(const lease_entry *entry, const lease_clocks *now);

/* True if there may be anything to reap. Costs one stat(2). */
bool lease_any(const store_home *home);
/* Reads all journals, sorted by name, including entries that are gone. */
kit_status lease_list_read(const store_home *home, lease_list *out_list, kolm_error_t *err) KIT_MUST_USE;

/* ---- A locked journal */
typedef struct lease_journal lease_journal;
/* Creates a journal, locked and synced to disk. job may be "". */
kit_status lease_journal_begin(const store_home *home, const char *backend, const char *job,
                               lease_journal **out_journal, kolm_error_t *err) KIT_MUST_USE;
/* Takes over a journal without an owner. UNAVAILABLE if it has one, NOT_FOUND if it is already settled. Succeeds even
 * if the file is read-only: then writing fails, and lease_journal_end leaves it unchanged. */
kit_status lease_journal_adopt(const store_home *home, const char *id, lease_journal **out_journal,
                               kolm_error_t *err) KIT_MUST_USE;
/* Settles all journals that have no owner and no open lease, which a kolm that was killed leaves behind. */
kit_status lease_settle(const store_home *home, kolm_error_t *err) KIT_MUST_USE;
/* For host_call_options.lease_fd. */
int lease_journal_fd(const lease_journal *journal);
const char *lease_journal_id(const lease_journal *journal);
/* Reads its current entries. */
kit_status lease_journal_read(const lease_journal *journal, lease_list *out_list, kolm_error_t *err) KIT_MUST_USE;
/* Records the end of a lease. */
kit_status lease_journal_gone(lease_journal *journal, const char *name, uint64_t billed_micro_usd,
                              kolm_error_t *err) KIT_MUST_USE;
/* Strikes a damaged line off. 0: the whole journal; FAILED_PRECONDITION while a lease in it is open. */
kit_status lease_journal_forget(lease_journal *journal, uint64_t line, kolm_error_t *err) KIT_MUST_USE;
/* Call when the call has ended. If no lease is open, moves the leases to the past and removes the journal; otherwise,
 * or if that fails, the journal stays, without an owner. Frees journal, also on failure. No-op if NULL. out_list (may
 * be NULL) receives its entries, as far as they could be read; the caller must free it, also on failure. */
kit_status lease_journal_end(lease_journal *journal, lease_list *out_list, kolm_error_t *err) KIT_MUST_USE;

/* ---- Totals of leases that are gone, past and in journals, by backend and day (UTC) of their end */
typedef struct lease_total {
    char backend[33];
    char day[11]; /* "2026-11-30" */
    uint64_t leases;
    uint64_t billed_micro_usd; /* sum of the known costs */
    uint64_t unknown;          /* leases of unknown cost */
} lease_total;
typedef struct lease_totals {
    lease_total *at; /* sorted by day, then by backend */
    size_t count;
    uint64_t unreadable; /* unreadable lines of the past */
} lease_totals;
/* since_ms: only leases that ended then or later; 0: all. CANCELLED if *stop becomes non-zero. */
kit_status lease_totals_read(const store_home *home, uint64_t since_ms, const volatile sig_atomic_t *stop,
                             lease_totals *out_totals, kolm_error_t *err) KIT_MUST_USE;
void lease_totals_free(lease_totals *totals);

#endif
