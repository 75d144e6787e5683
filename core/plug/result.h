/*
 * The answer of a command in memory: typed columns, cells row by row, a message. Bounded: past the bound it
 * remembers that it failed and takes nothing more.
 */
#ifndef HD_PLUG_RESULT_H
#define HD_PLUG_RESULT_H

#include "base/arena.h"
#include "plug/commands.h"

#define HD_RESULT_COLUMNS 64
#define HD_RESULT_BYTES   ((size_t)64 << 20)

struct hd_result {
    struct hd_arena arena; /* names, texts, the message */
    uint32_t column_count;
    uint32_t types[HD_RESULT_COLUMNS];
    const char *names[HD_RESULT_COLUMNS];
    size_t cell_count, cell_cap;
    struct hd_cell *cells;
    const char *message; /* NULL: none was set */
    int failed;          /* a code: why the rest is missing */
    const char *why;     /* of `failed`; static */
};

void hd_result_init(hd_result *r);
void hd_result_clear(hd_result *r);
/* Fills up the last row. HD_OK, or why the result is not whole. */
int hd_result_seal(hd_result *r, struct hd_error *err);

#endif
