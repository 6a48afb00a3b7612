/* SPDX-License-Identifier: Apache-2.0 */
/* What a plugin exports, read from its dynamic symbol table by libelf. */
#include "conform/conform.h"
#include "host/host.h"
#include "lazy/lazy.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct exports {
    size_t count;
    bool table;    /* kolm_backend_v1 is among them */
    unsigned type; /* its STT_* */
    char others[256];
} exports;

/* Sanitizers and coverage add their own symbols to what they instrument. */
static bool of_instruments(const char *name) {
    static const char *const prefixes[] = {"__odr_asan", "__asan", "__ubsan", "__sanitizer", "__gcov", "__llvm"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0) return true;
    return false;
}

static void add_symbol(exports *found, const GElf_Sym *symbol, const char *name) {
    unsigned binding = GELF_ST_BIND(symbol->st_info), visibility = GELF_ST_VISIBILITY(symbol->st_other);
    if (symbol->st_shndx == SHN_UNDEF || (binding != STB_GLOBAL && binding != STB_WEAK && binding != STB_GNU_UNIQUE) ||
        (visibility != STV_DEFAULT && visibility != STV_PROTECTED) || !name || !*name || of_instruments(name))
        return;
    found->count++;
    if (strcmp(name, KOLM_BACKEND_SYMBOL) == 0) {
        found->table = true;
        found->type = GELF_ST_TYPE(symbol->st_info);
    } else {
        size_t n = strlen(found->others);
        kit_format(found->others + n, sizeof found->others - n, "%s%s", n ? ", " : "", name);
    }
}

static const char *name_of_type(unsigned type) {
    switch (type) {
    case STT_FUNC:
        return "a function";
    case STT_GNU_IFUNC:
        return "an indirect function";
    case STT_TLS:
        return "thread-local";
    default:
        return "of an unknown type";
    }
}

static bool read_symbols(const lazy_table *lazy, Elf *elf, exports *found) {
    Elf_Scn *section = NULL;
    GElf_Shdr header;
    while ((section = lazy->elf_nextscn(elf, section)) != NULL) {
        if (!lazy->elf_header(section, &header) || header.sh_type != SHT_DYNSYM || header.sh_entsize == 0) continue;
        Elf_Data *data = lazy->elf_data(section, NULL);
        int count = data ? (int)(header.sh_size / header.sh_entsize) : 0;
        GElf_Sym symbol;
        for (int i = 0; i < count && lazy->elf_symbol(data, i, &symbol); i++)
            add_symbol(found, &symbol, lazy->elf_string(elf, header.sh_link, symbol.st_name));
        return data != NULL;
    }
    return false;
}

/* A disk or memory error says nothing about the plugin, so the checks stop. libelf has no public code for that, but
 * preserves errno. */
static bool is_read(check *c, int reason) {
    kolm_error_t err = KIT_ERROR_INIT;
    if (reason != ENOMEM && reason != EIO) return true;
    return check_called(c, kit_fail_errno(&err, reason, "cannot read %s", c->options->plugin), &err);
}

void check_exports(check *c) {
    exports found = {0};
    struct stat info;
    const lazy_table *lazy = NULL;
    kolm_error_t err = KIT_ERROR_INIT;
    if (!check_called(c, lazy_get(&lazy, &err), &err)) return;
    errno = 0;
    /* Non-blocking: it may be a pipe, which no earlier rule has excluded. */
    int fd = open(c->options->plugin, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    Elf *elf = fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && lazy->elf_version(EV_CURRENT) != EV_NONE
                   ? lazy->elf_begin(fd, ELF_C_READ, NULL)
                   : NULL;
    bool is_elf = elf && lazy->elf_kind(elf) == ELF_K_ELF, has_symbols = is_elf && read_symbols(lazy, elf, &found);
    if (!is_read(c, errno))
        check_skip(c, "it could not be read");
    else if (!is_elf)
        check_skip(c, "not an ELF file");
    else if (!has_symbols)
        check_fail(c, "it has no dynamic symbol table: not a shared object");
    else if (!found.table)
        check_fail(c, "it does not export %s", KOLM_BACKEND_SYMBOL);
    else if (found.type != STT_OBJECT)
        check_fail(c, "%s is %s, and not a data object", KOLM_BACKEND_SYMBOL, name_of_type(found.type));
    else if (found.count > 1)
        check_fail(c, "it also exports %s: build with -fvisibility=hidden", found.others);
    if (elf) lazy->elf_end(elf);
    if (fd >= 0) close(fd);
}
