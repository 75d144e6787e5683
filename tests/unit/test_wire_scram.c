/*
 * core/wire/scram: the RFC's example, both sides against each other, and what a hostile client sends.
 */
#include "unit.h"

#include "wire/scram.h"
#include "wire/sqlstate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* RFC 7677, section 3. */
#define RFC_CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define RFC_SERVER_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define RFC_NONCE        RFC_CLIENT_NONCE RFC_SERVER_NONCE
#define RFC_SALT         "W22ZaJ0SNY7soEsUEjb6gQ=="
#define RFC_CLIENT_FIRST "n,,n=user,r=" RFC_CLIENT_NONCE
#define RFC_SERVER_FIRST "r=" RFC_NONCE ",s=" RFC_SALT ",i=4096"
#define RFC_CLIENT_FINAL "c=biws,r=" RFC_NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define RFC_SERVER_FINAL "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
/* Its salt with the keys of "pencil". */
#define RFC_VERIFIER                                                                                         \
    "SCRAM-SHA-256$4096:" RFC_SALT "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"                          \
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static struct hd_scram_verifier rfc_verifier(void)
{
    struct hd_scram_verifier v;

    CU_ASSERT_EQUAL_FATAL(hd_scram_verifier_parse(RFC_VERIFIER, &v, NULL), HD_OK);
    return v;
}

/* A server that has the RFC's verifier and nonce, and its mechanism chosen. */
static struct hd_scram_server rfc_server(void)
{
    struct hd_scram_verifier v = rfc_verifier();
    struct hd_scram_server s;

    hd_scram_server_init(&s, &v, 1, NULL, 0);
    strcpy(s.own_nonce, RFC_SERVER_NONCE);
    CU_ASSERT_EQUAL_FATAL(hd_scram_server_choose(&s, HD_SCRAM_SHA_256, NULL), HD_OK);
    return s;
}

static int step_text(struct hd_scram_server *s, const char *msg, struct hd_scram_reply *out)
{
    return hd_scram_server_step(s, msg, strlen(msg), out, NULL);
}

static void test_verifier_text(void)
{
    struct hd_scram_verifier v = rfc_verifier(), derived = v;
    char text[HD_SCRAM_VERIFIER_TEXT];

    CU_ASSERT_EQUAL(v.iterations, 4096);
    CU_ASSERT_EQUAL(v.salt_len, 16);
    hd_scram_verifier_format(&v, text);
    CU_ASSERT_STRING_EQUAL(text, RFC_VERIFIER);
    memset(derived.stored_key, 0, sizeof(derived.stored_key));
    memset(derived.server_key, 0, sizeof(derived.server_key));
    CU_ASSERT_EQUAL(hd_scram_verifier_derive("pencil", 6, &derived), HD_OK);
    CU_ASSERT(!memcmp(&v, &derived, sizeof(v)));
    CU_ASSERT(hd_scram_is_verifier(RFC_VERIFIER));
    CU_ASSERT_FALSE(hd_scram_is_verifier("pencil"));
}

static void test_verifier_refused(void)
{
    static const char *const bad[] = {
        "",
        "md5abc",
        "SCRAM-SHA-256$",
        "SCRAM-SHA-256$4096",
        "SCRAM-SHA-256$4096:",
        "SCRAM-SHA-256$4096:W22Z",
        "SCRAM-SHA-256$4096:W22Z$",
        "SCRAM-SHA-256$4096:W22Z$W22Z:W22Z",
        "SCRAM-SHA-256$0:W22Z$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        "SCRAM-SHA-256$-1:W22Z$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        "SCRAM-SHA-256$99999999999:W22Z$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        "SCRAM-SHA-256$4096:$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        RFC_VERIFIER "A",
        RFC_VERIFIER "\n",
    };
    struct hd_scram_verifier v;

    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        struct hd_error err = HD_ERROR_INIT;

        CU_ASSERT_EQUAL(hd_scram_verifier_parse(bad[i], &v, &err), HD_EINVAL);
        CU_ASSERT(err.text[0] && !strstr(err.text, "W22Z") && !strstr(err.text, "wfPL"));
    }
}

