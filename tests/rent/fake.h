/* SPDX-License-Identifier: Apache-2.0 */
/* A provider, a journal and some work whose every answer is a choice, and which check for what must never happen. */
#ifndef KOLM_TESTS_RENT_FAKE_H
#define KOLM_TESTS_RENT_FAKE_H

#include "kolm/rent/rent.h"

#define FAKE_BOXES 32
#define FAKE_CHOICES 512
#define FAKE_SETTLE_MS 20000
#define FAKE_PRICE 3600000u /* millionths of a dollar an hour, which is a thousandth of a dollar a second */

typedef struct fake_box {
    char name[KIT_RENT_NAME_BYTES], handle[KIT_RENT_HANDLE_BYTES];
    int64_t born, dies, died; /* ms; dies: by itself or by destroy; died: -1 while it is billed */
    uint64_t price;
} fake_box;

typedef struct fake_record {
    char name[KIT_RENT_NAME_BYTES], handle[KIT_RENT_HANDLE_BYTES];
    int64_t at;
    bool open, created;
} fake_record;

typedef struct fake {
    /* Choice number i of a run is script[i] if that exists, otherwise random, or 0 (success) without a seed. */
    unsigned char script[FAKE_CHOICES];
    unsigned char radix[FAKE_CHOICES]; /* the number of alternatives */
    size_t scripted, chosen;
    uint64_t seed;
    unsigned calm; /* a random choice is 0 in this many of 16 cases */

    int64_t now;
    fake_box boxes[FAKE_BOXES];
    size_t box_count;
    fake_record records[FAKE_BOXES];
    size_t record_count;
    bool collected, armed;
    int64_t create_ms;                            /* how long create takes before it has its effect */
    bool endless;                                 /* once armed, the work never ends */
    int64_t list_back, destroy_back, record_back; /* until then these fail; record: the ends of boxes */
    size_t calls, dies_at; /* kolm is killed in that call, before or after its effect; 0: never */
    bool dies_after, dead;
} fake;

extern const kit_rent_provider fake_provider, fake_nameless;
extern const kit_rent_work fake_work;
extern const kit_rent_journal fake_journal;

unsigned fake_choose(fake *f, unsigned count);
size_t fake_alive(const fake *f);
size_t fake_open_records(const fake *f);
/* The provider's bill up to now. */
uint64_t fake_bill(const fake *f);
/* Every billed box has its name recorded. Aborts with a message otherwise. */
void fake_check(const fake *f);

#endif
