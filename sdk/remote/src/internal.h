/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the SSH job runner. */
#ifndef KOLM_KIT_SSH_JOB_PARTS_H
#define KOLM_KIT_SSH_JOB_PARTS_H

#include "kolm/kit/digest.h"
#include "kolm/kit/events.h"
#include "kolm/kit/file.h"
#include "kolm/kit/job.h"
#include "kolm/kit/ssh_job.h"

#include <sys/types.h>

#define JOB_ID_DIGITS 32           /* of a digest: enough to avoid collisions */
#define SSH_JOB_CHUNK (256u << 10) /* maximum bytes of a file in a frame, before compression */

#define SSH_JOB_WORD 33     /* a random word and its NUL */
#define SSH_JOB_LANE_CUTS 2 /* after so many lost links no further streams are opened */

typedef struct ssh_job_packer ssh_job_packer;
typedef struct ssh_job_lanes ssh_job_lanes;

struct kit_ssh_job_remote {
    const kolm_host_v1_t *host;
    kit_ssh_job_settings settings;
    const kit_ssh_job_wire *wire;
    void *own_wire;       /* the SSH one, owned */
    pid_t caller;         /* kolm itself */
    bool heed;            /* a request to stop ends the connection: false if it is needed to cancel a job */
    bool connected;       /* hello was answered */
    int64_t connected_ms; /* when */
    int64_t pause_ms;     /* before the next connection, if this one was short */
    bool broken;          /* the link failed: connect again */
    bool refused;         /* the last answer was a refusal, or that there is no such job */
    kit_buf in;           /* received; not yet consumed from in_at on */
    size_t in_at;
    uint64_t number;   /* of the last request */
    uint64_t answered; /* the request that the last answer was for; 0: none */
    bool packs;        /* the far end supports compressed pieces */
    ssh_job_packer *packer;
    ssh_job_lanes *lanes; /* further streams, or NULL */
    unsigned lane_cuts;   /* links lost while there were further streams, perhaps because of them */
};

/* ---- wire.c */
kit_status ssh_job_wire_new(kit_ssh_job_remote *remote, const kit_ssh_job_wire **out_wire,
                            kolm_error_t *err) KIT_MUST_USE;
void ssh_job_wire_free(void *own_wire);

/* ---- lanes.c */
/* Begins to open further streams if the far end, in its answer to have, named a socket for them, and the round trip was
 * long enough. */
kit_status ssh_job_lanes_begin(kit_ssh_job_remote *remote, const cJSON *answer, int64_t took_ns,
                               kolm_error_t *err) KIT_MUST_USE;
void ssh_job_lanes_end(kit_ssh_job_remote *remote);
/* Returns the stream for the bytes of the next put: 0, the first, or one of the others. */
size_t ssh_job_lanes_turn(kit_ssh_job_remote *remote);
kit_status ssh_job_lanes_write(kit_ssh_job_remote *remote, size_t stream, const void *bytes, size_t length,
                               kolm_error_t *err) KIT_MUST_USE;

/* ---- link.c: frames. raw of a frame is valid until the next one is received. */
typedef struct ssh_job_frame {
    cJSON *header; /* NULL: none was received in time */
    const char *raw;
    size_t raw_length;
} ssh_job_frame;
void ssh_job_frame_free(ssh_job_frame *frame);
/* A request with this verb, to which the caller adds fields. NULL if out of memory. Send takes ownership and accepts
 * NULL. */
cJSON *ssh_job_request(const char *verb);
kit_status ssh_job_send(kit_ssh_job_remote *remote, cJSON *request, const void *raw, size_t raw_length,
                        kolm_error_t *err) KIT_MUST_USE;
/* The same, with raw on a stream of ssh_job_lanes_turn. */
kit_status ssh_job_send_on(kit_ssh_job_remote *remote, size_t stream, cJSON *request, const void *raw,
                           size_t raw_length, kolm_error_t *err) KIT_MUST_USE;
/* Appends a request to bytes to be sent, and takes ownership of it; raw_length bytes must follow. */
kit_status ssh_job_frame_put(kit_buf *out, cJSON *request, uint64_t number, size_t raw_length,
                             kolm_error_t *err) KIT_MUST_USE;
