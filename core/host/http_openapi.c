/*
 * The description of what is served, OpenAPI 3.1, made from the registry of commands.
 */
#include "base/check.h"
#include "host/http_api.h"
#include "host/http_parts.h"
#include "host/runtime.h"
#include "plug/commands.h"

#include <ctype.h>
#include <howdah/commands.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a command answers with, what is wrong, and what /health says. */
static const char components[] =
    "{\"schemas\": {"
    "\"Result\": {\"type\": \"object\", \"required\": [\"command\"], \"properties\": {"
    "\"command\": {\"type\": \"string\"}, \"message\": {\"type\": \"string\"},"
    "\"columns\": {\"type\": \"array\", \"items\": {\"type\": \"object\", \"required\": [\"name\", \"type\"],"
    "\"properties\": {\"name\": {\"type\": \"string\"},"
    "\"type\": {\"enum\": [\"text\", \"int\", \"real\", \"bool\", \"time\"]}}}},"
    "\"rows\": {\"type\": \"array\", \"items\": {\"type\": \"object\"}}}},"
    "\"Problem\": {\"type\": \"object\", \"required\": [\"title\", \"status\"], \"properties\": {"
    "\"type\": {\"type\": \"string\"}, \"title\": {\"type\": \"string\"}, \"status\": {\"type\": "
    "\"integer\"},"
    "\"detail\": {\"type\": \"string\"}}},"
    "\"Health\": {\"type\": \"object\", \"required\": [\"status\", \"active\", \"total\", \"components\"],"
    "\"properties\": {\"status\": {\"enum\": [\"ok\", \"degraded\"]}, \"ready\": {\"type\": \"boolean\"},"
    "\"active\": {\"type\": \"integer\"}, \"total\": {\"type\": \"integer\"}, \"version\": {\"type\": "
    "\"string\"},"
    "\"reason\": {\"type\": \"string\"}, \"components\": {\"type\": \"array\", \"items\": {\"type\": "
    "\"object\","
    "\"required\": [\"kind\", \"name\", \"state\", \"active\"], \"properties\": {\"kind\": {\"type\": "
    "\"string\"},"
    "\"name\": {\"type\": \"string\"}, \"state\": {\"type\": \"string\"}, \"active\": {\"type\": "
    "\"boolean\"},"
    "\"reason\": {\"type\": \"string\"}}}}}}},"
    "\"securitySchemes\": {\"token\": {\"type\": \"http\", \"scheme\": \"bearer\"},"
    "\"password\": {\"type\": \"http\", \"scheme\": \"basic\"}}}";

/* Of a schema that is described below, or of a plain type. */
static json_t *content(const char *type, const char *schema)
{
    char ref[80];

    if (schema[0] < 'A' || schema[0] > 'Z')
        return json_pack("{s:{s:{s:s}}}", type, "schema", "type", schema);
    snprintf(ref, sizeof(ref), "#/components/schemas/%s", schema);
    return json_pack("{s:{s:{s:s}}}", type, "schema", "$ref", ref);
}

static json_t *responses(const char *type, const char *schema)
{
    return json_pack("{s:{s:s, s:o}, s:{s:s, s:o}}", "200", "description", "The answer", "content",
                     content(type, schema), "default", "description", "What is wrong", "content",
                     content("application/problem+json", "Problem"));
}

static json_t *operation(const char *id, const char *doc, json_t *answers)
{
    return json_pack("{s:s, s:s, s:o}", "operationId", id, "summary", doc, "responses", answers);
}

/* The arguments of a GET. */
static json_t *parameters(const char *usage)
{
    return json_pack("[{s:s, s:s, s:s, s:b, s:{s:s, s:{s:s}}}]", "name", "arg", "in", "query", "description",
                     usage, "explode", 1, "schema", "type", "array", "items", "type", "string");
}

static json_t *request_body(const char *usage)
{
    return json_pack("{s:b, s:{s:{s:{s:s, s:b, s:{s:{s:s, s:s, s:{s:[s,s]}}}}}}}", "required", 1, "content",
                     "application/json", "schema", "type", "object", "additionalProperties", 0, "properties",
                     "args", "type", "array", "description", usage, "items", "type", "string", "number");
}

