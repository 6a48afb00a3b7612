/* SPDX-License-Identifier: Apache-2.0 */
/* The journals of leases: every possible damage of a line, owners that live and die, and the log of past leases. */
#include "host/protocol.h"
#include "kolm/kit/file.h"
#include "lease/internal.h"

#include "../suite.h"
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char directory[64];
static store_home *home;
static kolm_error_t err;
static const volatile sig_atomic_t never;

static void must(kit_status status) {
    ck_assert_msg(status == KOLM_OK, "%s", err.text);
}

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    kit_copy(directory, sizeof directory, "/tmp/kolm-lease-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    must(store_home_at(directory, &home, &err));
}

static void teardown(void) {
    store_home_free(home);
    must(kit_remove_tree(directory, &err));
}

static const char *in_home(const char *name) {
    static char path[PATH_MAX];
    kit_format(path, sizeof path, "%s/%s", directory, name);
    return path;
}

/* ---- Reading */

#define ID "vast-0123456789abcdef"
#define HEAD "{\"journal\":1,\"backend\":\"vast\",\"job\":\"j1\"}\n"
#define EVENT(event, at, price, billed, name, handle)                                                                  \
    "{\"at\":\"" at "\",\"event\":\"" event "\",\"price\":\"" price "\",\"billed\":\"" billed "\",\"name\":\"" name    \
    "\",\"handle\":\"" handle "\",\"kind\":\"instance\",\"place\":\"us\",\"note\":\"\"}\n"
#define NONE "18446744073709551615"
#define INTENT(name) EVENT("intent", "1000", "3600000", NONE, name, "")
#define HANDLE(name) EVENT("handle", "2000", NONE, NONE, name, "h-" name)
#define GONE(name, billed) EVENT("gone", "3000", NONE, billed, name, "")

static lease_list read_text(const char *text, size_t *out_whole) {
    lease_list list = {0};
    must(lease_read(text, strlen(text), ID, &list, out_whole, &err));
    return list;
}

START_TEST(test_events) {
    uint64_t billed;
    lease_list list = read_text(HEAD INTENT("a") INTENT("b") HANDLE("a") GONE("a", "1500"), NULL);
    ck_assert_uint_eq(list.count, 2);
    const lease_entry *a = &list.at[0], *b = &list.at[1];
    ck_assert_int_eq(a->state, LEASE_GONE);
    ck_assert_str_eq(a->handle, "h-a");
    ck_assert_str_eq(a->backend, "vast");
    ck_assert_str_eq(a->job, "j1");
    ck_assert_str_eq(a->journal, ID);
    ck_assert_str_eq(a->place, "us");
    ck_assert_uint_eq(a->begun_ms, 1000);
    ck_assert_uint_eq(a->gone_ms, 3000);
    ck_assert_uint_eq(a->price_micro_usd_per_hour, 3600000);
    ck_assert_uint_eq(a->billed_micro_usd, 1500);
    ck_assert_int_eq(b->state, LEASE_OPEN);
    ck_assert_str_eq(b->handle, "");
    ck_assert_uint_eq(lease_list_open(&list), 1);
    ck_assert(!lease_list_billed(&list, &billed));
    lease_list_free(&list);
    list = read_text(HEAD INTENT("a") GONE("a", "1500") INTENT("b") GONE("b", "0"), NULL);
    ck_assert(lease_list_billed(&list, &billed));
    ck_assert_uint_eq(billed, 1500);
    lease_list_free(&list);
    list = read_text(HEAD INTENT("a") GONE("a", NONE), NULL);
    ck_assert(!lease_list_billed(&list, &billed));
    ck_assert_uint_eq(lease_list_open(&list), 0);
    lease_list_free(&list);
}
END_TEST

/* text, and the expected "STATE NAME;" of each entry. */
static void reads_as(const char *text, const char *expected) {
    static const char states[] = "OGD";
    char got[400] = "";
    lease_list list = read_text(text, NULL);
    for (size_t i = 0; i < list.count; i++) {
        size_t used = strlen(got);
        kit_format(got + used, sizeof got - used, "%c %s%s;", states[list.at[i].state], list.at[i].name,
                   list.at[i].state == LEASE_DAMAGED ? "?" : "");
    }
    ck_assert_msg(strcmp(got, expected) == 0, "%s reads as %s, not %s", text, got, expected);
    lease_list_free(&list);
}

