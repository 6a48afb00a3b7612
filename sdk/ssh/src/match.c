/* SPDX-License-Identifier: Apache-2.0 */
/* Match of ssh_config(5): whether a block applies to this host. No command of a configuration is ever run. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BLANKS " \t\r\n"

/* A quote may open anywhere in the word, which ends where it is closed; the quotes are removed. */
static char *cut_quoted(char **p, char *word, char *quote) {
    memmove(quote, quote + 1, strlen(quote));
    char *end = strchr(quote, '"');
    if (end == NULL) {
        *p = NULL;
        return NULL;
    }
    *end = '\0';
    *p = end + 1 + strspn(end + 1, BLANKS);
    return word;
}

char *ssh_next_word(char **p) {
    if (*p == NULL || **p == '\0') return NULL;
    char *word = *p, *end = strpbrk(word, BLANKS "\"=");
    if (end == NULL) {
        *p = NULL;
        return word;
    }
    if (*end == '"') return cut_quoted(p, word, end);
    bool equals = *end == '=';
    *end++ = '\0';
    end += strspn(end, BLANKS);
    if (*end == '=' && !equals) end += 1 + strspn(end + 1, BLANKS); /* at most one */
    *p = end;
    return word;
}

typedef struct criteria {
    ssh_reader *reader;
    const ssh_place *at;
    char *rest;
    char *host; /* after HostName */
    unsigned count;
    bool holds; /* all criteria so far match */
} criteria;

static kit_status bad(const criteria *c, const char *what, const char *word, kolm_error_t *err) {
    return ssh_bad_line(err, c->at, "has a Match with %s \"%.100s\"", what, word);
}

/* "all" must be the only criterion, or follow canonical or final. */
static kit_status judge_all(criteria *c, bool negated, kolm_error_t *err) {
    const char *more = ssh_next_word(&c->rest);
    if (c->count > 1 || (more != NULL && *more != '\0' && *more != '#'))
        return bad(c, "other criteria in addition to", "all", err);
    c->holds = c->holds && !negated;
    c->rest = NULL;
    return KOLM_OK;
}

/* Criteria of later versions of ssh, and those that run a command, cannot be evaluated here: their block is skipped. */
static kit_status leave_out(criteria *c, const char *name, kolm_error_t *err) {
    static const char *const unjudged[] = {"exec", "localnetwork", "tagged", "version", "sessiontype", "command"};
    char what[128];
    for (size_t i = 0; i < sizeof unjudged / sizeof *unjudged; i++) {
        if (strcasecmp(name, unjudged[i]) != 0) continue;
        bool before = c->holds;
        c->holds = false;
        if (!before) return KOLM_OK;
        kit_format(what, sizeof what,
                   i == 0 ? "Match exec is skipped: kolm runs no commands of a configuration" : "Match %s is skipped",
                   unjudged[i]);
        return ssh_note(c->reader, c->at, what, err);
    }
    return bad(c, "the unknown criterion", name, err);
}

static kit_status judge(criteria *c, const char *name, bool negated, kolm_error_t *err) {
    const ssh_reader *r = c->reader;
    const char *value = ssh_next_word(&c->rest);
    if (value == NULL || *value == '\0' || *value == '#') return bad(c, "nothing behind", name, err);
    char login[KIT_SSH_USER_BYTES] = "";
    bool matches = false, far = strcasecmp(name, "user") == 0, near = strcasecmp(name, "localuser") == 0;
    if (near || (far && r->config->user == NULL)) ssh_login_name(login);
    if (strcasecmp(name, "host") == 0)
        matches = kit_ssh_match_list(c->host, value);
    else if (strcasecmp(name, "originalhost") == 0)
        matches = kit_ssh_match_list(r->given, value);
    else if (far || near)
        matches = ssh_match_patterns(far && r->config->user != NULL ? r->config->user : login, value, false);
    else
        return leave_out(c, name, err);
    c->holds = c->holds && matches != negated;
    return KOLM_OK;
}

static kit_status judge_each(criteria *c, kolm_error_t *err) {
    for (char *word; (word = ssh_next_word(&c->rest)) != NULL && *word != '\0' && *word != '#';) {
        bool negated = *word == '!';
        const char *name = word + negated;
        if (strcasecmp(name, "all") == 0) {
            KIT_TRY(judge_all(c, negated, err));
            return KOLM_OK;
        }
        c->count++;
        if (strcasecmp(name, "final") == 0 || strcasecmp(name, "canonical") == 0) {
            if (strcasecmp(name, "final") == 0) c->reader->want_final = true;
            c->holds = c->holds && c->reader->final != negated;
        } else {
            KIT_TRY(judge(c, name, negated, err));
        }
    }
    return c->count > 0 ? KOLM_OK : bad(c, "nothing behind", "Match", err);
}

kit_status ssh_match(ssh_reader *r, const char *rest, const ssh_place *at, bool *out_matches, kolm_error_t *err) {
    const ssh_names names = {.given = r->given, .host = r->given, .user = ""};
    criteria c = {.reader = r, .at = at, .holds = true};
    char *words = NULL;
    *out_matches = false;
    KIT_TRY(kit_strdup(rest, &words, err));
    c.rest = words;
    kit_status status = r->host_name != NULL && !r->final
                            ? ssh_expand(&names, r->host_name, "h", 0, &c.host, err)
                            : kit_strdup(r->host_name != NULL ? r->host_name : r->given, &c.host, err);
    if (status == KOLM_OK) status = judge_each(&c, err);
    if (status == KOLM_OK) *out_matches = c.holds && !r->never;
    free(words);
    free(c.host);
    return status;
}
