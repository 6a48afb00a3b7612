/* SPDX-License-Identifier: Apache-2.0 */
/* An account at a provider: its token, its address, and one function that sends a JSON request. */
#ifndef KOLM_RENT_ACCOUNT_H
#define KOLM_RENT_ACCOUNT_H

#include "kolm/http/http.h"
#include "kolm/kit/ssh_key.h"
#include "kolm/rent/rent.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In libkolm-kit-vm. For the API file of a provider, so that it only has to build paths and read JSON: every function
 * of its kit_rent_provider gets a kit_rent_account as its state.
 *
 *     static kit_status look(void *state, const char *handle, kit_rent_box *out, kolm_error_t *err) {
 *         kit_rent_answer answer = {0};
 *         char path[KIT_RENT_PATH];
 *         kit_format(path, sizeof path, "/instances/%s", handle);
 *         kit_status status = kit_rent_ask(state, &(kit_rent_question){.path = path}, &answer, err);
 *         if (status == KOLM_OK) status = read_instance(answer.json, out, err);
 *         kit_rent_answer_free(&answer);
 *         return status;
 *     }
 *
 * Not thread-safe. The token is read once, and sent only in the header of requests to `base`.
 */

#define KIT_RENT_PATH 512

/* The meaning of a refusal, with the text for the user. The first matching row of a table is used; a row whose `means`
 * is 0 ends the table. */
typedef struct kit_rent_refusal {
    const char *code; /* the provider's; NULL: any */
    int status;       /* HTTP status; 0: any */
    int32_t means;    /* KOLM_E_*, as documented in kit_rent_provider */
    const char *text; /* the provider's message is appended to it */
    const char *remedy;
} kit_rent_refusal;

/* A refusal parsed from the provider's own format. */
typedef struct kit_rent_said {
    char code[100];  /* "" if there is none */
    char words[200]; /* the message */
} kit_rent_said;

/* Properties of a provider, the same for all accounts; constant. */
typedef struct kit_rent_site {
    const char *name;   /* of the backend: "lambda" */
    const char *title;  /* for people: "Lambda" */
    const char *token;  /* "KOLM_LAMBDA_TOKEN" */
    const char *where;  /* the page where users get a token */
    const char *base;   /* "https://cloud.lambda.ai/api/v1"; the setting `api` replaces it */
    const char *scheme; /* before the token in Authorization: "Bearer " */
    char halves;        /* separator of the two halves of a token, such as ':'; 0: not in two halves */
    /* Minimum time between two requests, as the provider requires; 0: none. Ignored for http://, which is this
     * machine. */
    uint32_t gap_ms;
    uint32_t create_gap_ms; /* minimum time between two creations */
    /* Parses a refusal into the zeroed *out. Returns false if body, which may be NULL, is not in the provider's own
     * format, and so was sent by a proxy. */
    bool (*read_refusal)(int http_status, const cJSON *body, kit_rent_said *out);
    const kit_rent_refusal *refusals; /* the meanings of what read_refusal returns */
} kit_rent_site;

/* Requirements of the machine. */
typedef struct kit_rent_wish {
    uint64_t vram_bytes; /* of one GPU, decimal; 0: any */
    uint64_t disk_bytes; /* for the job; 0: any */
} kit_rent_wish;

typedef struct kit_rent_ears kit_rent_ears;

typedef struct kit_rent_account {
    const kit_rent_site *site;
    const kolm_host_v1_t *host;
    kit_rent_wish wish;
    char key_name[KIT_RENT_NAME_BYTES];    /* name of this rental's key at the provider; "" if nothing is rented */
    char public_key[KIT_SSH_PUBLIC_BYTES]; /* "" if nothing is rented */
    /* For use by the provider, "" at first: a handle for which something has already been done; what prepare() made, or
     * an earlier request returned; what create() was called with. */
    char noted[KIT_RENT_HANDLE_BYTES];
    char app[KIT_RENT_HANDLE_BYTES];
    char image[KIT_RENT_HANDLE_BYTES];
    char offer[KIT_RENT_HANDLE_BYTES];
    uint64_t watch_seconds; /* lifetime of a machine, for a provider that ends it by itself; 0: not set */
    uint32_t creates;       /* requests that may have created something */
    /* For a provider that does not use JSON, and sends its requests itself: */
    kit_http *http;
    kit_secret *halves[2]; /* of the token, if the site has two */
    char base[512];
    /* The rest is private. */
    kit_secret *token;
    int answered;        /* the last HTTP status; 0: none received */
    kit_rent_ears *ears; /* the host services used by requests */
    int64_t asked_ms;    /* time of the last request; 0: none */
    int64_t created_ms;  /* time of the last creation; 0: none */
    bool hurried;        /* no gaps and minimal pauses: for tests with a clock of their own */
} kit_rent_account;