static void test_verifier_limits(void)
{
    struct hd_scram_verifier v = rfc_verifier();
    char *password = calloc(1, HD_SCRAM_PASSWORD_MAX + 1);
    char text[HD_SCRAM_VERIFIER_TEXT];

    CU_ASSERT_FATAL(password != NULL);
    CU_ASSERT_EQUAL(hd_scram_verifier_derive(password, HD_SCRAM_PASSWORD_MAX + 1, &v), HD_EINVAL);
    CU_ASSERT_EQUAL(hd_scram_verifier_derive(password, HD_SCRAM_PASSWORD_MAX, &v), HD_OK);
    v.iterations = 0;
    CU_ASSERT_EQUAL(hd_scram_verifier_derive("x", 1, &v), HD_EINVAL);
    v.iterations = HD_SCRAM_ITERATIONS_MAX;
    v.salt_len = HD_SCRAM_SALT_MAX;
    hd_scram_verifier_format(&v, text);
    CU_ASSERT(strlen(text) < sizeof(text));
    CU_ASSERT_EQUAL(hd_scram_verifier_parse(text, &v, NULL), HD_OK);
    CU_ASSERT_EQUAL(v.salt_len, HD_SCRAM_SALT_MAX);
    free(password);
}

static void test_rfc_server(void)
{
    struct hd_scram_server s = rfc_server();
    struct hd_scram_reply out;

    CU_ASSERT_EQUAL(step_text(&s, RFC_CLIENT_FIRST, &out), HD_PENDING);
    CU_ASSERT_STRING_EQUAL(out.text, RFC_SERVER_FIRST);
    CU_ASSERT_EQUAL(out.len, strlen(RFC_SERVER_FIRST));
    CU_ASSERT_EQUAL(step_text(&s, RFC_CLIENT_FINAL, &out), HD_OK);
    CU_ASSERT_STRING_EQUAL(out.text, RFC_SERVER_FINAL);
    CU_ASSERT_EQUAL(s.state, HD_SCRAM_DONE);
    CU_ASSERT_EQUAL(step_text(&s, RFC_CLIENT_FINAL, &out), HD_EBUSY);
    CU_ASSERT_EQUAL(out.len, 0);
    hd_scram_server_wipe(&s);
}

static void test_rfc_client(void)
{
    struct hd_scram_client c;
    struct hd_scram_reply out;

    hd_scram_client_init(&c, "user", "pencil", 6);
    strcpy(c.own_nonce, RFC_CLIENT_NONCE);
    CU_ASSERT_EQUAL(hd_scram_client_step(&c, NULL, 0, &out, NULL), HD_PENDING);
    CU_ASSERT(out.len == strlen(RFC_CLIENT_FIRST) && !strcmp(out.text, RFC_CLIENT_FIRST));
    CU_ASSERT_EQUAL(hd_scram_client_step(&c, RFC_SERVER_FIRST, strlen(RFC_SERVER_FIRST), &out, NULL),
                    HD_PENDING);
    CU_ASSERT(out.len == strlen(RFC_CLIENT_FINAL) && !strcmp(out.text, RFC_CLIENT_FINAL));
    CU_ASSERT_EQUAL(hd_scram_client_step(&c, RFC_SERVER_FINAL, strlen(RFC_SERVER_FINAL), &out, NULL), HD_OK);
    CU_ASSERT_EQUAL(hd_scram_client_step(&c, RFC_SERVER_FINAL, strlen(RFC_SERVER_FINAL), &out, NULL),
                    HD_EBUSY);
    hd_scram_client_wipe(&c);
}

/* ---- one side against the other ---- */

/* Plays a login to its end; returns what the server says of the client, and in *client what the client says
 * of the server (HD_PENDING: it never heard the end). */
static int play(struct hd_scram_server *s, struct hd_scram_client *c, int *client)
{
    struct hd_scram_reply said, answer;
    int rc;

    *client = hd_scram_client_step(c, NULL, 0, &said, NULL);
    do {
        rc = hd_scram_server_step(s, said.text, said.len, &answer, NULL);
        if (rc != HD_PENDING && rc != HD_OK)
            return rc;
        *client = hd_scram_client_step(c, answer.text, answer.len, &said, NULL);
    } while (rc == HD_PENDING && *client == HD_PENDING);
    return rc;
}

