/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "sentinel_peers.h"

#include <stdio.h>
#include <string.h>

#include "bytes.h"

/* What sentinels write. --------------------------------------------------- */

bool cp__sentinel_address_equal(const cp__sentinel_address *a,
                                const cp__sentinel_address *b) {
  return a->port == b->port && strcmp(a->name, b->name) == 0;
}

bool cp__sentinel_address_read(cp__sentinel_address *address, cp_bytes name,
                               cp_bytes port) {
  int64_t number = cp__bytes_decimal(port, 65535);

  if (name.len > CP__SENTINEL_NAME_MAX || !cp__bytes_are_word(name, "-._:%") ||
      number <= 0)
    return false;
  memcpy(address->name, name.data, name.len);
  address->name[name.len] = '\0';
  address->port = (int)number;
  return true;
}

cp_bytes cp__sentinel_field(const cp__resp_node *nodes, size_t n,
                            const char *name) {
  size_t i;

  for (i = 0; i + 1 < n; i += 2)
    if (cp__bytes_equal(nodes[i].text, cp_str(name)))
      return nodes[i + 1].text;
  return cp_str("");
}

/* A pod that is gone stays "down" in the books of the others. */
static bool is_down(cp_bytes flags) {
  bool down = false;

  while (flags.data != NULL) {
    cp_bytes flag = cp__bytes_cut(&flags, ',');
    down = down || cp__bytes_equal(flag, cp_str("s_down")) ||
           cp__bytes_equal(flag, cp_str("o_down")) ||
           cp__bytes_equal(flag, cp_str("disconnected"));
  }
  return down;
}

static bool read_entry(cp__sentinel_address *out, const cp__resp_node *nodes,
                       size_t n) {
  return !is_down(cp__sentinel_field(nodes, n, "flags")) &&
         cp__sentinel_address_read(out, cp__sentinel_field(nodes, n, "ip"),
                                   cp__sentinel_field(nodes, n, "port"));
}

/* How many nodes behind nodes[i] are its elements. */
static size_t n_elements(const cp__resp_reply *reply, size_t i) {
  size_t n_left = reply->n_nodes - i - 1;
  long long n = reply->nodes[i].integer;

  if (reply->nodes[i].type != CP__RESP_ARRAY || n < 0)
    return 0;
  return (unsigned long long)n < n_left ? (size_t)n : n_left;
}

/* Learning. --------------------------------------------------------------- */

static cp__sentinel_peer *find(cp__sentinel_peer *peers, size_t n,
                               const cp__sentinel_address *address) {
  size_t i;

  for (i = 0; i < n; i++)
    if (cp__sentinel_address_equal(&peers[i].address, address))
      return &peers[i];
  return NULL;
}

static void add(cp__sentinel_peers *p, const cp__sentinel_peer *peer) {
  if (p->n < p->n_hosts + CP__SENTINELS_LEARNED_MAX)
    p->all[p->n++] = *peer;
}

/* Who was known before keeps its past. */
static void learn(cp__sentinel_peers *p, const cp__sentinel_address *address,
                  cp__sentinel_peer *before, size_t n_before) {
  const cp__sentinel_peer stranger = {.address = *address};
  const cp__sentinel_peer *known = find(before, n_before, address);

  if (find(p->all, p->n, address) == NULL)
    add(p, known != NULL ? known : &stranger);
}

/* Leave none of the learned ones but the current. */
static void forget(cp__sentinel_peers *p) {
  p->n = p->n_hosts;
  if (p->current >= p->n_hosts) {
    const cp__sentinel_peer current = p->all[p->current];
    p->current = p->n_hosts;
    add(p, &current);
  }
  p->last = p->current;
}

void cp__sentinel_peers_learn(cp__sentinel_peers *peers,
                              const cp__resp_reply *reply) {
  cp__sentinel_peer before[CP__SENTINELS_LEARNED_MAX];
  size_t n_before = peers->n - peers->n_hosts;
  cp__sentinel_address address;
  size_t i, n;

  if (reply->nodes[0].type != CP__RESP_ARRAY)
    return;
  memcpy(before, &peers->all[peers->n_hosts], n_before * sizeof *before);
  forget(peers);
  for (i = 1; i < reply->n_nodes; i += 1 + n) {
    n = n_elements(reply, i);
    if (read_entry(&address, &reply->nodes[i + 1], n))
      learn(peers, &address, before, n_before);
  }
}

/* Rounds. ----------------------------------------------------------------- */

static void mark_failed(cp__sentinel_peers *p, size_t i) {
  p->all[i].failed = ++p->n_failures;
}

void cp__sentinel_peers_failed(cp__sentinel_peers *peers) {
  mark_failed(peers, peers->current);
}

void cp__sentinel_peers_lied(cp__sentinel_peers *peers) {
  mark_failed(peers, peers->last);
}

void cp__sentinel_peers_answered(cp__sentinel_peers *peers) {
  peers->all[peers->current].failed = 0;
  peers->last = peers->current;
}

const cp__sentinel_address *
cp__sentinel_peers_current(const cp__sentinel_peers *peers) {
  return &peers->all[peers->current].address;
}

/* Is this one to be asked before `other`, which stands before it? */
static bool comes_before(const cp__sentinel_peers *p, size_t i, size_t other) {
  uint64_t failed = p->all[i].failed;

  if (failed != p->all[other].failed)
    return failed < p->all[other].failed;
  return i == p->last;
}

bool cp__sentinel_peers_next(cp__sentinel_peers *peers) {
  size_t best = peers->n;
  size_t i;

  for (i = 0; i < peers->n; i++)
    if (!peers->all[i].tried &&
        (best == peers->n || comes_before(peers, i, best)))
      best = i;
  if (best == peers->n)
    return false;
  peers->all[best].tried = true;
  peers->current = best;
  return true;
}

void cp__sentinel_peers_begin(cp__sentinel_peers *peers, bool stay) {
  size_t i;

  for (i = 0; i < peers->n; i++)
    peers->all[i].tried = false;
  if (stay)
    peers->all[peers->current].tried = true;
  else
    cp__sentinel_peers_next(peers);
}

/* Life. ------------------------------------------------------------------- */

int cp__sentinel_peers_init(cp__sentinel_peers *peers,
                            const cp_allocator *alloc,
                            const cp__redis_host *hosts, size_t n) {
  size_t i;

  memset(peers, 0, sizeof *peers);
  peers->all =
      cp__calloc(alloc, (n + CP__SENTINELS_LEARNED_MAX) * sizeof *peers->all);
  if (peers->all == NULL)
    return CP_E_NOMEM;
  for (i = 0; i < n; i++) {
    cp__sentinel_address *address = &peers->all[i].address;
    snprintf(address->name, sizeof address->name, "%s", hosts[i].name);
    address->port = hosts[i].port;
  }
  peers->n = peers->n_hosts = n;
  return 0;
}

void cp__sentinel_peers_finish(cp__sentinel_peers *peers,
                               const cp_allocator *alloc) {
  cp__free(alloc, peers->all);
}