/* Appends what is sent to the bootstrap: the program, which answers with the word marker, and hello, the first
 * request. */
kit_status ssh_job_opening(const kit_ssh_job_remote *remote, const char *marker, kit_buf *out,
                           kolm_error_t *err) KIT_MUST_USE;
kit_status ssh_job_word(char out[SSH_JOB_WORD], kolm_error_t *err) KIT_MUST_USE;
/* Receives a frame. OK with a NULL header after timeout_ms. A refusal is returned as an error. */
kit_status ssh_job_receive(kit_ssh_job_remote *remote, int64_t timeout_ms, ssh_job_frame *out_frame,
                           kolm_error_t *err) KIT_MUST_USE;
/* Returns `received`, or DATA_LOSS if the answer is not for request `number`. */
kit_status ssh_job_check(kit_ssh_job_remote *remote, kit_status received, uint64_t number, ssh_job_frame *answer,
                         kolm_error_t *err) KIT_MUST_USE;
/* Receives the next answer, which must be for request `number`. */
kit_status ssh_job_answer(kit_ssh_job_remote *remote, uint64_t number, ssh_job_frame *out_answer,
                          kolm_error_t *err) KIT_MUST_USE;
/* Sends a request and waits for the answer. */
kit_status ssh_job_ask(kit_ssh_job_remote *remote, cJSON *request, ssh_job_frame *out_answer,
                       kolm_error_t *err) KIT_MUST_USE;
/* Connects and sends hello. patient: retries for settings.patience_seconds. */
kit_status ssh_job_connect(kit_ssh_job_remote *remote, bool patient, kolm_error_t *err) KIT_MUST_USE;
/* kit_ssh_job_facts in two halves, with other work in between. asked: the result of the first half; status: that of the
 * work; unless it is OK, the answer is read but discarded. */
kit_status ssh_job_ask_facts(kit_ssh_job_remote *remote, bool cards, kolm_error_t *err) KIT_MUST_USE;
kit_status ssh_job_take_facts(kit_ssh_job_remote *remote, bool cards, kit_status asked, kit_status status,
                              cJSON **out_facts, kolm_error_t *err) KIT_MUST_USE;

/* ---- files.c */
typedef struct ssh_job_file {
    char *name; /* remote */
    char *path; /* local */
    uint64_t offset, size;
    char sha256[KIT_SHA256_HEX];
    bool executable;
} ssh_job_file;
typedef struct ssh_job_files {
    ssh_job_file *items;
    size_t count;
} ssh_job_files;
void ssh_job_files_free(ssh_job_files *files);
/* Adds and digests a file or slice. size UINT64_MAX: up to the end of the file. */
kit_status ssh_job_files_add(ssh_job_files *files, const char *name, const char *path, uint64_t offset, uint64_t size,
                             bool executable, kolm_error_t *err) KIT_MUST_USE;
/* Adds the regular files below a directory, sorted, without __pycache__ and dot files; prefix "" or "model/". */
kit_status ssh_job_files_add_tree(ssh_job_files *files, const char *prefix, const char *directory, int depth,
                                  kolm_error_t *err) KIT_MUST_USE;
/* Digests names and contents; salt distinguishes programs. */
kit_status ssh_job_files_digest(const ssh_job_files *files, const char *salt, char out_id[JOB_ID_DIGITS + 1],
                                kolm_error_t *err) KIT_MUST_USE;
void ssh_job_files_drop_last(ssh_job_files *files);
cJSON *ssh_job_files_json(const ssh_job_files *files);
uint64_t ssh_job_files_size(const ssh_job_files *files);
/* Sends all files, even those that exist there; only sync is answered. */
kit_status ssh_job_send_all(kit_ssh_job_remote *remote, const ssh_job_files *files, kolm_error_t *err) KIT_MUST_USE;
/* Sends what the far end lacks. */
kit_status ssh_job_upload(kit_ssh_job_remote *remote, const ssh_job_files *files, kolm_error_t *err) KIT_MUST_USE;
/* The request that builds a tree of files that are already there. */
cJSON *ssh_job_tree_request(const ssh_job_files *files, const char *id);
/* Fetches the job's results under names (NULL terminated) into directory, resuming partial files. */
kit_status ssh_job_fetch(kit_ssh_job_remote *remote, const char *job, const char *const *names, const char *directory,
                         kolm_error_t *err) KIT_MUST_USE;

