/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The subscription is the directory, so the transport knows: whoever is on a
 * node has a channel there. Nothing is kept for it anywhere. */

#include "counts.h"

#include <string.h>

/* Questions at once; a record of the longest takes 4 KB. */
#define MAX_PENDING 1000

typedef struct cp__count {
  cp__list link; /* in cp__counts.done */
  cp_user_nodes_cb cb;
  void *data;
  int status;
  size_t n;
  uint32_t nodes[]; /* one a user */
} cp__count;

static cp__count *create_count(cp__counts *counts, size_t n,
                               cp_user_nodes_cb cb, void *data) {
  cp__count *count =
      cp__calloc(counts->alloc, sizeof *count + n * sizeof *count->nodes);

  if (count == NULL)
    return NULL;
  cp__list_init(&count->link);
  count->cb = cb;
  count->data = data;
  count->n = n;
  counts->n_pending++;
  return count;
}

static void destroy_count(cp__counts *counts, cp__count *count) {
  counts->n_pending--;
  cp__free(counts->alloc, count);
}

void cp__counts_on_counted(cp__counts *counts, void *token, int status,
                           const uint32_t *subscribers, size_t n) {
  cp__count *count = token;

  count->status = status;
  if (status == 0 && n == count->n)
    memcpy(count->nodes, subscribers, n * sizeof *subscribers);
  else if (status == 0)
    count->status = CP_E_PROTOCOL;
  cp__list_push_back(&counts->done, &count->link);
}

/* The channels of users, in one block: an array, and their names behind it.
 * NULL: no memory. */
static cp_bytes *create_channels(const cp__registry *registry,
                                 const cp_bytes *users, size_t n) {
  const size_t more = registry->prefix_len + strlen(":u:{}");
  size_t size = n * sizeof(cp_bytes);
  char name[CP__CHANNEL_MAX];
  cp_bytes *channels;
  char *place;
  size_t i;

  for (i = 0; i < n; i++)
    size += more + users[i].len;
  channels = cp__malloc(registry->alloc, size);
  if (channels == NULL)
    return NULL;
  place = (char *)(channels + n);
  for (i = 0; i < n; i++) {
    size_t len = cp__channel_of_user(registry->prefix, users[i], name);
    memcpy(place, name, len);
    channels[i] = cp_bytes_of(place, len);
    place += len;
  }
  return channels;
}

static bool can_count(const cp_transport *transport) {
  const cp_transport_ops *ops = transport->ops;

  return ops->size >= offsetof(cp_transport_ops, count) + sizeof ops->count &&
         ops->count != NULL;
}

static int ask_transport(cp_transport *transport, const cp__registry *registry,
                         const cp_bytes *users, cp__count *count) {
  cp_bytes *channels = create_channels(registry, users, count->n);
  int rc;

  if (channels == NULL)
    return CP_E_NOMEM;
  rc = transport->ops->count(transport, channels, count->n, count);
  cp__free(registry->alloc, channels);
  return rc;
}

static int check(const cp__counts *counts, const cp_transport *transport,
                 const cp__registry *registry, const cp_bytes *users,
                 size_t n) {
  size_t i;

  if (users == NULL || n < 1 || n > CP__COUNT_MAX)
    return CP_E_INVALID;
  for (i = 0; i < n; i++)
    if (!cp__user_is_valid(users[i]))
      return CP_E_INVALID;
  if (!transport->local && !can_count(transport))
    return CP_E_UNSUPPORTED;
  if (!transport->local && !registry->subs.linked)
    return CP_E_DOWN;
  return counts->n_pending < MAX_PENDING ? 0 : CP_E_FULL;
}

int cp__counts_ask(cp__counts *counts, cp_transport *transport,
                   const cp__registry *registry, const cp_bytes *users,
                   size_t n, cp_user_nodes_cb cb, void *data) {
  int rc = CP_E_INVALID;
  cp__count *count;
  size_t i;

  if (cb != NULL)
    rc = check(counts, transport, registry, users, n);
  if (rc != 0)
    return rc;
  count = create_count(counts, n, cb, data);
  if (count == NULL)
    return CP_E_NOMEM;
  if (!transport->local) {
    rc = ask_transport(transport, registry, users, count);
    if (rc != 0)
      destroy_count(counts, count);
    return rc;
  }
  for (i = 0; i < n; i++)
    count->nodes[i] = cp__registry_is_here(registry, users[i]);
  cp__list_push_back(&counts->done, &count->link);
  return 0;
}

void cp__counts_turn(cp__counts *counts) {
  cp__list *link;
  size_t n = counts->n_pending; /* no more: a callback may ask again */

  while (n-- > 0 && (link = cp__list_pop(&counts->done)) != NULL) {
    cp__count *count = cp__container_of(link, cp__count, link);
    count->cb(count->data, count->status, count->nodes, count->n);
    destroy_count(counts, count);
  }
}

void cp__counts_init(cp__counts *counts, const cp_allocator *alloc) {
  counts->alloc = alloc;
  cp__list_init(&counts->done);
  counts->n_pending = 0;
}
