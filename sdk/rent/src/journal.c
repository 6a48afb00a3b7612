/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the records of a rental to kolm's journal. */
#include "kolm/rent/journal.h"
#include "kolm/kit/buf.h"
#include "kolm/kit/text.h"

#include <string.h>
#include <sys/random.h>

static kit_status record(const kit_rent_host *to, kolm_lease_t *lease, kolm_error_t *err) {
    const kolm_host_v1_t *host = to->host;
    kolm_error_t why = KIT_ERROR_INIT;
    if (!KOLM_HAS(kolm_host_v1_t, host, lease) || host->lease == NULL)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "install a newer kolm",
                        "this version of kolm cannot record leases: nothing is rented");
    lease->struct_size = (uint32_t)sizeof *lease;
    kit_status status = host->lease(host->user, lease, &why);
    if (status != KOLM_OK && err != NULL) *err = why;
    return status;
}

static kit_status intent(void *user, const char *name, const kit_rent_offer *offer, kolm_error_t *err) {
    const kit_rent_host *to = user;
    /* A machine may be free; what a job costs is not known before its provider says so. */
    const bool by_the_hour =
        offer->micro_usd_per_hour > 0 || (offer->micro_usd_once == 0 && strcmp(to->kind, "job") != 0);
    kolm_lease_t lease = {.event = KOLM_LEASE_INTENT,
                          .price_micro_usd_per_hour = by_the_hour ? offer->micro_usd_per_hour : UINT64_MAX,
                          .billed_micro_usd = UINT64_MAX,
                          .name = name,
                          .handle = "",
                          .kind = to->kind,
                          .place = to->place,
                          .note = kit_text_is_plain(offer->what, strlen(offer->what)) ? offer->what : ""};
    return record(to, &lease, err);
}

static kit_status handle(void *user, const char *name, const char *given, kolm_error_t *err) {
    kolm_lease_t lease = {.event = KOLM_LEASE_HANDLE,
                          .price_micro_usd_per_hour = UINT64_MAX,
                          .billed_micro_usd = UINT64_MAX,
                          .name = name,
                          .handle = given,
                          .kind = "",
                          .place = "",
                          .note = ""};
    return record(user, &lease, err);
}

static kit_status gone(void *user, const char *name, uint64_t billed_micro_usd, kolm_error_t *err) {
    kolm_lease_t lease = {.event = KOLM_LEASE_GONE,
                          .price_micro_usd_per_hour = UINT64_MAX,
                          .billed_micro_usd = billed_micro_usd,
                          .name = name,
                          .handle = "",
                          .kind = "",
                          .place = "",
                          .note = ""};
    return record(user, &lease, err);
}

const kit_rent_journal kit_rent_host_journal = {.intent = intent, .handle = handle, .gone = gone};

void kit_rent_place(const char *place, const char *which, char out[KIT_RENT_PLACE_BYTES]) {
    kit_format(out, KIT_RENT_PLACE_BYTES, which[0] != '\0' ? "%.110s (%.80s)" : "%.110s", place, which);
}

bool kit_rent_place_is(const char *place, const char *which) {
    const char *open = strrchr(place, '(');
    size_t n = strlen(which);
    if (open == NULL || open[strlen(open) - 1] != ')') return true;
    return strncmp(open + 1, which, n) == 0 && strcmp(open + 1 + n, ")") == 0;
}

/* The part in brackets at the end of a place, with the blank before it; "" if it has none. */
static const char *mark_of(const char *place) {
    const char *open = strrchr(place, '(');
    size_t n = strlen(place);
    if (open == NULL || place[n - 1] != ')') return place + n;
    return open > place && open[-1] == ' ' ? open - 1 : open;
}

/* A place in at most `most` bytes: its mark tells accounts apart, so what is before that is cut first. */
static void shorten(const char *place, size_t most, char out[KIT_RENT_PLACE_BYTES]) {
    const char *mark = mark_of(place), dots[] = "...";
    size_t n = strlen(mark), all = strlen(place), head = n + strlen(dots) < most ? most - n - strlen(dots) : 0;
    while (head > 0 && head < all && ((unsigned char)place[head] & 0xc0) == 0x80)
        head--; /* not within a character of UTF-8 */
    if (all <= most)
        kit_copy(out, KIT_RENT_PLACE_BYTES, place);
    else if (head > 0)
        kit_format(out, KIT_RENT_PLACE_BYTES, "%.*s%s%s", (int)head, place, dots, mark);
    else
        kit_copy(out, KIT_RENT_PLACE_BYTES, n <= most ? mark + (mark[0] == ' ') : place + all - most);
}

static size_t less(size_t a, size_t b) {
    return a < b ? a : b;
}

/* The name is whole, as it is typed again; then the record's mark counts more than where it was looked for. */
void kit_rent_doubt(const char *name, const char *here, const char *recorded, kolm_reclaim_result_t *out_result) {
    static const char form[] = "not found%s%s, and its record says %s: use that token and those settings; if you know "
                               "it has ended, run `kolm compute reap --forget %s`";
    const size_t in = strlen(" in "), all = sizeof out_result->summary, here_all = strlen(here);
    const size_t taken = sizeof form - strlen("%s%s%s%s") + strlen(name);
    size_t room = taken < all ? all - taken : 0, for_here = less(here_all, room / 2);
    char place[KIT_RENT_PLACE_BYTES] = "", was[KIT_RENT_PLACE_BYTES];
    if (room > in + strlen(recorded) + for_here) for_here = less(here_all, room - in - strlen(recorded));
    if (room < in + for_here + strlen(mark_of(recorded))) for_here = 0;
    if (for_here > 0) shorten(here, for_here, place);
    shorten(recorded, for_here > 0 ? room - in - for_here : room, was);
    out_result->outcome = KOLM_RECLAIM_UNKNOWN;
    kit_format(out_result->summary, all, form, for_here > 0 ? " in " : "", place, was, name);
}

kit_status kit_rent_make_prefix(const char *backend, char out[KIT_RENT_PREFIX_BYTES], kolm_error_t *err) {
    uint8_t random[8];
    char digits[2 * sizeof random + 1];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return kit_fail(err, KOLM_E_UNKNOWN, "try again", "cannot get random bytes");
    kit_hex(random, sizeof random, digits);
    kit_format(out, KIT_RENT_PREFIX_BYTES, "%.23s-%s", backend, digits);
    return KOLM_OK;
}

void kit_rent_reclaimed(const kit_rent *rent, kolm_reclaim_result_t *out_result) {
    const bool has_handle = rent->box.handle[0] != '\0';
    out_result->billed_micro_usd = UINT64_MAX;
    if (rent->state == KIT_RENT_GONE)
        out_result->outcome = KOLM_RECLAIM_GONE;
    else if (rent->state == KIT_RENT_DESTROYING || (rent->state == KIT_RENT_LOST && has_handle))
        out_result->outcome = KOLM_RECLAIM_RUNNING;
    else
        out_result->outcome = KOLM_RECLAIM_UNKNOWN;
    kit_copy(out_result->summary, sizeof out_result->summary, rent->error.code != KOLM_OK ? rent->error.text : "");
}
