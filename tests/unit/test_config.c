/*
 * The configuration: what settings come of files, every refusal with its place, reloads, and what is printed.
 */
#include "unit.h"
#include "base/alloc.h"
#include "base/check.h"
#include "host/address.h"
#include "host/config.h"
#include "wire/scram.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A configuration with nothing wrong with it; sections are added behind. */
#define GOOD                                                                                                 \
    "[listener main]\n"                                                                                      \
    "listen = 127.0.0.1:6432\n"                                                                              \
    "[user app]\n"                                                                                           \
    "password = secret\n"                                                                                    \
    "admin = yes\n"                                                                                          \
    "[database shop]\n"                                                                                      \
    "node = main\n"                                                                                          \
    "[node main]\n"                                                                                          \
    "conninfo = host=127.0.0.1 port=5432 dbname=shop\n"

static char folder[] = "/tmp/hd_test_config_XXXXXX";

static void put(const char *name, const char *text)
{
    char path[256];
    FILE *f;

    if (strstr(folder, "XXXXXX"))
        CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fputs(text, f);
    fclose(f);
    chmod(path, 0600);
}

struct trial {
    struct hd_problems problems;
    struct hd_config *config;
};

static void load(struct trial *t, const char *text, const struct hd_config *running)
{
    char path[256];

    memset(t, 0, sizeof(*t));
    put("a.ini", text);
    snprintf(path, sizeof(path), "%s/a.ini", folder);
    t->config = hd_config_load(path, running, 0, &t->problems);
}

static void end(struct trial *t)
{
    hd_config_free(t->config);
    hd_problems_free(&t->problems);
}

static int says(const struct trial *t, const char *text)
{
    for (const struct hd_problem *p = t->problems.first; p; p = p->next)
        if (strstr(p->text, text))
            return 1;
    for (const struct hd_problem *p = t->problems.first; p; p = p->next)
        printf("# got    %s\n", p->text);
    printf("# wanted %s\n", text);
    return 0;
}

/* Loads a text that has exactly one error. */
static void refuses(const char *text, const char *error)
{
    struct trial t;

    load(&t, text, NULL);
    CU_ASSERT_PTR_NULL(t.config);
    CU_ASSERT_EQUAL(t.problems.errors, 1);
    CU_ASSERT(says(&t, error));
    end(&t);
}

/* Loads a text that is fit to be used but for which there is a warning. */
static void warns(const char *text, const char *warning)
{
    struct trial t;

    load(&t, text, NULL);
    CU_ASSERT_PTR_NOT_NULL(t.config);
    CU_ASSERT_EQUAL(t.problems.errors, 0);
    CU_ASSERT(says(&t, warning));
    end(&t);
}

static void good(void)
{
    const struct hd_settings *s;
    struct trial t;

    load(&t, GOOD, NULL);
    CU_ASSERT_EQUAL(t.problems.errors + t.problems.warnings, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t.config);
    s = t.config->settings;
    CU_ASSERT(s->host.worker_count >= 1);
    CU_ASSERT_EQUAL(s->host.drain_timeout, 30000);
    CU_ASSERT_EQUAL(s->listener_count, 1);
    CU_ASSERT_EQUAL(s->listeners[0].address_count, 1);
    CU_ASSERT_STRING_EQUAL(s->listeners[0].addresses[0].text, "127.0.0.1:6432");
    CU_ASSERT_EQUAL(s->listeners[0].auth, HD_AUTH_SCRAM);
    CU_ASSERT_EQUAL(s->listeners[0].unix_mode, 0777);
    CU_ASSERT_PTR_NOT_NULL(s->users[0].verifier);
    CU_ASSERT_EQUAL(s->users[0].admin, 1);
    CU_ASSERT_EQUAL(s->databases[0].pool_size, 20);
    CU_ASSERT_EQUAL(s->databases[0].queue_timeout, 30000);
    CU_ASSERT_EQUAL(s->databases[0].pool_mode, HD_POOL_AUTO);
    CU_ASSERT_PTR_EQUAL(s->databases[0].node, &s->nodes[0]);
    CU_ASSERT_STRING_EQUAL(s->nodes[0].dbname, "shop");
    CU_ASSERT_PTR_NULL(s->nodes[0].user);
    CU_ASSERT_STRING_EQUAL(s->nodes[0].control_user, "app");
    CU_ASSERT_STRING_EQUAL(s->nodes[0].control_password, "secret");
    end(&t);
}

