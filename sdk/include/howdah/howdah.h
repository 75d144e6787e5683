/*
 * Everything a plugin needs, in one include.
 */
#ifndef HOWDAH_H
#define HOWDAH_H

#include <howdah/cache.h>
#include <howdah/alert_sink.h>
#include <howdah/cache_store.h>
#include <howdah/catalog.h>
#include <howdah/change_stream.h>
#include <howdah/collector.h>
#include <howdah/commands.h>
#include <howdah/error.h>
#include <howdah/events.h>
#include <howdah/filter.h>
#include <howdah/health.h>
#include <howdah/host.h>
#include <howdah/http.h>
#include <howdah/jobs.h>
#include <howdah/loop.h>
#include <howdah/metrics.h>
#include <howdah/nodes.h>
#include <howdah/options.h>
#include <howdah/plugin.h>
#include <howdah/replay.h>
#include <howdah/statement_stats.h>
#include <howdah/template.h>
#include <howdah/types.h>

#endif
