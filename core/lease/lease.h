/* SPDX-License-Identifier: Apache-2.0 */
/* What was rented: the journals of calls that may cost money, what is still open in them, and what it all came to. */
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
 * Journals. Each call that may rent something has one of its own: HOME/leases/BACKEND-ID.jsonl, ID 16 hex digits. The
 * directory is there only while there is a journal in it: where it is missing, nothing is open, which costs one
 * stat(2).
 *
 *   line 1       {"journal":1,"backend":NAME,"job":ID,"boot":ID}, written by kolm; job is "" where there is none, boot is the
 *                system's name of this start of the machine
 *   other lines  one event each, host_lease_line (host/protocol.h), written and synced by kolm-host before the backend goes on
 *                (host/child/leases.c); by kolm itself when it settles what is left ("gone"), and when the user strikes a lease off
 *                ("forget", whose handle is the number of a damaged line)
 *
 * The owner. A journal is locked (kit/lock.h) from before it has its name until its call has ended. The lock belongs to
 * the open file, which kolm and kolm-host share: it is held as long as one of them lives, so that a backend whose kolm
 * was killed is left alone while it gives back what it rented. A journal that can be locked has no owner; its leases
 * without an end are for the reaper (fleet/reap.h). Process ids play no part.
 *
 * Reading. Only whole lines count: a line without its LF was never acknowledged, so nothing was created because of it;
 * it is ignored, and cut off by the next process that writes. Empty lines are ignored. A whole line that is not an
 * event is a lease that nobody can name: LEASE_DAMAGED, shown until the user strikes it off. It hides none of the lines
 * after it. A handle or an end whose intent is damaged still counts for its name. A damaged first line loses only the
 * job: the backend is in the name of the file. A journal that cannot be read, or is larger than LEASE_JOURNAL_MAX, and
 * all entries beyond LEASE_ENTRIES_MAX of one, are one damaged line, number 0.
 *
 * The past. When all leases of a journal are gone, they are appended to HOME/leases.jsonl, one line each, and the
 * journal is removed; a crash in between is detected by the journal name in each line: each counts once. The file is
 * rotated under its lock when it grows beyond LEASE_PAST_MOST bytes: lines older than LEASE_PAST_DAYS days go. No open
 * lease is ever in it.
 *
 * Times are milliseconds since 1970. They are for people: a clock that is set forward must not make a lease older than
 * it is, since what is old and not seen at the provider is believed gone. So an event also has the time since boot
 * (CLOCK_BOOTTIME), and the age of a lease is counted by that. After a reboot, or with a journal of an older kolm, its
 * age is the smaller of two: by the clock, and the time since the reboot.
 *
 * Any thread; a lease_journal belongs to one at a time.
 */

#define LEASE_ID_BYTES 64u /* "acme-0123456789abcdef" */
#define LEASE_BOOT_BYTES 40u
#define LEASE_LINE_MAX 16384u         /* bytes; a longer line is a damaged one */
#define LEASE_JOURNAL_MAX (16u << 20) /* bytes; no call writes so many */
#define LEASE_ENTRIES_MAX 4096u       /* that are listed of one journal */
#define LEASE_PAST_MOST (1u << 20)
#define LEASE_PAST_DAYS 400

typedef enum lease_state {
    LEASE_OPEN,    /* may exist, and may be billed */
    LEASE_GONE,    /* recorded as gone */
    LEASE_DAMAGED, /* a line that cannot be read: nobody knows */
} lease_state;

typedef struct lease_entry {
    lease_state state;
    bool owned; /* the call that rented it still runs */
    char journal[LEASE_ID_BYTES];
    char backend[33];
    char job[64];  /* "" unknown */
    uint64_t line; /* LEASE_DAMAGED: its number, from 1 */
    char name[KOLM_LEASE_NAME_BYTES_MAX + 1];
    char handle[KOLM_LEASE_HANDLE_BYTES_MAX + 1]; /* the last one; "" none */
    char kind[KOLM_LEASE_KIND_BYTES_MAX + 1];
    char place[KOLM_LEASE_PLACE_BYTES_MAX + 1];
    char note[KOLM_LEASE_NOTE_BYTES_MAX + 1];
    uint64_t begun_ms, gone_ms; /* 0: not known, or not yet */
    uint64_t made_ms;           /* when the last intent or handle was recorded */
    uint64_t up_ms;             /* the same, since the start of the machine that is called boot; 0 not known */
    char boot[LEASE_BOOT_BYTES];
    uint64_t price_micro_usd_per_hour, billed_micro_usd; /* UINT64_MAX unknown */
} lease_entry;

typedef struct lease_list {
    lease_entry *at;
    size_t count, room;
} lease_list;