static void lookups(void)
{
    const struct hd_settings *s;
    struct trial t;

    load(&t,
         "[listener l]\nlisten = unix:/tmp/.s.PGSQL.6432\nauth = trust\n[user zoe]\n[user *]\n[user adam]\n"
         "[database *]\nnode = n\n[database b]\nnode = n\n[database a]\nnode = m\n[node n]\nconninfo = "
         "host=/tmp\n"
         "[node m]\nconninfo = host=/tmp\n",
         NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t.config);
    s = t.config->settings;
    CU_ASSERT_STRING_EQUAL(hd_settings_user(s, "zoe")->name, "zoe");
    CU_ASSERT_STRING_EQUAL(hd_settings_user(s, "adam")->name, "adam");
    CU_ASSERT_STRING_EQUAL(hd_settings_user(s, "eve")->name, "*");
    CU_ASSERT_STRING_EQUAL(hd_settings_database(s, "a")->node->name, "m");
    CU_ASSERT_STRING_EQUAL(hd_settings_database(s, "b")->node->name, "n");
    CU_ASSERT_STRING_EQUAL(hd_settings_database(s, "zzz")->name, "*");
    CU_ASSERT_PTR_NULL(hd_settings_node(s, "*"));
    CU_ASSERT_PTR_NULL(hd_settings_node(s, "o"));
    end(&t);
    load(&t, GOOD, NULL);
    CU_ASSERT_PTR_NULL(hd_settings_user(t.config->settings, "eve"));
    CU_ASSERT_PTR_NULL(hd_settings_database(t.config->settings, "eve"));
    end(&t);
}

static void held_settings(void)
{
    struct hd_settings *s;
    struct trial t;

    load(&t, GOOD, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t.config);
    s = hd_settings_hold(t.config->settings);
    end(&t);
    CU_ASSERT_STRING_EQUAL(hd_settings_user(s, "app")->name, "app");
    CU_ASSERT_PTR_NOT_NULL(strstr(s->users[0].origin, "/a.ini:3"));
    hd_settings_release(s);
    hd_settings_release(NULL);
}

/* --- headers ---------------------------------------------------------------------------------------------
 */

static void headers(void)
{
    refuses(GOOD "[host main]\n", "a.ini:10: [host main]: there is one [host], and it has no name");
    refuses(GOOD "[listener]\n", "a.ini:10: [listener] needs a name: write [listener NAME]");
    refuses(GOOD "[database howdah]\nnode = main\n", "a.ini:10: the database howdah is the console");
    refuses(GOOD "[plugin Guard]\n", "a.ini:10: [plugin Guard]: a plugin's name has lower case letters");
    refuses(GOOD "[plugin ../x]\n", "a.ini:10: [plugin ../x]: a plugin's name has");
    refuses(GOOD "[node *]\nconninfo = host=/tmp\n", "a.ini:10: [node *] needs a name of its own");
    refuses(GOOD "[host]\n[host]\n", "a.ini:11: [host] is there twice; the first stands at ");
    refuses(GOOD "[user b]\npassword = x\n[user app]\npassword = y\n", "a.ini:12: [user app] is there twice");
    refuses(GOOD "[guard x]\n[guard x]\n", "a.ini:11: [guard x] is there twice");
}

static void repeats_across_files(void)
{
    struct hd_problems problems = HD_PROBLEMS_INIT;
    char wanted[256], path[256];

    put("a.ini", GOOD);
    put("b.ini", "[database shop]\nnode = main\n");
    CU_ASSERT_PTR_NULL(hd_config_load(folder, NULL, 0, &problems));
    CU_ASSERT_EQUAL(problems.errors, 1);
    snprintf(wanted, sizeof(wanted),
             "%s/b.ini:1: [database shop] is there twice; the first stands at %s/a.ini:6", folder, folder);
    CU_ASSERT_STRING_EQUAL(hd_problems_first(&problems), wanted);
    hd_problems_free(&problems);
    snprintf(path, sizeof(path), "%s/b.ini", folder);
    unlink(path);
}

static void nothing(void)
{
    struct trial t;

    load(&t, "[host]\n", NULL);
    CU_ASSERT_PTR_NULL(t.config);
    CU_ASSERT_EQUAL(t.problems.errors, 4);
    CU_ASSERT(says(&t, "a.ini:1: there is no [listener NAME]; add one, with listen = 127.0.0.1:6432"));
    CU_ASSERT(says(&t, "there is no [node NAME]"));
    CU_ASSERT(says(&t, "there is no [database NAME]"));
    CU_ASSERT(says(&t, "there is no [user NAME]"));
    end(&t);
    load(&t, "", NULL);
    CU_ASSERT_PTR_NULL(t.config);
    end(&t);
}

