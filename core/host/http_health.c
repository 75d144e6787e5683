/*
 * How the host is: /livez, /readyz and /health.
 */
#include "host/http_parts.h"

void hd_http_livez(struct http_request *rq)
{
    hd_http_answer_static(rq, MHD_HTTP_OK, "text/plain; charset=utf-8", "ok\n");
}
