/*
 * What kind a statement is, its options, and what it does beside reading and writing rows.
 *
 * A table says it for the plain kinds; those with options have a function. What it mentions is then walked.
 */
#include "sql/facts_build.h"

#include <strings.h>
#include <string.h>

#define NODE(name) PG_QUERY__NODE__NODE_##name

struct rule {
    int node;
    uint8_t kind;   /* enum hd_statement_kind */
    uint8_t verb;   /* enum hd_ddl_verb */
    uint8_t access; /* of the tables that it mentions outside queries */
    uint64_t flags; /* HD_FACT_* */
    const char *object;
    void (*more)(struct hd_facts_builder *b, const void *stmt);
};

/* EXPLAIN, PREPARE, DECLARE, CREATE TABLE AS: notes what stands inside, and what comes with it. */
static void note_inner(struct hd_facts_builder *b, const PgQuery__Node *node);
/* Notes that a statement of that kind runs as a part of this one. */
static void note_within(struct hd_facts_builder *b, const PgQuery__Node *node);

/* --- transactions --- */

static const char *option_word(const PgQuery__DefElem *d)
{
    const PgQuery__Node *arg = d->arg;

    if (!arg)
        return NULL;
    if (arg->node_case == NODE(A_CONST) && arg->a_const->val_case == PG_QUERY__A__CONST__VAL_SVAL)
        return arg->a_const->sval->sval;
    return hd_facts_string(arg);
}

/* Does the option say no? An option without a value says yes. */
static int option_off(const PgQuery__DefElem *d)
{
    const PgQuery__Node *arg = d->arg;
    const char *word = option_word(d);

    if (word)
        return strcasecmp(word, "false") == 0 || strcasecmp(word, "off") == 0 || strcmp(word, "0") == 0;
    if (arg && arg->node_case == NODE(INTEGER))
        return arg->integer->ival == 0;
    if (arg && arg->node_case == NODE(BOOLEAN))
        return !arg->boolean->boolval;
    return arg && arg->node_case == NODE(A_CONST) && arg->a_const->val_case == PG_QUERY__A__CONST__VAL_IVAL &&
           arg->a_const->ival->ival == 0;
}

/* ISOLATION LEVEL …, READ ONLY and READ WRITE, of BEGIN and SET TRANSACTION. */
static void transaction_modes(struct hd_facts_builder *b, PgQuery__Node *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const PgQuery__DefElem *d = list[i]->node_case == NODE(DEF_ELEM) ? list[i]->def_elem : NULL;
        const char *word = d ? option_word(d) : NULL;

        if (!d || !d->defname)
            continue;
        if (strcmp(d->defname, "transaction_read_only") == 0)
            b->st.options |= option_off(d) ? HD_OPTION_READ_WRITE : HD_OPTION_READ_ONLY;
        else if (strcmp(d->defname, "transaction_isolation") == 0 && word &&
                 (strcmp(word, "repeatable read") == 0 || strcmp(word, "serializable") == 0))
            b->st.options |= HD_OPTION_REPEATABLE;
    }
}

static void more_transaction(struct hd_facts_builder *b, const void *stmt)
{
    static const uint8_t kinds[] = {
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_BEGIN] = HD_STATEMENT_BEGIN,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_START] = HD_STATEMENT_BEGIN,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_COMMIT] = HD_STATEMENT_COMMIT,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_ROLLBACK] = HD_STATEMENT_ROLLBACK,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_SAVEPOINT] = HD_STATEMENT_SAVEPOINT,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_RELEASE] = HD_STATEMENT_RELEASE,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_ROLLBACK_TO] = HD_STATEMENT_ROLLBACK_TO,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_PREPARE] = HD_STATEMENT_PREPARE_TRANSACTION,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_COMMIT_PREPARED] = HD_STATEMENT_COMMIT_PREPARED,
        [PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_ROLLBACK_PREPARED] = HD_STATEMENT_ROLLBACK_PREPARED,
    };
    const PgQuery__TransactionStmt *s = stmt;

    if ((unsigned)s->kind < HD_ARRAY_LEN(kinds))
        b->st.kind = kinds[s->kind];
    b->st.name = hd_facts_copy(b, s->gid && *s->gid ? s->gid : s->savepoint_name);
    if (s->chain)
        b->st.options |= HD_OPTION_CHAIN;
    transaction_modes(b, s->options, s->n_options);
}