static void many_faults(void)
{
    struct trial t;

    load(&t,
         "[listener main]\nlisten = 6432\nauth = md5\n[user app]\npasword = x\n[database shop]\nnode = mian\n"
         "pool_size = 0\n[node main]\nconninfo = host\n",
         NULL);
    CU_ASSERT_EQUAL(t.problems.errors, 6);
    CU_ASSERT(says(&t, "a.ini:2: listen must be such as"));
    CU_ASSERT(says(&t, "a.ini:3: auth must be one of trust, scram-sha-256, cert, not \"md5\""));
    CU_ASSERT(says(&t, "a.ini:5: unknown key \"pasword\" in [user app]; did you mean \"password\"?"));
    CU_ASSERT(says(&t, "a.ini:7: there is no [node mian]; did you mean \"main\"?"));
    CU_ASSERT(says(&t, "a.ini:8: pool_size must be between 1 and 10000, not 0"));
    CU_ASSERT(says(&t, "a.ini:10: conninfo must be such as host=127.0.0.1"));
    end(&t);
}

/* --- [host] ----------------------------------------------------------------------------------------------
 */

static void host(void)
{
    struct trial t;

    load(&t, GOOD "[host]\nworkers = 3\nlog_level = debug\ncontrol =\n", NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t.config);
    CU_ASSERT_EQUAL(t.config->settings->host.worker_count, 3);
    CU_ASSERT_EQUAL(t.config->settings->host.log_level, 3);
    CU_ASSERT_EQUAL(t.config->settings->host.control.len, 0);
    end(&t);
    refuses(GOOD "[host]\nworkers = 0\n", "a.ini:11: workers must be auto or between 1 and 256, not \"0\"");
    refuses(GOOD "[host]\nworkers = many\n",
            "a.ini:11: workers must be auto or between 1 and 256, not \"many\"");
    refuses(GOOD "[host]\nworkers =\n", "a.ini:11: workers must be auto");
    refuses(GOOD "[host]\ncontrol = /tmp/x\n", "a.ini:11: control must be unix: and an absolute path");
    refuses(GOOD "[host]\nworker = 1\n", "did you mean \"workers\"?");
}

/* --- [listener] ------------------------------------------------------------------------------------------
 */

static void addresses(void)
{
    struct hd_address a[8];
    struct hd_error err = HD_ERROR_INIT;

    CU_ASSERT_EQUAL(hd_address_parse("127.0.0.1:6432", a, 8, &err), 1);
    CU_ASSERT(hd_address_is_local(&a[0]));
    CU_ASSERT_EQUAL(hd_address_parse("0.0.0.0:1", a, 8, &err), 1);
    CU_ASSERT(!hd_address_is_local(&a[0]));
    CU_ASSERT_EQUAL(hd_address_parse("[::1]:65535", a, 8, &err), 1);
    CU_ASSERT(hd_address_is_local(&a[0]));
    CU_ASSERT_EQUAL(hd_address_parse("[::]:6432", a, 8, &err), 1);
    CU_ASSERT(!hd_address_is_local(&a[0]));
    CU_ASSERT_EQUAL(hd_address_parse("unix:/tmp/.s.PGSQL.6432", a, 8, &err), 1);
    CU_ASSERT(hd_address_is_local(&a[0]));
    CU_ASSERT(hd_address_parse("localhost:6432", a, 8, &err) >= 1);
    CU_ASSERT(hd_address_is_local(&a[0]));
    CU_ASSERT_STRING_EQUAL(hd_unix_path("unix:/run/x"), "/run/x");
    CU_ASSERT_PTR_NULL(hd_unix_path("unix:run/x"));
}

