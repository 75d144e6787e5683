/*
 * What a library exports, read from the file without loading it.
 */
#ifndef HOWDAH_CHECK_SYMBOLS_H
#define HOWDAH_CHECK_SYMBOLS_H

#define CHECK_SYMBOL_NAME 100

struct check_symbols {
    unsigned count;                /* symbols that others could bind to */
    char first[CHECK_SYMBOL_NAME]; /* the first of them */
    char other[CHECK_SYMBOL_NAME]; /* one that is not howdah_plugin, where there is one */
};

/* 0, or -1 when the file is no 64-bit ELF library with a dynamic symbol table. */
int check_symbols_read(const char *path, struct check_symbols *out);

#endif
