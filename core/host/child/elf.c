/* SPDX-License-Identifier: Apache-2.0 */
/* Detects errors that the loader does not report, or reports wrongly: "No such file or directory" for a plugin of
 * another architecture, a bus error for a truncated file, and nothing at all if the table's symbol is a function or
 * thread-local. */
#include "host/child/child.h"

#if defined(__ELF__) && defined(__GLIBC__)
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden"))); /* of this program; defined by the linker */

static const char *machine_name(unsigned machine, char room[32]) {
    static const struct {
        unsigned machine;
        const char *name;
    } names[] = {{EM_X86_64, "x86-64"},  {EM_AARCH64, "AArch64"}, {EM_386, "i386"},
                 {EM_ARM, "32-bit ARM"}, {EM_RISCV, "RISC-V"},    {EM_PPC64, "POWER"},
                 {EM_S390, "S/390"},     {EM_MIPS, "MIPS"},       {258, "LoongArch"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].machine == machine) return names[i].name;
    kit_format(room, 32, "machine %u of ELF", machine);
    return room;
}

static kit_status check_machine(const ElfW(Ehdr) * theirs, const char *path, kolm_error_t *err) {
    static const char remedy[] = "install the package for this machine";
    const ElfW(Ehdr) *own = &__ehdr_start;
    char a[32], b[32];
    /* Two bytes, at the same offset in all kinds of ELF. */
    unsigned machine = theirs->e_machine;
    bool other_order = theirs->e_ident[EI_DATA] != own->e_ident[EI_DATA];
    if (other_order) machine = (machine >> 8 | machine << 8) & 0xffffu;
    if (machine != own->e_machine)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "%s was built for %s, this kolm for %s", path,
                        machine_name(machine, a), machine_name(own->e_machine, b));
    if (theirs->e_ident[EI_CLASS] != own->e_ident[EI_CLASS])
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy,
                        "%s was built for %s-bit programs, this kolm for %s-bit ones", path,
                        theirs->e_ident[EI_CLASS] == ELFCLASS32 ? "32" : "64",
                        own->e_ident[EI_CLASS] == ELFCLASS32 ? "32" : "64");
    if (other_order)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "%s was built for the other byte order", path);
    return KOLM_OK;
}

/* Whether the file is long enough for its segments. */
static kit_status check_length(int fd, const ElfW(Ehdr) * header, uint64_t size, const char *path, kolm_error_t *err) {
    uint64_t needed = 0;
    for (unsigned i = 0; i < header->e_phnum && header->e_phentsize == sizeof(ElfW(Phdr)); i++) {
        ElfW(Phdr) part;
        ssize_t n = pread(fd, &part, sizeof part, (off_t)(header->e_phoff + i * sizeof part));
        uint64_t end = header->e_phoff + (i + 1) * sizeof part;
        if (n == (ssize_t)sizeof part && part.p_type == PT_LOAD) end = part.p_offset + part.p_filesz;
        if (end > needed) needed = end;
    }
    if (needed <= size) return KOLM_OK;
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "install it again",
                    "%s is truncated: it has %llu bytes of at least %llu", path, (unsigned long long)size,
                    (unsigned long long)needed);
}

kit_status child_check_elf(int fd, const char *path, kolm_error_t *err) {
    ElfW(Ehdr) header;
    struct stat st;
    if (fstat(fd, &st) != 0) return kit_fail_errno(err, errno, "cannot access %s", path);
    ssize_t n = pread(fd, &header, sizeof header, 0);
    if (n < 0) return kit_fail_errno(err, errno, "cannot read %s", path);
    if (n < (ssize_t)sizeof header || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "install it again", "%s is %s", path,
                        st.st_size == 0 ? "empty" : "not a shared object: it does not begin like one");
    KIT_TRY(check_machine(&header, path, err));
    return check_length(fd, &header, (uint64_t)st.st_size, path, err);
}

kit_status child_check_symbol(const void *symbol, const char *path, kolm_error_t *err) {
    const char *what = NULL;
    Dl_info info;
    const ElfW(Sym) *entry = NULL;
    /* A data symbol is at the address of its entry, in the object that was loaded. A thread-local one is in no object;
     * the result of an indirect function has no entry, or that of a function. */
    if (!dladdr1(symbol, &info, (void **)(uintptr_t)&entry, RTLD_DL_SYMENT))
        what = "thread-local";
    else if (!entry || info.dli_saddr != symbol)
        what = "an indirect function";
    else if ((entry->st_info & 0xfu) == STT_FUNC || (entry->st_info & 0xfu) == STT_GNU_IFUNC)
        what = "a function";
    if (!what) return KOLM_OK;
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                    "export the table itself: KOLM_BACKEND_EXPORT const kolm_backend_v1_t " KOLM_BACKEND_SYMBOL,
                    "%s is %s in %s, and not the table", KOLM_BACKEND_SYMBOL, what, path);
}
#else
kit_status child_check_elf(int fd, const char *path, kolm_error_t *err) {
    (void)fd, (void)path, (void)err;
    return KOLM_OK;
}

kit_status child_check_symbol(const void *symbol, const char *path, kolm_error_t *err) {
    (void)symbol, (void)path, (void)err;
    return KOLM_OK;
}
#endif
