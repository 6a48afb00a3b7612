/* SPDX-License-Identifier: Apache-2.0 */
/* A JSON tree in a few blocks of memory. */
#include "json_parts.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_NODES 120

struct kit_json_nodes {
    struct kit_json_nodes *before;
    size_t used;
    cJSON at[BLOCK_NODES];
};

cJSON *json_tree_node(kit_json_tree *tree) {
    struct kit_json_nodes *block = tree->nodes;
    if (block == NULL || block->used == BLOCK_NODES) {
        block = malloc(sizeof *block);
        if (block == NULL) return NULL;
        block->before = tree->nodes;
        block->used = 0;
        tree->nodes = block;
    }
    cJSON *node = &block->at[block->used++];
    *node = (cJSON){0};
    return node;
}

char *json_tree_text(kit_json_tree *tree, size_t offset, const char *bytes, size_t length, bool escaped) {
    char *text = tree->text + offset, *end = text + length; /* at the closing quote */
    if (escaped) {
        json_key_reader reader = {.p = bytes, .end = bytes + length};
        end = text;
        for (int c; (c = json_key_next(&reader)) >= 0;)
            *end++ = (char)c;
    }
    *end = '\0';
    return text;
}

/* Parses numbers of few digits: "24", "0.25". Numerator and denominator are exact, so the quotient is the nearest
 * double. */
static bool small_number(const char *bytes, size_t length, double *out) {
    double digits = 0, unit = 1;
    bool fraction = false;
    if (length > 9) return false;
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '.') {
            fraction = true;
            continue;
        }
        if (bytes[i] < '0' || bytes[i] > '9') return false;
        digits = digits * 10 + (bytes[i] - '0');
        if (fraction) unit *= 10;
    }
    *out = digits / unit;
    return true;
}

bool json_tree_number(cJSON *node, const char *bytes, size_t length) {
    node->type = cJSON_Number;
    if (small_number(bytes, length, &node->valuedouble)) {
        node->valueint = (int)node->valuedouble;
        return true;
    }
    cJSON *number = cJSON_ParseWithLength(bytes, length);
    if (number == NULL) return false;
    node->valuedouble = number->valuedouble;
    node->valueint = number->valueint;
    cJSON_Delete(number);
    return true;
}

kit_status kit_json_tree_read(const char *bytes, size_t length, kit_json_tree *out_tree, kolm_error_t *err) {
    *out_tree = (kit_json_tree){.text = malloc(length + 1)};
    cJSON *root = out_tree->text != NULL ? json_tree_node(out_tree) : NULL;
    if (root != NULL) memcpy(out_tree->text, bytes, length);
    kit_status status = root != NULL ? json_tree_scan(bytes, length, out_tree, root, err) : kit_no_memory(err);
    if (status == KOLM_OK)
        out_tree->root = root;
    else
        kit_json_tree_free(out_tree);
    return status;
}

void kit_json_tree_free(kit_json_tree *tree) {
    if (tree == NULL) return;
    while (tree->nodes != NULL) {
        struct kit_json_nodes *block = tree->nodes;
        tree->nodes = block->before;
        free(block);
    }
    free(tree->text);
    *tree = (kit_json_tree){0};
}