/* Reads the token and the setting `api`. UNAUTHENTICATED without a token, PERMISSION_DENIED without network. wish and
 * hurried of *out are inputs, the rest is filled; *out must not be moved. */
kit_status kit_rent_account_open(const kit_rent_site *site, const kolm_host_v1_t *host, kit_rent_account *out,
                                 kolm_error_t *err) KIT_MUST_USE;
/* Wipes the token. No-op on a zeroed record. */
void kit_rent_account_close(kit_rent_account *account);
/* From now on requests are sent even if the user asked to stop, in order to end what was rented. */
void kit_rent_account_insist(kit_rent_account *account);
/* Any thread. Ends the current request and prevents further ones, until called with false. */
void kit_rent_account_stop(kit_rent_account *account, bool stop);

typedef struct kit_rent_question {
    const char *method; /* NULL: GET, or POST with a body */
    const char *path;   /* appended to base; begins with a slash. Untrusted parts must be escaped, or checked with
                           kit_rent_is_id */
    const cJSON *body;  /* NULL: none */
    kit_http_repeat repeat;
    const char *key; /* with KEYED */
} kit_rent_question;

/* Zero-initialise it. */
typedef struct kit_rent_answer {
    cJSON *json;    /* an object, also for an error status; NULL if the body was empty or not JSON */
    int status;     /* HTTP status; 0: none received */
    bool may_exist; /* CREATE or KEYED failed, but may have taken effect */
} kit_rent_answer;
void kit_rent_answer_free(kit_rent_answer *answer);

/* Sends the request and waits, with the retries of kolm/http: at most 20 s for READ and CHANGE, 90 s for requests that
 * create. OK: 2xx and a JSON object (or no body). Errors: those of kit_http_send, as replaced by site->refusals;
 * DATA_LOSS for a body that is not JSON, after which something may exist. */
kit_status kit_rent_ask(kit_rent_account *account, const kit_rent_question *question, kit_rent_answer *answer,
                        kolm_error_t *err) KIT_MUST_USE;

/* The same; takes ownership of body. A NULL body means that it could not be built: out of memory. */
kit_status kit_rent_send(kit_rent_account *account, const char *method, const char *path, cJSON *body,
                         kit_http_repeat repeat, kit_rent_answer *answer, kolm_error_t *err) KIT_MUST_USE;

/* ---- For the functions of an API file */

/* Replaces err by the matching row of site->refusals. A 404 or 410 without a row becomes FAILED_PRECONDITION, because
 * it does not mean that a machine is gone. Returns whether err was changed. kit_rent_ask calls this; an API file must
 * call it for a 200 that is a refusal. */
bool kit_rent_explain(const kit_rent_account *account, int http_status, const cJSON *body, kolm_error_t *err);
/* Fails with DATA_LOSS: an answer lacks `what`. */
kit_status kit_rent_strange(const kit_rent_account *account, const char *what, kolm_error_t *err);
/* Whether a provider's id is safe in a path and in a record: 1 to 120 letters, digits, '-', '_'. */
bool kit_rent_is_id(const char *text);
/* A string member of an object, truncated to fit; "" if it is missing or not a string. */
void kit_rent_text(const cJSON *object, const char *key, char *out, size_t capacity);
/* Appends the provider's message, marked as a quotation, to the text in err; "" appends nothing. */
void kit_rent_quote(const char *said, kolm_error_t *err);
/* For offers(): adds one to the *count in out. Once it is full, the cheapest are kept. */
void kit_rent_offer_keep(const kit_rent_offer *offer, kit_rent_offer *out, size_t capacity, size_t *count);
/* For list(): adds the box if its name begins with prefix. */
void kit_rent_box_keep(const kit_rent_box *box, const char *prefix, kit_rent_box *out, size_t capacity, size_t *count);
/* A price in USD, rounded up to millionths; UINT64_MAX if it is negative or absurdly large. */
uint64_t kit_rent_micro_usd(double usd);
/* Sets box->address to HOST:PORT, or [HOST]:PORT. Returns false and sets nothing if one of them is invalid. */
bool kit_rent_put_address(kit_rent_box *box, const char *host, uint64_t port);
/* Appends text, percent-encoded, to a path. Returns false if it does not fit. */
bool kit_rent_add_escaped(char path[KIT_RENT_PATH], const char *text);

#ifdef __cplusplus
}
#endif
#endif
