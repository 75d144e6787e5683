/*
 * The dynamic symbol table of an ELF file; see symbols.h. Every offset is checked against the file's size, as
 * the file may be anything.
 */
#include "symbols.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file in memory. */
struct image {
    const uint8_t *bytes;
    size_t size;
};

/* The `size` bytes at `offset`, or NULL. */
static const void *part(const struct image *i, uint64_t offset, uint64_t size)
{
    return offset <= i->size && size <= i->size - offset ? i->bytes + offset : NULL;
}

static int is_library(const Elf64_Ehdr *h)
{
    return h && memcmp(h->e_ident, ELFMAG, SELFMAG) == 0 && h->e_ident[EI_CLASS] == ELFCLASS64 &&
           h->e_type == ET_DYN && h->e_shentsize == sizeof(Elf64_Shdr);
}

static const Elf64_Shdr *section(const struct image *i, const Elf64_Ehdr *h, uint32_t n)
{
    return n < h->e_shnum ? part(i, h->e_shoff + (uint64_t)n * sizeof(Elf64_Shdr), sizeof(Elf64_Shdr)) : NULL;
}

/* Sanitizers add symbols to whatever they are compiled into. */
static int is_instrumentation(const char *name)
{
    static const char *const prefixes[] = {"__asan_",  "__odr_asan", "__ubsan_", "__tsan_",
                                           "__sancov", "__start_",   "__stop_"};

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return 1;
    return 0;
}

static void note(struct check_symbols *out, const char *name)
{
    if (!out->count++)
        snprintf(out->first, sizeof(out->first), "%.99s", name);
    if (strcmp(name, "howdah_plugin") != 0 || !out->other[0])
        snprintf(out->other, sizeof(out->other), "%.99s", name);
}

/* Counts what is defined and visible. */
static int read_table(const struct image *i, const Elf64_Shdr *table, const Elf64_Shdr *strings,
                      struct check_symbols *out)
{
    const Elf64_Sym *symbols = part(i, table->sh_offset, table->sh_size);
    const char *names = strings ? part(i, strings->sh_offset, strings->sh_size) : NULL;

    if (!symbols || !names || !strings->sh_size || names[strings->sh_size - 1])
        return -1;
    for (size_t n = 0; n < table->sh_size / sizeof(*symbols); n++) {
        const Elf64_Sym *s = &symbols[n];
        unsigned char bind = ELF64_ST_BIND(s->st_info);

        if (s->st_shndx == SHN_UNDEF || (bind != STB_GLOBAL && bind != STB_WEAK) ||
            s->st_name >= strings->sh_size || is_instrumentation(names + s->st_name))
            continue;
        note(out, names + s->st_name);
    }
    return 0;
}

static int read_image(const struct image *i, struct check_symbols *out)
{
    const Elf64_Ehdr *h = part(i, 0, sizeof(*h));

    if (!is_library(h))
        return -1;
    for (uint32_t n = 0; n < h->e_shnum; n++) {
        const Elf64_Shdr *s = section(i, h, n);

        if (!s)
            return -1;
        if (s->sh_type == SHT_DYNSYM)
            return read_table(i, s, section(i, h, s->sh_link), out);
    }
    return -1;
}

int check_symbols_read(const char *path, struct check_symbols *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), code = -1;
    struct image i = {MAP_FAILED, 0};
    struct stat st;

    memset(out, 0, sizeof(*out));
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
        i.size = (size_t)st.st_size;
        i.bytes = mmap(NULL, i.size, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    if (i.bytes != MAP_FAILED) {
        code = read_image(&i, out);
        munmap((void *)(uintptr_t)i.bytes, i.size);
    }
    if (fd >= 0)
        close(fd);
    return code;
}