/* ---- pack.c: zlib streams (RFC 1950), one per piece. One thread at a time. */
kit_status ssh_job_packer_new(ssh_job_packer **out_packer, kolm_error_t *err) KIT_MUST_USE;
void ssh_job_packer_free(ssh_job_packer *packer);
/* Begins another file: forgets how well the last one compressed. */
void ssh_job_pack_begin(ssh_job_packer *packer);
/* Compresses at most SSH_JOB_CHUNK bytes; valid until the next call of pack or unpack. NULL: send them uncompressed. */
const void *ssh_job_pack(ssh_job_packer *packer, const void *bytes, size_t length, size_t *out_length);
/* Records that sending length bytes took ns. */
void ssh_job_pack_sent(ssh_job_packer *packer, size_t length, int64_t ns);
/* Decompresses to exactly size bytes, valid until the next call; false if the size differs or the stream is invalid. */
bool ssh_job_unpack(ssh_job_packer *packer, const void *packed, size_t length, uint64_t size,
                    const char **out_bytes) KIT_MUST_USE;
int64_t ssh_job_now_ns(void);

/* ---- program.c: the program that does the work there. */
typedef struct ssh_job_program {
    cJSON *command;               /* words, as passed to start */
    cJSON *environment;           /* an object, or NULL */
    ssh_job_files files;          /* of its tree */
    char tree[JOB_ID_DIGITS + 1]; /* "": it is there already */
    char identity[512];           /* distinguishes programs that may produce different bytes */
    char name[128];               /* for people */
    uint64_t room;                /* bytes of disk that it will need there, in addition to its files */
} ssh_job_program;
void ssh_job_program_free(ssh_job_program *program);
/* facts may change: see kit_ssh_job_python. */
kit_status ssh_job_program_choose(kit_ssh_job_remote *remote, const kit_job *job, cJSON *facts,
                                  ssh_job_program *out_program, kolm_error_t *err) KIT_MUST_USE;
/* The device that the trainer uses there: "cuda", "rocm", "mps" or "cpu"; facts.device if set, else the first GPU. */
const char *ssh_job_device(const cJSON *facts);

/* ---- runtime.c: an environment that kolm created there, or creates now if settings.setup. Stores it in facts.python,
 * and "cpu" in facts.device if no lock fits the GPU. missing: the error text if there is none. */
kit_status ssh_job_runtime(kit_ssh_job_remote *remote, cJSON *facts, const char *missing,
                           kolm_error_t *err) KIT_MUST_USE;

/* ---- job.c */
/* Logs text and word, with the name of the machine before them if it is not that of the backend, which kolm prints. */
void ssh_job_say(const kit_ssh_job_remote *remote, uint32_t level, const char *text, const char *word);
/* Runs a program without results there until it exits, over any number of connections. */
kit_status ssh_job_errand(kit_ssh_job_remote *remote, const char *about, const ssh_job_program *program,
                          kolm_error_t *err) KIT_MUST_USE;

/* ---- follow.c */
/* Receives the next answer. If the user asked to stop, or the deadline passed, stops the job and returns that as an
 * error. UNAVAILABLE if nothing was received for limit_ms. */
kit_status ssh_job_await(kit_ssh_job_remote *remote, const char *job, int64_t limit_ms, ssh_job_frame *out_answer,
                         kolm_error_t *err) KIT_MUST_USE;
typedef struct ssh_job_outcome {
    kit_events events; /* of the program */
    uint64_t since;    /* bytes of events read so far */
    bool failed;       /* it ended without a usable result, and was not stopped: the job can be dropped */
} ssh_job_outcome;
void ssh_job_outcome_begin(const kit_ssh_job_remote *remote, ssh_job_outcome *outcome);
void ssh_job_outcome_end(ssh_job_outcome *outcome);
cJSON *ssh_job_follow_request(const char *job, uint64_t since);
/* Follows a started job until it ends. asked: ssh_job_follow_request was already sent, as the last request. */
kit_status ssh_job_follow(kit_ssh_job_remote *remote, const char *job, bool asked, ssh_job_outcome *outcome,
                          kolm_error_t *err) KIT_MUST_USE;

#endif