/* Reads the bytes of a journal; appends to list. *out_whole (may be NULL): bytes up to the last LF. RESOURCE_EXHAUSTED
 * only. */
kit_status lease_read(const char *bytes, size_t length, const char *id, lease_list *list, size_t *out_whole,
                      kolm_error_t *err) KIT_MUST_USE;
void lease_list_free(lease_list *list);
/* Moves the entries of from, which is freed, to the end of list. */
kit_status lease_list_join(lease_list *list, lease_list *from, kolm_error_t *err) KIT_MUST_USE;
/* Entries that are not LEASE_GONE. */
size_t lease_list_open(const lease_list *list);
/* What the entries cost. False, and *out_micro_usd what is known, when one of them has a cost that is not known, or is
 * not gone. */
bool lease_list_billed(const lease_list *list, uint64_t *out_micro_usd);

/* ---- Age */
typedef struct lease_clocks {
    char boot[LEASE_BOOT_BYTES]; /* "" unknown */
    uint64_t up_ms, wall_ms;     /* since the start of this machine, and since 1970 */
} lease_clocks;
void lease_clocks_read(lease_clocks *out);
/* Milliseconds since the lease was begun, or since its last handle was recorded if it has one; or less. Never more,
 * whatever was done to the clock of the machine that recorded it, as long as it is asked there. On another machine that
 * shares the home, or after a start of this one, it is more by as much as that clock is ahead of the one that recorded
 * it. */
uint64_t lease_age_ms(const lease_entry *entry, const lease_clocks *now);

/* Whether there may be anything to reap: one stat. */
bool lease_any(const store_home *home);
/* All journals, in the order of their names; entries that are gone included. */
kit_status lease_list_read(const store_home *home, lease_list *out_list, kolm_error_t *err) KIT_MUST_USE;

/* ---- A journal that is held */
typedef struct lease_journal lease_journal;
/* A new one, locked, on the disk. job may be "". */
kit_status lease_journal_begin(const store_home *home, const char *backend, const char *job,
                               lease_journal **out_journal, kolm_error_t *err) KIT_MUST_USE;
/* Takes over one without an owner. UNAVAILABLE if it has one, NOT_FOUND if it is already settled. A read-only one is
 * held too: what writes into it fails, and its end leaves it as it is. */
kit_status lease_journal_adopt(const store_home *home, const char *id, lease_journal **out_journal,
                               kolm_error_t *err) KIT_MUST_USE;
/* Ends all journals that have no owner and in which nothing is open, as a kolm that was killed leaves them. */
kit_status lease_settle(const store_home *home, kolm_error_t *err) KIT_MUST_USE;
/* For host_call_options.lease_fd. */
int lease_journal_fd(const lease_journal *journal);
const char *lease_journal_id(const lease_journal *journal);
/* Reads its current entries. */
kit_status lease_journal_read(const lease_journal *journal, lease_list *out_list, kolm_error_t *err) KIT_MUST_USE;
/* Records the end of a lease. */
kit_status lease_journal_gone(lease_journal *journal, const char *name, uint64_t billed_micro_usd,
                              kolm_error_t *err) KIT_MUST_USE;
/* Strikes a damaged line off. 0: the whole journal, FAILED_PRECONDITION as long as a lease in it is open. */
kit_status lease_journal_forget(lease_journal *journal, uint64_t line, kolm_error_t *err) KIT_MUST_USE;
/* The call has ended: when nothing is open, its leases go to the past and the journal is removed; else it stays,
 * without an owner, as it does when that fails. Frees journal, also on failure; NULL is a no-op. out_list (may be NULL)
 * gets what it holds, as far as that could be read; the caller must free it, also on failure. */
kit_status lease_journal_end(lease_journal *journal, lease_list *out_list, kolm_error_t *err) KIT_MUST_USE;

/* ---- Totals: what is gone, past and in journals, by backend and day (UTC) of the end */
typedef struct lease_total {
    char backend[33];
    char day[11]; /* "2026-11-30" */
    uint64_t leases;
    uint64_t billed_micro_usd; /* what is known of it */
    uint64_t unknown;          /* leases whose cost is not known */
} lease_total;
typedef struct lease_totals {
    lease_total *at; /* by day, then by backend */
    size_t count;
    uint64_t unreadable; /* lines of the past */
} lease_totals;
/* since_ms: leases that ended then or later; 0: all. CANCELLED once *stop is not 0. */
kit_status lease_totals_read(const store_home *home, uint64_t since_ms, const volatile sig_atomic_t *stop,
                             lease_totals *out_totals, kolm_error_t *err) KIT_MUST_USE;
void lease_totals_free(lease_totals *totals);

#endif