START_TEST(test_damage) {
    reads_as("", "");
    reads_as(HEAD, "");
    reads_as(HEAD "\n\n" INTENT("a") "\n", "O a;");
    reads_as(HEAD INTENT("a") "rubbish\n" HANDLE("a") GONE("a", "1") INTENT("b"), "G a;D ?;O b;");
    reads_as(HEAD "{}\n" INTENT("a"), "D ?;O a;");
    reads_as(HEAD "\xff\xfe\n" INTENT("a"), "D ?;O a;");
    reads_as(HEAD "{\"at\":\"1\n" INTENT("a"), "D ?;O a;");                   /* torn, with more after it */
    reads_as(HEAD INTENT("a") "{\"at\":\"1", "O a;");                         /* torn, at the end */
    reads_as(HEAD INTENT("a") "{\"at\":\"3000\",\"event\":\"gone\"", "O a;"); /* an end that was never acknowledged */
    reads_as("rubbish\n" INTENT("a"), "O a;");                                /* the head is not a lease */
    reads_as(INTENT("a"), "O a;");                                            /* there need not be a head */
    reads_as(HEAD HANDLE("a"), "O a;");                                       /* its intent was damaged */
    reads_as(HEAD GONE("a", "1"), "G a;");
    reads_as(HEAD INTENT("a") GONE("a", "1") HANDLE("a"), "G a;");
    reads_as(HEAD EVENT("sold", "1", "1", "1", "a", "") INTENT("b"), "D ?;O b;");
    reads_as(HEAD EVENT("intent", "1", "1", "1", "", ""), "D ?;");
    reads_as(HEAD EVENT("intent", "1", "1", "1", "\\u001b[2J", ""), "D ?;");
    reads_as(HEAD EVENT("intent", "1", "-1", "1", "a", ""), "D ?;");
}
END_TEST

/* A clock that was set forward or back does not make a lease older. */
START_TEST(test_age) {
    static const char head[] = "{\"journal\":1,\"backend\":\"vast\",\"job\":\"\",\"boot\":\"0b-1\"}\n";
    char text[1000], intent[] = INTENT("a");
    intent[strlen(intent) - 2] = '\0'; /* the brace and the LF */
    kit_format(text, sizeof text, "%s%s,\"up\":\"500\"}\n", head, intent);
    lease_list list = read_text(text, NULL), old = read_text(HEAD INTENT("a"), NULL), made;
    lease_clocks now = {.boot = "0b-1", .up_ms = 90500, .wall_ms = 86400000};
    ck_assert_uint_eq(list.count, 1);
    ck_assert_uint_eq(lease_age_ms(list.at, &now), 90000);
    now.wall_ms = 1; /* back to 1970 */
    ck_assert_uint_eq(lease_age_ms(list.at, &now), 90000);
    now.wall_ms = 86400000;
    kit_copy(now.boot, sizeof now.boot, "0b-2"); /* after a reboot: at least that old */
    ck_assert_uint_eq(lease_age_ms(list.at, &now), 90500);
    now.wall_ms = 31000;
    ck_assert_uint_eq(lease_age_ms(list.at, &now), 30000);
    ck_assert_uint_eq(lease_age_ms(old.at, &now), 30000);
    now.boot[0] = list.at->boot[0] = '\0'; /* if the system does not report it */
    ck_assert_uint_eq(lease_age_ms(list.at, &now), 30000);
    /* The age counts from the handle: create() may have taken minutes. */
    char handle[] = HANDLE("a");
    handle[strlen(handle) - 2] = '\0';
    kit_format(text, sizeof text, "%s%s,\"up\":\"500\"}\n%s,\"up\":\"80500\"}\n", head, intent, handle);
    made = read_text(text, NULL);
    now = (lease_clocks){.boot = "0b-1", .up_ms = 90500, .wall_ms = 86400000};
    ck_assert_uint_eq(lease_age_ms(made.at, &now), 10000);
    ck_assert_uint_eq(made.at->begun_ms, old.at->begun_ms);
    lease_list_free(&made);
    lease_clocks_read(&now);
    ck_assert_uint_eq(strlen(now.boot), 36);
    ck_assert(now.up_ms > 0 && now.wall_ms > now.up_ms);
    lease_list_free(&old);
    lease_list_free(&list);
}
END_TEST

