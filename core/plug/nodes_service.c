/*
 * How plugins with a client library of their own connect to nodes: "howdah.nodes/1".
 */
#include "plug/jobs.h"

#include <howdah/nodes.h>

#include "plug/services.h"

static struct hd_jobs *served;

static int32_t conninfo(hd_host *host, struct hd_str node, struct hd_str dbname, char *out, uint32_t room,
                        struct hd_error *err)
{
    (void)host;
    return hd_jobs_conninfo(served, node, dbname, out, room, err);
}

static const struct hd_nodes_v1 vtable = {
    .size = sizeof(vtable),
    .conninfo = conninfo,
};

int hd_jobs_serve_nodes(struct hd_jobs *jobs)
{
    served = jobs;
    return hd_service_add(HD_SERVICE_NODES, &vtable);
}
