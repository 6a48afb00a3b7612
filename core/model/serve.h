/* SPDX-License-Identifier: Apache-2.0 */
/* A model kept warm behind a local socket: `kolm run --serve` listens there, `kolm run` connects. */
#ifndef KOLM_MODEL_SERVE_H
#define KOLM_MODEL_SERVE_H

/*
 * HOME/run/ID.sock, where ID is the first 32 digits of the SHA-256 of the model's manifest; HOME/run is 0700, so that
 * other users can neither listen nor connect there. If that path is too long for a socket (108 bytes, unix(7)) it is
 * /tmp/kolm-run-UID/ID.sock, under the same rule. HOME/run/ID.lock is held (flock) by the server.
 *
 * The server greets with one line, {"kolm":1,"backend":NAME,"airgap":BOOL,"model":SHA256,"file":MARK}: airgap is true
 * if it is enforced, model is the full digest of the manifest, and file the mark (kit_file_mark) of the file that the
 * server digested: a client whose file has the same mark need not digest it again. The client then sends lines
 * {"id","input"}, and receives as many lines {"id","output","confidence"} in the same order, as from `kolm run
 * --jsonl`. An invalid line ends the connection after {"error":TEXT}. A client that shuts down its sending side gets
 * its remaining answers and then end of file.
 *
 * Trust. `kolm run` opens the file, checks its signature against the keyring, and refuses as usual, before it contacts
 * a server. The server has its own verdict, for other clients: before it accepts a question (in a stream of questions
 * every 20 ms) it checks whether the keyring, a policy, the file or its base has changed, and if so renews the verdict.
 * If its model may no longer be run, or its backend no longer be called, it sends {"error":TEXT,"remedy":TEXT,
 * "exit":NUMBER} to all clients, the error of a run without a server, and exits; NUMBER is that of the reason
 * (session/reason.h). It does the same if the backend does not answer in time, answers a question out of turn, or sends
 * an answer that was not requested.
 */

#include "kolm/kit/digest.h"
#include "kolm/kit/mark.h"
#include "model/model.h"

typedef struct model_served {
    int fd; /* -1: no server for this model */
    char backend[64];
    bool airgap;
    char model[KIT_SHA256_HEX], file[128];
} model_served;

/* Connects to the server of the model with this manifest digest, if there is one; failing to connect is not an
 * error. */
void model_serve_connect(kolm_session *session, const char *manifest_sha256, model_served *out_served);

typedef struct model_serve_limits {
    uint64_t idle_seconds;   /* idle time after which it exits; 0: never */
    uint64_t answer_seconds; /* timeout of the backend's next answer, after which it exits with an error; 0: none */
} model_serve_limits;

/* Serves until interrupted, until the backend ends, or until a limit is reached.
 * ALREADY_EXISTS if another kolm serves this model. Sends SESSION_SERVING once it accepts questions. */
kit_status model_serve(kolm_session *session, model_handle *model, model_answering *answering, session_airgap airgap,
                       const model_serve_limits *limits, session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;

#endif
