/*
 * Fuzzes expressions of alert rules: the parser, and the evaluation of what it takes on a few series. Beside
 * memory safety: what is taken needs no more series than there are, and gives them all back.
 */
#include <stdlib.h>
#include <string.h>

#include "alerts/eval.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int32_t read_series(void *arg, const char *name, int with_bins,
                           void (*fn)(void *fn_arg, const struct al_reading *r), void *fn_arg)
{
    static struct hd_metric_bins bins;
    uint64_t moment = *(const uint64_t *)arg;
    const struct hd_label a[] = {{"x", "1"}, {"y", "2"}}, b[] = {{"x", "2"}};

    (void)name, (void)with_bins;
    fn(fn_arg, &(struct al_reading){HD_METRIC_COUNTER, 2, a, (double)(moment % 7), 1, NULL});
    fn(fn_arg, &(struct al_reading){HD_METRIC_GAUGE, 1, b, -1e300, 1, NULL});
    bins.count = bins.bin[moment % HD_METRIC_BINS] += moment;
    fn(fn_arg, &(struct al_reading){HD_METRIC_SKETCH, 0, NULL, 0, 1e-9, &bins});
    return HD_OK;
}

static void evaluate(struct al_node *n)
{
    struct al_budget budget = {.max_series = 100};
    struct al_memory *m = al_memory_new();
    uint64_t moment = 1000;
    const struct al_source source = {read_series, &moment};
    struct al_vector v;

    for (; m && moment < 100000; moment += 9973) {
        al_series_read(n, &source, 5000, moment, &budget);
        al_eval(n, m, &v);
        al_memory_clear(m);
    }
    al_memory_free(m);
    al_series_give_back(n, &budget);
    if (budget.series)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hd_error err = HD_ERROR_INIT;
    struct al_node *n = NULL;
    char *text = size < 4096 ? malloc(size + 1) : NULL;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (al_expr_parse(text, &n, &err) == HD_OK)
        evaluate(n);
    al_expr_free(n);
    free(text);
    return 0;
}
