/*
 * What the HTTP server makes of metrics, paths and bodies. The server itself is tested with real requests
 * (tests/integration/test_http.py).
 */
#include "unit.h"

#include <string.h>

#include "base/strbuf.h"
#include "host/http_api.h"
#include "host/http_metrics.h"
#include "plug/metrics.h"

static struct hd_metrics *metrics;
static struct hd_strbuf text = HD_STRBUF_INIT;

static const char *shown(int open)
{
    hd_strbuf_reset(&text);
    CU_ASSERT_EQUAL_FATAL(hd_http_metrics_text(metrics, open, &text), HD_OK);
    return hd_strbuf_str(&text);
}

static int64_t get(uint32_t type, const char *name, const char *help, const char *label, const char *value)
{
    const struct hd_label l = {label, value};
    int64_t id = hd_metrics_get(metrics, NULL, type, name, help, &l, label != NULL);

    CU_ASSERT_FATAL(id > 0);
    return id;
}

static void begin(void)
{
    metrics = hd_metrics_new(100);
    CU_ASSERT_PTR_NOT_NULL_FATAL(metrics);
}

static void end(void)
{
    hd_metrics_free(metrics);
    metrics = NULL;
    hd_strbuf_free(&text);
}

#define HAS(open, part) CU_ASSERT_PTR_NOT_NULL(strstr(shown(open), part))

static void counters(void)
{
    begin();
    hd_metrics_add(metrics, get(HD_METRIC_COUNTER, "a_things_total", "Things \\ of\nall kinds", "kind", "x"),
                   3);
    hd_metrics_add(
        metrics, get(HD_METRIC_COUNTER, "a_things_total", "Things \\ of\nall kinds", "kind", "q\"b\\n\n"), 4);
    HAS(0, "# TYPE a_things_total counter\n# HELP a_things_total Things \\\\ of\\nall kinds\n"
           "a_things_total{kind=\"q\\\"b\\\\n\\n\"} 4\na_things_total{kind=\"x\"} 3\n");
    HAS(1, "# TYPE a_things counter\n# HELP a_things Things");
    HAS(1, "\na_things_total{kind=\"x\"} 3\n");
    CU_ASSERT_PTR_NULL(strstr(shown(0), "# EOF"));
    CU_ASSERT_STRING_EQUAL(shown(1) + strlen(shown(1)) - 6, "# EOF\n");
    end();
}

static void units(void)
{
    begin();
    hd_metrics_add(metrics, get(HD_METRIC_COUNTER, "a_wait_milliseconds_total", "Waits", NULL, NULL), 1500);
    hd_metrics_add(metrics, get(HD_METRIC_COUNTER, "b_saved_nanoseconds_total", "Saved", NULL, NULL),
                   1500000000);
    hd_metrics_add(metrics, get(HD_METRIC_COUNTER, "c_busy_seconds_total", "Busy", NULL, NULL), 2500000000);
    hd_metrics_set(metrics, get(HD_METRIC_GAUGE, "d_held_bytes", "Held", NULL, NULL), -7);
    HAS(0, "\na_wait_seconds_total 1.5\n");
    HAS(1, "# TYPE a_wait_seconds counter\n# UNIT a_wait_seconds seconds\n");
    HAS(0, "\nb_saved_seconds_total 1.5\n");
    HAS(0, "\nc_busy_seconds_total 2.5\n");
    HAS(1, "# UNIT d_held_bytes bytes\n");
    HAS(0, "\nd_held_bytes -7\n");
    end();
}

static void summaries(void)
{
    int64_t id;

    begin();
    id = get(HD_METRIC_SKETCH, "a_took_seconds", "Took", "who", "me");
    HAS(0, "# TYPE a_took_seconds summary\n");
    HAS(0, "\na_took_seconds{who=\"me\",quantile=\"0.5\"} NaN\n");
    HAS(0, "\na_took_seconds_sum{who=\"me\"} 0\na_took_seconds_count{who=\"me\"} 0\n");
    for (int i = 0; i < 4; i++)
        hd_metrics_observe(metrics, id, 500000000);
    HAS(0, "\na_took_seconds_sum{who=\"me\"} 2\na_took_seconds_count{who=\"me\"} 4\n");
    HAS(1, "\na_took_seconds{who=\"me\",quantile=\"0.99\"} 0.");
    end();
}