static void bad_addresses(void)
{
    static const char *const texts[] = {
        "",     "6432", ":6432", "127.0.0.1",     "127.0.0.1:", "[]:1",  "::1:6432", "127.0.0.1:0", "a:65536",
        "a:-1", "a:1x", "*",     "unix:relative", "unix:",      "[::1]", "a: 1",     "a:+1"};
    struct hd_address a[8];
    char text[512];

    for (size_t i = 0; i < HD_ARRAY_LEN(texts); i++) {
        struct hd_error err = HD_ERROR_INIT;

        CU_ASSERT_EQUAL(hd_address_parse(texts[i], a, 8, &err), HD_EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "must be"));
    }
    snprintf(text, sizeof(text), "unix:/%0200d", 0);
    CU_ASSERT_EQUAL(hd_address_parse(text, a, 8, NULL), HD_EINVAL);
    snprintf(text, sizeof(text), "%0300d:1", 0);
    CU_ASSERT_EQUAL(hd_address_parse(text, a, 8, NULL), HD_EINVAL);
}

static void networks(void)
{
    static const char *const bad[] = {"",          "10.0.0.0/33", "10.0.0/8",    "::/129",
                                      "10.0.0.0/", "10.0.0.0/x",  "10.1.0.0/8",  "::1/127",
                                      "name",      "/8",          "10.0.0.0/-1", "1::2::3"};
    struct hd_network n;

    CU_ASSERT_EQUAL(hd_network_parse("127.0.0.0/8", &n, NULL), 0);
    CU_ASSERT(n.family == AF_INET && n.bits == 8);
    CU_ASSERT_EQUAL(hd_network_parse("::1", &n, NULL), 0);
    CU_ASSERT(n.family == AF_INET6 && n.bits == 128);
    CU_ASSERT_EQUAL(hd_network_parse("0.0.0.0/0", &n, NULL), 0);
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++)
        CU_ASSERT_EQUAL(hd_network_parse(bad[i], &n, NULL), HD_EINVAL);
}

static int allows(const struct hd_listener_conf *l, const char *peer)
{
    struct sockaddr_storage sa = {.ss_family = strchr(peer, ':') ? AF_INET6 : AF_INET};
    void *to = &((struct sockaddr_in *)&sa)->sin_addr;

    if (sa.ss_family == AF_INET6)
        to = &((struct sockaddr_in6 *)&sa)->sin6_addr;
    if (inet_pton(sa.ss_family, peer, to) != 1)
        sa.ss_family = AF_UNIX;
    return hd_listener_allows(l, (const struct sockaddr *)&sa);
}

static void allowed(void)
{
    const struct hd_listener_conf *l;
    struct trial t;

    load(&t, GOOD "[listener b]\nlisten = 127.0.0.1:1\nallow = 10.0.0.0/9, 192.168.1.7,\n    2001:db8::/33\n",
         NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t.config);
    l = &t.config->settings->listeners[0];
    CU_ASSERT_STRING_EQUAL(l->name, "b");
    CU_ASSERT(allows(l, "10.127.255.255"));
    CU_ASSERT(!allows(l, "10.128.0.0"));
    CU_ASSERT(allows(l, "192.168.1.7"));
    CU_ASSERT(!allows(l, "192.168.1.6"));
    CU_ASSERT(allows(l, "2001:db8:7fff::1"));
    CU_ASSERT(!allows(l, "2001:db8:8000::1"));
    CU_ASSERT(allows(l, "::ffff:10.1.2.3"));
    CU_ASSERT(!allows(l, "::ffff:11.1.2.3"));
    CU_ASSERT(allows(l, "unix"));
    CU_ASSERT(allows(&t.config->settings->listeners[1], "8.8.8.8"));
    end(&t);
    refuses(GOOD "[listener b]\nlisten = 127.0.0.1:1\nallow = 10.0.0.0/64\n",
            "a.ini:12: allow must be networks such as 127.0.0.0/8 or ::1/128, not \"10.0.0.0/64\"");
    refuses(GOOD "[listener b]\nlisten = 127.0.0.1:1\nallow = 10.1.0.0/8\n",
            "a.ini:12: allow has \"10.1.0.0/8\", whose address reaches past its 8 bits");
}

static void listeners(void)
{
    refuses(GOOD "[listener b]\n", "a.ini:10: [listener b] needs the key listen");
    refuses(GOOD "[listener b]\nlisten =\n", "a.ini:11: listen needs an address");
    refuses(GOOD "[listener b]\nlisten = 127.0.0.1:6432\n",
            "127.0.0.1:6432 is listened on already by [listener ");
    refuses(GOOD "[listener b]\nlisten = 127.0.0.1:1, 127.0.0.1:1\n",
            "a.ini:11: 127.0.0.1:1 is listened on already");
    refuses(GOOD "[listener b]\nlisten = no.such.name.invalid:1\n",
            "a.ini:11: listen must name an address of this machine, but \"no.such.name.invalid\" cannot be "
            "resolved");
    refuses(GOOD "[listener b]\nlisten = 127.0.0.1:1\nunix_mode = 0888\n",
            "a.ini:12: unix_mode must be octal permissions such as 0770, not \"0888\"");
    refuses(GOOD "[listener b]\nlisten = 0.0.0.0:1\nauth = trust\n[user *]\npassword = x\n",
            "a.ini:12: auth = trust together with [user *] ");
    warns(GOOD "[listener b]\nlisten = 0.0.0.0:1\nauth = trust\n", "asks nobody for a password at 0.0.0.0:1");
}

