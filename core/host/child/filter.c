/* SPDX-License-Identifier: Apache-2.0 */
/* Compiles the rules to a program for seccomp(2). */
#include "host/child/filter.h"

#if defined(__linux__)
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's constant for this program's system call convention. Other conventions (32-bit calls on a 64-bit machine,
 * and x32) have different numbers: using one kills the process. */
#if defined(__x86_64__) && !defined(__ILP32__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#define X32_BIT 0x40000000u
#elif defined(__i386__)
#define OWN_ARCH AUDIT_ARCH_I386
#elif defined(__aarch64__) && !defined(__ILP32__) && defined(__ORDER_LITTLE_ENDIAN__) &&                               \
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define OWN_ARCH AUDIT_ARCH_AARCH64
#elif defined(__arm__) && defined(__ARM_EABI__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define OWN_ARCH AUDIT_ARCH_ARM
#elif defined(__riscv) && __riscv_xlen == 64
#define OWN_ARCH AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define OWN_ARCH AUDIT_ARCH_PPC64LE
#elif defined(__s390x__)
#define OWN_ARCH AUDIT_ARCH_S390X
#elif defined(__loongarch64) && defined(AUDIT_ARCH_LOONGARCH64)
#define OWN_ARCH AUDIT_ARCH_LOONGARCH64
#endif

#ifdef OWN_ARCH
#define PROGRAM_MOST 512
#define CHUNK 6 /* numbers that are compared linearly */
#define JUMP_MOST 255

typedef struct program {
    struct sock_filter at[PROGRAM_MOST];
    size_t count;
    bool failed; /* the program is full, or a jump is too long */
} program;

static void put(program *p, unsigned code, uint32_t value, size_t if_so, size_t if_not) {
    if (p->count >= PROGRAM_MOST || if_so > JUMP_MOST || if_not > JUMP_MOST)
        p->failed = true;
    else
        p->at[p->count++] = (struct sock_filter){(uint16_t)code, (uint8_t)if_so, (uint8_t)if_not, value};
}

/* Makes the jump at `from` lead to the next instruction. */
static void land(program *p, size_t from, bool if_so) {
    size_t distance = p->count - from - 1;
    p->failed = p->failed || distance > JUMP_MOST;
    if (p->failed) return;
    if (if_so)
        p->at[from].jt = (uint8_t)distance;
    else
        p->at[from].jf = (uint8_t)distance;
}