/* --- settings --- */

/* The words behind SET name =, without what the key leaves out. */
static void set_values(struct hd_facts_builder *b, const PgQuery__VariableSetStmt *s)
{
    const PgQuery__Node *first = s->n_args > 0 ? s->args[0] : NULL;
    struct hd_fact_value v;

    b->st.n_values = (uint32_t)s->n_args;
    if (!first)
        return;
    v = hd_facts_value(b, first);
    if (v.kind == HD_VALUE_LITERAL)
        b->st.literal = (int32_t)v.index;
    else if (first->node_case == NODE(A_CONST) && first->a_const->val_case == PG_QUERY__A__CONST__VAL_SVAL)
        b->st.word = hd_facts_copy(b, first->a_const->sval->sval);
}

/* SET TRANSACTION, SET SESSION CHARACTERISTICS, SET TRANSACTION SNAPSHOT. */
static void set_several(struct hd_facts_builder *b, const PgQuery__VariableSetStmt *s)
{
    transaction_modes(b, s->args, s->n_args);
    if (s->name && strcmp(s->name, "SESSION CHARACTERISTICS") == 0) {
        b->st.options |= HD_OPTION_CHARACTERISTICS;
        b->st.flags |= HD_FACT_SESSION;
    } else
        b->st.flags |= HD_FACT_TXN;
}

static void more_set(struct hd_facts_builder *b, const void *stmt)
{
    const PgQuery__VariableSetStmt *s = stmt;

    b->st.name = hd_facts_copy(b, s->name);
    if (s->kind == PG_QUERY__VARIABLE_SET_KIND__VAR_SET_MULTI) {
        set_several(b, s);
        return;
    }
    if (s->kind == PG_QUERY__VARIABLE_SET_KIND__VAR_RESET ||
        s->kind == PG_QUERY__VARIABLE_SET_KIND__VAR_RESET_ALL)
        b->st.kind = HD_STATEMENT_RESET;
    if (s->kind == PG_QUERY__VARIABLE_SET_KIND__VAR_RESET_ALL)
        b->st.options |= HD_OPTION_ALL;
    if (s->kind == PG_QUERY__VARIABLE_SET_KIND__VAR_SET_DEFAULT ||
        s->kind == PG_QUERY__VARIABLE_SET_KIND__VAR_SET_CURRENT)
        b->st.options |= HD_OPTION_DEFAULT;
    if (s->is_local)
        b->st.options |= HD_OPTION_LOCAL;
    else
        b->st.flags |= HD_FACT_SESSION;
    set_values(b, s);
}

static void more_show(struct hd_facts_builder *b, const void *stmt)
{
    b->st.name = hd_facts_copy(b, ((const PgQuery__VariableShowStmt *)stmt)->name);
}

static void more_discard(struct hd_facts_builder *b, const void *stmt)
{
    switch (((const PgQuery__DiscardStmt *)stmt)->target) {
    case PG_QUERY__DISCARD_MODE__DISCARD_PLANS:
        b->st.options |= HD_OPTION_PLANS;
        break;
    case PG_QUERY__DISCARD_MODE__DISCARD_SEQUENCES:
        b->st.options |= HD_OPTION_SEQUENCES;
        break;
    case PG_QUERY__DISCARD_MODE__DISCARD_TEMP:
        b->st.options |= HD_OPTION_TEMP;
        break;
    default:
        b->st.options |= HD_OPTION_ALL;
        break;
    }
}

/* --- names of the session's things --- */

/* A name, or all of them where there is none. */
static void name_or_all(struct hd_facts_builder *b, const char *name)
{
    b->st.name = hd_facts_copy(b, name);
    if (!name || !*name)
        b->st.options |= HD_OPTION_ALL;
}

static void more_prepare(struct hd_facts_builder *b, const void *stmt)
{
    const PgQuery__PrepareStmt *s = stmt;

    b->st.name = hd_facts_copy(b, s->name);
    note_inner(b, s->query);
}

static void more_execute(struct hd_facts_builder *b, const void *stmt)
{
    b->st.name = hd_facts_copy(b, ((const PgQuery__ExecuteStmt *)stmt)->name);
}

static void more_deallocate(struct hd_facts_builder *b, const void *stmt)
{
    name_or_all(b, ((const PgQuery__DeallocateStmt *)stmt)->name);
}

