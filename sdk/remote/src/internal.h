/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the SSH job runner share; nobody else includes it. */
#ifndef KOLM_KIT_SSH_JOB_PARTS_H
#define KOLM_KIT_SSH_JOB_PARTS_H

#include "kolm/kit/digest.h"
#include "kolm/kit/events.h"
#include "kolm/kit/file.h"
#include "kolm/kit/job.h"
#include "kolm/kit/ssh_job.h"

#include <sys/types.h>

#define JOB_ID_DIGITS 32           /* of a digest: enough that no two questions meet */
#define SSH_JOB_CHUNK (256u << 10) /* bytes of a file in a frame, at most, before they are compressed */

#define SSH_JOB_WORD 33     /* a random word, and its end */
#define SSH_JOB_LANE_CUTS 2 /* then there are no further streams any more */

typedef struct ssh_job_packer ssh_job_packer;
typedef struct ssh_job_lanes ssh_job_lanes;

struct kit_ssh_job_remote {
    const kolm_host_v1_t *host;
    kit_ssh_job_settings settings;
    const kit_ssh_job_wire *wire;
    void *own_wire;       /* the SSH one, owned */
    pid_t caller;         /* kolm itself */
    bool heed;            /* the user's wish to stop ends the connection: not while a job is to be cancelled over it */
    bool connected;       /* hello was answered */
    int64_t connected_ms; /* when */
    int64_t pause_ms;     /* before the next connection, if this one is short */
    bool broken;          /* the link failed: connect again */
    bool refused;         /* the last thing received said no, or that there is no such job */
    kit_buf in;           /* what came and was not taken yet, from in_at on */
    size_t in_at;
    uint64_t number;   /* of the last request */
    uint64_t answered; /* of that to which the last thing received was the answer; 0: to none */
    bool packs;        /* the far end takes and gives compressed pieces */
    ssh_job_packer *packer;
    ssh_job_lanes *lanes; /* further streams, or NULL */
    unsigned lane_cuts;   /* links that broke while there were some; it may have been for them */
};

/* ---- wire.c */
kit_status ssh_job_wire_new(kit_ssh_job_remote *remote, const kit_ssh_job_wire **out_wire,
                            kolm_error_t *err) KIT_MUST_USE;
void ssh_job_wire_free(void *own_wire);

/* ---- lanes.c */
/* Begins to open further streams where the far end, in its answer to have, names a socket for them, and that took long
 * enough. */
kit_status ssh_job_lanes_begin(kit_ssh_job_remote *remote, const cJSON *answer, int64_t took_ns,
                               kolm_error_t *err) KIT_MUST_USE;
void ssh_job_lanes_end(kit_ssh_job_remote *remote);
/* The stream for the bytes of the next put: 0, the first, or one of the others. */
size_t ssh_job_lanes_turn(kit_ssh_job_remote *remote);
kit_status ssh_job_lanes_write(kit_ssh_job_remote *remote, size_t stream, const void *bytes, size_t length,
                               kolm_error_t *err) KIT_MUST_USE;

/* ---- link.c: frames. raw of a frame lives until the next one is received. */
typedef struct ssh_job_frame {
    cJSON *header; /* NULL: none came in time */
    const char *raw;
    size_t raw_length;
} ssh_job_frame;
void ssh_job_frame_free(ssh_job_frame *frame);
/* A request with this verb, to which fields are added. NULL when memory is out; send takes it, NULL too. */
cJSON *ssh_job_request(const char *verb);
kit_status ssh_job_send(kit_ssh_job_remote *remote, cJSON *request, const void *raw, size_t raw_length,
                        kolm_error_t *err) KIT_MUST_USE;
/* The same, with raw on a stream of ssh_job_lanes_turn. */
kit_status ssh_job_send_on(kit_ssh_job_remote *remote, size_t stream, cJSON *request, const void *raw,
                           size_t raw_length, kolm_error_t *err) KIT_MUST_USE;
/* Appends a request, which it takes, to bytes that are to be sent; raw_length bytes are to follow. */
kit_status ssh_job_frame_put(kit_buf *out, cJSON *request, uint64_t number, size_t raw_length,
                             kolm_error_t *err) KIT_MUST_USE;
