/*
 * The bus as plugins see it: "howdah.bus/1".
 */
#include "plug/bus.h"

#include "base/error.h"
#include "plug/owners.h"
#include "plug/services.h"

static int32_t declare(hd_host *host, const char *topic, uint32_t data_size, uint32_t overflow,
                       struct hd_error *err);
static int32_t find(hd_host *host, const char *topic);
static int32_t wanted(hd_host *host, int32_t topic);
static int32_t publish(hd_host *host, int32_t topic, const void *data, uint32_t data_size);
static int64_t subscribe(hd_host *host, const char *topic, void (*fn)(void *arg, const struct hd_event *ev),
                         void *arg, struct hd_error *err);
static void unsubscribe(hd_host *host, int64_t id);
static int32_t relay(hd_host *host, int32_t topic, const void *data, uint32_t data_size);
static int32_t lost(hd_host *host, int32_t topic);
static void on_gone(hd_host *host);

static const struct hd_bus_v1 vtable = {
    .size = sizeof(vtable),
    .declare = declare,
    .topic = find,
    .wanted = wanted,
    .publish = publish,
    .subscribe = subscribe,
    .unsubscribe = unsubscribe,
    .relay = relay,
    .lost = lost,
};

static struct hd_bus *served;
static struct hd_owners owners = HD_OWNERS_INIT(owners, on_gone);

static void on_gone(hd_host *host)
{
    hd_bus_drop_owner(served, host);
}

static int32_t declare(hd_host *host, const char *topic, uint32_t data_size, uint32_t overflow,
                       struct hd_error *err)
{
    (void)host;
    return hd_bus_declare(served, topic, data_size, overflow, err);
}

static int32_t find(hd_host *host, const char *topic)
{
    (void)host;
    return hd_bus_find(served, topic);
}

static int32_t wanted(hd_host *host, int32_t topic)
{
    (void)host;
    return hd_bus_wanted(served, topic);
}

static int32_t publish(hd_host *host, int32_t topic, const void *data, uint32_t data_size)
{
    (void)host;
    return hd_bus_publish(served, topic, data, data_size);
}

static int64_t subscribe(hd_host *host, const char *topic, void (*fn)(void *arg, const struct hd_event *ev),
                         void *arg, struct hd_error *err)
{
    if (!fn)
        return hd_fail(err, HD_EINVAL, "a subscription needs a function");
    if (hd_owners_add(&owners, host))
        return hd_fail(err, HD_ENOMEM, "no memory for a subscription");
    return hd_bus_subscribe(served, host, topic, fn, arg, err);
}

static void unsubscribe(hd_host *host, int64_t id)
{
    (void)host;
    hd_bus_unsubscribe(served, id);
}

static int32_t relay(hd_host *host, int32_t topic, const void *data, uint32_t data_size)
{
    (void)host;
    return hd_bus_relay(served, topic, data, data_size);
}

static int32_t lost(hd_host *host, int32_t topic)
{
    (void)host;
    return hd_bus_lost(served, topic);
}

int hd_bus_serve(struct hd_bus *bus)
{
    served = bus;
    return hd_service_add(HD_SERVICE_BUS, &vtable);
}
