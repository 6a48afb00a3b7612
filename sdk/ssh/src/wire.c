/* SPDX-License-Identifier: Apache-2.0 */
/* SSH's wire format (RFC 4251 section 5): big-endian numbers, strings with a length. */
#include "internal.h"

static const uint8_t *take(ssh_cursor *cursor, size_t length) {
    if (cursor->failed || cursor->left < length) {
        cursor->failed = true;
        return NULL;
    }
    const uint8_t *at = cursor->at;
    cursor->at += length;
    cursor->left -= length;
    return at;
}

uint8_t ssh_get_u8(ssh_cursor *cursor) {
    const uint8_t *p = take(cursor, 1);
    return p != NULL ? *p : 0;
}

uint32_t ssh_get_u32(ssh_cursor *cursor) {
    const uint8_t *p = take(cursor, 4);
    return p != NULL ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

uint64_t ssh_get_u64(ssh_cursor *cursor) {
    uint64_t high = ssh_get_u32(cursor);
    return high << 32 | ssh_get_u32(cursor);
}

const uint8_t *ssh_get_string(ssh_cursor *cursor, size_t *out_length) {
    uint32_t length = ssh_get_u32(cursor);
    const uint8_t *p = take(cursor, length);
    *out_length = p != NULL ? length : 0;
    return p;
}

void ssh_put_u32(kit_buf *buf, uint32_t value) {
    const uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
    kit_buf_add(buf, bytes, sizeof bytes);
}

void ssh_put_string(kit_buf *buf, const void *bytes, size_t length) {
    ssh_put_u32(buf, (uint32_t)length);
    kit_buf_add(buf, bytes, length);
}