/* "/api/v1/cache/stats", and "cache_stats" behind the verb. */
static void name_path(const char *name, const char *verb, char *path, char *id, size_t cap)
{
    const char *from = strncmp(name, "SHOW ", 5) ? name : name + 5;

    snprintf(path, cap, HD_HTTP_API "%s", from);
    snprintf(id, cap, "%s_%s", verb, from);
    for (char *p = path + strlen(HD_HTTP_API); *p; p++)
        *p = *p == ' ' ? '/' : (char)tolower((unsigned char)*p);
    for (char *p = id; *p; p++)
        *p = *p == ' ' || *p == '-' ? '_' : (char)tolower((unsigned char)*p);
}

static void add_command(void *paths, const struct hd_command_info *c)
{
    int reads = c->flags & HD_CMDF_READ_ONLY;
    char path[HD_HTTP_COMMAND + 40], id[HD_HTTP_COMMAND + 40];
    json_t *op, *item = json_object();

    name_path(c->name, reads ? "get" : "post", path, id, sizeof(path));
    op = operation(id, c->doc, responses("application/json", "Result"));
    if (c->usage[0] && reads)
        json_object_set_new(op, "parameters", parameters(c->usage));
    if (!reads)
        json_object_set_new(op, "requestBody", request_body(c->usage[0] ? c->usage : "none"));
    json_object_set_new(op, "x-command", json_string(c->name));
    json_object_set_new(item, reads ? "get" : "post", op);
    json_object_set_new(paths, path, item);
}

static json_t *add_page(json_t *paths, const char *path, const char *id, const char *doc, const char *type,
                        const char *schema)
{
    json_t *op = operation(id, doc, responses(type, schema));

    json_object_set_new(paths, path, json_pack("{s:o}", "get", op));
    return op;
}

static void add_probe(json_t *paths, const char *path, const char *id, const char *doc)
{
    json_object_set_new(add_page(paths, path, id, doc, "text/plain", "string"), "security", json_array());
}

/* What is said with 503 is the page's own, too. */
static void add_503(json_t *paths, const char *path, const char *type, const char *schema)
{
    json_t *op = json_object_get(json_object_get(paths, path), "get");

    json_object_set_new(
        json_object_get(op, "responses"), "503",
        json_pack("{s:s, s:o}", "description", "It is not well", "content", content(type, schema)));
}

static void add_pages(json_t *paths)
{
    json_t *op;

    add_probe(paths, "/livez", "livez", "Does the host answer?");
    add_probe(paths, "/readyz", "readyz", "May clients be sent here? 503: no");
    add_503(paths, "/readyz", "text/plain", "string");
    add_page(paths, "/health", "health", "Every part with its state; 503: one does not work",
             "application/json", "Health");
    add_503(paths, "/health", "application/json", "Health");
    op = add_page(paths, "/metrics", "metrics",
                  "Metrics for Prometheus, or in OpenMetrics for whoever accepts that", "text/plain",
                  "string");
    json_object_update_new(
        json_object_get(json_object_get(json_object_get(op, "responses"), "200"), "content"),
        content("application/openmetrics-text", "string"));
    add_page(paths, HD_HTTP_API "openapi.json", "openapi", "This description", "application/json", "object");
}

static json_t *describe(struct hd_http *h)
{
    json_t *paths = json_object(), *parts = json_loads(components, 0, NULL);

    add_pages(paths);
    hd_commands_each(h->rt->parts.commands, add_command, paths);
    return json_pack("{s:s, s:{s:s, s:s, s:s, s:{s:s}}, s:[{s:[]}, {s:[]}], s:o, s:o}", "openapi", "3.1.0",
                     "info", "title", "Howdah", "version", PACKAGE_VERSION, "description",
                     "Health, metrics and the commands of the host", "license", "name", "Apache-2.0",
                     "security", "token", "password", "paths", paths, "components", parts);
}

void hd_http_openapi(struct http_request *rq)
{
    hd_http_json(rq, MHD_HTTP_OK, describe(rq->engine->http));
}