START_TEST(test_long_lines) {
    kit_buf text = {0};
    lease_list list = {0};
    kit_buf_str(&text, HEAD "{\"at\":\"");
    for (unsigned i = 0; i < LEASE_LINE_MAX; i++)
        kit_buf_char(&text, '1');
    kit_buf_str(&text, "\"}\n" INTENT("a"));
    must(lease_read(text.data, text.length, ID, &list, NULL, &err));
    ck_assert_uint_eq(list.count, 2);
    ck_assert_int_eq(list.at[0].state, LEASE_DAMAGED);
    ck_assert_uint_eq(list.at[0].line, 2);
    ck_assert_str_eq(list.at[1].name, "a");
    lease_list_free(&list);
    kit_buf_free(&text);
}
END_TEST

/* Cut anywhere, a journal of three events yields at least what its complete lines record. */
START_TEST(test_cut_anywhere) {
    static const char text[] = HEAD INTENT("a") HANDLE("a") GONE("a", "1");
    size_t intent = strlen(HEAD INTENT("a")), gone = sizeof text - 1;
    for (size_t n = 0; n <= gone; n++) {
        lease_list list = {0};
        size_t whole;
        must(lease_read(text, n, ID, &list, &whole, &err));
        ck_assert_uint_le(whole, n);
        ck_assert_uint_eq(list.count, n >= intent ? 1 : 0);
        ck_assert_uint_eq(lease_list_open(&list), n >= intent && n < gone ? 1 : 0);
        lease_list_free(&list);
    }
}
END_TEST

/* ---- Files */

static void write_lines(const lease_journal *journal, const char *text) {
    ck_assert_int_eq(write(lease_journal_fd(journal), text, strlen(text)), (ssize_t)strlen(text));
}

static size_t files_in(const char *name) {
    size_t n = 0;
    DIR *listing = opendir(in_home(name));
    for (const struct dirent *e; listing && (e = readdir(listing)) != NULL;)
        n += e->d_name[0] != '.' || strncmp(e->d_name, ".new", 4) == 0;
    if (listing) closedir(listing);
    return n;
}

START_TEST(test_a_call_that_ends_well) {
    lease_journal *journal = NULL;
    lease_list list;
    lease_totals totals;
    uint64_t billed = 0;
    ck_assert(!lease_any(home));
    must(lease_journal_begin(home, "vast", "j1", &journal, &err));
    ck_assert(lease_any(home));
    ck_assert_int_eq(strncmp(lease_journal_id(journal), "vast-", 5), 0);
    write_lines(journal, INTENT("a") HANDLE("a") GONE("a", "1500"));
    must(lease_list_read(home, &list, &err));
    ck_assert_uint_eq(list.count, 1);
    ck_assert(list.at[0].owned);
    lease_list_free(&list);
    must(lease_journal_end(journal, &list, &err));
    ck_assert(lease_list_billed(&list, &billed) && billed == 1500);
    lease_list_free(&list);
    ck_assert(!lease_any(home));
    must(lease_totals_read(home, 0, &never, &totals, &err));
    ck_assert_uint_eq(totals.count, 1);
    ck_assert_str_eq(totals.at[0].day, "1970-01-01");
    ck_assert_str_eq(totals.at[0].backend, "vast");
    ck_assert_uint_eq(totals.at[0].billed_micro_usd, 1500);
    ck_assert_uint_eq(totals.unreadable, 0);
    lease_totals_free(&totals);
    must(lease_totals_read(home, 3001, &never, &totals, &err));
    ck_assert_uint_eq(totals.count, 0);
    lease_totals_free(&totals);
}
END_TEST

START_TEST(test_settle) {
    lease_journal *journal = NULL;
    kit_status status = KOLM_OK;
    if (fork() == 0) { /* killed before it rented anything */
        status = lease_journal_begin(home, "vast", "", &journal, &err);
        _exit(status == KOLM_OK ? 0 : 1);
    }
    int ended;
    ck_assert_int_gt(wait(&ended), 0);
    ck_assert_int_eq(ended, 0);
    must(lease_journal_begin(home, "vast", "", &journal, &err));
    ck_assert_uint_eq(files_in("leases"), 2);
    must(lease_settle(home, &err));
    ck_assert_uint_eq(files_in("leases"), 1); /* the one that has an owner */
    must(lease_journal_end(journal, NULL, &err));
    must(lease_settle(home, &err));
    ck_assert(!lease_any(home));
}
END_TEST

START_TEST(test_nothing_was_rented) {
    lease_journal *journal = NULL;
    must(lease_journal_begin(home, "vast", "", &journal, &err));
    must(lease_journal_end(journal, NULL, &err));
    ck_assert(!lease_any(home));
    ck_assert_int_ne(access(in_home("leases.jsonl"), F_OK), 0);
    must(lease_journal_end(NULL, NULL, &err));
}
END_TEST