static void test_round_trip(void)
{
    static const char *const passwords[] = {"x", "p\xc3\xa4ssw\xc3\xb6rd", "\x01 \x7f", ""};
    struct hd_scram_verifier v;
    struct hd_scram_server s;
    struct hd_scram_client c;
    int client;

    for (size_t i = 0; i < HD_ARRAY_LEN(passwords); i++) {
        CU_ASSERT_EQUAL(hd_scram_verifier_make(passwords[i], strlen(passwords[i]), &v), HD_OK);
        for (int right = 0; right < 2; right++) {
            hd_scram_server_init(&s, &v, 1, NULL, 0);
            CU_ASSERT_EQUAL(hd_scram_server_choose(&s, HD_SCRAM_SHA_256, NULL), HD_OK);
            hd_scram_client_init(&c, "", right ? passwords[i] : "wrong", right ? strlen(passwords[i]) : 5);
            CU_ASSERT_EQUAL(play(&s, &c, &client), right ? HD_OK : HD_EPERM);
            CU_ASSERT_EQUAL(client, right ? HD_OK : HD_PENDING);
            CU_ASSERT(right || !strcmp(s.sqlstate, HD_SQLSTATE_INVALID_PASSWORD));
        }
    }
}

/* RFC 4013's examples, and some of PostgreSQL's: what is typed, and what it comes to. */
static void test_prepared_passwords(void)
{
    static const char *const pairs[][2] = {
        {"I\xc2\xadX", "IX"},                       /* mapped to nothing */
        {"\xc2\xaa", "a"},                          /* compatibility */
        {"\xe2\x85\xa8", "IX"},                     /* the roman numeral */
        {"a\xc2\xa0z", "a z"},                      /* a blank */
        {"p\x61\xcc\x88sswort", "p\xc3\xa4sswort"}, /* composed */
        {"p\xc3\xa4sswort", "p\xc3\xa4sswort"},     /* as it is */
        {"\xd0\xbf\xd0\xb0\xd1\x80", "\xd0\xbf\xd0\xb0\xd1\x80"},
        {"a\x07"
         "b\xc3\xa4",
         "a\x07"
         "b\xc3\xa4"},                /* prohibited: taken as it is */
        {"broken\xff", "broken\xff"}, /* no UTF-8: taken as it is */
    };
    struct hd_scram_verifier v;
    struct hd_scram_server s;
    struct hd_scram_client c;
    int client;

    for (size_t i = 0; i < HD_ARRAY_LEN(pairs); i++) {
        CU_ASSERT_EQUAL(hd_scram_verifier_make(pairs[i][0], strlen(pairs[i][0]), &v), HD_OK);
        CU_ASSERT_EQUAL(v.iterations, HD_SCRAM_ITERATIONS);
        hd_scram_server_init(&s, &v, 1, NULL, 0);
        CU_ASSERT_EQUAL(hd_scram_server_choose(&s, HD_SCRAM_SHA_256, NULL), HD_OK);
        hd_scram_client_init(&c, "", pairs[i][1], strlen(pairs[i][1]));
        CU_ASSERT_EQUAL(play(&s, &c, &client), HD_OK);
    }
}

/* A login to us shows the key that logs in to a server with the same verifier. */
static void test_client_key(void)
{
    struct hd_scram_verifier v, other;
    struct hd_scram_server s, second;
    struct hd_scram_client c;
    int client;

    CU_ASSERT_EQUAL(hd_scram_verifier_make("secret", 6, &v), HD_OK);
    hd_scram_server_init(&s, &v, 1, NULL, 0);
    CU_ASSERT_EQUAL(hd_scram_server_choose(&s, HD_SCRAM_SHA_256, NULL), HD_OK);
    hd_scram_client_init(&c, "", "secret", 6);
    CU_ASSERT_EQUAL(play(&s, &c, &client), HD_OK);

    hd_scram_client_init_keys(&c, "", s.client_key, v.server_key);
    hd_scram_server_init(&second, &v, 1, NULL, 0);
    CU_ASSERT_EQUAL(hd_scram_server_choose(&second, HD_SCRAM_SHA_256, NULL), HD_OK);
    CU_ASSERT_EQUAL(play(&second, &c, &client), HD_OK);
    CU_ASSERT_EQUAL(client, HD_OK);

    /* Another salt, another key. */
    CU_ASSERT_EQUAL(hd_scram_verifier_make("secret", 6, &other), HD_OK);
    hd_scram_client_init_keys(&c, "", s.client_key, v.server_key);
    hd_scram_server_init(&second, &other, 1, NULL, 0);
    CU_ASSERT_EQUAL(hd_scram_server_choose(&second, HD_SCRAM_SHA_256, NULL), HD_OK);
    CU_ASSERT_EQUAL(play(&second, &c, &client), HD_EPERM);
}

