/* SPDX-License-Identifier: Apache-2.0 */
/* Reads rows of every form and prints them, for failmalloc: exit status 5 if out of memory. */
#include "job/rows.h"
#include "kolm/kit/file.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char LINES[] =
    "{\"id\":7,\"input\":\"one\",\"output\":\"a\"}\n"
    "{\"id\":\"x\",\"prompt\":\"two\",\"completion\":3,\"system\":\"be "
    "short\",\"tools\":\"[{\\\"name\\\":\\\"t\\\"}]\",\"more\":[1,{}]}\n"
    "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\","
    "\"text\":\"three\"},"
    "{\"type\":\"text\",\"text\":\"more\"}]},{\"role\":\"assistant\",\"content\":\"b\",\"tool_calls\":[{\"id\":\"1\","
    "\"type\":\"function\","
    "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":"
    "\"sunny\"},"
    "{\"role\":\"user\",\"content\":\"and now?\"},{\"role\":\"assistant\",\"content\":\"c\"}]}\n"
    "{\"conversations\":[{\"from\":\"human\",\"value\":\"four\"},{\"from\":\"gpt\",\"value\":\"d\"}]}\n"
    "{\"instruction\":\"translate\",\"input\":\"five\",\"output\":\"e\",\"history\":[[\"q\",\"r\"]]}\n"
    "{\"prompt\":[{\"role\":\"user\",\"content\":\"six\"}],\"completion\":[{\"role\":\"assistant\",\"content\":\"f\"}]}"
    "\n"
    "{\"Text\":\"seven \\u00e9\",\"Label\":true}\n";
static const char TABLE[] = "id,text,label\n1,\"one, \"\"quoted\"\"\",a\n2,two,b\n";
static const char TABS[] = "text\tlabel\n\"one\"\ta\n\"three\" more\tb\n";

static kit_status read_all(const char *text, const char *path, kolm_error_t *err) {
    const job_reader_options options = {.path = path, .with_id = true};
    job_reader *reader = NULL;
    job_row row;
    bool found = true;
    int fd = memfd_create("rows", MFD_CLOEXEC);
    kit_status status = kit_write_all(fd, text, strlen(text), err);
    if (status == KOLM_OK && lseek(fd, 0, SEEK_SET) != 0) status = KOLM_E_UNKNOWN;
    if (status == KOLM_OK) status = job_reader_open(fd, &options, &reader, err);
    while (status == KOLM_OK && (status = job_reader_next(reader, &row, &found, err)) == KOLM_OK && found)
        printf("%llu|%s|%s|%s|%s|%s|%s|%s|%s|%s\n", (unsigned long long)row.line, row.id != NULL ? row.id : "",
               row.input, row.output, row.system, row.instruction, row.tools, row.turns, row.context, row.seen);
    job_reader_close(reader);
    close(fd);
    return status;
}

int main(void) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_status status = read_all(LINES, "data.jsonl", &err);
    if (status == KOLM_OK) status = read_all(TABLE, "data.csv", &err);
    if (status == KOLM_OK) status = read_all(TABS, "data.tsv", &err);
    if (status != KOLM_OK) fprintf(stderr, "%s (%s)\n", err.text, kit_status_name(status));
    return status == KOLM_OK ? 0 : status == KOLM_E_RESOURCE_EXHAUSTED ? 5 : 6;
}