#define CURSOR_HOLD 0x0020 /* of DeclareCursorStmt's options */

static void more_declare(struct hd_facts_builder *b, const void *stmt)
{
    const PgQuery__DeclareCursorStmt *s = stmt;

    b->st.name = hd_facts_copy(b, s->portalname);
    note_inner(b, s->query);
    if (s->options & CURSOR_HOLD) {
        b->st.options |= HD_OPTION_HOLD;
        b->st.flags |= HD_FACT_SESSION;
    }
}

static void more_fetch(struct hd_facts_builder *b, const void *stmt)
{
    b->st.name = hd_facts_copy(b, ((const PgQuery__FetchStmt *)stmt)->portalname);
}

static void more_close(struct hd_facts_builder *b, const void *stmt)
{
    name_or_all(b, ((const PgQuery__ClosePortalStmt *)stmt)->portalname);
}

static void more_listen(struct hd_facts_builder *b, const void *stmt)
{
    b->st.name = hd_facts_copy(b, ((const PgQuery__ListenStmt *)stmt)->conditionname);
}

static void more_unlisten(struct hd_facts_builder *b, const void *stmt)
{
    name_or_all(b, ((const PgQuery__UnlistenStmt *)stmt)->conditionname);
}

static void more_notify(struct hd_facts_builder *b, const void *stmt)
{
    b->st.name = hd_facts_copy(b, ((const PgQuery__NotifyStmt *)stmt)->conditionname);
}

/* --- the rest --- */

/* EXPLAIN runs nothing unless ANALYZE is on; EXPLAIN of it reads tables' statistics only. */
static void more_explain(struct hd_facts_builder *b, const void *stmt)
{
    const PgQuery__ExplainStmt *s = stmt;

    note_inner(b, s->query);
    for (size_t i = 0; i < s->n_options; i++) {
        const PgQuery__DefElem *d = s->options[i]->def_elem;

        if (s->options[i]->node_case != NODE(DEF_ELEM) || strcmp(d->defname, "analyze") != 0)
            continue;
        b->st.options &= ~HD_OPTION_ANALYZE;
        b->st.options |= option_off(d) ? 0 : HD_OPTION_ANALYZE;
    }
}

static void more_copy(struct hd_facts_builder *b, const void *stmt)
{
    const PgQuery__CopyStmt *s = stmt;

    b->st.kind = s->is_from ? HD_STATEMENT_COPY_FROM : HD_STATEMENT_COPY_TO;
    if (s->query)
        note_within(b, s->query);
    if (s->is_from) {
        b->access = HD_ACCESS_WRITE;
        b->st.flags |= HD_FACT_MAY_SEQUENCE;
    }
    b->st.flags |= s->is_program || (s->filename && *s->filename) ? HD_FACT_SERVER_FILE : HD_FACT_COPY_STREAM;
}

static void more_vacuum(struct hd_facts_builder *b, const void *stmt)
{
    if (!((const PgQuery__VacuumStmt *)stmt)->is_vacuumcmd)
        b->st.kind = HD_STATEMENT_ANALYZE;
}

/* "materialized view" of OBJECT_MATVIEW and so on; the other names are plain. */
static const char *object_name(struct hd_facts_builder *b, int type)
{
    const ProtobufCEnumValue *v =
        protobuf_c_enum_descriptor_get_value(&pg_query__object_type__descriptor, type);
    char name[48];
    size_t i = 0;

    if (!v || strncmp(v->name, "OBJECT_", 7) != 0)
        return NULL;
    if (type == PG_QUERY__OBJECT_TYPE__OBJECT_MATVIEW)
        return "materialized view";
    for (const char *p = v->name + 7; *p && i + 1 < sizeof(name); p++)
        name[i++] = *p == '_' ? ' ' : (char)(*p | 0x20);
    name[i] = 0;
    return hd_facts_copy(b, name);
}

static int is_relation(int type)
{
    return type == PG_QUERY__OBJECT_TYPE__OBJECT_TABLE || type == PG_QUERY__OBJECT_TYPE__OBJECT_VIEW ||
           type == PG_QUERY__OBJECT_TYPE__OBJECT_MATVIEW ||
           type == PG_QUERY__OBJECT_TYPE__OBJECT_FOREIGN_TABLE ||
           type == PG_QUERY__OBJECT_TYPE__OBJECT_SEQUENCE;
}