static void test_binding(void)
{
    static const uint8_t ours[32] = "the hash of our own certificate";
    static const uint8_t theirs[32] = "the hash of a man in the middle";
    struct hd_scram_verifier v = rfc_verifier();
    struct hd_scram_server s;
    struct hd_scram_client c;
    int client;

    for (int honest = 0; honest < 2; honest++) {
        hd_scram_server_init(&s, &v, 1, ours, sizeof(ours));
        CU_ASSERT_EQUAL(hd_scram_server_choose(&s, HD_SCRAM_SHA_256_PLUS, NULL), HD_OK);
        hd_scram_client_init(&c, "", "pencil", 6);
        hd_scram_client_bind(&c, honest ? ours : theirs, sizeof(ours));
        CU_ASSERT_EQUAL(play(&s, &c, &client), honest ? HD_OK : HD_EPERM);
        CU_ASSERT(honest || !strcmp(s.sqlstate, HD_SQLSTATE_INVALID_AUTHORIZATION));
    }
    /* Offered and not taken up: a plain login works. */
    hd_scram_server_init(&s, &v, 1, ours, sizeof(ours));
    CU_ASSERT_EQUAL(hd_scram_server_choose(&s, HD_SCRAM_SHA_256, NULL), HD_OK);
    hd_scram_client_init(&c, "", "pencil", 6);
    CU_ASSERT_EQUAL(play(&s, &c, &client), HD_OK);
    CU_ASSERT_EQUAL(client, HD_OK);
}

/* ---- users who do not exist ---- */

static void test_mock(void)
{
    static const uint8_t secret[HD_SCRAM_KEY_LEN] = "one", another[HD_SCRAM_KEY_LEN] = "two";
    struct hd_scram_verifier a, b;
    struct hd_scram_server s;
    struct hd_scram_client c;
    int client;

    CU_ASSERT_EQUAL(hd_scram_verifier_mock(secret, "nobody", &a), HD_OK);
    CU_ASSERT_EQUAL(hd_scram_verifier_mock(secret, "nobody", &b), HD_OK);
    CU_ASSERT(!memcmp(a.salt, b.salt, HD_SCRAM_SALT_LEN));
    CU_ASSERT_EQUAL(a.salt_len, HD_SCRAM_SALT_LEN);
    CU_ASSERT_EQUAL(a.iterations, HD_SCRAM_ITERATIONS);
    CU_ASSERT_EQUAL(hd_scram_verifier_mock(secret, "nobody2", &b), HD_OK);
    CU_ASSERT(memcmp(a.salt, b.salt, HD_SCRAM_SALT_LEN));
    CU_ASSERT_EQUAL(hd_scram_verifier_mock(another, "nobody", &b), HD_OK);
    CU_ASSERT(memcmp(a.salt, b.salt, HD_SCRAM_SALT_LEN));

    hd_scram_server_init(&s, &a, 0, NULL, 0);
    CU_ASSERT_EQUAL(hd_scram_server_choose(&s, HD_SCRAM_SHA_256, NULL), HD_OK);
    hd_scram_client_init(&c, "", "x", 1);
    CU_ASSERT_EQUAL(play(&s, &c, &client), HD_EPERM);
    CU_ASSERT_STRING_EQUAL(s.sqlstate, HD_SQLSTATE_INVALID_PASSWORD);

    /* Even a right proof is none for a user who must not be there. */
    a = rfc_verifier();
    hd_scram_server_init(&s, &a, 0, NULL, 0);
    CU_ASSERT_EQUAL(hd_scram_server_choose(&s, HD_SCRAM_SHA_256, NULL), HD_OK);
    hd_scram_client_init(&c, "", "pencil", 6);
    CU_ASSERT_EQUAL(play(&s, &c, &client), HD_EPERM);
}

/* ---- what must be refused ---- */

