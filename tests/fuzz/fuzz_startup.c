/*
 * Fuzzes what a client can say before it is anybody: the first packet, the options in it, and SCRAM.
 *
 * Input: one byte that chooses what the rest is. Beside memory safety: a packet means the same however it
 * comes in pieces, every refusal has its SQLSTATE, and nobody gets in without a right proof.
 */
#include "wire/scram.h"
#include "wire/startup.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x)                                                                                              \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            abort();                                                                                         \
    } while (0)

static void walk_options(const char *text)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_startup_options o = {.at = text};
    struct hd_setting set;
    size_t cap = strlen(text) + 1;
    char *scratch = malloc(cap);
    int rc;

    MUST(scratch);
    while ((rc = hd_startup_options_next(&o, scratch, cap, &set, &err)) == HD_OK)
        MUST(set.name[0] && !strchr(set.name, '-') && strlen(set.name) + strlen(set.value) < cap);
    MUST(rc == HD_ENOENT || ((rc == HD_EINVAL || rc == HD_EUNSUPP) && o.sqlstate && err.text[0]));
    free(scratch);
}

static void check_session(const struct hd_startup *s)
{
    MUST(s->user && s->user[0] && s->database && s->database[0]);
    MUST(s->param_count + s->protocol_option_count <= HD_STARTUP_PARAMS_MAX);
    for (size_t i = 0; i < s->param_count; i++)
        MUST(s->params[i].name[0] && strlen(s->params[i].value) < s->length);
    for (size_t i = 0; i < s->protocol_option_count; i++)
        MUST(!strncmp(s->protocol_options[i], "_pq_.", 5));
    if (s->options)
        walk_options(s->options);
}

static void first_packet(const uint8_t *p, size_t size)
{
    struct hd_error err = HD_ERROR_INIT;
    static struct hd_startup s;
    int rc = hd_startup_parse(p, size, &s, &err);

    if (rc == HD_OK && s.kind == HD_STARTUP_SESSION)
        check_session(&s);
    if (rc == HD_OK && s.kind == HD_STARTUP_CANCEL)
        MUST(s.cancel_key_len && s.cancel_key_len <= HD_CANCEL_KEY_MAX);
    if (rc < 0)
        MUST(s.sqlstate && strlen(s.sqlstate) == 5 && err.text[0]);
    /* All that comes in front of the whole packet is a wait. */
    if (rc == HD_OK)
        MUST(s.length <= size && hd_startup_parse(p, s.length - 1, &s, NULL) == HD_PENDING);
}

/* The next piece of the input up to a newline. */
static size_t next_line(const uint8_t **p, size_t *left, const uint8_t **line)
{
    const uint8_t *end = *left ? memchr(*p, '\n', *left) : NULL;
    size_t len = end ? (size_t)(end - *p) : *left;

    *line = *p;
    *p += end ? len + 1 : len;
    *left -= end ? len + 1 : len;
    return len;
}

/* Each line is a message to a server whose user's password nobody knows. */
static void scram_server(const uint8_t *p, size_t left, int plus)
{
    static const uint8_t binding[32] = "certificate", secret[HD_SCRAM_KEY_LEN] = "secret";
    struct hd_scram_verifier v;
    struct hd_scram_server s;
    struct hd_scram_reply out;

    MUST(hd_scram_verifier_mock(secret, "nobody", &v) == HD_OK);
    hd_scram_server_init(&s, &v, 1, binding, sizeof(binding));
    /* A nonce that inputs can know. */
    strcpy(s.own_nonce, "server");
    MUST(hd_scram_server_choose(&s, plus ? HD_SCRAM_SHA_256_PLUS : HD_SCRAM_SHA_256, NULL) == HD_OK);
    for (int i = 0; i < 3; i++) {
        struct hd_error err = HD_ERROR_INIT;
        const uint8_t *line;
        size_t len = next_line(&p, &left, &line);
        int rc = hd_scram_server_step(&s, line, len, &out, &err);

        MUST(rc != HD_OK && out.len <= HD_SCRAM_MESSAGE_MAX);
        MUST(rc == HD_PENDING || (s.state == HD_SCRAM_FAILED && s.sqlstate && err.text[0]));
    }
    hd_scram_server_wipe(&s);
}

/* Each line is a message from a server that does not know the keys. */
static void scram_client(const uint8_t *p, size_t left)
{
    static const uint8_t key[HD_SCRAM_KEY_LEN] = "key";
    struct hd_scram_client c;
    struct hd_scram_reply out;

    hd_scram_client_init_keys(&c, "", key, key);
    strcpy(c.own_nonce, "client");
    MUST(hd_scram_client_step(&c, NULL, 0, &out, NULL) == HD_PENDING);
    for (int i = 0; i < 2; i++) {
        const uint8_t *line;
        size_t len = next_line(&p, &left, &line);

        MUST(hd_scram_client_step(&c, line, len, &out, NULL) != HD_OK);
    }
    hd_scram_client_wipe(&c);
}

/* A verifier that is read is written back the same. */
static void verifier(const char *text)
{
    char again[HD_SCRAM_VERIFIER_TEXT];
    struct hd_scram_verifier v, twice;

    if (hd_scram_verifier_parse(text, &v, NULL))
        return;
    hd_scram_verifier_format(&v, again);
    MUST(hd_scram_verifier_parse(again, &twice, NULL) == HD_OK);
    MUST(!memcmp(&v, &twice, sizeof(v)));
}

/* The input as a string of its own. */
static void with_text(const uint8_t *p, size_t size, void (*use)(const char *))
{
    char *text = malloc(size + 1);

    MUST(text);
    memcpy(text, p, size);
    text[size] = 0;
    use(text);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    switch (data[0]) {
    case 'o':
        with_text(data + 1, size - 1, walk_options);
        break;
    case 'v':
        with_text(data + 1, size - 1, verifier);
        break;
    case 's':
    case 'p':
        scram_server(data + 1, size - 1, data[0] == 'p');
        break;
    case 'c':
        scram_client(data + 1, size - 1);
        break;
    default:
        first_packet(data + 1, size - 1);
    }
    return 0;
}