/* A relation's name as a list of strings. For a trigger, rule or policy the last is its own and goes. */
static void add_named(struct hd_facts_builder *b, const PgQuery__List *l, size_t own)
{
    PgQuery__RangeVar rv = PG_QUERY__RANGE_VAR__INIT;
    size_t n = l->n_items < own ? 0 : l->n_items - own;
    const char *name = n > 0 ? hd_facts_string(l->items[n - 1]) : NULL;
    const char *schema = n > 1 ? hd_facts_string(l->items[n - 2]) : NULL;

    if (!name)
        return;
    rv.relname = (char *)(uintptr_t)name;
    if (schema)
        rv.schemaname = (char *)(uintptr_t)schema;
    rv.inh = 1;
    rv.location = -1;
    (void)hd_facts_add_table(b, &rv, HD_ACCESS_DEFINE);
}

static int stands_on_relation(int type)
{
    return type == PG_QUERY__OBJECT_TYPE__OBJECT_TRIGGER || type == PG_QUERY__OBJECT_TYPE__OBJECT_RULE ||
           type == PG_QUERY__OBJECT_TYPE__OBJECT_POLICY;
}

static void more_drop(struct hd_facts_builder *b, const void *stmt)
{
    const PgQuery__DropStmt *s = stmt;
    int on_relation = stands_on_relation((int)s->remove_type);

    b->st.object = object_name(b, (int)s->remove_type);
    if (s->remove_type == PG_QUERY__OBJECT_TYPE__OBJECT_POLICY) {
        b->st.kind = HD_STATEMENT_PRIVILEGE;
        b->st.flags |= HD_FACT_PRIVILEGE;
    }
    for (size_t i = 0; i < s->n_objects; i++) {
        if (s->objects[i]->node_case == NODE(LIST) && (on_relation || is_relation((int)s->remove_type)))
            add_named(b, s->objects[i]->list, on_relation ? 1 : 0);
    }
}

static void more_rename(struct hd_facts_builder *b, const void *stmt)
{
    b->st.object = object_name(b, (int)((const PgQuery__RenameStmt *)stmt)->rename_type);
}

static void more_define(struct hd_facts_builder *b, const void *stmt)
{
    b->st.object = object_name(b, (int)((const PgQuery__DefineStmt *)stmt)->kind);
}

static void more_comment(struct hd_facts_builder *b, const void *stmt)
{
    b->st.object = object_name(b, (int)((const PgQuery__CommentStmt *)stmt)->objtype);
}

static void more_object_schema(struct hd_facts_builder *b, const void *stmt)
{
    b->st.object = object_name(b, (int)((const PgQuery__AlterObjectSchemaStmt *)stmt)->object_type);
}

static void more_table_as(struct hd_facts_builder *b, const void *stmt)
{
    const PgQuery__CreateTableAsStmt *s = stmt;

    b->st.object = object_name(b, (int)s->objtype);
    note_inner(b, s->query);
    b->st.within &= ~(UINT64_C(1) << HD_STATEMENT_SELECT); /* its rows go nowhere but into the table */
}

/* ALTER TABLE may change who may see what. */
static void more_alter_table(struct hd_facts_builder *b, const void *stmt)
{
    const PgQuery__AlterTableStmt *s = stmt;

    b->st.object = object_name(b, (int)s->objtype);
    for (size_t i = 0; i < s->n_cmds; i++) {
        if (s->cmds[i]->node_case != NODE(ALTER_TABLE_CMD))
            continue;
        switch (s->cmds[i]->alter_table_cmd->subtype) {
        case PG_QUERY__ALTER_TABLE_TYPE__AT_ChangeOwner:
        case PG_QUERY__ALTER_TABLE_TYPE__AT_EnableRowSecurity:
        case PG_QUERY__ALTER_TABLE_TYPE__AT_DisableRowSecurity:
        case PG_QUERY__ALTER_TABLE_TYPE__AT_ForceRowSecurity:
        case PG_QUERY__ALTER_TABLE_TYPE__AT_NoForceRowSecurity:
            b->st.flags |= HD_FACT_PRIVILEGE;
            break;
        default:
            break;
        }
    }
}