static void test_choose(void)
{
    static const uint8_t binding[4] = "cert";
    struct hd_scram_verifier v = rfc_verifier();
    struct hd_scram_reply out;
    struct hd_scram_server s;

    hd_scram_server_init(&s, &v, 1, NULL, 0);
    CU_ASSERT_EQUAL(step_text(&s, RFC_CLIENT_FIRST, &out), HD_EBUSY);
    CU_ASSERT_EQUAL(hd_scram_server_choose(&s, HD_SCRAM_SHA_256_PLUS, NULL), HD_EPROTO);
    CU_ASSERT_STRING_EQUAL(s.sqlstate, HD_SQLSTATE_PROTOCOL_VIOLATION);
    CU_ASSERT_EQUAL(hd_scram_server_choose(&s, HD_SCRAM_SHA_256, NULL), HD_EBUSY);
    hd_scram_server_init(&s, &v, 1, binding, sizeof(binding));
    CU_ASSERT_EQUAL(hd_scram_server_choose(&s, "SCRAM-SHA-1", NULL), HD_EPROTO);
    hd_scram_server_init(&s, &v, 1, binding, sizeof(binding));
    CU_ASSERT_EQUAL(hd_scram_server_choose(&s, HD_SCRAM_SHA_256_PLUS, NULL), HD_OK);
    CU_ASSERT_EQUAL(hd_scram_server_choose(&s, HD_SCRAM_SHA_256, NULL), HD_EBUSY);
}

static void check_first(const char *msg, int plus, int want, const char *sqlstate)
{
    static const uint8_t binding[4] = "cert";
    struct hd_scram_verifier v = rfc_verifier();
    struct hd_scram_reply out;
    struct hd_scram_server s;
    int rc;

    hd_scram_server_init(&s, &v, 1, plus ? binding : NULL, plus ? sizeof(binding) : 0);
    CU_ASSERT_EQUAL(hd_scram_server_choose(&s, plus ? HD_SCRAM_SHA_256_PLUS : HD_SCRAM_SHA_256, NULL), HD_OK);
    rc = step_text(&s, msg, &out);
    if (rc != want)
        printf("# <%s>: %d\n", msg, rc);
    CU_ASSERT_EQUAL(rc, want);
    CU_ASSERT(want != HD_PENDING || out.len > 0);
    CU_ASSERT(want == HD_PENDING || (s.state == HD_SCRAM_FAILED && !strcmp(s.sqlstate, sqlstate)));
    CU_ASSERT(want == HD_PENDING || out.len == 0);
}

static void test_first_message(void)
{
    check_first("n,,n=,r=abc", 0, HD_PENDING, NULL);
    check_first("y,,n=,r=abc", 0, HD_PENDING, NULL);
    check_first("n,,n=*,r=abc,x=y,z=", 0, HD_PENDING, NULL);
    check_first("p=tls-server-end-point,,n=,r=abc", 1, HD_PENDING, NULL);
    check_first("p=tls-server-end-point,,n=,r=abc", 0, HD_EPROTO, "08P01");
    check_first("p=tls-unique,,n=,r=abc", 1, HD_EPROTO, "08P01");
    check_first("n,,n=,r=abc", 1, HD_EPROTO, "08P01");
    check_first("y,,n=,r=abc", 1, HD_EPROTO, "08P01");
    check_first("n,a=me,n=,r=abc", 0, HD_EUNSUPP, "0A000");
    check_first("y,a=me,n=,r=abc", 0, HD_EUNSUPP, "0A000");
    check_first("p=tls-server-end-point,a=me,n=,r=abc", 1, HD_EUNSUPP, "0A000");
    check_first("n,,m=x,n=,r=abc", 0, HD_EUNSUPP, "0A000");
    check_first("", 0, HD_EPROTO, "08P01");
    check_first("n", 0, HD_EPROTO, "08P01");
    check_first("n,", 0, HD_EPROTO, "08P01");
    check_first("n,,", 0, HD_EPROTO, "08P01");
    check_first("n,,n=", 0, HD_EPROTO, "08P01");
    check_first("n,,n=,", 0, HD_EPROTO, "08P01");
    check_first("n,,n=,r", 0, HD_EPROTO, "08P01");
    check_first("n,,n=,r=", 0, HD_EPROTO, "08P01");
    check_first("n,,n=,r=a,", 0, HD_EPROTO, "08P01");
    check_first("n,,n=,r=a,x", 0, HD_EPROTO, "08P01");
    check_first("n,,n=,r=a\x80", 0, HD_EPROTO, "08P01");
    check_first("n,,n=,r=a b", 0, HD_EPROTO, "08P01");
    check_first("n,,r=abc,n=", 0, HD_EPROTO, "08P01");
    check_first("q,,n=,r=abc", 0, HD_EPROTO, "08P01");
    check_first("nn,n=,r=abc", 0, HD_EPROTO, "08P01");
}

