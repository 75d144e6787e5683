/*
 * Fuzzes what takes a request of the API apart: the first line is a path, the rest a body.
 *
 * Beside memory safety: a path that is taken is a command's name in upper case, and a body that is taken
 * becomes as many quoted words as it says, which the console reads as the arguments that they were.
 */
#include "base/strbuf.h"
#include "host/http_api.h"
#include "plug/words.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x)                                                                                              \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            abort();                                                                                         \
    } while (0)

static void check_path(const char *path)
{
    char name[HD_HTTP_COMMAND];

    if (!hd_http_command_name(path, name, sizeof(name)))
        return;
    MUST(strlen(name) == strlen(path) && name[0] != ' ' && !strstr(name, "  "));
    for (const char *p = name; *p; p++)
        MUST(*p == ' ' || *p == '_' || *p == '-' || isdigit((unsigned char)*p) || isupper((unsigned char)*p));
}

/* What the console makes of it is what the JSON says. */
static void check_words(const struct hd_strbuf *line, const char *body, size_t len, int count)
{
    json_t *j = len ? json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL) : json_object();
    const json_t *args = json_object_get(j, "args");
    struct hd_arena arena = HD_ARENA_INIT;
    struct hd_error err = HD_ERROR_INIT;
    struct hd_words w;

    MUST((size_t)count == json_array_size(args));
    if (hd_words_parse(&w, &arena, hd_strbuf_str(line), line->len, &err)) {
        MUST(count > HD_WORDS_MAX || line->len > HD_WORDS_BYTES);
    } else {
        MUST(w.count == (size_t)count);
        for (size_t i = 0; i < w.count; i++) {
            const json_t *item = json_array_get(args, i);

            MUST(w.quoted[i]);
            if (json_is_string(item))
                MUST(w.word[i].len == json_string_length(item) &&
                     !memcmp(w.word[i].ptr, json_string_value(item), w.word[i].len));
        }
    }
    hd_arena_free(&arena);
    json_decref(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hd_strbuf line = HD_STRBUF_INIT;
    struct hd_error err = HD_ERROR_INIT;
    size_t n = 0;
    char path[256];
    int count;

    while (n < size && data[n] != '\n' && n < sizeof(path) - 1)
        n++;
    memcpy(path, data, n);
    path[n] = 0;
    check_path(path);
    if (n < size)
        n++;
    count = hd_http_body_arguments((const char *)data + n, size - n, &line, &err);
    if (count < 0)
        MUST(err.text[0]);
    else
        check_words(&line, (const char *)data + n, size - n, count);
    hd_strbuf_free(&line);
    return 0;
}