static void more_select(struct hd_facts_builder *b, const void *stmt)
{
    if (!((const PgQuery__SelectStmt *)stmt)->into_clause)
        return;
    b->st.kind = HD_STATEMENT_DDL;
    b->st.inner = HD_STATEMENT_SELECT;
    b->st.verb = HD_DDL_CREATE;
    b->st.object = "table";
    b->st.flags |= HD_FACT_DEFINES;
}

#define DDL(node, verb, object)                                                                              \
    {                                                                                                        \
        NODE(node), HD_STATEMENT_DDL, HD_DDL_##verb, HD_ACCESS_DEFINE, HD_FACT_DEFINES, object, NULL         \
    }
#define DDL_MORE(node, verb, more)                                                                           \
    {                                                                                                        \
        NODE(node), HD_STATEMENT_DDL, HD_DDL_##verb, HD_ACCESS_DEFINE, HD_FACT_DEFINES, NULL, more           \
    }
#define PRIVILEGE(node, verb, object)                                                                        \
    {                                                                                                        \
        NODE(node), HD_STATEMENT_PRIVILEGE, HD_DDL_##verb, HD_ACCESS_DEFINE,                                 \
            HD_FACT_PRIVILEGE | HD_FACT_DEFINES, object, NULL                                                \
    }
#define PLAIN(node, kind, flags, more)                                                                       \
    {                                                                                                        \
        NODE(node), HD_STATEMENT_##kind, HD_DDL_NONE, HD_ACCESS_READ, flags, NULL, more                      \
    }
#define ANYTHING (HD_FACT_READS | HD_FACT_WRITES | HD_FACT_UNSURE_FUNCTION | HD_FACT_SESSION)

