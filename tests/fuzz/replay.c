/*
 * A main() for fuzz targets in ordinary builds: runs the target once on every seed of its corpus, as a TAP
 * test, so that what a fuzzer once found stays found. Arguments name files to run instead.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECONDS_AT_MOST 240
#define SEED_BYTES      (1 << 20)

/* Returns 0, or 1 when the file cannot be read; a target that fails aborts. */
static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(SEED_BYTES), *exact = NULL;
    size_t n;
    int bad = 1;

    if (!f || !data)
        goto out;
    n = fread(data, 1, SEED_BYTES, f);
    exact = malloc(n ? n : 1); /* of the exact size, so that a sanitizer sees a read past the end */
    if (!exact || ferror(f))
        goto out;
    memcpy(exact, data, n);
    LLVMFuzzerTestOneInput(exact, n);
    bad = 0;
out:
    free(exact);
    free(data);
    if (f)
        fclose(f);
    return bad;
}

/* The target's seeds: tests/fuzz/corpus/NAME, NAME being the program's without "fuzz_". */
static int run_corpus(const char *program, int *count)
{
    const char *base = strrchr(program, '/'), *src = getenv("HD_SRCDIR");
    char folder[4096], path[8192];
    struct dirent *e;
    int bad = 0;
    DIR *d;

    base = base ? base + 1 : program;
    if (!strncmp(base, "fuzz_", 5))
        base += 5;
    snprintf(folder, sizeof(folder), "%s/tests/fuzz/corpus/%s", src ? src : ".", base);
    d = opendir(folder);
    if (!d) {
        printf("# cannot open %s\n", folder);
        return 1;
    }
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        bad += run_file(path);
        ++*count;
    }
    closedir(d);
    return bad;
}

int main(int argc, char **argv)
{
    int bad = 0, count = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(SECONDS_AT_MOST);
    printf("1..1\n");
    for (int i = 1; i < argc; i++, count++)
        bad += run_file(argv[i]);
    if (argc < 2)
        bad = run_corpus(argv[0], &count);
    printf("%s 1 - %d seeds\n", bad || !count ? "not ok" : "ok", count);
    return bad || !count ? 1 : 0;
}
