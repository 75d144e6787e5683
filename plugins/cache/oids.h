/*
 * OIDs of the types whose values the cache reads: PostgreSQL's own, which no server ever changes (its
 * src/include/catalog/pg_type.dat).
 */
#ifndef CACHE_OIDS_H
#define CACHE_OIDS_H

#define OID_INT8    20u
#define OID_INT2    21u
#define OID_INT4    23u
#define OID_TEXT    25u
#define OID_VARCHAR 1043u
#define OID_UUID    2950u

#endif
