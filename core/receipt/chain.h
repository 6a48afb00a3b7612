/* SPDX-License-Identifier: Apache-2.0 */
/* The chain: an append-only file of signed lines, each of which contains the digest of the previous one. */
#ifndef KOLM_RECEIPT_CHAIN_H
#define KOLM_RECEIPT_CHAIN_H

/*
 * HOME/receipts.jsonl has one DSSE envelope per line. The statement in each contains {log_id, seq, prev}: log_id is
 * random, chosen with the first line, and identifies the log; seq counts from 0; prev is the SHA-256, in hex, of the
 * exact bytes of the previous line without its LF (64 zeros for seq 0). So changing, removing, adding or moving a line
 * breaks every later one. Truncation cannot be detected from the file alone: so HOME/receipts.jsonl.heads records the
 * last line of each log, and every compile prints it. An attacker who can write to the home can change both, but a head
 * noted elsewhere proves everything before it.
 *
 * A receipt has its place at predicate.chain; an SLSA statement at predicate.runDetails.metadata.kolm_chain (SLSA's
 * rule for extensions). Both lines of a compile are in the chain, one after the other, and the same bytes are in the
 * sidecar of the artifact.
 *
 * Appending takes the flock, writes all lines with one write(), and calls fsync. A last line without LF was left by a
 * crash and never acknowledged: readers ignore it, and the next append truncates it. If a log is moved away, a new one
 * is started, with its own log_id.
 */

#include "kolm/kit/digest.h"
#include "receipt/dsse.h"

#define RECEIPT_LOG_ID_HEX 33 /* 32 digits and the NUL */

/* Identifies a line: its place and digest. */
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
/* Creates the file (0600) if it does not exist. Waits for other writers. DATA_LOSS if its last line is not a line of a
 * chain, or if it was truncated: then nothing can be appended. */
kit_status receipt_chain_open(const char *path, receipt_chain **out_chain, kolm_error_t *err) KIT_MUST_USE;
void receipt_chain_close(receipt_chain *chain);
/* The place that the next line must state. */
void receipt_chain_next(const receipt_chain *chain, receipt_place *out_place);
/* The place after the line (without LF) at place: for building several lines before appending them at once. */
kit_status receipt_place_after(const receipt_place *place, const char *line, size_t length, receipt_place *out_next,
                               kolm_error_t *err) KIT_MUST_USE;
/* Appends complete lines (each with its LF), with the places from receipt_chain_next and receipt_place_after, and calls
 * fsync. out_head is the new head. */
kit_status receipt_chain_append(receipt_chain *chain, const char *lines, size_t length, receipt_head *out_head,
                                kolm_error_t *err) KIT_MUST_USE;

/* Checks that receipts can be appended: DATA_LOSS if a line is damaged, or the reason why the file cannot be used. OK
 * if there is no file. Does not check signatures. Call it before long jobs. */
kit_status receipt_chain_ready(const char *path, kolm_error_t *err) KIT_MUST_USE;

/* Reads the head of the file without changing or locking it; *out_found is false if there is no line. */
kit_status receipt_chain_head(const char *path, receipt_head *out_head, bool *out_found,
                              kolm_error_t *err) KIT_MUST_USE;

/* Reads the place in a statement; false if it has none. */
bool receipt_place_of(const cJSON *statement, receipt_place *out_place);

typedef struct receipt_chain_report {
    uint64_t lines;     /* complete lines */
    uint64_t broken_at; /* number of the first bad or missing line, from 1; 0: all are good */
    uint64_t unknown;   /* lines not signed by a key of the ring: their links are checked, their contents ignored */
    bool torn;          /* an incomplete line follows the last one */
    receipt_head head;  /* of the last good line */
    char text[256];     /* one line: "12 receipts, head 11 sha256 ab12...", or which line is bad and why */
} receipt_chain_report;
/* Checks every line: signature, seq, log_id, prev, and that the file was not truncated. Memory does not grow with the
 * file. Fails only if the file could not be read; a broken chain is reported in out_report. */
kit_status receipt_chain_check(const char *path, const receipt_keyring *ring, receipt_chain_report *out_report,
                               kolm_error_t *err) KIT_MUST_USE;

#endif
