/* SPDX-License-Identifier: Apache-2.0 */
/* kolm export of a model on a sentence encoder: the encoder's files, the model's own, and a program that uses both. */
#include "model/export_encoder.h"

#include "export_predict.h"
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE (1u << 20)
#define PARTS "kolm" /* the directory for files that are not the encoder's */
#define MODEL "model/"
#define CARRIED "model/base/"

static const char *const parts[] = {"head.bin", "linear.bin", "encoder.json"};

bool export_is_encoder(const model_handle *model) {
    char name[64];
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        kit_format(name, sizeof name, MODEL "%s", parts[i]);
        if (artifact_find(model->artifact, name) == NULL) return false;
    }
    return true;
}

static bool stop(void *user, uint64_t done, uint64_t total) {
    (void)done, (void)total;
    return session_stopped(user);
}

/* ---- Files */

static kit_status copy_bytes(kolm_session *session, int from, int to, const char *shown, kolm_error_t *err) {
    char *piece = malloc(PIECE);
    kit_status status = piece != NULL ? KOLM_OK : kit_no_memory(err);
    for (ssize_t n = 1; status == KOLM_OK && n > 0;) {
        n = read(from, piece, PIECE);
        if (session_stopped(session))
            status = kit_fail(err, KOLM_E_CANCELLED, "", "interrupted while files were copied");
        else if (n < 0 && errno == EINTR)
            n = 1;
        else if (n < 0)
            status = kit_fail_errno(err, errno, "cannot read %s", shown);
        else if (n > 0)
            status = kit_write_all(to, piece, (size_t)n, err);
    }
    free(piece);
    return status;
}

/* Copies directory/name to target/as, creating directories. */
static kit_status copy_file(kolm_session *session, const char *directory, const char *name, const char *target,
                            const char *as, kolm_error_t *err) {
    char *from = NULL, *to = NULL;
    kit_status status = kit_path_join(directory, name, &from, err);
    if (status == KOLM_OK) status = kit_path_join(target, as, &to, err);
    if (status == KOLM_OK && strchr(as, '/') != NULL) {
        char *slash = strrchr(to, '/');
        *slash = '\0';
        status = kit_mkdirs(to, 0755, err);
        *slash = '/';
    }
    int source = status == KOLM_OK ? open(from, O_RDONLY | O_CLOEXEC) : -1;
    if (status == KOLM_OK && source < 0) status = kit_fail_errno(err, errno, "cannot open %s", from);
    int made = status == KOLM_OK ? open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644) : -1;
    if (status == KOLM_OK && made < 0) status = kit_fail_errno(err, errno, "cannot create %s", to);
    if (status == KOLM_OK) status = copy_bytes(session, source, made, from, err);
    if (source >= 0) close(source);
    if (made >= 0 && close(made) != 0 && status == KOLM_OK) status = kit_fail_errno(err, errno, "cannot write %s", to);
    free(from);
    free(to);
    return status;
}

static kit_status write_text(const char *directory, const char *name, const char *text, unsigned mode,
                             kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(directory, name, &path, err));
    kit_status status = kit_write_file(path, mode, text, strlen(text), err);
    free(path);
    return status;
}

/* ---- The encoder: from its directory, or from the artifact */

/* Copies the files of the base: those listed in the model's manifest, else all (core/job/base.h). */
static kit_status copy_base(kolm_session *session, const job_base *base, const char *directory, kolm_error_t *err) {
    cJSON *files = job_base_files(base);
    kit_status status = files != NULL ? KOLM_OK : kit_no_memory(err);
    for (const cJSON *one = files != NULL ? files->child : NULL; one != NULL && status == KOLM_OK; one = one->next) {
        const char *name = NULL;
        if (!kit_json_get_string(one, "name", &name) || !kit_path_is_safe(name)) continue;
        status = copy_file(session, base->path, name, directory, name, err);
    }
    cJSON_Delete(files);
    return status;
}

