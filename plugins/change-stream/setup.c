/*
 * What makes a server tell of DDL that goes around the host: event triggers that write a message into the
 * log, within the transaction that defines. They fire for every session, replication's included, and say
 * nothing of temporary objects. What is global (roles, databases, tablespaces) fires no event trigger.
 */
#include "stream.h"

const char cs_setup_sql[] =
    "CREATE SCHEMA IF NOT EXISTS howdah;\n"
    "CREATE OR REPLACE FUNCTION howdah.tell_ddl() RETURNS event_trigger\n"
    "  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $howdah$\n"
    "DECLARE told text;\n"
    "BEGIN\n"
    "  IF tg_event = 'ddl_command_end' THEN\n"
    "    SELECT string_agg(CASE WHEN classid = 'pg_class'::regclass AND objsubid = 0 THEN objid::text END, ' "
    "')\n"
    "           || CASE WHEN bool_and(coalesce(classid = 'pg_class'::regclass, false)) THEN '' END INTO "
    "told\n"
    "      FROM pg_event_trigger_ddl_commands() WHERE schema_name IS DISTINCT FROM 'pg_temp';\n"
    "    IF NOT EXISTS (SELECT FROM pg_event_trigger_ddl_commands()\n"
    "                   WHERE schema_name IS DISTINCT FROM 'pg_temp') THEN\n"
    "      RETURN;\n"
    "    END IF;\n"
    "  ELSIF tg_event = 'sql_drop' THEN\n"
    "    IF NOT EXISTS (SELECT FROM pg_event_trigger_dropped_objects() WHERE NOT is_temporary) THEN\n"
    "      RETURN;\n"
    "    END IF;\n"
    "  ELSE\n"
    "    told := pg_event_trigger_table_rewrite_oid()::oid::text;\n"
    "  END IF;\n"
    "  PERFORM pg_logical_emit_message(true, 'howdah-ddl', tg_tag || coalesce(' ' || told, ''));\n"
    "END $howdah$;\n"
    "DROP EVENT TRIGGER IF EXISTS howdah_ddl;\n"
    "CREATE EVENT TRIGGER howdah_ddl ON ddl_command_end EXECUTE FUNCTION howdah.tell_ddl();\n"
    "ALTER EVENT TRIGGER howdah_ddl ENABLE ALWAYS;\n"
    "DROP EVENT TRIGGER IF EXISTS howdah_drop;\n"
    "CREATE EVENT TRIGGER howdah_drop ON sql_drop EXECUTE FUNCTION howdah.tell_ddl();\n"
    "ALTER EVENT TRIGGER howdah_drop ENABLE ALWAYS;\n"
    "DROP EVENT TRIGGER IF EXISTS howdah_rewrite;\n"
    "CREATE EVENT TRIGGER howdah_rewrite ON table_rewrite EXECUTE FUNCTION howdah.tell_ddl();\n"
    "ALTER EVENT TRIGGER howdah_rewrite ENABLE ALWAYS;\n";

const char cs_unsetup_sql[] = "DROP EVENT TRIGGER IF EXISTS howdah_ddl;\n"
                              "DROP EVENT TRIGGER IF EXISTS howdah_drop;\n"
                              "DROP EVENT TRIGGER IF EXISTS howdah_rewrite;\n"
                              "DROP FUNCTION IF EXISTS howdah.tell_ddl();\n";