/* Beside a summary of seconds, once for the family; a value that is a bound is in its bucket. */
static void histograms(void)
{
    int64_t a, b;

    begin();
    a = get(HD_METRIC_SKETCH, "a_took_seconds", "Took", "who", "a");
    b = get(HD_METRIC_SKETCH, "a_took_seconds", "Took", "who", "b");
    hd_metrics_observe(metrics, get(HD_METRIC_SKETCH, "b_size_bytes", "Size", NULL, NULL), 7);
    hd_metrics_observe(metrics, a, 0);
    hd_metrics_observe(metrics, a, 1000000);
    hd_metrics_observe(metrics, a, 1030000);
    hd_metrics_observe(metrics, a, 90000000000);
    hd_metrics_observe(metrics, b, 50000000);
    HAS(0, "} 1\n# TYPE a_took_duration_seconds histogram\n# HELP a_took_duration_seconds Took\n"
           "a_took_duration_seconds_bucket{who=\"a\",le=\"0.0001\"} 1\n"
           "a_took_duration_seconds_bucket{who=\"a\",le=\"0.0005\"} 1\n"
           "a_took_duration_seconds_bucket{who=\"a\",le=\"0.001\"} 2\n"
           "a_took_duration_seconds_bucket{who=\"a\",le=\"0.0025\"} 3\n");
    HAS(0, "{who=\"a\",le=\"30.0\"} 3\na_took_duration_seconds_bucket{who=\"a\",le=\"+Inf\"} 4\n"
           "a_took_duration_seconds_sum{who=\"a\"} 90.00203\na_took_duration_seconds_count{who=\"a\"} 4\n");
    HAS(0, "{who=\"b\",le=\"0.025\"} 0\na_took_duration_seconds_bucket{who=\"b\",le=\"0.05\"} 1\n");
    HAS(1, "# TYPE a_took_duration_seconds histogram\n# UNIT a_took_duration_seconds seconds\n");
    CU_ASSERT_PTR_NULL(strstr(shown(0), "b_size_duration"));
    CU_ASSERT_PTR_NULL(
        strstr(strstr(shown(0), "duration_seconds histogram") + 1, "duration_seconds histogram"));
    end();
}

/* Every family in one piece, with one head. */
static void families(void)
{
    static const char *const names[] = {"f_total", "f_b_total", "f_a", "f_seconds"};
    static const char *const values[] = {"1", "2", "3"};

    begin();
    for (size_t v = 0; v < 3; v++)
        for (size_t i = 0; i < 4; i++)
            get(i < 2 ? HD_METRIC_COUNTER : HD_METRIC_GAUGE, names[i], "Help", "v", values[v]);
    for (size_t i = 0; i < 4; i++) {
        char head[40];
        const char *first;

        snprintf(head, sizeof(head), "# TYPE %s ", names[i]);
        first = strstr(shown(0), head);
        CU_ASSERT_PTR_NOT_NULL_FATAL(first);
        CU_ASSERT_PTR_NULL(strstr(first + 1, head));
    }
    end();
}

/* One byte that is no UTF-8 would have the whole scrape refused. */
static void bytes(void)
{
    begin();
    get(HD_METRIC_GAUGE, "a_b", "H\xe4lp", "v", "\xc3\xa4\xff\xc3");
    HAS(0, "# HELP a_b H\\\\xe4lp\na_b{v=\"\xc3\xa4\\\\xff\\\\xc3\"} 0\n");
    end();
}

static void paths(void)
{
    static const struct {
        const char *path, *name;
    } cases[] = {{"pools", "POOLS"},
                 {"cache/stats", "CACHE STATS"},
                 {"bus-redis/x_1", "BUS-REDIS X_1"},
                 {"", NULL},
                 {"/", NULL},
                 {"a/", NULL},
                 {"/a", NULL},
                 {"a//b", NULL},
                 {"A", NULL},
                 {"a b", NULL},
                 {"../x", NULL},
                 {"a;b", NULL},
                 {"\xc3\xa4", NULL}};
    char name[HD_HTTP_COMMAND], lengthy[2 * HD_HTTP_COMMAND];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int ok = hd_http_command_name(cases[i].path, name, sizeof(name));

        CU_ASSERT_EQUAL(ok, cases[i].name != NULL);
        if (ok && cases[i].name)
            CU_ASSERT_STRING_EQUAL(name, cases[i].name);
    }
    memset(lengthy, 'a', sizeof(lengthy));
    for (size_t n = 1; n < sizeof(lengthy); n++) {
        lengthy[n] = 0;
        CU_ASSERT_EQUAL(hd_http_command_name(lengthy, name, sizeof(name)), n < sizeof(name));
        lengthy[n] = 'a';
    }
}

static void bodies(void)
{
    static const struct {
        const char *body, *line; /* NULL: refused */
        int count;
    } cases[] = {{"", "", 0},
                 {"{}", "", 0},
                 {"{\"args\": []}", "", 0},
                 {"{\"args\": [\"a\", 2, 1.5, \"it's\"]}", " 'a' '2' '1.5' 'it''s'", 4},
                 {"{\"args\": [\"\"]}", " ''", 1},
                 {"[]", NULL, 0},
                 {"{\"args\": {}}", NULL, 0},
                 {"{\"args\": [true]}", NULL, 0},
                 {"{\"args\": [], \"more\": 1}", NULL, 0},
                 {"{\"more\": 1}", NULL, 0},
                 {"{\"args\": [\"\\u0000\"]}", NULL, 0},
                 {"{", NULL, 0}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hd_strbuf line = HD_STRBUF_INIT;
        struct hd_error err = HD_ERROR_INIT;
        int n = hd_http_body_arguments(cases[i].body, strlen(cases[i].body), &line, &err);

        CU_ASSERT_EQUAL(n, cases[i].line ? cases[i].count : -1);
        CU_ASSERT_EQUAL(!err.text[0], cases[i].line != NULL);
        if (cases[i].line)
            CU_ASSERT_STRING_EQUAL(hd_strbuf_str(&line), cases[i].line);
        hd_strbuf_free(&line);
    }
}

UNIT_MAIN("http", {"counters", counters}, {"units", units}, {"summaries", summaries},
          {"histograms", histograms}, {"families", families}, {"bytes", bytes}, {"paths", paths},
          {"bodies", bodies})