/* The journal is owned exactly while kolm or its child has the file open. */
START_TEST(test_owner) {
    lease_journal *journal = NULL, *other = NULL;
    lease_list list;
    int ready[2], end[2];
    char byte = 0, id[LEASE_ID_BYTES];
    ck_assert_int_eq(pipe(ready), 0);
    ck_assert_int_eq(pipe(end), 0);
    pid_t kolm = fork();
    if (kolm == 0) {
        close(end[1]);
        if (lease_journal_begin(home, "vast", "j1", &journal, &err) != KOLM_OK) _exit(1);
        write_lines(journal, INTENT("a"));
        pid_t child = fork();
        if (child == 0) { /* like kolm-host: outlives kolm */
            (void)!write(ready[1], "r", 1);
            close(ready[1]);
            (void)!read(end[0], &byte, 1);
            _exit(0);
        }
        raise(SIGKILL);
    }
    close(ready[1]);
    close(end[0]);
    ck_assert_int_eq(waitpid(kolm, NULL, 0), kolm);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    must(lease_list_read(home, &list, &err));
    ck_assert_uint_eq(list.count, 1);
    ck_assert(list.at[0].owned);
    kit_copy(id, sizeof id, list.at[0].journal);
    lease_list_free(&list);
    ck_assert_int_eq(lease_journal_adopt(home, id, &other, &err), KOLM_E_UNAVAILABLE);
    close(end[1]);
    for (;;) { /* until its descriptors are closed */
        must(lease_list_read(home, &list, &err));
        bool owned = list.at[0].owned;
        lease_list_free(&list);
        if (!owned) break;
    }
    must(lease_journal_adopt(home, id, &other, &err));
    must(lease_journal_gone(other, "a", 7, &err));
    must(lease_journal_end(other, &list, &err));
    ck_assert_uint_eq(list.count, 1);
    ck_assert_uint_eq(list.at[0].billed_micro_usd, 7);
    lease_list_free(&list);
    ck_assert(!lease_any(home));
    ck_assert_int_eq(lease_journal_adopt(home, id, &other, &err), KOLM_E_NOT_FOUND);
}
END_TEST

/* An open journal is kept, even if it cannot be read; a torn line does not corrupt the next one. */
START_TEST(test_what_is_open_stays) {
    lease_journal *journal = NULL;
    lease_list list;
    char id[LEASE_ID_BYTES];
    must(lease_journal_begin(home, "vast", "j1", &journal, &err));
    kit_copy(id, sizeof id, lease_journal_id(journal));
    write_lines(journal, INTENT("a") "rubbish\n" INTENT("b") GONE("b", "5") "{\"at\":\"30");
    must(lease_journal_end(journal, NULL, &err));
    ck_assert(lease_any(home));
    must(lease_journal_adopt(home, id, &journal, &err));
    must(lease_journal_gone(journal, "a", UINT64_MAX, &err));
    must(lease_journal_end(journal, &list, &err));
    ck_assert_uint_eq(lease_list_open(&list), 1);
    ck_assert_uint_eq(list.count, 3);
    lease_list_free(&list);
    must(lease_list_read(home, &list, &err));
    uint64_t line = 0;
    for (size_t i = 0; i < list.count; i++) {
        ck_assert(!list.at[i].owned);
        if (list.at[i].state == LEASE_DAMAGED) line = list.at[i].line;
    }
    ck_assert_uint_eq(line, 3);
    lease_list_free(&list);
    must(lease_journal_adopt(home, id, &journal, &err));
    must(lease_journal_forget(journal, line, &err));
    must(lease_journal_end(journal, NULL, &err));
    ck_assert(!lease_any(home));
}
END_TEST

