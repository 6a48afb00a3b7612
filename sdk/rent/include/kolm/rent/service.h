/* SPDX-License-Identifier: Apache-2.0 */
/* A provider's API as a backend sees it: an address, a token, and one function that asks it something. */
#ifndef KOLM_RENT_SERVICE_H
#define KOLM_RENT_SERVICE_H

#include "kolm/http/http.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In libkolm-kit-queue, over libkolm-kit-http, which has the policy of tries, redirects and bounds. The token is in the
 * header of requests to the provider's own origin (scheme, host and port of its address) and of those hosts that the
 * site names; every other address, such as a presigned one, gets none. The user's setting `api` replaces the address;
 * then the token goes there and nowhere else. http:// is taken for loopback addresses only.
 *
 * Failures are those of kit_http_send; of 401, 402 and 403 the text names the provider and the variable with the token,
 * and the remedy the page where a token is made. What the provider said is in the text, with the token removed.
 * Used by one thread at a time.
 */

typedef struct kit_service_site {
    const char *name;     /* of the backend: "together" */
    const char *title;    /* for people: "Together AI" */
    const char *variable; /* "KOLM_TOGETHER_TOKEN" */
    const char *where;    /* the page on which a person gets a token */
    const char *money;    /* the page on which a person pays */
    const char *base;     /* "https://api.together.ai", no slash at its end */
    const char *scheme;   /* before the token in Authorization: "Bearer " */
    char halves;          /* what separates the two halves of a token, ':'; 0: it has none */
    const char
        *hosts[4]; /* hosts beside that of base that get the token; a first '.' means all below it. NULL: no more */
} kit_service_site;

typedef struct kit_service {
    const kit_service_site *site;
    const kolm_host_v1_t *host;
    char base[512];
    bool moved; /* base is the setting `api` */
    /* The user's wish to stop ends calls with CANCELLED until this is set: what was begun must be ended all the same. A
     * call that creates is never ended by it, as its answer says what there is to end. */
    bool deaf;
    /* The rest is its own. */
    kolm_host_v1_t ears;
    kit_http *http;
    kit_secret *token;
} kit_service;

/* UNAUTHENTICATED without a token or with half of one, INVALID_ARGUMENT for a wrong setting, PERMISSION_DENIED without
 * network. *out must not move; close it in every case. */
kit_status kit_service_open(const kit_service_site *site, const kolm_host_v1_t *host, kit_service *out,
                            kolm_error_t *err) KIT_MUST_USE;
void kit_service_close(kit_service *service); /* wipes the token; no-op on a zeroed record */

/* Zero-initialise it. */
typedef struct kit_service_call {
    const char *method; /* NULL: GET, or POST with a body */
    const char *path;   /* behind the address, with its slash; or a whole URL */
    bool presigned;     /* the address is the permission: the token is not sent, whatever the host */
    const cJSON *body;
    kit_http_repeat repeat;
    const kit_http_header *headers; /* more of them, at most 8 */
    size_t header_count;
    const kit_http_part *parts;
    size_t part_count;
    bool has_body_file;
    int body_file;
    uint64_t body_size;
    const char *content_type;
    bool has_out_file;
    int out_file;
    uint64_t body_max;    /* 0: 16 MiB in memory */
    uint64_t deadline_ms; /* 0: 60 s, or none with a file */
} kit_service_call;

/* Zero-initialise it before its first use. */
typedef struct kit_service_reply {
    cJSON *json; /* of the body, whatever the status; NULL if there was none, or none that is JSON */
    kit_http_answer http;
    bool may_exist; /* it failed, and something may have been created */
} kit_service_reply;
void kit_service_reply_free(kit_service_reply *reply);

/* OK: 2xx, and a body that is JSON, or none, or one that went into a file. DATA_LOSS for any other; then may_exist is
 * true for what creates. */
kit_status kit_service_ask(kit_service *service, const kit_service_call *call, kit_service_reply *reply,
                           kolm_error_t *err) KIT_MUST_USE;
/* Whether the token would be sent to this URL. */
bool kit_service_is_ours(const kit_service *service, const char *url);
/* What the provider says in the body of an error, the token removed; "" if it says nothing. */
void kit_service_words(const kit_service *service, const cJSON *body, char *out, size_t capacity);

/* An id of a provider that may stand in a path and on a record: 1 to 120 letters, digits, '-', '_', '.'. */
bool kit_service_is_id(const char *text);
/* "owner/name", each of them such an id. */
bool kit_service_is_path(const char *text);
/* A text of an object, cut to fit; "" if it is missing or not a text. Returns whether there is one that is not "". */
bool kit_service_text(const cJSON *object, const char *key, char *out, size_t capacity);

#ifdef __cplusplus
}
#endif
#endif
