/* SPDX-License-Identifier: Apache-2.0 */
/* A provider of a queue and a journal whose every answer is a choice, and which check for what must never happen. */
#ifndef KOLM_TESTS_RENT_FAKE_QUEUE_H
#define KOLM_TESTS_RENT_FAKE_QUEUE_H

#include "kolm/rent/queue.h"

#define QUEUE_ITEMS 32
#define QUEUE_CHOICES 512
#define QUEUE_SETTLE_MS 20000
#define QUEUE_PRICE 500000u

/* A job or a file. */
typedef struct queue_item {
    char name[KIT_RENT_NAME_BYTES], handle[KIT_RENT_HANDLE_BYTES];
    bool file, failed, cancelled;
    int64_t born, starts, ends; /* ends: by itself, by cancel, or by removal */
} queue_item;

typedef struct queue_record {
    char name[KIT_RENT_NAME_BYTES], handle[KIT_RENT_HANDLE_BYTES];
    int64_t at;
    bool open, used; /* used: a job or file was submitted or uploaded under it */
} queue_record;

typedef struct fake_queue {
    /* Choice number i of a run is script[i] if that exists, otherwise random, or 0 (success) without a seed. */
    unsigned char script[QUEUE_CHOICES];
    unsigned char radix[QUEUE_CHOICES]; /* the number of alternatives */
    size_t scripted, chosen;
    uint64_t seed;
    unsigned calm; /* a random choice is 0 in this many of 16 cases */

    int64_t now;
    queue_item items[QUEUE_ITEMS];
    size_t item_count;
    queue_record records[QUEUE_ITEMS];
    size_t record_count;
    bool fetched;
    int64_t send_ms;                 /* how long an upload or submission takes before it has its effect */
    size_t check_parts, fetch_parts; /* calls that succeed before the one that completes the check or the fetch */
    int64_t part_ms;                 /* how long each of these takes */
    bool never_starts, strange_word, endless;                 /* what happens to a job */
    int64_t find_back, cancel_back, remove_back, record_back; /* until then these fail; record: the ends */
    size_t calls, dies_at;                                    /* kolm is killed in that call; 0: never */
    bool dies_after, dead;
    size_t submits, cancels;
} fake_queue;

extern const kit_queue_provider fake_named_queue, fake_nameless_queue, fake_bare_queue;
extern const kit_rent_journal fake_queue_journal;

size_t queue_alive(const fake_queue *f, bool files);
size_t queue_open_records(const fake_queue *f);
/* Every job that runs and every stored file has its name recorded. Aborts with a message otherwise. */
void queue_check(const fake_queue *f);

#endif