/* --- TLS -------------------------------------------------------------------------------------------------
 */

static int make_certificates(void)
{
    char command[1024];

    snprintf(
        command, sizeof(command),
        "cd %s && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout k.pem -out "
        "c.pem "
        ">/dev/null 2>&1 && openssl genrsa -out other.pem 2048 >/dev/null 2>&1 && chmod 0600 k.pem other.pem",
        folder);
    put("a.ini", "");
    return system(command) == 0;
}

static void tls(void)
{
#define TLS(keys) GOOD "[listener t]\nlisten = 127.0.0.1:1\n" keys
    struct trial t;
    char path[256];

    CU_ASSERT(make_certificates());
    load(&t, TLS("tls = require\ntls_cert = c.pem\ntls_key = k.pem\ntls_client_ca = c.pem\nauth = cert\n"),
         NULL);
    CU_ASSERT_EQUAL(t.problems.errors + t.problems.warnings, 0);
    CU_ASSERT(t.config && t.config->settings->listeners[1].tls_cert[0] == '/');
    end(&t);
    refuses(TLS("tls = allow\n"), "a.ini:12: tls needs tls_cert and tls_key in [listener t]");
    refuses(TLS("tls = allow\ntls_cert = c.pem\ntls_key = none.pem\n"), "a.ini:14: tls_key: cannot read ");
    refuses(TLS("tls = allow\ntls_cert = k.pem\ntls_key = k.pem\n"),
            "a.ini:13: tls_cert must be a certificate");
    refuses(TLS("tls = allow\ntls_cert = c.pem\ntls_key = other.pem\n"),
            "a.ini:14: tls_key must be that certificate's");
    refuses(TLS("tls = allow\ntls_cert = c.pem\ntls_key = k.pem\ntls_client_ca = a.ini\n"),
            "a.ini:15: tls_client_ca must hold certificates");
    refuses(TLS("tls = allow\ntls_cert = c.pem\ntls_key = k.pem\ntls_client_ca = c.pem\nauth = cert\n"),
            "a.ini:16: auth = cert needs tls = require");
    refuses(TLS("tls = require\ntls_cert = c.pem\ntls_key = k.pem\nauth = cert\n"),
            "auth = cert needs tls_client_ca");
    warns(TLS("tls_cert = c.pem\n"), "[listener t] has a certificate, but tls = off");
    snprintf(path, sizeof(path), "%s/k.pem", folder);
    chmod(path, 0644);
    warns(TLS("tls = allow\ntls_cert = c.pem\ntls_key = k.pem\n"),
          "k.pem can be read by everybody: chmod 0600 it");
#undef TLS
}

/* --- [user] ----------------------------------------------------------------------------------------------
 */

static void users(void)
{
    struct hd_scram_verifier v;
    char text[HD_SCRAM_VERIFIER_TEXT], ini[1024];
    struct trial t;

    CU_ASSERT_EQUAL(hd_scram_verifier_make("pw", 2, &v), 0);
    hd_scram_verifier_format(&v, text);
    snprintf(ini, sizeof(ini), "%s[user b]\nverifier = %s\n", GOOD, text);
    load(&t, ini, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t.config);
    CU_ASSERT_PTR_NULL(hd_settings_user(t.config->settings, "b")->password);
    CU_ASSERT_EQUAL(memcmp(hd_settings_user(t.config->settings, "b")->verifier, &v, sizeof(v)), 0);
    CU_ASSERT_FALSE(says(&t, "is known by a verifier alone"));
    end(&t);
    snprintf(ini, sizeof(ini),
             "%s[user b]\nverifier = %s\n[node t]\nconninfo = host=x sslmode=require\n"
             "[database t]\nnode = t\n",
             GOOD, text);
    warns(ini,
          "a.ini:11: [user b] is known by a verifier alone, and [node t] names no user: it cannot log in "
          "there, since its conninfo asks for TLS");
    snprintf(ini, sizeof(ini), "%s[user b]\npassword = x\nverifier = %s\n", GOOD, text);
    refuses(ini, "a.ini:12: [user b] has both a password and a verifier");
    refuses(GOOD "[user b]\nverifier = SCRAM-SHA-256$x\n", "a.ini:11: verifier: ");
    refuses(GOOD "[user b]\npassword_file = none\n", "a.ini:11: cannot open ");
    warns(GOOD "[user b]\n",
          "a.ini:10: [user b] has no password, password_file or verifier: it cannot log in");
    warns(GOOD "[user *]\nadmin = yes\npassword = x\n", "a.ini:11: admin = yes in [user *] makes everybody");
    put("pw", "from file\n");
    load(&t, GOOD "[user b]\npassword_file = pw\n", NULL);
    CU_ASSERT_STRING_EQUAL(hd_settings_user(t.config->settings, "b")->password, "from file");
    end(&t);
}

