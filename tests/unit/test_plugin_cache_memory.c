/*
 * The plugin "cache-memory" on the small host: its capability over several shards, options, reload, metrics
 * and SHOW CACHE MEMORY.
 */
#include "unit.h"
#include "check/conf.h"
#include "check/mock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS 2

struct world {
    struct mock *m;
    void *self;
    struct check_conf conf;
    const struct hd_cache_store_v1 *store;
};

static void world_start(struct world *w, const char *ini)
{
    struct hd_error err = HD_ERROR_INIT;

    w->m = mock_new(WORKERS);
    CU_ASSERT_EQUAL_FATAL(check_conf_read(&w->conf, &howdah_plugin, ini, &err), HD_OK);
    CU_ASSERT_EQUAL_FATAL(howdah_plugin.create(mock_host(w->m), &w->self, &err), HD_OK);
    CU_ASSERT_EQUAL_FATAL(howdah_plugin.check(w->self, &w->conf.conf, &err), HD_OK);
    CU_ASSERT_EQUAL_FATAL(howdah_plugin.start(w->self, &w->conf.conf, &err), HD_OK);
    w->store = howdah_plugin.capability(HD_CAP_CACHE_STORE);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w->store);
}

static void world_stop(struct world *w)
{
    CU_ASSERT_EQUAL(howdah_plugin.stop(w->self), HD_OK);
    CU_ASSERT_EQUAL(mock_failures(w->m), 0);
    howdah_plugin.destroy(w->self);
    check_conf_free(&w->conf);
    mock_free(w->m);
}

static struct hd_cache_key key_of(uint64_t *number)
{
    struct hd_cache_key k = {.size = sizeof(k), .hash = *number * 0x9E3779B97F4A7C15u};

    k.bytes = (struct hd_str){(const char *)number, sizeof(*number)};
    return k;
}

static int32_t put(struct world *w, uint64_t number, uint64_t len)
{
    static char bytes[1 << 20];
    struct hd_cache_key k = key_of(&number);
    struct hd_cache_value v = {
        .size = sizeof(v), .bytes = {bytes, len}, .left_ms = 60000, .cost_ns = 1000000};

    return w->store->put(w->self, &k, &v);
}

static int has(struct world *w, uint64_t number)
{
    struct hd_cache_key k = key_of(&number);
    struct hd_cache_value v = {.size = sizeof(v)};
    int32_t code = w->store->get(w->self, &k, &v, NULL, NULL);

    if (code == HD_OK)
        w->store->release(w->self, &v);
    return code == HD_OK;
}

static struct hd_cache_store_stats stats(struct world *w)
{
    struct hd_cache_store_stats s = {.size = sizeof(s)};

    CU_ASSERT_EQUAL(w->store->stats(w->self, &s), HD_OK);
    return s;
}

static void keeps_and_shows(void)
{
    struct world w;
    uint64_t seven = 7;
    struct hd_cache_key k = key_of(&seven);

    world_start(&w, "[plugin cache-memory]\n");
    for (uint64_t i = 0; i < 1000; i++)
        CU_ASSERT_EQUAL(put(&w, i, 100), HD_OK);
    for (uint64_t i = 0; i < 1000; i++)
        CU_ASSERT_TRUE(has(&w, i));
    w.store->erase(w.self, &k);
    CU_ASSERT_FALSE(has(&w, 7));
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW CACHE MEMORY"), HD_OK);
    CU_ASSERT_EQUAL(mock_rows(w.m), 1 + 16);
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "shard"), "all");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "entries"), "999");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "hits"), "1000");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "misses"), "1");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "hit_percent"), "99.9");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "window"), "(null)");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 16, "shard"), "15");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 16, "window"), "small");
    CU_ASSERT(atoi(mock_cell(w.m, 16, "entries")) > 20); /* keys are spread */
    CU_ASSERT_EQUAL(stats(&w).entries, 999);
    CU_ASSERT_EQUAL(stats(&w).max_bytes, 256 << 20);
    mock_advance(w.m, 1000);
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_cache_memory_entries", ""), 999);
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_cache_memory_hits_total", ""), 1000);
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_cache_memory_misses_total", ""), 1);
    CU_ASSERT_EQUAL((uint64_t)mock_metric(w.m, "howdah_cache_memory_bytes", ""), stats(&w).bytes);
    w.store->flush(w.self, NULL, NULL);
    CU_ASSERT_EQUAL(stats(&w).entries, 0);
    mock_advance(w.m, 1000);
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_cache_memory_entries", ""), 0);
    world_stop(&w);
}