/* Endless rubbish is one entry, and hides neither named leases in the same journal nor other journals. */
START_TEST(test_rubbish) {
    lease_journal *journal = NULL, *other = NULL;
    lease_list list;
    kit_buf text = {0};
    char id[LEASE_ID_BYTES];
    must(lease_journal_begin(home, "other", "", &other, &err));
    write_lines(other, INTENT("b"));
    must(lease_journal_begin(home, "vast", "", &journal, &err));
    kit_copy(id, sizeof id, lease_journal_id(journal));
    write_lines(journal, INTENT("a"));
    while (text.length < LEASE_ENTRIES_MAX * 4)
        kit_buf_str(&text, "x\n");
    kit_buf_str(&text, GONE("a", "5"));
    write_lines(journal, text.data);
    must(lease_list_read(home, &list, &err));
    ck_assert_uint_eq(list.count, LEASE_ENTRIES_MAX + 1);
    ck_assert_str_eq(list.at[0].name, "b");
    ck_assert_int_eq(list.at[list.count - 1].state, LEASE_GONE); /* "a", which was begun */
    lease_list_free(&list);
    must(lease_journal_forget(journal, 0, &err));
    write_lines(journal, INTENT("a"));
    ck_assert_int_eq(lease_journal_forget(journal, 0, &err), KOLM_E_FAILED_PRECONDITION);
    ck_assert_int_eq(ftruncate(lease_journal_fd(journal), LEASE_JOURNAL_MAX + 1), 0);
    must(lease_list_read(home, &list, &err));
    ck_assert_uint_eq(list.count, 2);
    ck_assert_int_eq(list.at[1].state, LEASE_DAMAGED);
    ck_assert_uint_eq(list.at[1].line, 0);
    ck_assert_str_eq(list.at[1].backend, "vast");
    lease_list_free(&list);
    must(lease_journal_forget(journal, 0, &err));
    must(lease_journal_end(journal, NULL, &err));
    must(lease_journal_end(other, NULL, &err));
    ck_assert_uint_eq(files_in("leases"), 1);
    kit_buf_free(&text);
}
END_TEST

/* A journal that is too large to read is kept unchanged by adopting and by settling: it may contain open leases. */
START_TEST(test_too_large) {
    lease_journal *journal = NULL;
    lease_list list;
    struct stat st;
    char id[LEASE_ID_BYTES], path[PATH_MAX];
    must(lease_journal_begin(home, "vast", "", &journal, &err));
    kit_copy(id, sizeof id, lease_journal_id(journal));
    write_lines(journal, INTENT("a"));
    ck_assert_int_eq(ftruncate(lease_journal_fd(journal), LEASE_JOURNAL_MAX + 1), 0);
    must(lease_journal_end(journal, NULL, &err));
    must(lease_settle(home, &err));
    must(lease_list_read(home, &list, &err));
    ck_assert_uint_eq(list.count, 1);
    ck_assert_int_eq(list.at[0].state, LEASE_DAMAGED);
    lease_list_free(&list);
    kit_format(path, sizeof path, "leases/%s.jsonl", id);
    ck_assert_int_eq(stat(in_home(path), &st), 0);
    ck_assert_uint_eq((uint64_t)st.st_size, LEASE_JOURNAL_MAX + 1);
    must(lease_journal_adopt(home, id, &journal, &err));
    must(lease_journal_forget(journal, 0, &err));
    must(lease_journal_end(journal, NULL, &err));
    ck_assert(!lease_any(home));
}
END_TEST

/* Killed while it made a journal: the unnamed file is removed. This does not disturb another process that makes one. */
START_TEST(test_unnamed) {
    lease_list list;
    lease_journal *journal = NULL;
    must(lease_journal_begin(home, "vast", "", &journal, &err));
    must(kit_write_file(in_home("leases/.new-vast-00000000000000ff.jsonl"), 0600, "x", 1, &err));
    must(kit_write_file(in_home("leases/notes.txt"), 0600, "x", 1, &err));
    ck_assert_uint_eq(files_in("leases"), 3);
    must(lease_list_read(home, &list, &err));
    lease_list_free(&list);
    ck_assert_uint_eq(files_in("leases"), 2);
    must(lease_journal_end(journal, NULL, &err));
    ck_assert_uint_eq(files_in("leases"), 1); /* other files are kept */
    must(lease_list_read(home, &list, &err));
    ck_assert_uint_eq(list.count, 0);
}
END_TEST

/* Many processes at once, each making and ending journals: the directory is created and removed concurrently. */
START_TEST(test_many) {
    enum { PROCESSES = 4 };
    const int rounds = (int)test_draws(40, 3);
    uint64_t sum = 0;
    lease_totals totals;
    for (int p = 0; p < PROCESSES; p++) {
        if (fork() != 0) continue;
        for (int i = 0; i < rounds; i++) {
            lease_journal *journal = NULL;
            lease_list list;
            if (lease_journal_begin(home, "vast", "", &journal, &err) != KOLM_OK) _exit(1);
            write_lines(journal, INTENT("a") GONE("a", "10"));
            if (lease_list_read(home, &list, &err) != KOLM_OK) _exit(2);
            lease_list_free(&list);
            if (lease_journal_end(journal, NULL, &err) != KOLM_OK) _exit(3);
        }
        _exit(0);
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status;
        ck_assert_int_gt(wait(&status), 0);
        ck_assert_int_eq(status, 0);
    }
    ck_assert(!lease_any(home));
    must(lease_totals_read(home, 0, &never, &totals, &err));
    for (size_t i = 0; i < totals.count; i++)
        sum += totals.at[i].billed_micro_usd;
    ck_assert_uint_eq(sum, 10 * PROCESSES * (uint64_t)rounds);
    lease_totals_free(&totals);
}
END_TEST

