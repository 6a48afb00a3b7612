/* SPDX-License-Identifier: Apache-2.0 */
/* The table of kolm-lazy.so. */
#include "lazy/table.h"

const lazy_table kolm_lazy_table = {
    .version = KOLM_VERSION,
    .size = sizeof(lazy_table),

    .inflate_init2 = inflateInit2_,
    .inflate_reset = inflateReset,
    .inflate = inflate,
    .inflate_end = inflateEnd,

    .zstd_create = ZSTD_createDStream,
    .zstd_set = ZSTD_DCtx_setParameter,
    .zstd_decompress = ZSTD_decompressStream,
    .zstd_is_error = ZSTD_isError,
    .zstd_error_code = ZSTD_getErrorCode,
    .zstd_error_name = ZSTD_getErrorName,
    .zstd_free = ZSTD_freeDStream,

    .utf8_category = utf8proc_category,
    .utf8_property = utf8proc_get_property,
    .utf8_encode = utf8proc_encode_char,
    .utf8_decompose = utf8proc_decompose,
    .utf8_normalize = utf8proc_normalize_utf32,
    .utf8_error = utf8proc_errmsg,

    .elf_version = elf_version,
    .elf_begin = elf_begin,
    .elf_kind = elf_kind,
    .elf_nextscn = elf_nextscn,
    .elf_header = gelf_getshdr,
    .elf_data = elf_getdata,
    .elf_symbol = gelf_getsym,
    .elf_string = elf_strptr,
    .elf_end = elf_end,
};