static kit_status copy_carried(kolm_session *session, const model_handle *model, const char *scratch,
                               const char *directory, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < artifact_entry_count(model->artifact) && status == KOLM_OK; i++) {
        const char *name = artifact_entry_at(model->artifact, i)->name;
        if (strncmp(name, CARRIED, strlen(CARRIED)) == 0)
            status = copy_file(session, scratch, name, directory, name + strlen(CARRIED), err);
    }
    return status;
}

/* ---- What tells of it */

static kit_status write_labels(const model_handle *model, const char *directory, kolm_error_t *err) {
    kit_buf text = {0};
    kit_status status =
        kit_json_pretty(kit_json_get(kit_json_get(artifact_manifest(model->artifact), "report"), "labels"), &text, err);
    if (status == KOLM_OK) kit_buf_char(&text, '\n');
    if (status == KOLM_OK) status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = write_text(directory, PARTS "/labels.json", kit_buf_text(&text), 0644, err);
    kit_buf_free(&text);
    return status;
}

static kit_status write_readme(const model_handle *model, const char *directory, kolm_error_t *err) {
    const cJSON *m = artifact_manifest(model->artifact);
    const char *name = "", *version = "", *base = "", *digest = "";
    kit_buf text = {0};
    (void)kit_json_get_string(m, "name", &name);
    (void)kit_json_get_string(m, "version", &version);
    (void)kit_json_get_string(kit_json_get(m, "base"), "name", &base);
    (void)kit_json_get_string(kit_json_get(m, "base"), "digest", &digest);
    kit_buf_fmt(&text, "# %s %s\n\n", name, version);
    kit_buf_fmt(
        &text,
        "Made by `kolm export` from an artifact whose manifest has the SHA-256\n%s.\nThis directory is not signed: "
        "`kolm verify` checks the artifact.\n\n",
        artifact_manifest_sha256(model->artifact));
    kit_buf_str(&text, "It is the sentence encoder `");
    kit_buf_escaped(&text, base, strlen(base));
    kit_buf_fmt(&text,
                "` (digest %s), whose\nfiles are as they were, so that what loaded it loads this directory, such "
                "as\n`SentenceTransformer(DIRECTORY)`, and in `kolm/` what was learned on it:\n\n"
                "- `head.bin`: a multinomial logistic regression on the embedding, in 8 bits, and the labels' means\n"
                "- `linear.bin`: a linear model over words and letters, in 8 bits\n"
                "- `encoder.json`: what is read of a text that is too long; `labels.json`: the labels, in order\n\n"
                "    pip install transformers torch     # of static embeddings: tokenizers\n"
                "    python3 predict.py \"a text\"\n\n",
                digest);
    kit_buf_str(
        &text,
        "answers as `kolm run` does: both parts together, calibrated, and withheld where the artifact withholds.\n"
        "Labels are the same where two are not as good as equal; confidences may differ in the fourth place, since\n"
        "torch adds in another order. Characters are lower-cased and told apart by the Unicode tables of the Python\n"
        "that runs it; kolm's are those of Unicode 14.\n");
    kit_status status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = write_text(directory, "README.md", kit_buf_text(&text), 0644, err);
    kit_buf_free(&text);
    return status;
}

kit_status export_encoder(kolm_session *session, model_handle *model, const job_base *base, const char *scratch,
                          const char *directory, kolm_error_t *err) {
    char name[64], as[64];
    KIT_TRY(artifact_extract(model->artifact, scratch, stop, session, err));
    KIT_TRY(base->path != NULL ? copy_base(session, base, directory, err)
                               : copy_carried(session, model, scratch, directory, err));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        kit_format(name, sizeof name, MODEL "%s", parts[i]);
        kit_format(as, sizeof as, PARTS "/%s", parts[i]);
        KIT_TRY(copy_file(session, scratch, name, directory, as, err));
    }
    KIT_TRY(write_labels(model, directory, err));
    KIT_TRY(write_readme(model, directory, err));
    return write_text(directory, export_predict_files[0].name, export_predict_files[0].text, 0755, err);
}