/* What the bootstrap is sent: the program, which answers with the word marker, and hello, its first request. */
kit_status ssh_job_opening(const kit_ssh_job_remote *remote, const char *marker, kit_buf *out,
                           kolm_error_t *err) KIT_MUST_USE;
kit_status ssh_job_word(char out[SSH_JOB_WORD], kolm_error_t *err) KIT_MUST_USE;
/* timeout_ms: when it passes header is NULL and OK is returned. An answer that says no is its error. */
kit_status ssh_job_receive(kit_ssh_job_remote *remote, int64_t timeout_ms, ssh_job_frame *out_frame,
                           kolm_error_t *err) KIT_MUST_USE;
/* What receiving gave, unless it is the answer to another request than that of this number. */
kit_status ssh_job_check(kit_ssh_job_remote *remote, kit_status received, uint64_t number, ssh_job_frame *answer,
                         kolm_error_t *err) KIT_MUST_USE;
/* The answer to the request of that number, which must be the next to come. */
kit_status ssh_job_answer(kit_ssh_job_remote *remote, uint64_t number, ssh_job_frame *out_answer,
                          kolm_error_t *err) KIT_MUST_USE;
/* Sends and waits for the answer. */
kit_status ssh_job_ask(kit_ssh_job_remote *remote, cJSON *request, ssh_job_frame *out_answer,
                       kolm_error_t *err) KIT_MUST_USE;
/* Connects, says hello. With patience: tries again until that is used up. */
kit_status ssh_job_connect(kit_ssh_job_remote *remote, bool patient, kolm_error_t *err) KIT_MUST_USE;
/* kit_ssh_job_facts in two halves, between which other work is done. asked: what the first gave; status: what the work
 * gave, and when it is no success the answer is only taken off the link. */
kit_status ssh_job_ask_facts(kit_ssh_job_remote *remote, bool cards, kolm_error_t *err) KIT_MUST_USE;
kit_status ssh_job_take_facts(kit_ssh_job_remote *remote, bool cards, kit_status asked, kit_status status,
                              cJSON **out_facts, kolm_error_t *err) KIT_MUST_USE;

/* ---- files.c */
typedef struct ssh_job_file {
    char *name; /* there */
    char *path; /* here */
    uint64_t offset, size;
    char sha256[KIT_SHA256_HEX];
    bool executable;
} ssh_job_file;
typedef struct ssh_job_files {
    ssh_job_file *items;
    size_t count;
} ssh_job_files;
void ssh_job_files_free(ssh_job_files *files);
/* size UINT64_MAX: to the end of the file. Digests it. */
kit_status ssh_job_files_add(ssh_job_files *files, const char *name, const char *path, uint64_t offset, uint64_t size,
                             bool executable, kolm_error_t *err) KIT_MUST_USE;
/* Regular files below a directory, sorted; prefix "" or "model/". skip_caches: without __pycache__ and dot files. */
kit_status ssh_job_files_add_tree(ssh_job_files *files, const char *prefix, const char *directory, int depth,
                                  kolm_error_t *err) KIT_MUST_USE;
/* A digest over names and contents; programs may be told apart by salt. */
kit_status ssh_job_files_digest(const ssh_job_files *files, const char *salt, char out_id[JOB_ID_DIGITS + 1],
                                kolm_error_t *err) KIT_MUST_USE;
void ssh_job_files_drop_last(ssh_job_files *files);
cJSON *ssh_job_files_json(const ssh_job_files *files);
uint64_t ssh_job_files_size(const ssh_job_files *files);
/* Sends all of it, whether it is there or not; only sync answers. */
kit_status ssh_job_send_all(kit_ssh_job_remote *remote, const ssh_job_files *files, kolm_error_t *err) KIT_MUST_USE;
/* Sends what the far end lacks. */
kit_status ssh_job_upload(kit_ssh_job_remote *remote, const ssh_job_files *files, kolm_error_t *err) KIT_MUST_USE;
/* The request for a tree of what is there. */
cJSON *ssh_job_tree_request(const ssh_job_files *files, const char *id);
/* Fetches what the job made under names (NULL ended) into directory, resuming what is half there. */
kit_status ssh_job_fetch(kit_ssh_job_remote *remote, const char *job, const char *const *names, const char *directory,
                         kolm_error_t *err) KIT_MUST_USE;