/* A client that can bind, to a server that offers it, says it was not offered. */
static void test_downgrade(void)
{
    static const uint8_t binding[4] = "cert";
    struct hd_scram_verifier v = rfc_verifier();
    struct hd_scram_reply out;
    struct hd_scram_server s;

    hd_scram_server_init(&s, &v, 1, binding, sizeof(binding));
    CU_ASSERT_EQUAL(hd_scram_server_choose(&s, HD_SCRAM_SHA_256, NULL), HD_OK);
    CU_ASSERT_EQUAL(step_text(&s, "y,,n=,r=abc", &out), HD_EPERM);
    CU_ASSERT_STRING_EQUAL(s.sqlstate, HD_SQLSTATE_INVALID_AUTHORIZATION);
}

/* A nonce of `len` bytes, in a message that is otherwise right. */
static int with_nonce(size_t len)
{
    struct hd_scram_server s = rfc_server();
    struct hd_scram_reply out;
    char msg[2048] = "n,,n=,r=";
    size_t n = strlen(msg);

    memset(msg + n, 'x', len);
    return hd_scram_server_step(&s, msg, n + len, &out, NULL);
}

static void test_long_nonce(void)
{
    CU_ASSERT_EQUAL(with_nonce(HD_SCRAM_NONCE_MAX), HD_PENDING);
    CU_ASSERT_EQUAL(with_nonce(HD_SCRAM_NONCE_MAX + 1), HD_EPROTO);
    CU_ASSERT_EQUAL(with_nonce(1500), HD_EPROTO);
}

/* The longest of everything still goes all the way. */
static void test_longest(void)
{
    static const uint8_t binding[HD_SCRAM_BINDING_MAX] = {1};
    struct hd_scram_verifier v = rfc_verifier();
    struct hd_scram_server s;
    struct hd_scram_client c;
    char user[700];
    int client;

    memset(user, 'u', sizeof(user) - 1);
    user[sizeof(user) - 1] = 0;
    v.salt_len = HD_SCRAM_SALT_MAX;
    CU_ASSERT_EQUAL(hd_scram_verifier_derive("pencil", 6, &v), HD_OK);
    hd_scram_server_init(&s, &v, 1, binding, sizeof(binding));
    memset(s.own_nonce, 's', HD_SCRAM_NONCE_MAX);
    CU_ASSERT_EQUAL(hd_scram_server_choose(&s, HD_SCRAM_SHA_256_PLUS, NULL), HD_OK);
    hd_scram_client_init(&c, user, "pencil", 6);
    memset(c.own_nonce, 'c', HD_SCRAM_NONCE_MAX);
    hd_scram_client_bind(&c, binding, sizeof(binding));
    CU_ASSERT_EQUAL(play(&s, &c, &client), HD_OK);
    CU_ASSERT_EQUAL(client, HD_OK);
}

static void check_last(const char *msg, size_t len, int want, const char *sqlstate)
{
    struct hd_scram_server s = rfc_server();
    struct hd_scram_reply out;
    int rc;

    CU_ASSERT_EQUAL(step_text(&s, RFC_CLIENT_FIRST, &out), HD_PENDING);
    rc = hd_scram_server_step(&s, msg, len, &out, NULL);
    if (rc != want)
        printf("# <%.*s>: %d\n", (int)len, msg, rc);
    CU_ASSERT_EQUAL(rc, want);
    CU_ASSERT(rc == HD_OK || (s.sqlstate && !strcmp(s.sqlstate, sqlstate)));
}

