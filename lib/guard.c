/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "guard.h"

#include <assert.h>
#include <netinet/in.h>
#include <string.h>
#include <uv.h>

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

/* Each thing that is taken delays the next by its share of a second; whoever is
 * a second ahead has had a second's worth. */
bool cp__rate_take(cp__rate *rate, uint64_t per_second, uint64_t n,
                   uint64_t now_ms) {
  uint64_t now = now_ms * NS_PER_MS;
  uint64_t due = rate->due_ns > now ? rate->due_ns : now;

  /* So that the product below can't wrap either. */
  if (n > per_second || n > UINT32_MAX)
    return false;
  due += n * NS_PER_S / per_second;
  if (due > now + NS_PER_S)
    return false;
  rate->due_ns = due;
  return true;
}

/* Addresses. -------------------------------------------------------------- */

static cp_bytes key_of(const cp__map_node *node) {
  const cp__address *address = cp__container_of(node, cp__address, node);
  return cp_bytes_of(address->key, sizeof address->key);
}

/* An IPv4 address as the IPv6 one it is mapped to; of any other the network of
 * 64 bits, all of which one client may have. False: it has no address. */
static bool write_key(const struct sockaddr *peer, uint8_t key[16]) {
  const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)peer;

  memset(key, 0, 16);
  if (peer->sa_family == AF_INET) {
    key[10] = key[11] = 0xFF;
    memcpy(key + 12, &((const struct sockaddr_in *)peer)->sin_addr, 4);
  } else if (peer->sa_family == AF_INET6) {
    memcpy(key, &v6->sin6_addr, IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) ? 16 : 8);
  } else {
    return false;
  }
  return true;
}

static cp__address *find_address(const cp__guard *guard,
                                 const uint8_t key[16]) {
  cp__map_node *node = cp__map_find(&guard->addresses, cp_bytes_of(key, 16));
  return node != NULL ? cp__container_of(node, cp__address, node) : NULL;
}

static cp__address *add_address(cp__guard *guard, const uint8_t key[16]) {
  cp__address *address = cp__calloc(guard->alloc, sizeof *address);

  if (address == NULL)
    return NULL;
  memcpy(address->key, key, 16);
  if (cp__map_insert(&guard->addresses, &address->node) == 0)
    return address;
  cp__free(guard->alloc, address);
  return NULL;
}

bool cp__guard_admit(cp__guard *guard, cp__guarded *guarded,
                     const struct sockaddr *peer) {
  cp__address *address;
  uint8_t key[16];

  if (guard->max_per_address == 0 || !write_key(peer, key))
    return true;
  address = find_address(guard, key);
  if (address == NULL)
    address = add_address(guard, key);
  if (address == NULL || address->n >= guard->max_per_address)
    return false;
  address->n++;
  guarded->address = address;
  return true;
}

void cp__guard_release(cp__guard *guard, cp__guarded *guarded) {
  cp__address *address = guarded->address;

  if (address == NULL || --address->n > 0)
    return;
  cp__map_remove(&guard->addresses, &address->node);
  cp__free(guard->alloc, address);
}

/* Rates. ------------------------------------------------------------------ */

bool cp__guard_take_handshake(cp__guard *guard, uint64_t now_ms) {
  return guard->max_handshakes == 0 ||
         cp__rate_take(&guard->handshakes, guard->max_handshakes, 1, now_ms);
}

bool cp__guard_take_frames(const cp__guard *guard, cp__guarded *guarded,
                           uint64_t n, uint64_t now_ms) {
  return guard->max_frames == 0 ||
         cp__rate_take(&guarded->frames, guard->max_frames, n, now_ms);
}

bool cp__guard_take_bytes(const cp__guard *guard, cp__guarded *guarded,
                          uint64_t n, uint64_t now_ms) {
  return guard->max_bytes == 0 ||
         cp__rate_take(&guarded->bytes, guard->max_bytes, n, now_ms);
}

/* Life. ------------------------------------------------------------------- */

int cp__guard_init(cp__guard *guard, const cp_allocator *alloc,
                   const cp_server_options *limits) {
  uint64_t seed[2];
  int rc = uv_random(NULL, NULL, seed, sizeof seed, 0, NULL);

  if (rc != 0)
    return rc;
  guard->alloc = alloc;
  guard->max_per_address = limits->max_conns_per_address;
  guard->max_handshakes = limits->max_handshakes_per_second;
  guard->max_frames = limits->max_messages_per_second;
  guard->max_bytes = limits->max_bytes_per_second;
  guard->has_guarded = guard->max_per_address > 0 || guard->max_frames > 0 ||
                       guard->max_bytes > 0;
  cp__map_init(&guard->addresses, alloc, key_of, seed);
  return 0;
}

void cp__guard_finish(cp__guard *guard) {
  assert(guard->addresses.n_nodes == 0);
  cp__map_finish(&guard->addresses);
}