/* --- [node], [database] ----------------------------------------------------------------------------------
 */

#define REST                                                                                                 \
    "[listener main]\nlisten = 127.0.0.1:6432\n[user app]\npassword = a\n[user boss]\npassword = b\n"        \
    "admin = yes\n[database shop]\nnode = main\n[node main]\n"

static void control_user(const char *keys, const char *user, const char *password)
{
    const struct hd_node_conf *n;
    char ini[1024];
    struct trial t;

    snprintf(ini, sizeof(ini), "%s%s", REST, keys);
    load(&t, ini, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t.config);
    n = &t.config->settings->nodes[0];
    CU_ASSERT_STRING_EQUAL(n->control_user, user);
    CU_ASSERT_STRING_EQUAL(n->control_password ? n->control_password : "-", password);
    end(&t);
}

static void control_users(void)
{
    control_user("conninfo = host=h\n", "boss", "b");
    control_user("conninfo = host=h user=u password=p\n", "u", "p");
    control_user("conninfo = postgresql://u:p@h:1/d\n", "u", "p");
    control_user("conninfo = host=h user=app\n", "app", "a");
    control_user("conninfo = host=h user=u password=p\ncontrol_user = c\n", "c", "-");
    control_user("conninfo = host=h user=u password=p\ncontrol_user = u\n", "u", "p");
    control_user("conninfo = host=h\ncontrol_user = app\n", "app", "a");
    control_user("conninfo = host=h\ncontrol_user = app\ncontrol_password = q\n", "app", "q");
}

static void nodes(void)
{
    refuses(GOOD "[node b]\n", "a.ini:10: [node b] needs the key conninfo");
    refuses(GOOD "[node b]\nconninfo = host=h colour=red\n",
            "a.ini:11: conninfo must be such as host=127.0.0.1 port=5432 dbname=shop; libpq says: invalid "
            "connection "
            "option \"colour\"");
    refuses(GOOD "[node b]\nconninfo = host=h password=se cret\n", "libpq cannot read it");
    refuses(GOOD "[node b]\nconninfo = host=h replication=database\n",
            "a.ini:11: conninfo must not ask for replication");
    refuses(GOOD "[database b]\n", "a.ini:10: [database b] needs the key node");
    refuses(GOOD "[database b]\nnode = warehouse\n",
            "a.ini:11: there is no [node warehouse]; did you mean \"main\"?");
    refuses(GOOD "[node other]\nconninfo = host=h\n[database b]\nnode = warehouse\n",
            "a.ini:13: there is no [node warehouse]; add it, with a conninfo");
    warns(GOOD "[node b]\nconninfo = host=h\n", "a.ini:10: no [database] uses [node b]");
    warns(GOOD "[database *]\nnode = main\n", "a.ini:10: [database *] leads every name to database shop");
    warns("[listener l]\nlisten = 127.0.0.1:1\n[user a]\npassword = b\n[database d]\nnode = n\n[node "
          "n]\nconninfo = "
          "host=h\n",
          "a.ini:7: [node n] has no user for the host's own statements");
}

static void no_password_in_messages(void)
{
    struct trial t;

    load(&t, GOOD "[node b]\nconninfo = host=h password=hush hush\n", NULL);
    for (const struct hd_problem *p = t.problems.first; p; p = p->next)
        CU_ASSERT_PTR_NULL(strstr(p->text, "hush"));
    end(&t);
    load(&t, GOOD "[node b]\nconninfo = postgresql://u:hush@h:x:y/d\n", NULL);
    for (const struct hd_problem *p = t.problems.first; p; p = p->next)
        CU_ASSERT_PTR_NULL(strstr(p->text, "hush"));
    end(&t);
}

