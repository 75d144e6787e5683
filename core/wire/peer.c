/*
 * Relayed cancels; see peer.h.
 */
#include "wire/peer.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "base/random.h"

/* Over all of the packet but its length and the signature itself. */
static int sign(const char *secret, const uint8_t *data, size_t len, uint8_t out[HD_PEER_MAC_LEN])
{
    unsigned n = 0;

    return HMAC(EVP_sha256(), secret, (int)strlen(secret), data, len, out, &n) && n == HD_PEER_MAC_LEN;
}

size_t hd_peer_build(uint8_t out[HD_PEER_PACKET_MAX], uint32_t sender, const char *secret, uint32_t pid,
                     const uint8_t *key, size_t key_len)
{
    uint8_t *p = out + 4;

    if (key_len > HD_CANCEL_KEY_MAX)
        return 0;
    hd_put_u32(p, HD_PEER_REQUEST);
    hd_put_u32(p + 4, sender);
    hd_random_bytes(p + 8, HD_PEER_NONCE_LEN);
    p += 8 + HD_PEER_NONCE_LEN;
    hd_put_u32(p, pid);
    memcpy(p + 4, key, key_len);
    p += 4 + key_len;
    if (!sign(secret, out + 4, (size_t)(p - out) - 4, p))
        return 0;
    p += HD_PEER_MAC_LEN;
    hd_put_u32(out, (uint32_t)(p - out));
    return (size_t)(p - out);
}

int hd_peer_verify(const struct hd_startup *st, const char *secret)
{
    uint8_t want[HD_PEER_MAC_LEN];

    return sign(secret, st->peer_signed, st->peer_signed_len, want) &&
           !CRYPTO_memcmp(want, st->peer_signed + st->peer_signed_len, sizeof(want));
}
