/* SPDX-License-Identifier: Apache-2.0 */
/* The retry policy, and the meaning of statuses. */
#include "kolm/http/retry.h"

typedef struct rule {
    int from, to;
    kit_http_next next[4]; /* READ, CHANGE, KEYED, CREATE */
} rule;

#define STOP KIT_HTTP_STOP
#define AGAIN KIT_HTTP_AGAIN
#define UNCLEAR KIT_HTTP_UNCLEAR
/* The first range that contains the status counts. */
static const rule rules[] = {
    {100, 407, {STOP, STOP, STOP, STOP}},       {408, 408, {AGAIN, AGAIN, AGAIN, UNCLEAR}},
    {425, 425, {AGAIN, AGAIN, AGAIN, UNCLEAR}}, {429, 429, {AGAIN, AGAIN, AGAIN, AGAIN}},
    {400, 499, {STOP, STOP, STOP, STOP}},       {500, 500, {AGAIN, AGAIN, AGAIN, UNCLEAR}},
    {502, 504, {AGAIN, AGAIN, AGAIN, UNCLEAR}}, {520, 529, {AGAIN, AGAIN, AGAIN, UNCLEAR}},
    {501, 999, {STOP, STOP, UNCLEAR, UNCLEAR}},
};
static const kit_http_next no_connection[4] = {AGAIN, AGAIN, AGAIN, AGAIN};
static const kit_http_next no_answer[4] = {AGAIN, AGAIN, AGAIN, UNCLEAR};

kit_http_next kit_http_decide(kit_http_repeat repeat, kit_http_fate fate, int status) {
    if (repeat > KIT_HTTP_CREATE) repeat = KIT_HTTP_CREATE;
    if (fate == KIT_HTTP_NOT_SENT) return no_connection[repeat];
    if (fate == KIT_HTTP_LOST || (fate == KIT_HTTP_CUT && status < 300)) return no_answer[repeat];
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (status >= rules[i].from && status <= rules[i].to) return rules[i].next[repeat];
    return no_answer[repeat]; /* not an HTTP status */
}

bool kit_http_may_have_happened(kit_http_fate fate, int status) {
    if (fate == KIT_HTTP_NOT_SENT) return false;
    if (fate == KIT_HTTP_LOST) return true;
    if (status >= 200 && status < 300) return fate == KIT_HTTP_CUT;
    return !(status >= 300 && status < 500) || status == 408 || status == 425;
}

typedef struct status_row {
    int from, to;
    kit_http_status_fact fact;
} status_row;

#define LATER "try again later; if it persists, check the provider's status page"
static const status_row statuses[] = {
    {300,
     399,
     {KOLM_E_FAILED_PRECONDITION, "Redirect", "check the address of the service in the settings of this backend"}},
    {401,
     401,
     {KOLM_E_UNAUTHENTICATED, "Unauthorized",
      "the token is wrong, expired or revoked; make a new one at the provider"}},
    {402,
     402,
     {KOLM_E_RESOURCE_EXHAUSTED, "Payment Required",
      "the account has no credit left, or no card; add either at the provider"}},
    {403,
     403,
     {KOLM_E_PERMISSION_DENIED, "Forbidden",
      "the token is not authorized for this; grant it the right at the provider, or use another one"}},
    {404,
     404,
     {KOLM_E_NOT_FOUND, "Not Found", "check that it still exists at the provider, and the address of the service"}},
    {405,
     405,
     {KOLM_E_UNIMPLEMENTED, "Method Not Allowed",
      "the service has changed; a newer version of this backend may know it"}},
    {406,
     406,
     {KOLM_E_UNIMPLEMENTED, "Not Acceptable", "the service has changed; a newer version of this backend may know it"}},
    {408, 408, {KOLM_E_UNAVAILABLE, "Request Timeout", LATER}},
    {409,
     409,
     {KOLM_E_ABORTED, "Conflict", "something of that name or in that state already exists; check with the provider"}},
    {410,
     410,
     {KOLM_E_NOT_FOUND, "Gone",
      "it was removed, or the provider has retired this interface; a newer version of this backend may know it"}},
    {412,
     412,
     {KOLM_E_FAILED_PRECONDITION, "Precondition Failed", "it has changed in the meantime; run the command again"}},
    {413, 413, {KOLM_E_OUT_OF_RANGE, "Content Too Large", "send less: a smaller file, or fewer rows"}},
    {416,
     416,
     {KOLM_E_OUT_OF_RANGE, "Range Not Satisfiable", "the file has changed in the meantime; run the command again"}},
    {422,
     422,
     {KOLM_E_INVALID_ARGUMENT, "Unprocessable Content", "the provider rejected a value; its message above says which"}},
    {425, 425, {KOLM_E_UNAVAILABLE, "Too Early", LATER}},
    {429,
     429,
     {KOLM_E_RESOURCE_EXHAUSTED, "Too Many Requests",
      "the limit of requests is reached; wait, then run the command again"}},
    {451,
     451,
     {KOLM_E_PERMISSION_DENIED, "Unavailable For Legal Reasons", "choose another region or another provider"}},
    {499, 499, {KOLM_E_CANCELLED, "Client Closed Request", "run the command again"}},
    {400, 499, {KOLM_E_INVALID_ARGUMENT, "Bad Request", "the provider rejected a value; its message above says which"}},
    {501, 501, {KOLM_E_UNIMPLEMENTED, "Not Implemented", "the service does not support this"}},
    {507, 507, {KOLM_E_RESOURCE_EXHAUSTED, "Insufficient Storage", "free some space at the provider"}},
    {500, 599, {KOLM_E_UNAVAILABLE, "Server Error", LATER}},
};

kit_http_status_fact kit_http_status(int status) {
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        if (status >= statuses[i].from && status <= statuses[i].to) return statuses[i].fact;
    return (kit_http_status_fact){KOLM_E_DATA_LOSS, "not an HTTP status",
                                  "check the address of the service in the settings of this backend"};
}

/* splitmix64, Steele, Lea and Flood, OOPSLA 2014. */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t kit_http_backoff(unsigned tried, uint64_t first_ms, uint64_t most_ms, uint64_t *random) {
    uint64_t pause = first_ms;
    for (unsigned i = 1; i < tried && pause < most_ms; i++)
        pause = pause > most_ms / 2 ? most_ms : pause * 2;
    if (pause > most_ms) pause = most_ms;
    uint64_t low = pause / 2;
    return low + next_random(random) % (pause - low + 1);
}
