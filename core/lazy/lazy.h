/* SPDX-License-Identifier: Apache-2.0 */
/* Libraries that few commands need: zlib, libzstd, utf8proc and libelf. */
#ifndef KOLM_LAZY_LAZY_H
#define KOLM_LAZY_LAZY_H

/*
 * Mapping and relocating these four takes a sixth of the time of `kolm compute list`, which needs none of them. So kolm
 * is not linked with them: kolm-lazy.so is, which holds only the table below, and kolm loads it when a function of the
 * table is first needed. Packaging tools see the libraries that it needs as they do for any shared object.
 *
 * The other floors use lazy_get and never the libraries directly. There are two implementations: direct.c, for
 * programs that are linked with the libraries, such as tests; and core/host/lazy_load.c, which takes its place in kolm.
 */

#include "kolm/kit/status.h"
#include <gelf.h>
#include <libelf.h>
#include <utf8proc.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

/* Functions as in the headers of the libraries, without prefix where the name of the member says which it is. */
typedef struct lazy_table {
    const char *version; /* KOLM_VERSION of kolm-lazy.so; stays the first member */
    size_t size;         /* of this table, which may change without the version; stays the second */

    int (*inflate_init2)(z_stream *stream, int window_bits, const char *version, int size);
    int (*inflate_reset)(z_stream *stream);
    int (*inflate)(z_stream *stream, int flush);
    int (*inflate_end)(z_stream *stream);

    ZSTD_DStream *(*zstd_create)(void);
    size_t (*zstd_set)(ZSTD_DStream *stream, ZSTD_dParameter parameter, int value);
    size_t (*zstd_decompress)(ZSTD_DStream *stream, ZSTD_outBuffer *out, ZSTD_inBuffer *in);
    unsigned (*zstd_is_error)(size_t result);
    ZSTD_ErrorCode (*zstd_error_code)(size_t result);
    const char *(*zstd_error_name)(size_t result);
    size_t (*zstd_free)(ZSTD_DStream *stream);

    utf8proc_category_t (*utf8_category)(utf8proc_int32_t point);
    const utf8proc_property_t *(*utf8_property)(utf8proc_int32_t point);
    utf8proc_ssize_t (*utf8_encode)(utf8proc_int32_t point, utf8proc_uint8_t *out);
    utf8proc_ssize_t (*utf8_decompose)(const utf8proc_uint8_t *text, utf8proc_ssize_t length, utf8proc_int32_t *out,
                                       utf8proc_ssize_t capacity, utf8proc_option_t options);
    utf8proc_ssize_t (*utf8_normalize)(utf8proc_int32_t *points, utf8proc_ssize_t length, utf8proc_option_t options);
    const char *(*utf8_error)(utf8proc_ssize_t code);

    unsigned (*elf_version)(unsigned version);
    Elf *(*elf_begin)(int fd, Elf_Cmd command, Elf *reference);
    Elf_Kind (*elf_kind)(Elf *elf);
    Elf_Scn *(*elf_nextscn)(Elf *elf, Elf_Scn *section);
    GElf_Shdr *(*elf_header)(Elf_Scn *section, GElf_Shdr *out);
    Elf_Data *(*elf_data)(Elf_Scn *section, Elf_Data *data);
    GElf_Sym *(*elf_symbol)(Elf_Data *data, int index, GElf_Sym *out);
    char *(*elf_string)(Elf *elf, size_t section, size_t offset);
    int (*elf_end)(Elf *elf);
} lazy_table;

/* The table; it lives as long as the process. Any thread may call this, and calls after the first are cheap. Fails with
 * FAILED_PRECONDITION if kolm-lazy.so is missing, of another version, or cannot be loaded, and with PERMISSION_DENIED
 * if it is not trusted. */
kit_status lazy_get(const lazy_table **out, kolm_error_t *err) KIT_MUST_USE;

#endif
