/* SPDX-License-Identifier: Apache-2.0 */
/* Maps the parts of a model, checks that they match, and answers texts with them. */
#include "encoder/answer.h"
#include "encoder/head.h"
#include "encoder/sentences.h"
#include "kolm/kit/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXTS_AT_ONCE 256u
#define TOKENS_AT_ONCE 8192u   /* about a second of work, which bounds the delay of a stop */
#define MARGINS_MAX (1u << 20) /* floats of the pending texts */
#define FILES_MAX 64u
#define DESCRIPTION_MAX 4096u

/* A file of the payload, mapped. */
typedef struct slice {
    void *mapping;
    size_t mapped;
    enc_file file;
} slice;

struct encoder_model {
    slice slice[FILES_MAX];
    size_t slices;
    model *linear;
    head_model head;
    sentences *sentences;
    uint32_t threads, most, count;
    float *margins;    /* [most][labels], of the pending texts */
    float *embeddings; /* [most][dimensions] */
    float *scores;
};

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the memory limit",
                    "out of memory while using the model");
}

/* ---- Opening */

static kit_status map_fd(int fd, const kit_job_model_file *file, slice *out, kolm_error_t *err) {
    struct stat info;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), begin = file->offset / page * page;
    if (fstat(fd, &info) != 0) return kit_fail_errno(err, errno, "cannot access the model file %s", file->path);
    if (!S_ISREG(info.st_mode) || file->offset > (uint64_t)info.st_size ||
        file->size > (uint64_t)info.st_size - file->offset || file->size == 0)
        return kit_fail(err, KOLM_E_DATA_LOSS, "download the artifact again, or compile it again",
                        "%s does not contain the %llu bytes of %s at %llu", file->path, (unsigned long long)file->size,
                        file->name, (unsigned long long)file->offset);
    out->mapped = file->size + (file->offset - begin);
    void *at = mmap(NULL, out->mapped, PROT_READ, MAP_PRIVATE, fd, (off_t)begin);
    if (at == MAP_FAILED) return kit_fail_errno(err, errno, "cannot map the model file %s", file->path);
    out->mapping = at;
    out->file = (enc_file){file->name, (const uint8_t *)at + (file->offset - begin), file->size};
    return KOLM_OK;
}

static kit_status map_all(encoder_model *m, const kit_job *job, kolm_error_t *err) {
    if (job->model_file_count > FILES_MAX)
        return kit_fail(err, KOLM_E_DATA_LOSS, "download the artifact again", "the model has more than %u files",
                        FILES_MAX);
    for (size_t i = 0; i < job->model_file_count; i++) {
        const kit_job_model_file *file = &job->model_files[i];
        int fd = open(file->path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) return kit_fail_errno(err, errno, "cannot open the model file %s", file->path);
        kit_status status = map_fd(fd, file, &m->slice[m->slices++], err);
        close(fd);
        KIT_TRY(status);
    }
    return KOLM_OK;
}

static kit_status find(const encoder_model *m, const char *name, enc_file *out, kolm_error_t *err) {
    *out = (enc_file){0};
    for (size_t i = 0; i < m->slices; i++) {
        if (strcmp(m->slice[i].file.name, name) != 0) continue;
        *out = m->slice[i].file;
        return KOLM_OK;
    }
    return kit_fail(err, KOLM_E_DATA_LOSS, "download the artifact again, or compile it again", "the model has no %s",
                    name);
}

static kit_status read_description(const encoder_model *m, bool *out_end, kolm_error_t *err) {
    enc_file file;
    cJSON *json = NULL;
    uint64_t format = 0;
    const char *read = NULL;
    KIT_TRY(find(m, ENCODER_FILE, &file, err));
    kit_status status = file.size <= DESCRIPTION_MAX ? kit_json_parse((const char *)file.bytes, file.size, &json, err)
                                                     : KOLM_E_OUT_OF_RANGE;
    bool good = status == KOLM_OK && kit_json_get_u64(json, "format", &format) &&
                kit_json_get_string(json, "read", &read) && (strcmp(read, "front") == 0 || strcmp(read, "end") == 0);
    *out_end = good && strcmp(read, "end") == 0;
    cJSON_Delete(json);
    if (good && format != 1)
        return kit_fail(err, KOLM_E_UNIMPLEMENTED, "use a newer kolm", "the model's " ENCODER_FILE " has format %llu",
                        (unsigned long long)format);
    if (good) return KOLM_OK;
    return kit_fail(err, KOLM_E_DATA_LOSS, "download the artifact again, or compile it again",
                    "the model's " ENCODER_FILE " is not usable");
}

