/* SPDX-License-Identifier: Apache-2.0 */
/* A client: initialises libcurl, reads the proxy environment, and owns the connections. */
#include "internal.h"
#include "kolm/kit/backend.h"
#include "kolm/kit/process.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static pthread_once_t begun = PTHREAD_ONCE_INIT;
static CURLcode begin_result;

static void begin(void) {
    begin_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static kit_status begin_once(kolm_error_t *err) {
    if (pthread_once(&begun, begin) == 0 && begin_result == CURLE_OK) return KOLM_OK;
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "check the installation of libcurl and its TLS library",
                    "libcurl cannot begin: %s", curl_easy_strerror(begin_result));
}

static const char *from_environment(const char *const *names) {
    for (; *names != NULL; names++) {
        const char *value = secure_getenv(*names);
        if (value != NULL && value[0] != '\0') return value;
    }
    return NULL;
}

/* Copies the given text, else the first variable that is set in the environment. */
static kit_status choose(const char *given, const char *const *names, char **out, kolm_error_t *err) {
    return kit_strdup(given != NULL ? given : from_environment(names), out, err);
}

static uint64_t seed_of(uint64_t given) {
    uint64_t seed = given;
    if (seed == 0 && getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) seed = (uint64_t)kit_now_ms();
    return seed;
}

static kit_status fill(kit_http *http, const kit_http_options *o, kolm_error_t *err) {
    static const char *const proxies[] = {"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", NULL};
    static const char *const exceptions[] = {"NO_PROXY", "no_proxy", NULL}, *const authorities[] = {"SSL_CERT_FILE",
                                                                                                    NULL};
    char only[8] = "";
    if (o->host != NULL)
        http->private_only =
            kit_setting(o->host, "network.private_only", "", only, sizeof only) && strcmp(only, "true") == 0;
    http->host = o->host;
    http->cancelled = o->cancelled;
    http->user = o->user;
    http->plain_loopback = o->allow_plain_loopback;
    http->tries = o->tries > 0 ? o->tries : 4;
    http->first_wait_ms = o->first_wait_ms > 0 ? o->first_wait_ms : 500;
    http->wait_most_ms = o->wait_most_ms > 0 ? o->wait_most_ms : 60000;
    http->random = seed_of(o->seed);
    KIT_TRY(choose(o->ca_file, authorities, &http->ca_file, err));
    KIT_TRY(choose(o->proxy, proxies, &http->proxy, err));
    KIT_TRY(choose(o->no_proxy, exceptions, &http->no_proxy, err));
    KIT_TRY(kit_strdup(o->user_agent != NULL ? o->user_agent : "kolm/" KOLM_VERSION, &http->agent, err));
    if (http_tape_replays(http)) return KOLM_OK;
    http->multi = curl_multi_init();
    return http->multi != NULL ? KOLM_OK : kit_no_memory(err);
}

kit_status kit_http_open(const kit_http_options *options, kit_http **out, kolm_error_t *err) {
    const kolm_host_v1_t *host = options->host;
    *out = NULL;
    if (host != NULL && (host->features & KOLM_FEATURE_NETWORK) == 0)
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, "allow the network (no --airgap), or choose a local backend",
                        "this call may not use the network");
    kit_http *http = calloc(1, sizeof *http);
    if (http == NULL) return kit_no_memory(err);
    http->tape = options->tape;
    kit_status status = http_tape_replays(http) ? KOLM_OK : begin_once(err);
    if (status == KOLM_OK) status = fill(http, options, err);
    if (status != KOLM_OK) {
        kit_http_close(http);
        return status;
    }
    *out = http;
    return KOLM_OK;
}

void kit_http_close(kit_http *http) {
    if (http == NULL) return;
    if (http->multi != NULL) curl_multi_cleanup(http->multi);
    if (http->proxy != NULL) http_wipe(http->proxy, strlen(http->proxy)); /* it may contain a password */
    free(http->ca_file);
    free(http->proxy);
    free(http->no_proxy);
    free(http->agent);
    free(http);
}
