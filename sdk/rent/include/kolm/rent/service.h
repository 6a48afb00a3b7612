/* SPDX-License-Identifier: Apache-2.0 */
/* A provider's API as seen by a backend: an address, a token, and one function that sends a request. */
#ifndef KOLM_RENT_SERVICE_H
#define KOLM_RENT_SERVICE_H

#include "kolm/http/http.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In libkolm-kit-queue, over libkolm-kit-http, which has the policy for retries, redirects and limits. The token is
 * sent only to the provider's own origin (scheme, host and port of its address) and to the hosts that the site lists;
 * any other address, such as a presigned one, does not get it. The user's setting `api`, or the one named by the site,
 * replaces the address; then the token is sent only there. http:// is accepted for loopback addresses only.
 *
 * Failures are those of kit_http_send; for 401, 402 and 403 the text names the provider and the variable with the
 * token, and the remedy names the page where users get a token. The provider's message is in the text, with the token
 * removed. Used by one thread at a time.
 */

typedef struct kit_service_site {
    const char *name;     /* of the backend: "together" */
    const char *title;    /* for people: "Together AI" */
    const char *variable; /* "KOLM_TOGETHER_TOKEN" */
    const char *where;    /* the page where users get a token */
    const char *money;    /* the billing page */
    const char *base;     /* "https://api.together.ai", without a trailing slash */
    const char *scheme;   /* before the token in Authorization: "Bearer " */
    char halves;          /* separator of the two halves of a token, such as ':'; 0: not in two halves */
    /* Hosts that get the token in addition to that of base; a leading '.' includes all subdomains. NULL: none. */
    const char *hosts[4];
    const char *setting; /* name of the backend's setting whose address replaces base; NULL: "api" */
} kit_service_site;

typedef struct kit_service {
    const kit_service_site *site;
    const kolm_host_v1_t *host;
    char base[512];
    bool moved; /* base is from that setting */
    /* Until this is set, a request to stop ends calls with CANCELLED; afterwards calls proceed, in order to end what
     * was begun. A call that creates is never cancelled, because its answer names what must be ended. */
    bool deaf;
    /* The rest is private. */
    kolm_host_v1_t ears;
    kit_http *http;
    kit_secret *token;
    int answered; /* the last HTTP status; 0: none received */
} kit_service;

/* UNAUTHENTICATED without a token or with half of one, INVALID_ARGUMENT for a wrong setting, PERMISSION_DENIED without
 * network. *out must not be moved; close it in every case. */
kit_status kit_service_open(const kit_service_site *site, const kolm_host_v1_t *host, kit_service *out,
                            kolm_error_t *err) KIT_MUST_USE;
void kit_service_close(kit_service *service); /* wipes the token; no-op on a zeroed record */

/* Zero-initialise it. */
typedef struct kit_service_call {
    const char *method; /* NULL: GET, or POST with a body */
    const char *path;   /* appended to the address, with a leading slash; or a whole URL */
    bool presigned;     /* the URL itself grants access: the token is not sent, whatever the host */
    const cJSON *body;
    kit_http_repeat repeat;
    const kit_http_header *headers; /* additional ones, at most 8 */
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
    cJSON *json; /* the body, whatever the status; NULL if it was empty or not JSON */
    kit_http_answer http;
    bool may_exist; /* it failed, but something may have been created */
} kit_service_reply;
void kit_service_reply_free(kit_service_reply *reply);

/* OK: 2xx, and a body that is JSON, empty, or was written to a file. DATA_LOSS for any other body; may_exist is true
 * then if the request creates. */
kit_status kit_service_ask(kit_service *service, const kit_service_call *call, kit_service_reply *reply,
                           kolm_error_t *err) KIT_MUST_USE;
/* The same for a call that creates a job, whose id is the member `key` of the answer. *out_may_exist: a job may be
 * there. DATA_LOSS, and out_id "", for an answer without an id that is safe in a path and in a record. */
#define KIT_SERVICE_ID_BYTES 128u
kit_status kit_service_create(kit_service *service, const kit_service_call *call, const char *key,
                              char out_id[KIT_SERVICE_ID_BYTES], bool *out_may_exist, kit_service_reply *reply,
                              kolm_error_t *err) KIT_MUST_USE;
/* Whether the token would be sent to this URL. */
bool kit_service_is_ours(const kit_service *service, const char *url);
/* The provider's message in the body of an error, with the token removed; "" if there is none. */
void kit_service_words(const kit_service *service, const cJSON *body, char *out, size_t capacity);

/* Whether a provider's id is safe in a path and in a record: 1 to 120 letters, digits, '-', '_', '.'. */
bool kit_service_is_id(const char *text);
/* "owner/name", each of them such an id. */
bool kit_service_is_path(const char *text);
/* A string member of an object, truncated to fit; "" if it is missing or not a string. Returns whether it is not "". */
bool kit_service_text(const cJSON *object, const char *key, char *out, size_t capacity);

#ifdef __cplusplus
}
#endif
#endif