static kit_status open_sentences(encoder_model *m, const kit_job *job, kolm_error_t *err) {
    enc_file list[FILES_MAX];
    const char *path = NULL;
    const cJSON *base = kit_json_get(job->options, "base");
    enc_files *payload = NULL, *files = NULL;
    bool end = false;
    KIT_TRY(read_description(m, &end, err));
    size_t embedded = 0;
    for (size_t i = 0; i < m->slices; i++) {
        list[embedded] = m->slice[i].file;
        if (strncmp(list[embedded].name, ENCODER_BASE, strlen(ENCODER_BASE)) == 0)
            list[embedded++].name += strlen(ENCODER_BASE);
    }
    if (embedded > 0) {
        KIT_TRY(enc_files_of(list, embedded, "the model", &files, err));
        return sentences_open(files, NULL, end, &m->sentences, err);
    }
    if (!kit_json_get_string(base, "path", &path))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "pass its directory with --base DIR",
                        "the job has no base, and this model needs its encoder");
    for (size_t i = 0; i < m->slices; i++)
        list[i] = m->slice[i].file;
    KIT_TRY(enc_files_of(list, m->slices, "the model", &payload, err));
    kit_status status = enc_files_open(path, &files, err);
    if (status == KOLM_OK && kit_json_get(base, "files") != NULL) {
        status = enc_files_only(files, kit_json_get(base, "files"), err);
        if (status != KOLM_OK) enc_files_close(files);
    }
    if (status == KOLM_OK) status = sentences_open(files, payload, end, &m->sentences, err);
    enc_files_close(payload);
    return status;
}

static kit_status open_parts(encoder_model *m, const kit_job *job, kolm_error_t *err) {
    enc_file file;
    KIT_TRY(map_all(m, job, err));
    KIT_TRY(find(m, MODEL_FILE, &file, err));
    KIT_TRY(model_from_bytes(file.bytes, file.size, &m->linear, err));
    KIT_TRY(find(m, HEAD_FILE, &file, err));
    KIT_TRY(head_read(file.bytes, file.size, &m->head, err));
    KIT_TRY(open_sentences(m, job, err));
    const uint32_t dimensions = enc_dimensions(sentences_encoder(m->sentences)), labels = model_label_count(m->linear);
    if (m->head.labels != labels || m->head.dimensions != dimensions)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                        "use the base that the model was compiled with, and all its files",
                        "the head is for %u labels and embeddings of %u numbers, and there are %u and %u",
                        (unsigned)m->head.labels, (unsigned)m->head.dimensions, (unsigned)labels, (unsigned)dimensions);
    m->most = MARGINS_MAX / labels < TEXTS_AT_ONCE ? MARGINS_MAX / labels : TEXTS_AT_ONCE;
    m->margins = malloc((size_t)m->most * labels * sizeof *m->margins);
    m->embeddings = malloc((size_t)m->most * dimensions * sizeof *m->embeddings);
    m->scores = malloc(labels * sizeof *m->scores);
    return m->margins != NULL && m->embeddings != NULL && m->scores != NULL ? KOLM_OK : out_of_memory(err);
}

kit_status encoder_model_open(const kit_job *job, uint32_t threads, encoder_model **out, kolm_error_t *err) {
    *out = NULL;
    encoder_model *m = calloc(1, sizeof *m);
    if (m == NULL) return out_of_memory(err);
    m->threads = threads;
    kit_status status = open_parts(m, job, err);
    if (status == KOLM_OK)
        *out = m;
    else
        encoder_model_close(m);
    return status;
}

void encoder_model_close(encoder_model *m) {
    if (m == NULL) return;
    sentences_close(m->sentences);
    head_model_free(&m->head);
    model_close(m->linear);
    for (size_t i = 0; i < m->slices; i++)
        if (m->slice[i].mapping != NULL) munmap(m->slice[i].mapping, m->slice[i].mapped);
    free(m->margins);
    free(m->embeddings);
    free(m->scores);
    free(m);
}

/* ---- Answering */

static kit_status add(void *self, const char *text, size_t length, kolm_error_t *err) {
    encoder_model *m = self;
    const float *scores;
    KIT_TRY(model_score_text(m->linear, text, length, &scores, err));
    KIT_TRY(sentences_add(m->sentences, text, length, err));
    memcpy(m->margins + (size_t)m->count * m->head.labels, scores, m->head.labels * sizeof *scores);
    m->count++;
    return KOLM_OK;
}

static bool full(const void *self) {
    return sentences_waiting_tokens(((const encoder_model *)self)->sentences) >= TOKENS_AT_ONCE;
}

static kit_status answer(void *self, model_answer *out, kolm_error_t *err) {
    encoder_model *m = self;
    const uint32_t count = m->count;
    m->count = 0;
    KIT_TRY(sentences_embed(m->sentences, m->threads, m->embeddings, err));
    for (uint32_t i = 0; i < count; i++) {
        head_answer one;
        head_answer_embedding(&m->head, m->embeddings + (size_t)i * m->head.dimensions,
                              m->margins + (size_t)i * m->head.labels, m->scores, &one);
        out[i] = (model_answer){one.label, one.confidence_micro, one.abstains};
    }
    return KOLM_OK;
}

infer_engine encoder_model_engine(encoder_model *m) {
    return (infer_engine){.self = m, .labels = m->linear, .most = m->most, .add = add, .full = full, .answer = answer};
}

sentences *encoder_model_sentences(encoder_model *m) {
    return m->sentences;
}

uint64_t encoder_model_cut(const encoder_model *m, uint32_t *out_most) {
    *out_most = enc_described(sentences_encoder(m->sentences))->max_tokens;
    return sentences_cut(m->sentences);
}
