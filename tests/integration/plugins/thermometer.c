/*
 * A collector: finds a temperature and a counter, and fails, hangs finds too much, or what can be no metric,
 * when a file tells it to. The file's path is in the option `orders`.
 */
#include <howdah/howdah.h>

#include <stdlib.h>
#include <string.h>

#include <stdio.h>
#include <unistd.h>

struct conf {
    struct hd_str orders;
};

struct thermometer {
    const struct conf *conf;
    int64_t looks;
};

static const struct hd_option options[] = {
    {"orders", NULL, NULL, "File with one word: fail, hang, odd or much", 0, 0, HD_OPT_STRING,
     HD_OPTF_REQUIRED, offsetof(struct conf, orders), 0},
};

static void read_orders(const struct thermometer *t, char *word, size_t size)
{
    FILE *f = fopen(t->conf->orders.ptr, "re");

    word[0] = 0;
    if (f && !fgets(word, (int)size, f))
        word[0] = 0;
    if (f)
        fclose(f);
}

static int32_t collect(void *self, const struct hd_findings *f, struct hd_error *err)
{
    struct thermometer *t = self;
    struct hd_label place = {"place", "attic"};
    char word[16], name[16];
    struct hd_label number = {"number", name};

    t->looks++;
    read_orders(t, word, sizeof(word));
    if (!strcmp(word, "fail"))
        return hd_error_set(err, HD_EFAIL, "the thermometer is broken");
    if (!strcmp(word, "hang"))
        usleep(300000);
    for (int i = 0; !strcmp(word, "much") && i < 500; i++) {
        snprintf(name, sizeof(name), "%d", i);
        f->found(f, HD_METRIC_GAUGE, "test_thermometers", "Each of them", &number, 1, i);
    }
    if (!strcmp(word, "odd")) {
        const struct hd_label none = {"place", NULL}, twice[] = {place, place};

        if (f->found(f, HD_METRIC_GAUGE, "test_unlabelled", "", &none, 1, 1) != HD_EINVAL ||
            f->found(f, HD_METRIC_GAUGE, "test_unlabelled", "", NULL, 1, 1) != HD_EINVAL)
            return hd_error_set(err, HD_EFAIL, "labels that are not there were taken");
        f->found(f, HD_METRIC_GAUGE, "Test-Name", "", &place, 1, 1);
        f->found(f, HD_METRIC_GAUGE, "test_twice", "", twice, 2, 1);
        f->found(f, HD_METRIC_COUNTER, "test_temperature_celsius", "", &place, 1, 1);
    }
    f->found(f, HD_METRIC_GAUGE, "test_temperature_celsius", "How warm it is", &place, 1, 21);
    /* It begins anew at the fourth look. */
    return f->found(f, HD_METRIC_COUNTER, "test_looks_total", "How often was looked", NULL, 0,
                    t->looks < 4 ? 100 + t->looks : t->looks);
}

static const struct hd_collector_v1 collector = {
    .size = sizeof(collector),
    .interval_ms = 50,
    .collect = collect,
};

static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    (void)host;
    (void)err;
    *self = calloc(1, sizeof(struct thermometer));
    return *self ? HD_OK : HD_ENOMEM;
}

static int32_t check(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    (void)self;
    (void)conf;
    (void)err;
    return HD_OK;
}

static void reload(void *self, const struct hd_conf *conf)
{
    ((struct thermometer *)self)->conf = conf->conf;
}

static int32_t stop(void *self)
{
    (void)self;
    return HD_OK;
}

static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    (void)err;
    ((struct thermometer *)self)->conf = conf->conf;
    return HD_OK;
}

static const void *capability(const char *name)
{
    return strcmp(name, HD_CAP_COLLECTOR) == 0 ? &collector : NULL;
}

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD,
    .id = "thermometer",
    .version = "1",
    .vendor = "Howdah's tests",
    .licence = "Apache-2.0",
    .summary = "Collects for a test",
    .options = HD_OPTIONS(struct conf, options),
    .create = create,
    .check = check,
    .start = start,
    .reload = reload,
    .stop = stop,
    .destroy = free,
    .capability = capability,
};
