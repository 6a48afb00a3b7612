/* SPDX-License-Identifier: Apache-2.0 */
/* The chain: an append-only file of signed lines in which each line names the digest of the one before it. */
#ifndef KOLM_RECEIPT_CHAIN_H
#define KOLM_RECEIPT_CHAIN_H

/*
 * HOME/receipts.jsonl has one DSSE envelope a line. The statement in each says {log_id, seq, prev}: log_id is drawn
 * at random with the first line and tells two logs apart, seq counts from 0, prev is the SHA-256, in hex, of the exact
 * bytes of the previous line without its LF (64 zeros for seq 0). So a line that is changed, removed, added or moved
 * breaks every later one. A truncated end cannot be detected in the file alone: so HOME/receipts.jsonl.heads keeps the
 * last line of each log, and every compile prints it. An attacker who can write to the home can change both: a head
 * noted elsewhere proves everything before it.
 *
 * A receipt carries its place at predicate.chain; an SLSA statement at predicate.runDetails.metadata.kolm_chain (SLSA's
 * rule for extensions). Both lines of a compile are in the chain, one after the other, and the same bytes are in the
 * sidecar of the artifact.
 *
 * Appending takes flock, writes all lines with one write() and calls fsync before it returns. A last line
 * without LF is what a crash leaves of a line that was never acknowledged: it is cut off before the next append, and
 * ignored by readers. If a log is moved away, a new one is started, with its own log_id.
 */

#include "kolm/kit/digest.h"
#include "receipt/dsse.h"

#define RECEIPT_LOG_ID_HEX 33 /* 32 digits and the NUL */

/* The place of one line, and what identifies it. */
typedef struct receipt_head {
    char log_id[RECEIPT_LOG_ID_HEX];
    uint64_t seq;
    char sha256[KIT_SHA256_HEX]; /* of the line */
} receipt_head;

typedef struct receipt_place {
    char log_id[RECEIPT_LOG_ID_HEX];
    uint64_t seq;
    char prev[KIT_SHA256_HEX];
} receipt_place;

/* A chain that is open, locked against other writers, and repaired. */
typedef struct receipt_chain receipt_chain;
/* Creates the file (0600) when it is not there. Waits for another writer. DATA_LOSS when its last line is not a line of
 * a chain, or when its end was cut off: nothing can follow it. */
kit_status receipt_chain_open(const char *path, receipt_chain **out_chain, kolm_error_t *err) KIT_MUST_USE;
void receipt_chain_close(receipt_chain *chain);
/* The place that the next line must state. */
void receipt_chain_next(const receipt_chain *chain, receipt_place *out_place);
/* The place after a line (without LF) that stands at place: for building several lines before appending them at once.
 */
kit_status receipt_place_after(const receipt_place *place, const char *line, size_t length, receipt_place *out_next,
                               kolm_error_t *err) KIT_MUST_USE;
/* Appends whole lines (each with its LF), fsyncs. The caller built them at receipt_chain_next and receipt_place_after.
 * out_head is the new head. */
kit_status receipt_chain_append(receipt_chain *chain, const char *lines, size_t length, receipt_head *out_head,
                                kolm_error_t *err) KIT_MUST_USE;

/* Whether receipts could be appended: DATA_LOSS when a line is damaged, else what keeps the file from being used. A
 * file that is not there is fine. Does not check signatures. For long jobs, before they begin. */
kit_status receipt_chain_ready(const char *path, kolm_error_t *err) KIT_MUST_USE;

/* The head of the file without changing or locking it; *out_found false when there is no line. */
kit_status receipt_chain_head(const char *path, receipt_head *out_head, bool *out_found,
                              kolm_error_t *err) KIT_MUST_USE;

/* The place that a statement states, false when it states none. */
bool receipt_place_of(const cJSON *statement, receipt_place *out_place);

typedef struct receipt_chain_report {
    uint64_t lines;     /* whole lines */
    uint64_t broken_at; /* number of the first bad or missing line from 1, 0 when all are good */
    uint64_t unknown;   /* lines not signed by a key of the ring: their links are checked, their contents ignored */
    bool torn;          /* something without LF follows the last line */
    receipt_head head;  /* of the last good line */
    char text[256];     /* one line: "12 receipts, head 11 sha256 ab12...", or what is wrong with which line */
} receipt_chain_report;
/* Checks every line: signature, seq, log_id, prev, and that the end is there. Streams: memory does not grow with the
 * file. A status other than KOLM_OK means that the file could not be read; a broken chain is a report. */
kit_status receipt_chain_check(const char *path, const receipt_keyring *ring, receipt_chain_report *out_report,
                               kolm_error_t *err) KIT_MUST_USE;

#endif
