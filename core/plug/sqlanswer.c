/*
 * The answer of a statement on a control connection; see sqlanswer.h.
 */
#include "plug/sqlanswer.h"

#include "base/alloc.h"
#include "base/check.h"

#include <string.h>

/* What is handed out when not even an answer can be made. */
static const char no_memory[] = "no memory for the answer";
static struct hd_sql_answer out_of_memory = {
    .result = {.size = sizeof(struct hd_sql_result),
               .code = HD_ENOMEM,
               .sqlstate = "53200",
               .message = {no_memory, sizeof(no_memory) - 1}},
};

struct hd_sql_answer *hd_sql_answer_new(void)
{
    struct hd_sql_answer *a = hd_calloc(1, sizeof(*a));

    if (!a)
        return &out_of_memory;
    a->result.size = sizeof(a->result);
    memcpy(a->result.sqlstate, "00000", 6);
    a->result.message.ptr = "";
    return a;
}

void hd_sql_answer_free(struct hd_sql_answer *a)
{
    if (!a || a == &out_of_memory)
        return;
    hd_arena_free(&a->arena);
    hd_free(a->cells);
    hd_free(a);
}

struct hd_sql_answer *hd_sql_answer_of(const struct hd_sql_result *result)
{
    return result ? HD_CONTAINER_OF((char *)result, struct hd_sql_answer, result) : NULL;
}

void hd_sql_answer_restart(struct hd_sql_answer *a)
{
    hd_arena_free(&a->arena);
    a->result.rows = a->result.columns = 0;
    a->result.names = NULL;
}

static int too_large(struct hd_sql_answer *a, size_t more)
{
    return a->arena.bytes + a->cell_cap * sizeof(*a->cells) + more > HD_SQL_ANSWER_BYTES;
}

static int take_names(struct hd_sql_answer *a, const PGresult *res)
{
    int n = PQnfields(res);
    struct hd_str *names = hd_arena_alloc(&a->arena, (size_t)n * sizeof(*names) + 1);

    if (!names)
        return HD_ENOMEM;
    for (int i = 0; i < n; i++) {
        const char *name = PQfname(res, i);

        names[i] = (struct hd_str){hd_arena_strdup(&a->arena, name), strlen(name)};
        if (!names[i].ptr)
            return HD_ENOMEM;
    }
    a->result.names = names;
    a->result.columns = (uint32_t)n;
    return HD_OK;
}

/* Room for the cells of one more row. */
static int reserve(struct hd_sql_answer *a)
{
    size_t need = ((size_t)a->result.rows + 1) * a->result.columns, cap = a->cell_cap ? a->cell_cap : 32;
    struct hd_str *grown;

    if (need <= a->cell_cap)
        return HD_OK;
    while (cap < need)
        cap *= 2;
    if (too_large(a, (cap - a->cell_cap) * sizeof(*grown)))
        return HD_EFULL;
    grown = hd_realloc(a->cells, cap * sizeof(*grown));
    if (!grown)
        return HD_ENOMEM;
    a->cells = grown;
    a->cell_cap = cap;
    a->result.cells = grown;
    return HD_OK;
}

static int take_row(struct hd_sql_answer *a, const PGresult *res, int row)
{
    struct hd_str *cell;
    int code = reserve(a);

    if (code)
        return code;
    cell = a->cells + (size_t)a->result.rows * a->result.columns;
    for (uint32_t i = 0; i < a->result.columns; i++) {
        size_t len = (size_t)PQgetlength(res, row, (int)i);

        cell[i] = (struct hd_str){NULL, 0};
        if (PQgetisnull(res, row, (int)i))
            continue;
        if (too_large(a, len))
            return HD_EFULL;
        cell[i] = (struct hd_str){hd_arena_strndup(&a->arena, PQgetvalue(res, row, (int)i), len), len};
        if (!cell[i].ptr)
            return HD_ENOMEM;
    }
    a->result.rows++;
    return HD_OK;
}

int hd_sql_answer_rows(struct hd_sql_answer *a, const PGresult *res)
{
    int code = a->result.names ? HD_OK : take_names(a, res);

    for (int i = 0; !code && i < PQntuples(res); i++)
        code = take_row(a, res, i);
    return code;
}

int hd_sql_answer_end(struct hd_sql_answer *a, int code, const char *sqlstate, const char *message)
{
    size_t len = strcspn(message, "\n");
    char *copy;

    if (a == &out_of_memory)
        return HD_ENOMEM;
    if (code)
        hd_sql_answer_restart(a);
    copy = hd_arena_strndup(&a->arena, message, len);
    a->result.code = code;
    a->result.message = copy ? (struct hd_str){copy, len} : (struct hd_str){"", 0};
    memset(a->result.sqlstate, 0, sizeof(a->result.sqlstate));
    if (sqlstate && strlen(sqlstate) == 5)
        memcpy(a->result.sqlstate, sqlstate, 5);
    return code;
}

int hd_sql_answer_error(struct hd_sql_answer *a, const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

    /* Without a SQLSTATE it is libpq that speaks: the connection broke. */
    if (!state || !state[0])
        return hd_sql_answer_end(a, HD_EIO, "08006", PQresultErrorMessage(res));
    return hd_sql_answer_end(a, HD_ESQL, state, text ? text : "");
}
