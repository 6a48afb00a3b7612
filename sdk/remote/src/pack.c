/* SPDX-License-Identifier: Apache-2.0 */
/* Compresses the files of remote jobs if that pays: costs and savings are measured during the transfer. */
#include "internal.h"

#include <libdeflate.h>
#include <stdlib.h>
#include <time.h>

#define LEVEL 1
#define SMALL 1024u   /* bytes: a single packet in any case */
#define WIRE_NS 100.0 /* per byte, until measured: 10 MB/s, a good residential uplink */
#define PACK_NS 8.0
#define BOTH_ENDS 2 /* factor on the local cost of compression, because the far end must decompress */
#define LEFT 0.5
#define WORTH 0.95        /* compression to a larger share is not worth it */
#define MEMORY (4u << 20) /* bytes over which the link is averaged: fewer fit into buffers and seem sent at once */
#define TRIED_AGAIN 32u   /* uncompressed pieces before compression is tried again */

struct ssh_job_packer {
    struct libdeflate_compressor *deflate;
    struct libdeflate_decompressor *inflate;
    char *room;
    double wire_ns; /* to send a byte */
    double pack_ns; /* to compress one */
    double left;    /* share of the bytes that remains after compression */
    unsigned plain; /* pieces until the next try */
};

int64_t ssh_job_now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

kit_status ssh_job_packer_new(ssh_job_packer **out_packer, kolm_error_t *err) {
    ssh_job_packer *p = calloc(1, sizeof *p);
    *out_packer = p;
    if (p == NULL) return kit_no_memory(err);
    p->deflate = libdeflate_alloc_compressor(LEVEL);
    p->inflate = libdeflate_alloc_decompressor();
    p->room = malloc(SSH_JOB_CHUNK);
    p->wire_ns = WIRE_NS;
    p->pack_ns = PACK_NS;
    p->left = LEFT;
    return p->deflate != NULL && p->inflate != NULL && p->room != NULL ? KOLM_OK : kit_no_memory(err);
}

void ssh_job_packer_free(ssh_job_packer *p) {
    if (p == NULL) return;
    libdeflate_free_compressor(p->deflate);
    libdeflate_free_decompressor(p->inflate);
    free(p->room);
    free(p);
}

void ssh_job_pack_begin(ssh_job_packer *p) {
    p->left = LEFT;
    p->plain = 0;
}

void ssh_job_pack_sent(ssh_job_packer *p, size_t length, int64_t ns) {
    if (length > 0) p->wire_ns += ((double)ns / (double)length - p->wire_ns) * (double)length / MEMORY;
}

static bool pays(ssh_job_packer *p) {
    if (p->plain > 0 && --p->plain > 0) return false;
    return BOTH_ENDS * p->pack_ns < (1 - p->left) * p->wire_ns;
}

const void *ssh_job_pack(ssh_job_packer *p, const void *bytes, size_t length, size_t *out_length) {
    if (length < SMALL || length > SSH_JOB_CHUNK || !pays(p)) return NULL;
    int64_t begun = ssh_job_now_ns();
    *out_length = libdeflate_zlib_compress(p->deflate, bytes, length, p->room, (size_t)((double)length * WORTH));
    p->pack_ns += ((double)(ssh_job_now_ns() - begun) / (double)length - p->pack_ns) / 4;
    if (*out_length == 0) { /* it did not fit */
        p->plain = TRIED_AGAIN;
        return NULL;
    }
    p->left += ((double)*out_length / (double)length - p->left) / 4;
    return p->room;
}

bool ssh_job_unpack(ssh_job_packer *p, const void *packed, size_t length, uint64_t size, const char **out_bytes) {
    *out_bytes = p->room;
    return size > 0 && size <= SSH_JOB_CHUNK &&
           libdeflate_zlib_decompress(p->inflate, packed, length, p->room, size, NULL) == LIBDEFLATE_SUCCESS;
}