static void test_last_message(void)
{
    static const struct {
        const char *msg;
        int want;
        const char *sqlstate;
    } cases[] = {
        {"c=biws,r=" RFC_NONCE, HD_EPROTO, "08P01"},
        {"c=biws,r=" RFC_NONCE ",p=", HD_EPROTO, "08P01"},
        {"c=biws,r=" RFC_NONCE ",p=AAAA", HD_EPROTO, "08P01"},
        {"c=biws,r=" RFC_NONCE ",p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", HD_EPERM, "28P01"},
        {"c=biws,r=" RFC_NONCE ",x=y,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", HD_EPERM, "28P01"},
        {"c=eSws,r=" RFC_NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", HD_EPROTO, "08P01"},
        {"c=biws,r=" RFC_CLIENT_NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", HD_EPROTO, "08P01"},
        {"c=biws,r=" RFC_NONCE "x,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", HD_EPROTO, "08P01"},
        {RFC_CLIENT_FINAL ",x=y", HD_EPROTO, "08P01"},
        {RFC_CLIENT_FINAL ",", HD_EPROTO, "08P01"},
        {"r=" RFC_NONCE ",c=biws,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", HD_EPROTO, "08P01"},
        {"user\0", HD_EPROTO, "08P01"},
    };

    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++)
        check_last(cases[i].msg, strlen(cases[i].msg), cases[i].want, cases[i].sqlstate);
    check_last(RFC_CLIENT_FINAL, strlen(RFC_CLIENT_FINAL), HD_OK, NULL);
    /* With its NUL it is another message. */
    check_last(RFC_CLIENT_FINAL, strlen(RFC_CLIENT_FINAL) + 1, HD_EPROTO, "08P01");
    for (size_t n = 0; n < strlen(RFC_CLIENT_FINAL); n++)
        check_last(RFC_CLIENT_FINAL, n, HD_EPROTO, "08P01");
}

/* Every bit of the proof counts. */
static void test_flipped_proof(void)
{
    char msg[] = RFC_CLIENT_FINAL;

    for (char *p = strstr(msg, ",p=") + 3; *p && *p != '='; p++) {
        struct hd_scram_server s = rfc_server();
        struct hd_scram_reply out;
        char was = *p;

        *p = was == 'A' ? 'B' : 'A';
        CU_ASSERT_EQUAL(step_text(&s, RFC_CLIENT_FIRST, &out), HD_PENDING);
        CU_ASSERT(step_text(&s, msg, &out) < 0);
        CU_ASSERT_NOT_EQUAL(s.state, HD_SCRAM_DONE);
        *p = was;
    }
}

/* No initial response: an empty challenge, then on as ever. */
static void test_no_initial_response(void)
{
    struct hd_scram_server s = rfc_server();
    struct hd_scram_reply out;

    CU_ASSERT_EQUAL(hd_scram_server_step(&s, NULL, 0, &out, NULL), HD_PENDING);
    CU_ASSERT_EQUAL(out.len, 0);
    CU_ASSERT_EQUAL(step_text(&s, RFC_CLIENT_FIRST, &out), HD_PENDING);
    CU_ASSERT_EQUAL(hd_scram_server_step(&s, NULL, 0, &out, NULL), HD_EPROTO);
}

static void check_server_first(const char *msg, size_t len, int want)
{
    struct hd_scram_client c;
    struct hd_scram_reply out;

    hd_scram_client_init(&c, "user", "pencil", 6);
    strcpy(c.own_nonce, RFC_CLIENT_NONCE);
    CU_ASSERT_EQUAL(hd_scram_client_step(&c, NULL, 0, &out, NULL), HD_PENDING);
    CU_ASSERT_EQUAL(hd_scram_client_step(&c, msg, len, &out, NULL), want);
}

static void test_client_refuses_first(void)
{
    static const char *const bad[] = {
        "r=other,s=" RFC_SALT ",i=4096",
        "r=" RFC_CLIENT_NONCE ",s=" RFC_SALT ",i=4096", /* nothing of the server's */
        "r=" RFC_NONCE ",s=,i=4096",
        "r=" RFC_NONCE ",s=*,i=4096",
        "r=" RFC_NONCE ",s=" RFC_SALT ",i=0",
        "r=" RFC_NONCE ",s=" RFC_SALT ",i=",
        "r=" RFC_NONCE ",s=" RFC_SALT ",i=10000001",
        "r=" RFC_NONCE ",s=" RFC_SALT ",i=-1",
        "m=x,r=" RFC_NONCE ",s=" RFC_SALT ",i=4096",
    };

    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++)
        check_server_first(bad[i], strlen(bad[i]), HD_EPROTO);
    for (size_t n = 0; n + 4 < strlen(RFC_SERVER_FIRST); n++)
        check_server_first(RFC_SERVER_FIRST, n, HD_EPROTO);
    check_server_first(NULL, 0, HD_EPROTO);
}