/* --- plugins ---------------------------------------------------------------------------------------------
 */

static void plugins(void)
{
    const struct hd_plugin_conf *p;
    struct trial t;

    load(&t,
         GOOD "[plugin guard]\nenabled = observe\npriority = 7\nunsure = warn\nlibrary = x.so\non_failure = "
              "reject\n"
              "[guard a]\nkinds = ddl\n[plugin statements]\n[guard b]\n",
         NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t.config);
    CU_ASSERT_EQUAL(t.config->plugins.plugin_count, 2);
    CU_ASSERT_EQUAL(t.config->plugins.section_count, 2);
    p = &t.config->plugins.plugins[0];
    CU_ASSERT_STRING_EQUAL(p->id, "guard");
    CU_ASSERT_EQUAL(p->mode, HD_MODE_OBSERVE);
    CU_ASSERT_EQUAL(p->priority, 7);
    CU_ASSERT_EQUAL(p->on_failure, HD_ON_FAILURE_REJECT);
    CU_ASSERT(p->library[0] == '/' && strstr(p->library, "/x.so"));
    CU_ASSERT_EQUAL(p->section->count, 5);
    CU_ASSERT_PTR_NOT_NULL(p->section->also);
    p++;
    CU_ASSERT_EQUAL(p->mode, HD_MODE_ON);
    CU_ASSERT_PTR_NULL(p->library);
    CU_ASSERT_EQUAL(p->priority, 100);
    CU_ASSERT_STRING_EQUAL(t.config->plugins.sections[1]->name, "b");
    end(&t);
    refuses(GOOD "[plugin guard]\nenabled = maybe\n", "a.ini:11: enabled must be one of no, yes, observe");
    refuses(GOOD "[plugin guard]\npriority = 1\npriority = 2\n",
            "a.ini:12: priority is given twice in [plugin guard]");
}

/* --- reload ----------------------------------------------------------------------------------------------
 */

static void reload(void)
{
    struct trial a, b;

    load(&a, GOOD, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(a.config);
    load(&b, GOOD "[user more]\npassword = x\n[host]\nlog_level = debug\n", a.config);
    CU_ASSERT_PTR_NOT_NULL_FATAL(b.config);
    CU_ASSERT_EQUAL(b.config->settings->generation, 2);
    /* The salt is random: the same verifier was not made again. */
    CU_ASSERT_EQUAL(memcmp(hd_settings_user(a.config->settings, "app")->verifier,
                           hd_settings_user(b.config->settings, "app")->verifier,
                           sizeof(struct hd_scram_verifier)),
                    0);
    end(&b);
    load(&b, GOOD "[host]\nworkers = 77\nmax_jobs = 5\n", a.config);
    CU_ASSERT_PTR_NULL(b.config);
    CU_ASSERT_EQUAL(b.problems.errors, 2);
    CU_ASSERT(says(
        &b,
        "a.ini:11: workers in [host] cannot change while the host runs (it is \"auto\"): restart howdahd"));
    CU_ASSERT(says(&b, "a.ini:12: max_jobs in [host] cannot change"));
    end(&b);
    end(&a);
}

static void check_only(void)
{
    struct hd_problems problems = HD_PROBLEMS_INIT;
    struct hd_config *c;

    put("a.ini", GOOD);
    c = hd_config_load(folder, NULL, HD_CONFIG_CHECK, &problems);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c);
    CU_ASSERT_PTR_NULL(c->settings->users[0].verifier);
    hd_config_free(c);
    hd_problems_free(&problems);
}

/* --- printing --------------------------------------------------------------------------------------------
 */

