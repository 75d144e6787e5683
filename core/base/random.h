/*
 * Random bytes from the kernel (getrandom): for keys, nonces and seeds. Never fails quietly: aborts instead.
 */
#ifndef HD_BASE_RANDOM_H
#define HD_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void hd_random_bytes(void *out, size_t len);
uint32_t hd_random_u32(void);
uint64_t hd_random_u64(void);

#endif