/* ---- pack.c: zlib streams (RFC 1950), a piece each. One thread at a time. */
kit_status ssh_job_packer_new(ssh_job_packer **out_packer, kolm_error_t *err) KIT_MUST_USE;
void ssh_job_packer_free(ssh_job_packer *packer);
/* What comes is another file: what the last one gave says nothing about it. */
void ssh_job_pack_begin(ssh_job_packer *packer);
/* At most SSH_JOB_CHUNK bytes, compressed, until the next call of pack or unpack; NULL: send them as they are. */
const void *ssh_job_pack(ssh_job_packer *packer, const void *bytes, size_t length, size_t *out_length);
/* So many bytes took so long to be sent. */
void ssh_job_pack_sent(ssh_job_packer *packer, size_t length, int64_t ns);
/* Exactly size bytes, until the next call; false when the stream gives others. */
bool ssh_job_unpack(ssh_job_packer *packer, const void *packed, size_t length, uint64_t size,
                    const char **out_bytes) KIT_MUST_USE;
int64_t ssh_job_now_ns(void);

/* ---- program.c: what does the work there. */
typedef struct ssh_job_program {
    cJSON *command;               /* words, as start takes them */
    cJSON *environment;           /* an object, or NULL */
    ssh_job_files files;          /* of its tree */
    char tree[JOB_ID_DIGITS + 1]; /* "": it is there already */
    char identity[512];           /* tells programs apart that may give other bytes */
    char name[128];               /* for people */
    uint64_t room;                /* bytes of disk that it will fill there, beside its files */
} ssh_job_program;
void ssh_job_program_free(ssh_job_program *program);
/* facts may change: see kit_ssh_job_python. */
kit_status ssh_job_program_choose(kit_ssh_job_remote *remote, const kit_job *job, cJSON *facts,
                                  ssh_job_program *out_program, kolm_error_t *err) KIT_MUST_USE;
/* What the trainer computes on there: "cuda", "rocm", "mps" or "cpu"; facts.device decides, else the first GPU. */
const char *ssh_job_device(const cJSON *facts);

/* ---- runtime.c: an environment that kolm made there, or makes now when settings.setup. Puts it into facts.python,
 * and "cpu" into facts.device when none fits the GPU. missing: what to say when there is none. */
kit_status ssh_job_runtime(kit_ssh_job_remote *remote, cJSON *facts, const char *missing,
                           kolm_error_t *err) KIT_MUST_USE;

/* ---- job.c */
/* Runs a program there that leaves no results in its job, to its end, over any number of connections. */
kit_status ssh_job_errand(kit_ssh_job_remote *remote, const char *about, const ssh_job_program *program,
                          kolm_error_t *err) KIT_MUST_USE;

/* ---- follow.c */
/* The next answer. Where the user wants to stop, or time is over, the job is stopped first, and that is the error.
 * UNAVAILABLE when nothing comes for so long. */
kit_status ssh_job_await(kit_ssh_job_remote *remote, const char *job, int64_t limit_ms, ssh_job_frame *out_answer,
                         kolm_error_t *err) KIT_MUST_USE;
typedef struct ssh_job_outcome {
    kit_events events; /* of the program */
    uint64_t since;    /* events read so far, in bytes */
    bool failed;       /* it is of no use: it ended, and nobody stopped it, without a result that can be had */
} ssh_job_outcome;
void ssh_job_outcome_begin(const kit_ssh_job_remote *remote, ssh_job_outcome *outcome);
void ssh_job_outcome_end(ssh_job_outcome *outcome);
cJSON *ssh_job_follow_request(const char *job, uint64_t since);
/* Follows a job that was started to its end. asked: ssh_job_follow_request was sent, and nothing after it. */
kit_status ssh_job_follow(kit_ssh_job_remote *remote, const char *job, bool asked, ssh_job_outcome *outcome,
                          kolm_error_t *err) KIT_MUST_USE;

#endif