static const struct rule rules[] = {
    PLAIN(SELECT_STMT, SELECT, 0, more_select),
    PLAIN(INSERT_STMT, INSERT, HD_FACT_WRITES, NULL),
    PLAIN(UPDATE_STMT, UPDATE, HD_FACT_WRITES, NULL),
    PLAIN(DELETE_STMT, DELETE, HD_FACT_WRITES, NULL),
    PLAIN(MERGE_STMT, MERGE, HD_FACT_WRITES, NULL),
    PLAIN(COPY_STMT, COPY_TO, 0, more_copy),
    PLAIN(TRANSACTION_STMT, OTHER, HD_FACT_TXN, more_transaction),
    PLAIN(VARIABLE_SET_STMT, SET, 0, more_set),
    PLAIN(VARIABLE_SHOW_STMT, SHOW, HD_FACT_SESSION_READ, more_show),
    PLAIN(PREPARE_STMT, PREPARE, HD_FACT_SESSION, more_prepare),
    PLAIN(EXECUTE_STMT, EXECUTE, ANYTHING, more_execute),
    PLAIN(DEALLOCATE_STMT, DEALLOCATE, HD_FACT_SESSION, more_deallocate),
    PLAIN(DECLARE_CURSOR_STMT, DECLARE, 0, more_declare),
    PLAIN(FETCH_STMT, FETCH, HD_FACT_READS, more_fetch),
    PLAIN(CLOSE_PORTAL_STMT, CLOSE, 0, more_close),
    PLAIN(LISTEN_STMT, LISTEN, HD_FACT_SESSION, more_listen),
    PLAIN(UNLISTEN_STMT, UNLISTEN, HD_FACT_SESSION, more_unlisten),
    PLAIN(NOTIFY_STMT, NOTIFY, HD_FACT_WRITES, more_notify),
    PLAIN(DISCARD_STMT, DISCARD, HD_FACT_SESSION, more_discard),
    PLAIN(CONSTRAINTS_SET_STMT, CONSTRAINTS, HD_FACT_TXN, NULL),
    PLAIN(DO_STMT, DO, ANYTHING, NULL),
    PLAIN(CALL_STMT, CALL, ANYTHING, NULL),
    PLAIN(LOAD_STMT, LOAD, HD_FACT_SESSION | HD_FACT_SERVER_FILE, NULL),
    PLAIN(EXPLAIN_STMT, EXPLAIN, 0, more_explain),
    PLAIN(VACUUM_STMT, VACUUM, HD_FACT_WRITES, more_vacuum),
    PLAIN(CHECK_POINT_STMT, CHECKPOINT, 0, NULL),
    {NODE(LOCK_STMT), HD_STATEMENT_LOCK, HD_DDL_NONE, HD_ACCESS_LOCK, HD_FACT_LOCKS, NULL, NULL},
    {NODE(TRUNCATE_STMT), HD_STATEMENT_TRUNCATE, HD_DDL_NONE, HD_ACCESS_WRITE, HD_FACT_WRITES, NULL, NULL},
    {NODE(CLUSTER_STMT), HD_STATEMENT_CLUSTER, HD_DDL_NONE, HD_ACCESS_DEFINE, HD_FACT_WRITES, NULL, NULL},
    {NODE(REINDEX_STMT), HD_STATEMENT_REINDEX, HD_DDL_NONE, HD_ACCESS_DEFINE, HD_FACT_WRITES, NULL, NULL},
    {NODE(CREATE_TABLE_AS_STMT), HD_STATEMENT_DDL, HD_DDL_CREATE, HD_ACCESS_DEFINE,
     HD_FACT_DEFINES | HD_FACT_WRITES, NULL, more_table_as},
    {NODE(REFRESH_MAT_VIEW_STMT), HD_STATEMENT_DDL, HD_DDL_ALTER, HD_ACCESS_DEFINE | HD_ACCESS_WRITE,
     HD_FACT_DEFINES, "materialized view", NULL},
    DDL_MORE(DROP_STMT, DROP, more_drop),
    DDL_MORE(RENAME_STMT, ALTER, more_rename),
    DDL_MORE(ALTER_TABLE_STMT, ALTER, more_alter_table),
    DDL_MORE(DEFINE_STMT, CREATE, more_define),
    DDL_MORE(COMMENT_STMT, ALTER, more_comment),
    DDL_MORE(ALTER_OBJECT_SCHEMA_STMT, ALTER, more_object_schema),
    DDL(CREATE_STMT, CREATE, "table"),
    DDL(CREATE_FOREIGN_TABLE_STMT, CREATE, "foreign table"),
    DDL(IMPORT_FOREIGN_SCHEMA_STMT, CREATE, "foreign table"),
    DDL(INDEX_STMT, CREATE, "index"),
    DDL(VIEW_STMT, CREATE, "view"),
    DDL(CREATE_SEQ_STMT, CREATE, "sequence"),
    DDL(ALTER_SEQ_STMT, ALTER, "sequence"),
    DDL(CREATE_SCHEMA_STMT, CREATE, "schema"),
    DDL(CREATEDB_STMT, CREATE, "database"),
    DDL(DROPDB_STMT, DROP, "database"),
    DDL(ALTER_DATABASE_STMT, ALTER, "database"),
    DDL(ALTER_DATABASE_REFRESH_COLL_STMT, ALTER, "database"),
    DDL(ALTER_DATABASE_SET_STMT, ALTER, "database"),
    DDL(CREATE_FUNCTION_STMT, CREATE, "function"),
    DDL(ALTER_FUNCTION_STMT, ALTER, "function"),
    DDL(CREATE_TRIG_STMT, CREATE, "trigger"),
    DDL(CREATE_EVENT_TRIG_STMT, CREATE, "event trigger"),
    DDL(ALTER_EVENT_TRIG_STMT, ALTER, "event trigger"),
    DDL(RULE_STMT, CREATE, "rule"),
    DDL(CREATE_DOMAIN_STMT, CREATE, "domain"),
    DDL(ALTER_DOMAIN_STMT, ALTER, "domain"),
    DDL(COMPOSITE_TYPE_STMT, CREATE, "type"),
    DDL(CREATE_ENUM_STMT, CREATE, "type"),
    DDL(CREATE_RANGE_STMT, CREATE, "type"),
    DDL(ALTER_ENUM_STMT, ALTER, "type"),
    DDL(ALTER_TYPE_STMT, ALTER, "type"),
    DDL(CREATE_CAST_STMT, CREATE, "cast"),
    DDL(CREATE_CONVERSION_STMT, CREATE, "conversion"),
    DDL(CREATE_OP_CLASS_STMT, CREATE, "operator class"),
    DDL(CREATE_OP_FAMILY_STMT, CREATE, "operator family"),
    DDL(ALTER_OP_FAMILY_STMT, ALTER, "operator family"),
    DDL(ALTER_OPERATOR_STMT, ALTER, "operator"),
    DDL(CREATE_TABLE_SPACE_STMT, CREATE, "tablespace"),
    DDL(DROP_TABLE_SPACE_STMT, DROP, "tablespace"),
    DDL(ALTER_TABLE_SPACE_OPTIONS_STMT, ALTER, "tablespace"),
    DDL(ALTER_TABLE_MOVE_ALL_STMT, ALTER, "table"),
    DDL(CREATE_EXTENSION_STMT, CREATE, "extension"),
    DDL(ALTER_EXTENSION_STMT, ALTER, "extension"),
    DDL(ALTER_EXTENSION_CONTENTS_STMT, ALTER, "extension"),
    DDL(CREATE_FDW_STMT, CREATE, "foreign data wrapper"),
    DDL(ALTER_FDW_STMT, ALTER, "foreign data wrapper"),
    DDL(CREATE_FOREIGN_SERVER_STMT, CREATE, "server"),
    DDL(ALTER_FOREIGN_SERVER_STMT, ALTER, "server"),
    DDL(CREATE_PLANG_STMT, CREATE, "language"),
    DDL(CREATE_TRANSFORM_STMT, CREATE, "transform"),
    DDL(CREATE_AM_STMT, CREATE, "access method"),
    DDL(CREATE_PUBLICATION_STMT, CREATE, "publication"),
    DDL(ALTER_PUBLICATION_STMT, ALTER, "publication"),
    DDL(CREATE_SUBSCRIPTION_STMT, CREATE, "subscription"),
    DDL(ALTER_SUBSCRIPTION_STMT, ALTER, "subscription"),
    DDL(DROP_SUBSCRIPTION_STMT, DROP, "subscription"),
    DDL(CREATE_STATS_STMT, CREATE, "statistics"),
    DDL(ALTER_STATS_STMT, ALTER, "statistics"),
    DDL(ALTER_COLLATION_STMT, ALTER, "collation"),
    DDL(ALTER_TSDICTIONARY_STMT, ALTER, "text search dictionary"),
    DDL(ALTER_TSCONFIGURATION_STMT, ALTER, "text search configuration"),
    DDL(ALTER_OBJECT_DEPENDS_STMT, ALTER, NULL),
    DDL(REPLICA_IDENTITY_STMT, ALTER, "table"),
    DDL(SEC_LABEL_STMT, ALTER, NULL),
    DDL(ALTER_SYSTEM_STMT, ALTER, "system"),
    PRIVILEGE(GRANT_STMT, NONE, NULL),
    PRIVILEGE(GRANT_ROLE_STMT, NONE, "role"),
    PRIVILEGE(ALTER_DEFAULT_PRIVILEGES_STMT, ALTER, NULL),
    PRIVILEGE(ALTER_OWNER_STMT, ALTER, NULL),
    PRIVILEGE(CREATE_ROLE_STMT, CREATE, "role"),
    PRIVILEGE(ALTER_ROLE_STMT, ALTER, "role"),
    PRIVILEGE(ALTER_ROLE_SET_STMT, ALTER, "role"),
    PRIVILEGE(DROP_ROLE_STMT, DROP, "role"),
    PRIVILEGE(DROP_OWNED_STMT, DROP, NULL),
    PRIVILEGE(REASSIGN_OWNED_STMT, ALTER, NULL),
    PRIVILEGE(CREATE_POLICY_STMT, CREATE, "policy"),
    PRIVILEGE(ALTER_POLICY_STMT, ALTER, "policy"),
    PRIVILEGE(CREATE_USER_MAPPING_STMT, CREATE, "user mapping"),
    PRIVILEGE(ALTER_USER_MAPPING_STMT, ALTER, "user mapping"),
    PRIVILEGE(DROP_USER_MAPPING_STMT, DROP, "user mapping"),
};

