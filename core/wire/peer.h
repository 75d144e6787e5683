/*
 * What hosts behind one balancer tell each other: a cancel that arrived at the wrong one. It has the shape of
 * a first packet, so that it comes in where clients do, and is signed with a secret that both hosts know.
 */
#ifndef HD_WIRE_PEER_H
#define HD_WIRE_PEER_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "wire/proto.h"
#include "wire/startup.h"

#define HD_PEER_NONCE_LEN  16u
#define HD_PEER_MAC_LEN    32u
#define HD_PEER_PACKET_MAX (4 * 4 + HD_PEER_NONCE_LEN + HD_CANCEL_KEY_MAX + HD_PEER_MAC_LEN)

/* The packet from host `sender`; its length, or 0 where the key is too long. */
size_t hd_peer_build(uint8_t out[HD_PEER_PACKET_MAX], uint32_t sender, const char *secret, uint32_t pid,
                     const uint8_t *key, size_t key_len) HD_MUST_USE;
/* Was this packet (HD_STARTUP_PEER) signed with the secret? */
int hd_peer_verify(const struct hd_startup *st, const char *secret) HD_MUST_USE;

#endif