static void load(program *p, size_t offset) {
    put(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void answer(program *p, uint32_t action) {
    put(p, BPF_RET | BPF_K, action, 0, 0);
}

static uint32_t denial(const child_rule *rule) {
    return SECCOMP_RET_ERRNO | (rule->error & SECCOMP_RET_DATA);
}

/* Offset of one half of an argument. */
static size_t half_of(unsigned argument, bool upper) {
    size_t at = offsetof(struct seccomp_data, args) + argument * sizeof(uint64_t);
    const bool big = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
    return at + (upper != big ? sizeof(uint32_t) : 0);
}

static size_t length_of(const child_when *when) {
    return when->wide ? 4 : 3;
}

/* Denies the call if all conditions hold, else continues after the denial. */
static void put_conditions(program *p, const child_rule *rule) {
    size_t left = 1; /* the denial: skipped if a condition does not hold */
    for (size_t i = 0; i < rule->when_count; i++)
        left += length_of(&rule->when[i]);
    for (size_t i = 0; i < rule->when_count; i++) {
        const child_when *when = &rule->when[i];
        left -= length_of(when);
        load(p, half_of(when->argument, false));
        if (when->wide) {
            put(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2); /* not NULL: check the next condition */
            load(p, half_of(when->argument, true));
            put(p, BPF_JMP | BPF_JEQ | BPF_K, 0, left, 0);
            continue;
        }
        put(p, BPF_ALU | BPF_AND | BPF_K, when->mask, 0, 0);
        put(p, BPF_JMP | BPF_JEQ | BPF_K, when->value, when->differs ? left : 0, when->differs ? 0 : left);
    }
    answer(p, denial(rule));
}

/* Adds all rules with the same number as the first; returns how many there were. */
static size_t put_number(program *p, const child_rule *rules, size_t count) {
    size_t n = 1, compare = p->count;
    while (n < count && rules[n].number == rules[0].number)
        n++;
    put(p, BPF_JMP | BPF_JEQ | BPF_K, rules[0].number, 0, 0);
    for (size_t i = 0; i < n; i++)
        put_conditions(p, &rules[i]);
    if (rules[n - 1].when_count > 0) answer(p, SECCOMP_RET_ALLOW);
    land(p, compare, false);
    return n;
}

/* When installing a program, the kernel runs it for every number to find those that are always allowed. So a number is
 * compared only with the few in its range, not with all. */
static void put_rules(program *p, const child_rule *rules, size_t count) {
    for (size_t at = 0; at < count && !p->failed;) {
        size_t end = at, numbers = 0;
        for (; end < count; end++) {
            if (end > at && rules[end].number != rules[end - 1].number) numbers++;
            if (numbers == CHUNK) break;
        }
        size_t beyond = p->count;
        put(p, BPF_JMP | BPF_JGT | BPF_K, rules[end - 1].number, 0, 0);
        while (at < end)
            at += put_number(p, rules + at, end - at);
        answer(p, SECCOMP_RET_ALLOW);
        land(p, beyond, true);
    }
    answer(p, SECCOMP_RET_ALLOW);
}

static void put_start(program *p) {
    load(p, offsetof(struct seccomp_data, arch));
    put(p, BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 1, 0);
    answer(p, SECCOMP_RET_KILL_PROCESS);
    load(p, offsetof(struct seccomp_data, nr));
#ifdef X32_BIT
    put(p, BPF_JMP | BPF_JEQ | BPF_K, UINT32_MAX, 2, 0); /* set by a tracer: no system call */
    put(p, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
    answer(p, SECCOMP_RET_KILL_PROCESS);
#endif
}

/* By number, those without conditions last. */
static int by_number(const void *a, const void *b) {
    const child_rule *x = a, *y = b;
    if (x->number != y->number) return x->number < y->number ? -1 : 1;
    return (x->when_count == 0) - (y->when_count == 0);
}

int child_filter_load(child_filter *filter) {
    program p = {.count = 0};
    if (filter->count > CHILD_FILTER_RULES) return E2BIG;
    qsort(filter->rules, filter->count, sizeof *filter->rules, by_number);
    put_start(&p);
    put_rules(&p, filter->rules, filter->count);
    if (p.failed) return E2BIG;
    const struct sock_fprog whole = {.len = (unsigned short)p.count, .filter = p.at};
    long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &whole);
    return result == 0 ? 0 : result > 0 ? ESRCH : errno; /* > 0: a thread that could not be synchronised */
}
#else
int child_filter_load(child_filter *filter) {
    (void)filter;
    return ENOSYS;
}
#endif

static void add(child_filter *filter, const child_rule *rule) {
    if (filter->count < CHILD_FILTER_RULES) filter->rules[filter->count] = *rule;
    filter->count++;
}

void child_filter_deny(child_filter *filter, const int *numbers, size_t count, int error) {
    for (size_t i = 0; i < count; i++)
        add(filter, &(child_rule){.number = (uint32_t)numbers[i], .error = (uint32_t)error});
}

void child_filter_deny_when(child_filter *filter, int number, const child_when *when, size_t count) {
    child_rule rule = {.number = (uint32_t)number, .error = EPERM, .when_count = count};
    for (size_t i = 0; i < count && i < CHILD_FILTER_WHEN; i++)
        rule.when[i] = when[i];
    if (count > CHILD_FILTER_WHEN) filter->count = CHILD_FILTER_RULES + 1; /* rejected by child_filter_load */
    add(filter, &rule);
}
#else
/* Not Linux: nothing here is called. */
typedef int child_filter_nothing;
#endif