static const struct rule *rule_for(const PgQuery__Node *node)
{
    for (size_t i = 0; node && i < HD_ARRAY_LEN(rules); i++) {
        if (rules[i].node == (int)node->node_case)
            return &rules[i];
    }
    return NULL;
}

static void note_inner(struct hd_facts_builder *b, const PgQuery__Node *node)
{
    const struct rule *r = rule_for(node);

    b->st.inner = r ? r->kind : HD_STATEMENT_OTHER;
    b->st.flags |= r ? r->flags : HD_FACT_UNSURE_FUNCTION;
    note_within(b, node);
}

static void note_within(struct hd_facts_builder *b, const PgQuery__Node *node)
{
    const struct rule *r = rule_for(node);

    b->st.within |= UINT64_C(1) << (r ? r->kind : HD_STATEMENT_OTHER);
}

/* By BEGIN and SET TRANSACTION, or by the settings behind them. */
static int sets_isolation(const struct hd_fact_statement *st)
{
    static const char *const names[] = {"transaction_isolation", "default_transaction_isolation",
                                        "TRANSACTION SNAPSHOT"};

    for (size_t i = 0; st->kind == HD_STATEMENT_SET && st->name && i < HD_ARRAY_LEN(names); i++)
        if (strcasecmp(st->name, names[i]) == 0)
            return 1;
    return (st->options & HD_OPTION_REPEATABLE) != 0;
}

