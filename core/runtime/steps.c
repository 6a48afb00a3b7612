/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute setup as a whole: its steps in order, and the confirmation before the long one. */
#include "runtime/setup.h"

#include <stdlib.h>

static kit_status confirm(setup *s, kolm_error_t *err) {
    bool yes = false;
    session_tell(s->session, &(session_event){.kind = SESSION_SETUP_PLAN, .setup = s});
    if (s->yes) return KOLM_OK;
    s->reason = SESSION_REASON_USAGE;
    if (!session_can_ask(s->session))
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "add --yes",
                        "there is no terminal to confirm on; nothing was done");
    session_tell(s->session, &(session_event){.kind = SESSION_CONFIRM, .text = "Go on?", .yes = &yes});
    s->reason = yes ? SESSION_REASON_NONE : SESSION_REASON_INTERRUPTED;
    return yes ? KOLM_OK : kit_fail(err, KOLM_E_CANCELLED, "", "nothing was done");
}

static kit_status make(setup *s, setup_done *out, kolm_error_t *err) {
    kit_buf python = {0};
    KIT_TRY(setup_find_lock(s, err));
    KIT_TRY(setup_find_wheels(s, err));
    KIT_TRY(setup_look_whole(s, &out->kept, err));
    if (!out->kept) {
        KIT_TRY(setup_find_python(s, err));
        KIT_TRY(setup_check_disk(s, err));
        KIT_TRY(confirm(s, err));
        KIT_TRY(setup_take_lock(s, err));
        KIT_TRY(
            setup_look_whole(s, &out->kept, err)); /* another kolm may have made it while this one asked or waited */
    }
    out->state = out->kept ? "kept" : s->about != NULL ? "replaced" : "made";
    if (!out->kept) KIT_TRY(setup_make(s, err));
    setup_warn_of_own(s);
    kit_buf_fmt(&python, "%s/bin/python", s->place);
    KIT_TRY(kit_buf_ok(&python, err));
    out->python = kit_buf_take(&python);
    return KOLM_OK;
}

kit_status setup_do(setup *s, setup_done *out, kolm_error_t *err) {
    *out = (setup_done){0};
    if (s->remove) {
        KIT_TRY(setup_remove(s, &out->removed, err));
        out->state = out->removed.there || out->removed.forgotten ? "removed" : "nothing to remove";
        return KOLM_OK;
    }
    if (!s->use) return make(s, out, err);
    KIT_TRY(setup_use(s, err));
    out->state = "used";
    return kit_strdup(s->use, &out->python, err);
}

void setup_done_free(setup_done *done) {
    free(done->python);
    done->python = NULL;
}
