/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the parser of JSON rows: rows_json.c has the forms of a row, rows_chat.c its messages. */
#ifndef KOLM_JOB_ROWS_JSON_H
#define KOLM_JOB_ROWS_JSON_H

#include "job/internal.h"
#include "kolm/kit/json_walk.h"

#define JSON_OTHERS_MAX 64 /* keys of a row that are examined for the list of unused ones */

/* The known top-level keys of a row. */
typedef enum json_key {
    KEY_INPUT,
    KEY_PROMPT,
    KEY_TEXT,
    KEY_QUESTION,
    KEY_QUERY,
    KEY_OUTPUT,
    KEY_COMPLETION,
    KEY_LABEL,
    KEY_ANSWER,
    KEY_CATEGORY,
    KEY_TARGET,
    KEY_MESSAGES,
    KEY_CONVERSATIONS,
    KEY_INSTRUCTION,
    KEY_CONTEXT,
    KEY_RESPONSE,
    KEY_SYSTEM,
    KEY_HISTORY,
    KEY_TOOLS,
    KEY_FUNCTIONS,
    KEY_ID,
    KEY_INPUT_COL, /* named by --input-col and --output-col */
    KEY_OUTPUT_COL,
    KEY_COUNT,
} json_key;

typedef struct json_slot {
    kit_json_part value;
    const char *again; /* the second occurrence of the key; NULL: none */
    bool there;        /* and not null */
    bool used;
} json_slot;

#define JSON_JOIN_MAX 16

/* One of several keys that are joined. */
typedef struct json_joined {
    const char *name;
    json_slot slot;
} json_joined;

typedef struct rows_json {
    const char *line; /* the row's text, for column numbers */
    json_slot slots[KEY_COUNT];
    kit_json_part others[JSON_OTHERS_MAX];
    size_t other_count;
    kit_json_walk walk, list, inner, deep; /* one for each level of nesting */
    bool any_case;                         /* keys are compared like the columns of a table */
    bool guessed;                          /* the keys of input and output were guessed, and are kept */
    json_key guess_input, guess_output;
    /* The parts of the row that are being read; see job_row. */
    kit_buf id, system, system_text, instruction, tools, turns;
    bool has_id; /* "" is an id too */
    /* A conversation: the last message, which may be the answer, and those before it. */
    bool pending, pending_extras, pending_weightless, pending_weighted;
    kit_buf role, text, calls, message;
    size_t turn_count, user_count;
    bool single; /* the first turn is a plain question of the user */
    kit_buf question, lines;
    kit_buf scratch;
    /* --input-col with several names; join_count 0: one or none. */
    char join_names[1024];
    json_joined join[JSON_JOIN_MAX];
    size_t join_count;
} rows_json;

/* ---- rows_json_join.c */
kit_status json_join_open(job_reader *reader, kolm_error_t *err) KIT_MUST_USE;
void json_join_forget(rows_json *r); /* before each row */
/* True if the key is one of those that are joined. */
bool json_join_note(rows_json *r, const kit_json_part *key, const kit_json_part *value);
/* Appends their texts, separated by LF, without blank ones. A row without one of the keys is bad. */
kit_status json_join_take(job_reader *reader, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;

/* Fails with "FILE, line N, column C: TEXT", the column of the byte `at` of the row; kind as in rows_bad. */
kit_status json_bad(job_reader *reader, const char *at, rows_remedy remedy, const char *kind, const char *text,
                    kolm_error_t *err);
/* The same for an error in a text of the row that begins at `from`. */
kit_status json_bad_inside(job_reader *reader, const char *from, const kit_json_fault *fault, kolm_error_t *err);
/* The same for an error in a part. */
kit_status json_bad_part(job_reader *reader, const kit_json_part *part, kolm_error_t *err);
kit_status json_wrong_type(job_reader *reader, const char *key, const char *expected, const kit_json_part *found,
                           kolm_error_t *err);
/* Fails with "expected the key WANTED, found" and those of object. */
kit_status json_missing_key(job_reader *reader, const kit_json_part *object, const char *wanted, kolm_error_t *err);
/* The error for a duplicate of a key that is used, at `again`. */
kit_status json_doubled(job_reader *reader, const char *again, kolm_error_t *err);
/* Appends the text of a string. */
kit_status json_text(job_reader *reader, const kit_json_part *part, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* Appends a key as printable text, as far as it is valid. */
void json_put_key(const kit_json_part *key, kit_buf *out);
/* Appends an integer as its JSON text: 7, even if written as 7.0, and 1389432487213912064 with all its digits. False if
 * it is not an integer. */
bool json_put_integer(const kit_json_part *part, kit_buf *out);
/* Appends a value that may be an output to reader->output. key: for errors. */
kit_status json_output(job_reader *reader, const char *key, const kit_json_part *part, kolm_error_t *err) KIT_MUST_USE;
/* Appends an array, or a text that contains one, without spaces; nothing if it is empty. */
kit_status json_array(job_reader *reader, const char *key, const kit_json_part *part, kit_buf *out,
                      kolm_error_t *err) KIT_MUST_USE;
/* Counts a key that is not used: "WHERE.KEY", or "KEY" if where is "". */
void json_unused(job_reader *reader, const char *where, const kit_json_part *key);

/* Begins a conversation. Messages are then added in order; the last one is taken as the answer. */
void chat_begin(rows_json *r);
/* Adds an array of messages: {"role","content"} or {"from","value"}. key: for errors. */
kit_status chat_add_list(job_reader *reader, const char *key, const kit_json_part *list,
                         kolm_error_t *err) KIT_MUST_USE;
/* Adds a message of plain text. role: static. */
void chat_add_text(rows_json *r, const char *role, const kit_buf *text);
/* Ends a conversation without an answer: sets reader->input, turns and system. */
void chat_close(job_reader *reader);
/* Ends a conversation whose last message is the answer: sets reader->output, too. */
kit_status chat_end(job_reader *reader, kolm_error_t *err) KIT_MUST_USE;

#endif