/* Options that plugins see as facts. */
static void note_options(struct hd_fact_statement *st)
{
    static const struct {
        uint32_t option;
        uint64_t fact;
    } as[] = {
        {HD_OPTION_LIMIT, HD_FACT_LIMIT},
        {HD_OPTION_AGGREGATE, HD_FACT_AGGREGATE},
        {HD_OPTION_GROUP | HD_OPTION_HAVING, HD_FACT_GROUP_BY},
        {HD_OPTION_ORDER, HD_FACT_ORDER_BY},
        {HD_OPTION_DISTINCT, HD_FACT_DISTINCT},
        {HD_OPTION_WINDOW, HD_FACT_WINDOW},
        {HD_OPTION_HOLD, HD_FACT_HOLD_CURSOR},
        {HD_OPTION_RETURNING, HD_FACT_RETURNING},
    };

    for (size_t i = 0; i < HD_ARRAY_LEN(as); i++)
        st->flags |= st->options & as[i].option ? as[i].fact : 0;
    if (sets_isolation(st))
        st->flags |= HD_FACT_ISOLATION;
}

/* EXPLAIN runs what it explains with ANALYZE alone; rules, functions and views keep theirs for later. */
static int runs_what_it_holds(const struct hd_fact_statement *st)
{
    if (st->kind == HD_STATEMENT_EXPLAIN)
        return (st->options & HD_OPTION_ANALYZE) != 0;
    return st->kind != HD_STATEMENT_DDL ||
           (st->object && (strcmp(st->object, "table") == 0 || strcmp(st->object, "materialized view") == 0));
}

/* What the flags of a whole statement come to, once its parts are walked. */
static void conclude(struct hd_facts_builder *b)
{
    struct hd_fact_statement *st = &b->st;

    if (!runs_what_it_holds(st))
        st->within = 0;
    if (st->kind == HD_STATEMENT_EXPLAIN && !(st->options & HD_OPTION_ANALYZE))
        st->flags &= ~(HD_FACT_WRITES | HD_FACT_NO_WHERE | HD_FACT_DEFINES | HD_FACT_LOCKS | HD_FACT_SESSION |
                       HD_FACT_ADVISORY_LOCK | HD_FACT_SEQUENCE | HD_FACT_MAY_SEQUENCE | HD_FACT_LASTVAL |
                       HD_FACT_SET_CONFIG | HD_FACT_SET_UNNAMED | HD_FACT_SEED);
    if (st->flags & HD_FACT_TEMP) {
        if (st->kind == HD_STATEMENT_DDL && st->verb == HD_DDL_CREATE)
            st->options |= HD_OPTION_TEMP;
        st->flags |= HD_FACT_SESSION;
    }
    if (st->kind == HD_STATEMENT_OTHER)
        st->flags |= HD_FACT_UNSURE_FUNCTION; /* a statement that is not known here may do anything */
    if (st->flags & HD_FACT_UNSURE_FUNCTION)
        st->flags |= HD_FACT_WRITES;
    note_options(st);
}

void hd_facts_statement(struct hd_facts_builder *b, const PgQuery__Node *node)
{
    const struct rule *r = rule_for(node);
    const void *stmt = hd_facts_unwrap(node);

    if (r) {
        b->st.kind = r->kind;
        b->st.verb = r->verb;
        b->st.flags = r->flags;
        b->st.object = r->object;
        b->access = r->access;
        if (r->more)
            r->more(b, stmt);
    }
    hd_facts_walk(b, stmt);
    conclude(b);
}