static void dump(void)
{
    struct hd_strbuf out = HD_STRBUF_INIT, again = HD_STRBUF_INIT;
    struct trial t;
    char *text;

    load(&t,
         GOOD "[node b]\nconninfo = host=h user='a b' password='hu sh' sslpassword=hush2\ncontrol_password = "
              "hush3\n"
              "[database *]\nnode = b\n[plugin guard]\nkey = hush4\n[guard x]\nkey = hush5\n",
         NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t.config);
    hd_config_print(t.config, NULL, &out);
    CU_ASSERT_PTR_NULL(strstr(out.data, "secret\n"));
    CU_ASSERT_PTR_NULL(strstr(out.data, "hush"));
    CU_ASSERT_PTR_NULL(strstr(out.data, "hu sh"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "[user app]\npassword = ********\n"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(out.data, "conninfo = user='a b' password=******** host=h sslpassword=********\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "control_password = ********\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "[host]\nworkers = auto\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "keys of a plugin are not shown"));
    end(&t);

    /* What was printed is a configuration again, and prints as itself. */
    text = hd_strbuf_take(&out);
    load(&t, text, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t.config);
    hd_config_print(t.config, NULL, &again);
    CU_ASSERT_PTR_NOT_NULL(strstr(again.data, "idle_transaction_timeout = 0\n"));
    end(&t);
    hd_strbuf_free(&again);
    hd_free(text);
}

static void masking(void)
{
    static const char *const pairs[][2] = {
        {"host=h password=x", "password=******** host=h"},
        {"postgresql://u:x@h:5/d", "user=u password=******** dbname=d host=h port=5"},
        {"host='a\\'b' dbname=''", "dbname='' host='a\\'b'"},
        {"nonsense", "********"},
    };

    for (size_t i = 0; i < HD_ARRAY_LEN(pairs); i++) {
        struct hd_strbuf out = HD_STRBUF_INIT;

        hd_conninfo_mask(pairs[i][0], &out);
        CU_ASSERT_STRING_EQUAL(hd_strbuf_str(&out), pairs[i][1]);
        hd_strbuf_free(&out);
    }
}

static void samples(void)
{
    struct hd_strbuf out = HD_STRBUF_INIT;
    struct hd_error err = HD_ERROR_INIT;

    for (int k = 0; k < HD_KINDS; k++)
        CU_ASSERT_EQUAL(hd_options_check(&hd_kinds[k].options, hd_kinds[k].word, &err), HD_OK);
    CU_ASSERT_STRING_EQUAL(err.text, "");
    CU_ASSERT_EQUAL(hd_config_print_sample("", NULL, &out, &err), HD_OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "[listener main]\n; Addresses such as"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "\n;pool_size = 20\n"));
    hd_strbuf_reset(&out);
    CU_ASSERT_EQUAL(hd_config_print_sample("node", NULL, &out, &err), HD_OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "[node main]"));
    CU_ASSERT_EQUAL(hd_config_print_sample("listner", NULL, &out, &err), HD_ENOENT);
    CU_ASSERT_STRING_EQUAL(err.text, "there is neither a kind of section nor a plugin of the name "
                                     "\"listner\"; did you mean \"listener\"?");
    hd_strbuf_free(&out);
}

/* --- no memory -------------------------------------------------------------------------------------------
 */

static void load_without_memory(void *arg)
{
    struct hd_problems problems = HD_PROBLEMS_INIT;
    struct hd_config *c = hd_config_load(arg, NULL, HD_CONFIG_CHECK, &problems);

    CU_ASSERT(c || problems.no_memory);
    hd_config_free(c);
    hd_problems_free(&problems);
}

static void failing_allocations(void)
{
    char path[256];
    int runs;

    put("a.ini", GOOD "[plugin guard]\nx = 1\nlibrary = y\n[guard z]\nk = ${HOME:-x}\n");
    snprintf(path, sizeof(path), "%s/a.ini", folder);
    runs = unit_each_alloc_failure(load_without_memory, path);
    CU_ASSERT(!unit_can_fail_alloc() || runs > 5);
}

static void clean_up(void)
{
    char command[256];

    snprintf(command, sizeof(command), "rm -rf %s", folder);
    CU_ASSERT(strstr(folder, "XXXXXX") || system(command) == 0);
}

UNIT_MAIN("config", {"a good configuration", good}, {"lookups", lookups}, {"held settings", held_settings},
          {"headers", headers}, {"repeats across files", repeats_across_files}, {"nothing", nothing},
          {"many faults at once", many_faults}, {"host", host}, {"addresses", addresses},
          {"bad addresses", bad_addresses}, {"networks", networks}, {"who is allowed", allowed},
          {"listeners", listeners}, {"tls", tls}, {"users", users}, {"control users", control_users},
          {"nodes and databases", nodes}, {"no password in messages", no_password_in_messages},
          {"plugins", plugins}, {"reload", reload}, {"only checked", check_only}, {"dump", dump},
          {"masking", masking}, {"samples", samples}, {"failing allocations", failing_allocations},
          {"clean up", clean_up})
