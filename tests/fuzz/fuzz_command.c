/*
 * Fuzzes a line of the console: words, the search for its command, and the answer as protocol and as JSON.
 *
 * Beside memory safety: every line is answered once, every refusal says why, and a word that is quoted again
 * is read as the same word.
 */
#include "base/strbuf.h"
#include "host/render.h"
#include "io/loop.h"
#include "plug/commands.h"
#include "plug/pgresult.h"
#include "plug/words.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x)                                                                                              \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            abort();                                                                                         \
    } while (0)

static int32_t echo(void *arg, const struct hd_call *call, struct hd_error *err)
{
    (void)arg;
    (void)err;
    hd_result_columns(call->result, "word", HD_COL_TEXT, "bytes", HD_COL_INT, NULL);
    for (uint32_t i = 0; i < call->arg_count; i++) {
        hd_result_text(call->result, call->args[i]);
        hd_result_integer(call->result, (int64_t)call->args[i].len);
    }
    return HD_OK;
}

static void on_done(void *arg, const hd_result *r, const char *name, int code, const struct hd_error *err)
{
    struct hd_strbuf pg = HD_STRBUF_INIT, table = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&pg);
    json_t *j = hd_render_json(r, name, code, err);
    char *text;

    ++*(int *)arg;
    MUST(!code == !err->text[0]);
    MUST(hd_pgresult_write(&b, r, name, code, err) == HD_OK);
    MUST(j);
    MUST(hd_render_table(&table, j, 40, 1) == HD_OK);
    text = json_dumps(j, JSON_COMPACT);
    MUST(text && !strchr(text, '\n'));
    free(text);
    json_decref(j);
    hd_strbuf_free(&pg);
    hd_strbuf_free(&table);
}

/* Quotes all words and reads them again. */
static void check_words(const char *line, size_t len)
{
    struct hd_arena arena = HD_ARENA_INIT;
    struct hd_strbuf quoted = HD_STRBUF_INIT;
    struct hd_error err = HD_ERROR_INIT;
    struct hd_words w, again;

    if (hd_words_parse(&w, &arena, line, len, &err)) {
        MUST(err.text[0]);
        hd_arena_free(&arena);
        return;
    }
    for (size_t i = 0; i < w.count; i++) {
        hd_strbuf_putc(&quoted, '\'');
        for (size_t k = 0; k < w.word[i].len; k++) {
            if (w.word[i].ptr[k] == '\'')
                hd_strbuf_putc(&quoted, '\'');
            hd_strbuf_putc(&quoted, w.word[i].ptr[k]);
        }
        hd_strbuf_puts(&quoted, "' ");
    }
    if (quoted.len <= HD_WORDS_BYTES) {
        MUST(hd_words_parse(&again, &arena, hd_strbuf_str(&quoted), quoted.len, &err) == HD_OK);
        MUST(again.count == w.count);
        for (size_t i = 0; i < w.count; i++)
            MUST(again.word[i].len == w.word[i].len &&
                 memcmp(again.word[i].ptr, w.word[i].ptr, w.word[i].len) == 0);
    }
    hd_strbuf_free(&quoted);
    hd_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct hd_loop loop;
    static struct hd_commands *commands;
    int told = 0;

    if (!commands) {
        MUST(hd_loop_init(&loop) == HD_OK);
        MUST((commands = hd_commands_new(&loop)));
        MUST(hd_commands_add(commands, NULL, "ECHO", NULL, NULL, 0, echo, NULL, NULL) == HD_OK);
        MUST(hd_commands_add(commands, NULL, "SHOW POOLS", NULL, NULL, 0, echo, NULL, NULL) == HD_OK);
    }
    check_words((const char *)data, size);
    MUST(!hd_commands_call(commands, (const char *)data, size, NULL, on_done, &told));
    MUST(told == 1);
    return 0;
}