static void check_server_final(const char *msg, int want)
{
    struct hd_scram_client c;
    struct hd_scram_reply out;

    hd_scram_client_init(&c, "user", "pencil", 6);
    strcpy(c.own_nonce, RFC_CLIENT_NONCE);
    CU_ASSERT_EQUAL(hd_scram_client_step(&c, NULL, 0, &out, NULL), HD_PENDING);
    CU_ASSERT_EQUAL(hd_scram_client_step(&c, RFC_SERVER_FIRST, strlen(RFC_SERVER_FIRST), &out, NULL),
                    HD_PENDING);
    CU_ASSERT_EQUAL(hd_scram_client_step(&c, msg, strlen(msg), &out, NULL), want);
}

static void test_client_refuses_last(void)
{
    check_server_final(RFC_SERVER_FINAL, HD_OK);
    check_server_final("v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", HD_EPERM);
    check_server_final("v=6rri", HD_EPROTO);
    check_server_final("e=invalid-proof", HD_EPERM);
    check_server_final("x=", HD_EPROTO);
    check_server_final("", HD_EPROTO);
}

static void test_client_user(void)
{
    static char too_long[HD_SCRAM_MESSAGE_MAX];
    struct hd_scram_client c;
    struct hd_scram_reply out;

    memset(too_long, 'u', sizeof(too_long) - 1);
    hd_scram_client_init(&c, "a,b", "x", 1);
    CU_ASSERT_EQUAL(hd_scram_client_step(&c, NULL, 0, &out, NULL), HD_EINVAL);
    hd_scram_client_init(&c, too_long, "x", 1);
    CU_ASSERT_EQUAL(hd_scram_client_step(&c, NULL, 0, &out, NULL), HD_EINVAL);
}

#define LITERAL(s) (s), sizeof(s) - 1

static void test_sasl_initial(void)
{
    struct hd_sasl_initial i;

    CU_ASSERT_EQUAL(hd_sasl_initial_parse(LITERAL("M\0\0\0\0\3abc"), &i), HD_OK);
    CU_ASSERT_STRING_EQUAL(i.mechanism, "M");
    CU_ASSERT(i.len == 3 && !memcmp(i.data, "abc", 3));
    CU_ASSERT_EQUAL(hd_sasl_initial_parse(LITERAL("M\0\0\0\0\0"), &i), HD_OK);
    CU_ASSERT(i.len == 0 && i.data != NULL);
    CU_ASSERT_EQUAL(hd_sasl_initial_parse(LITERAL("M\0\xff\xff\xff\xff"), &i), HD_OK);
    CU_ASSERT(i.data == NULL);
    CU_ASSERT_EQUAL(hd_sasl_initial_parse(LITERAL("M\0\xff\xff\xff\xfe"), &i), HD_EPROTO);
    CU_ASSERT_EQUAL(hd_sasl_initial_parse(LITERAL("M\0\x7f\xff\xff\xff"), &i), HD_EPROTO);
    CU_ASSERT_EQUAL(hd_sasl_initial_parse(LITERAL("M\0\0\0\0\2abc"), &i), HD_EPROTO);
    CU_ASSERT_EQUAL(hd_sasl_initial_parse(LITERAL("M\0\0\0\0\4abc"), &i), HD_EPROTO);
    CU_ASSERT_EQUAL(hd_sasl_initial_parse(LITERAL("M\0\0\0\0"), &i), HD_EPROTO);
    CU_ASSERT_EQUAL(hd_sasl_initial_parse(LITERAL("M"), &i), HD_EPROTO);
    CU_ASSERT_EQUAL(hd_sasl_initial_parse(NULL, 0, &i), HD_EPROTO);
}

UNIT_MAIN("scram", {"verifier: text", test_verifier_text}, {"verifier: refused", test_verifier_refused},
          {"verifier: limits", test_verifier_limits}, {"the RFC's server", test_rfc_server},
          {"the RFC's client", test_rfc_client}, {"round trip", test_round_trip},
          {"prepared passwords", test_prepared_passwords}, {"login with the client's key", test_client_key},
          {"channel binding", test_binding}, {"users who do not exist", test_mock},
          {"choice of the mechanism", test_choose}, {"client's first message", test_first_message},
          {"a downgrade is seen", test_downgrade}, {"long nonces", test_long_nonce},
          {"the longest of everything", test_longest}, {"client's last message", test_last_message},
          {"a changed proof", test_flipped_proof}, {"no initial response", test_no_initial_response},
          {"client refuses a first message", test_client_refuses_first},
          {"client refuses a last message", test_client_refuses_last},
          {"client's user name", test_client_user}, {"SASLInitialResponse", test_sasl_initial})