/* ---- Past leases */

static lease_entry past(const char *journal, const char *name, uint64_t gone_ms) {
    lease_entry e = {.state = LEASE_GONE, .gone_ms = gone_ms, .billed_micro_usd = 3};
    kit_copy(e.journal, sizeof e.journal, journal);
    kit_copy(e.backend, sizeof e.backend, "vast");
    kit_copy(e.name, sizeof e.name, name);
    return e;
}

START_TEST(test_past_counts_once) {
    lease_entry e = past(ID, "a", 86400000 * 3ull);
    const lease_list list = {.at = &e, .count = 1};
    lease_totals totals;
    lease_list read;
    uint64_t unreadable;
    must(lease_past_add(home, &list, &err));
    must(lease_past_add(home, &list, &err)); /* a crash before the journal was removed */
    int fd = open(in_home("leases.jsonl"), O_WRONLY | O_APPEND);
    ck_assert_int_eq(write(fd, "{\"torn", 6), 6);
    close(fd);
    must(lease_past_add(home, &list, &err));
    must(lease_past_read(home, &never, &read, &unreadable, &err));
    ck_assert_uint_eq(read.count, 1);
    ck_assert_uint_eq(unreadable, 1);
    lease_list_free(&read);
    must(lease_totals_read(home, 0, &never, &totals, &err));
    ck_assert_uint_eq(totals.count, 1);
    ck_assert_str_eq(totals.at[0].day, "1970-01-04");
    ck_assert_uint_eq(totals.at[0].leases, 1);
    lease_totals_free(&totals);
}
END_TEST

START_TEST(test_rotation) {
    const size_t leases = test_draws(24000, 8000);
    lease_list list = {.at = calloc(leases, sizeof(lease_entry)), .count = leases}, read;
    uint64_t unreadable, now = (uint64_t)time(NULL) * 1000;
    struct stat st, later;
    for (size_t i = 0; i < leases; i++) {
        char name[32];
        kit_format(name, sizeof name, "n-%zu", i);
        list.at[i] = past(ID, name, i % 2 ? now : now - (LEASE_PAST_DAYS + 1) * 86400000ull);
        memset(list.at[i].place, 'p', sizeof list.at[i].place - 1);
    }
    must(lease_past_add(home, &list, &err));
    must(lease_past_read(home, &never, &read, &unreadable, &err));
    ck_assert_uint_eq(read.count, leases / 2);
    ck_assert_uint_eq(unreadable, 0);
    ck_assert_int_eq(stat(in_home("leases.jsonl"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    lease_list_free(&read);
    /* Above the limit only through recent leases: another one is appended, and the file is not rewritten. */
    ck_assert_int_gt(st.st_size, LEASE_PAST_MOST);
    list.count = 1;
    must(lease_past_add(home, &list, &err));
    ck_assert_int_eq(stat(in_home("leases.jsonl"), &later), 0);
    ck_assert_int_gt(later.st_size, st.st_size);
    ck_assert_uint_eq(later.st_ino, st.st_ino);
    free(list.at);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("lease");
    TCase *tests = tcase_create("lease");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_events);
    tcase_add_test(tests, test_damage);
    tcase_add_test(tests, test_long_lines);
    tcase_add_test(tests, test_age);
    tcase_add_test(tests, test_cut_anywhere);
    tcase_add_test(tests, test_a_call_that_ends_well);
    tcase_add_test(tests, test_nothing_was_rented);
    tcase_add_test(tests, test_settle);
    tcase_add_test(tests, test_owner);
    tcase_add_test(tests, test_what_is_open_stays);
    tcase_add_test(tests, test_unnamed);
    tcase_add_test(tests, test_rubbish);
    tcase_add_test(tests, test_too_large);
    tcase_add_test(tests, test_many);
    tcase_add_test(tests, test_past_counts_once);
    tcase_add_test(tests, test_rotation);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