static void on_flushed(void *arg, int32_t code)
{
    *(int32_t *)arg += code == HD_OK;
}

static void tells_of_a_flush(void)
{
    struct world w;
    int32_t told = 0;

    world_start(&w, "[plugin cache-memory]\nmax_bytes = 8M\n");
    w.store->flush(w.self, on_flushed, &told);
    CU_ASSERT_EQUAL(told, 1);
    world_stop(&w);
}

static void limits_values(void)
{
    struct world w;

    world_start(&w, "[plugin cache-memory]\nmax_value_bytes = 10K\n");
    CU_ASSERT_EQUAL(put(&w, 1, 9000), HD_OK);
    CU_ASSERT_EQUAL(put(&w, 1, 11000), HD_EINVAL);
    CU_ASSERT_FALSE(has(&w, 1));
    world_stop(&w);
    world_start(&w, "[plugin cache-memory]\nmax_bytes = 1M\nalgorithm = lru\n");
    CU_ASSERT_EQUAL(put(&w, 1, 130000), HD_OK);
    CU_ASSERT_EQUAL(put(&w, 2, 140000), HD_EINVAL);
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW CACHE MEMORY"), HD_OK);
    CU_ASSERT_EQUAL(mock_rows(w.m), 2);
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 1, "window"), "(null)");
    world_stop(&w);
}

/* Reads another configuration as a reload would; the old one stays valid until it is over. */
static int32_t reload(struct world *w, const char *ini)
{
    struct hd_error err = HD_ERROR_INIT;
    struct check_conf next;

    CU_ASSERT_EQUAL_FATAL(check_conf_read(&next, &howdah_plugin, ini, &err), HD_OK);
    if (howdah_plugin.check(w->self, &next.conf, &err) != HD_OK) {
        check_conf_free(&next);
        return HD_EINVAL;
    }
    howdah_plugin.reload(w->self, &next.conf);
    check_conf_free(&w->conf);
    w->conf = next;
    return HD_OK;
}

static void reloads(void)
{
    struct world w;

    world_start(&w, "[plugin cache-memory]\nmax_bytes = 64M\nshards = 15\n");
    for (uint64_t i = 0; i < 3000; i++)
        CU_ASSERT_EQUAL(put(&w, i, 10000), HD_OK);
    CU_ASSERT_EQUAL(stats(&w).entries, 3000);
    CU_ASSERT_EQUAL(reload(&w, "[plugin cache-memory]\nmax_bytes = 8M\nshards = 15\nadmission = off\n"),
                    HD_OK);
    CU_ASSERT(stats(&w).bytes <= 8 << 20);
    CU_ASSERT_EQUAL(stats(&w).max_bytes, 8 << 20);
    CU_ASSERT(stats(&w).entries > 500);
    CU_ASSERT(stats(&w).evictions > 2000);
    /* The sixteen shards stay, and would be mostly bookkeeping. */
    CU_ASSERT_EQUAL(reload(&w, "[plugin cache-memory]\nmax_bytes = 1M\nshards = 15\n"), HD_EINVAL);
    CU_ASSERT_EQUAL(stats(&w).max_bytes, 8 << 20);
    world_stop(&w);
}

static void wants_memory_for_its_shards(void)
{
    struct hd_error err = HD_ERROR_INIT;
    struct mock *m = mock_new(WORKERS);
    struct check_conf conf;
    void *self;

    CU_ASSERT_EQUAL_FATAL(
        check_conf_read(&conf, &howdah_plugin, "[plugin cache-memory]\nmax_bytes = 2M\nshards = 32\n", &err),
        HD_OK);
    CU_ASSERT_EQUAL_FATAL(howdah_plugin.create(mock_host(m), &self, &err), HD_OK);
    CU_ASSERT_EQUAL(howdah_plugin.check(self, &conf.conf, &err), HD_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "max_bytes = 2097152 is too little for 32 shards"));
    howdah_plugin.destroy(self);
    check_conf_free(&conf);
    mock_free(m);
}

UNIT_MAIN("plugin_cache_memory", {"keeps and shows", keeps_and_shows}, {"tells of a flush", tells_of_a_flush},
          {"limits values", limits_values}, {"reloads", reloads},
          {"wants memory for its shards", wants_memory_for_its_shards})
