/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A channel (a name or a pattern) is one subscription at Redis, and a list of
 * handlers here. The bus, a transport for channels alone, is opened for the
 * first of them; `subs` keeps it told what is wanted.
 *
 * Messages come from inside a parser, where no handler may run: each is copied
 * and waits for the end of the turn, when all that came is delivered; so what
 * waits is at most what one turn reads. Without other nodes there is no bus,
 * and what is published here waits in the same list, for which there is a
 * limit: one copy for all who get it, so that all do or nobody does.
 *
 * Handlers may subscribe, unsubscribe and close. So a subscription that ends is
 * only marked, and freed when no delivery is on its way; the cursor of a
 * delivery is a link in the list. */
#include "channels.h"

#include <string.h>

#include "buf.h"
#include "glob.h"
#include "list.h"

#define NAME_LIMIT 255

struct cp_subscription {
  cp__list link; /* in cp__channel.handlers, then cp__channels.dead */
  cp__list due;  /* in cp__channels.due */
  struct cp__channel *channel;
  cp_channel_cb cb;
  cp_channel_status_cb on_status;
  void *data;
  int status;   /* what was last noted */
  bool changed; /* status is not told yet */
  bool lost;    /* nor is it that messages were lost */
  bool ended;   /* or a mark in the list, of a delivery */
};

typedef struct cp__channel {
  cp__map_node node;
  cp__list in_patterns; /* in cp__channels.patterns; or in none */
  cp__list handlers;    /* cp_subscription.link */
  cp__channels *channels;
  cp__sub sub;
  int status;
  bool wanted;
  size_t key_len;
  char key[]; /* kind and name */
} cp__channel;

/* A target is a pattern behind its length, in a byte; or the channel's own
 * name, for which the length is 0. */
#define TARGET_MAX (1 + NAME_LIMIT)

typedef struct message {
  cp__list link; /* in cp__channels.messages */
  size_t targets_len, channel_len, body_len;
  char bytes[]; /* of these, one behind the other */
} message;

/* Names. ------------------------------------------------------------------ */

static bool has_length(cp_bytes name) {
  return name.len > 0 && name.len <= NAME_LIMIT;
}

/* "PREFIX:". */
static cp_bytes head_of(const char *prefix, char out[CP__CHANNEL_MAX]) {
  size_t len = strlen(prefix);

  memcpy(out, prefix, len + 1);
  out[len] = ':';
  return cp_bytes_of(out, len + 1);
}

bool cp__channel_is_valid(const char *prefix, cp_bytes name) {
  char out[CP__CHANNEL_MAX];
  cp_bytes head = head_of(prefix, out);

  return has_length(name) &&
         (name.len < head.len || memcmp(name.data, head.data, head.len) != 0);
}

bool cp__pattern_is_valid(const char *prefix, cp_bytes pattern) {
  char out[CP__CHANNEL_MAX];

  return has_length(pattern) &&
         !cp__glob_may_begin(pattern, head_of(prefix, out));
}

/* Channels. --------------------------------------------------------------- */

static cp_bytes key_of(const cp__map_node *node) {
  const cp__channel *channel = cp__container_of(node, const cp__channel, node);
  return cp_bytes_of(channel->key, channel->key_len);
}

static cp_bytes name_of(const cp__channel *channel) {
  return cp_bytes_of(channel->key + 1, channel->key_len - 1);
}

static cp__channel *find(const cp__channels *channels, char kind,
                         cp_bytes name) {
  char key[1 + NAME_LIMIT];
  cp__map_node *node;

  if (!has_length(name))
    return NULL;
  key[0] = kind;
  memcpy(key + 1, name.data, name.len);
  node = cp__map_find(&channels->names, cp_bytes_of(key, 1 + name.len));
  return node != NULL ? cp__container_of(node, cp__channel, node) : NULL;
}

static cp__channel *create_channel(cp__channels *channels, char kind,
                                   cp_bytes name) {
  cp__channel *channel =
      cp__calloc(channels->alloc, sizeof *channel + 1 + name.len);

  if (channel == NULL)
    return NULL;
  channel->channels = channels;
  channel->key[0] = kind;
  channel->key_len = 1 + name.len;
  memcpy(channel->key + 1, name.data, name.len);
  channel->status = CP_E_DOWN;
  cp__list_init(&channel->in_patterns);
  cp__list_init(&channel->handlers);
  cp__sub_init(&channel->sub, CP__SUB_USER);
  if (cp__map_insert(&channels->names, &channel->node) != 0) {
    cp__free(channels->alloc, channel);
    return NULL;
  }
  if (kind == 'p')
    cp__list_push_back(&channels->patterns, &channel->in_patterns);
  return channel;
}

static void destroy_channel(cp__channel *channel) {
  cp__channels *channels = channel->channels;

  cp__map_remove(&channels->names, &channel->node);
  cp__list_remove(&channel->in_patterns);
  cp__list_remove(&channel->sub.link);
  cp__free(channels->alloc, channel);
}

/* Status. ----------------------------------------------------------------- */

static void make_due(cp_subscription *s) {
  cp__list_remove(&s->due);
  cp__list_push_back(&s->channel->channels->due, &s->due);
}

static void note_status(cp_subscription *s, int status) {
  if (s->ended || s->status == status)
    return;
  s->status = status;
  s->changed = true;
  make_due(s);
}

static void set_status(cp__channel *channel, int status) {
  cp__list *it;

  channel->status = status;
  for (it = channel->handlers.next; it != &channel->handlers; it = it->next)
    note_status(cp__container_of(it, cp_subscription, link), status);
}

/* There was no memory for a message: that changes no status. */
static void note_loss(cp__channel *channel) {
  cp__list *it;

  for (it = channel->handlers.next; it != &channel->handlers; it = it->next) {
    cp_subscription *s = cp__container_of(it, cp_subscription, link);
    if (s->ended)
      continue;
    s->lost = true;
    make_due(s);
  }
}

static void tell(const cp_subscription *s, int status) {
  if (s->on_status != NULL && !s->ended && !s->channel->channels->closed)
    s->on_status(s->data, status);
}

/* A loss comes first: if the link broke behind it, it was before that. */
static void tell_due(cp_subscription *s) {
  bool lost = s->lost;
  bool changed = s->changed;

  s->lost = s->changed = false;
  if (lost)
    tell(s, CP_E_NOMEM);
  if (changed)
    tell(s, s->status);
}

static void tell_status(cp__channels *channels) {
  cp__list now;
  cp__list *link;

  cp__list_init(&now);
  cp__list_splice(&now, &channels->due);
  while ((link = cp__list_pop(&now)) != NULL)
    tell_due(cp__container_of(link, cp_subscription, due));
}

/* The bus. ---------------------------------------------------------------- */

static size_t sub_channel_of(void *ctx, const cp__sub *sub,
                             char out[CP__CHANNEL_MAX]) {
  const cp__channel *channel = cp__container_of(sub, const cp__channel, sub);

  (void)ctx;
  memcpy(out, channel->key, channel->key_len);
  return channel->key_len;
}

static void on_sub_confirmed(void *ctx, cp__sub *sub) {
  (void)ctx;
  set_status(cp__container_of(sub, cp__channel, sub), 0);
}

static void on_sub_idle(void *ctx, cp__sub *sub) {
  cp__channel *channel = cp__container_of(sub, cp__channel, sub);

  (void)ctx;
  if (!channel->wanted)
    destroy_channel(channel);
}

static void on_synced(void *ctx, bool synced) {
  (void)ctx;
  (void)synced;
}

static void on_linked(void *ctx, int settle) {
  cp__channels *channels = ctx;

  (void)settle;
  cp__subs_on_linked(&channels->subs);
}

static void on_unlinked(void *ctx, int err, const char *reason) {
  cp__channels *channels = ctx;
  size_t i;

  (void)err;
  (void)reason;
  cp__subs_on_unlinked(&channels->subs);
  for (i = 0; i < channels->names.n_buckets; i++) {
    cp__map_node *node = channels->names.buckets[i];
    for (; node != NULL; node = node->next)
      set_status(cp__container_of(node, cp__channel, node), CP_E_DOWN);
  }
}

static void on_lagged(void *ctx) {
  const cp__channels *channels = ctx;
  ++*channels->n_lags;
}

/* With every probe: time to ask again for what was refused. */
static void on_health(void *ctx, int degraded, const char *reason) {
  cp__channels *channels = ctx;

  (void)degraded;
  (void)reason;
  cp__list_splice(&channels->subs.wanted, &channels->subs.refused);
}

static void on_confirmed(void *ctx, void *token, int status) {
  cp__channels *channels = ctx;
  cp__sub *sub = token;

  if (status == CP_E_REDIS && sub->want && sub->n_ops == 1)
    set_status(cp__container_of(sub, cp__channel, sub), status);
  cp__subs_on_confirmed(&channels->subs, sub, status);
}

static void on_published(void *ctx, void *token, int status,
                         uint32_t subscribers) {
  (void)ctx;
  (void)token;
  (void)status;
  (void)subscribers;
}

static size_t size_of(const message *m) {
  return sizeof *m + m->targets_len + m->channel_len + m->body_len;
}

/* Returns where the next bytes go. */
static char *put(char *out, cp_bytes bytes) {
  memcpy(out, bytes.data != NULL ? bytes.data : "", bytes.len);
  return out + bytes.len;
}

/* Copied; the handlers run at the end of the turn. False: no memory. */
static bool keep_message(cp__channels *channels, cp_bytes targets,
                         cp_bytes channel, cp_bytes body) {
  size_t len = targets.len + channel.len + body.len;
  message *m = cp__malloc(channels->alloc, sizeof *m + len);

  if (m == NULL)
    return false;
  m->targets_len = targets.len;
  m->channel_len = channel.len;
  m->body_len = body.len;
  put(put(put(m->bytes, targets), channel), body);
  channels->n_messages += size_of(m);
  cp__list_init(&m->link);
  cp__list_push_back(&channels->messages, &m->link);
  return true;
}

static cp_bytes put_target(char out[TARGET_MAX], cp_bytes pattern) {
  out[0] = (char)pattern.len;
  put(out + 1, pattern);
  return cp_bytes_of(out, 1 + pattern.len);
}

static cp__channel *find_target(const cp__channels *channels, cp_bytes pattern,
                                cp_bytes name) {
  return pattern.len > 0 ? find(channels, 'p', pattern)
                         : find(channels, 'c', name);
}

/* A message for which there is no memory is lost, and that is told. */
static void on_bus_message(cp__channels *channels, cp_bytes pattern,
                           cp_bytes name, cp_bytes body) {
  cp__channel *channel = find_target(channels, pattern, name);
  char target[TARGET_MAX];

  if (channel != NULL &&
      !keep_message(channels, put_target(target, pattern), name, body))
    note_loss(channel);
}

static uint32_t on_message(void *ctx, cp_bytes channel, cp_bytes payload) {
  on_bus_message(ctx, cp_bytes_of(NULL, 0), channel, payload);
  return 0;
}

static void on_pattern_message(void *ctx, cp_bytes pattern, cp_bytes channel,
                               cp_bytes payload) {
  on_bus_message(ctx, pattern, channel, payload);
}

static void on_log(void *ctx, cp_log_level level, const char *text) {
  (void)ctx;
  (void)level;
  (void)text;
}

static void on_bus_closed(void *ctx) {
  cp__channels *channels = ctx;

  channels->bus = NULL;
  channels->on_closed(channels->ctx);
}

static bool offers_channels(const cp_transport *transport) {
  return transport->ops->size > offsetof(cp_transport_ops, channels) &&
         transport->ops->channels != NULL;
}

static int open_bus(cp__channels *channels) {
  static const cp__subs_host subs_host = {sub_channel_of, on_sub_confirmed,
                                          on_sub_idle, on_synced};
  cp_transport *transport = channels->transport;
  int rc;

  if (channels->opened || transport->local)
    return 0;
  if (!offers_channels(transport))
    return CP_E_UNSUPPORTED;
  channels->bus = transport->ops->channels(transport);
  if (channels->bus == NULL)
    return CP_E_NOMEM;
  cp__subs_init(&channels->subs, channels->bus, &subs_host, channels);
  rc = channels->bus->ops->start(channels->bus, &channels->host);
  if (rc != 0)
    channels->bus = NULL;
  channels->opened = rc == 0;
  return rc;
}

/* Subscribing. ------------------------------------------------------------ */

static void want(cp__channel *channel) {
  cp__channels *channels = channel->channels;

  if (channel->wanted)
    return;
  channel->wanted = true;
  if (channels->bus != NULL)
    cp__subs_join(&channels->subs, &channel->sub);
  else
    channel->status = 0;
}

static void unwant(cp__channel *channel) {
  cp__channels *channels = channel->channels;

  channel->wanted = false;
  channel->status = CP_E_DOWN;
  if (channels->bus != NULL)
    cp__subs_leave(&channels->subs, &channel->sub); /* on_idle frees it */
  else
    destroy_channel(channel);
}

static cp_subscription *create_subscription(cp__channels *channels,
                                            cp_channel_cb cb, void *data,
                                            const cp_subscribe_options *o) {
  cp_subscription *s = cp__calloc(channels->alloc, sizeof *s);

  if (s == NULL)
    return NULL;
  cp__list_init(&s->link);
  cp__list_init(&s->due);
  s->cb = cb;
  s->data = data;
  s->on_status = o != NULL ? o->on_status : NULL;
  s->status = CP_E_STATE; /* none yet */
  return s;
}

static int check(const cp__channels *channels, char kind, cp_bytes name,
                 cp_channel_cb cb, const cp_subscribe_options *options) {
  bool valid = kind == 'c' ? cp__channel_is_valid(channels->prefix, name)
                           : cp__pattern_is_valid(channels->prefix, name);

  if (channels->closed)
    return CP_E_CLOSED;
  if (!valid || cb == NULL ||
      (options != NULL && options->size < sizeof *options))
    return CP_E_INVALID;
  return channels->n_subscriptions < channels->max_subscriptions ? 0
                                                                 : CP_E_FULL;
}

int cp__channels_subscribe(cp__channels *channels, char kind, cp_bytes name,
                           cp_channel_cb cb, void *data,
                           const cp_subscribe_options *options,
                           cp_subscription **out) {
  int rc = check(channels, kind, name, cb, options);
  cp_subscription *s;
  cp__channel *channel;

  if (rc == 0)
    rc = open_bus(channels);
  if (rc != 0)
    return rc;
  s = create_subscription(channels, cb, data, options);
  if (s == NULL)
    return CP_E_NOMEM;
  channel = find(channels, kind, name);
  if (channel == NULL)
    channel = create_channel(channels, kind, name);
  if (channel == NULL) {
    cp__free(channels->alloc, s);
    return CP_E_NOMEM;
  }
  s->channel = channel;
  cp__list_push_back(&channel->handlers, &s->link);
  channels->n_subscriptions++;
  want(channel);
  if (channel->status == 0)
    note_status(s, 0);
  if (out != NULL)
    *out = s;
  return 0;
}

void cp_unsubscribe(cp_subscription *s) {
  cp__channel *channel;
  cp__channels *channels;

  if (s == NULL || s->ended)
    return;
  channel = s->channel;
  channels = channel->channels;
  s->ended = true;
  channels->n_subscriptions--;
  cp__list_remove(&s->due);
  cp__list_remove(&s->link);
  cp__list_push_back(&channels->dead, &s->link);
  if (cp__list_empty(&channel->handlers))
    unwant(channel);
}

/* Delivery. --------------------------------------------------------------- */

/* The cursor stands behind the handler that runs, whatever happens to it. Those
 * that subscribe meanwhile come behind `end`. */
static void call_handlers(cp__channel *channel, cp_bytes name, cp_bytes pattern,
                          cp_bytes body) {
  cp__channels *channels = channel->channels;
  cp_subscription cursor, end;

  memset(&cursor, 0, sizeof cursor);
  memset(&end, 0, sizeof end);
  cursor.ended = end.ended = true;
  cp__list_push_front(&channel->handlers, &cursor.link);
  cp__list_push_back(&channel->handlers, &end.link);
  while (cursor.link.next != &end.link && !channels->closed) {
    cp__list *it = cursor.link.next;
    cp_subscription *s = cp__container_of(it, cp_subscription, link);
    cp__list_remove(&cursor.link);
    cp__list_insert_before(it->next, &cursor.link);
    if (!s->ended)
      s->cb(s->data, name, pattern, body);
  }
  cp__list_remove(&cursor.link);
  cp__list_remove(&end.link);
  if (cp__list_empty(&channel->handlers) && channel->wanted)
    unwant(channel);
}

static void deliver(cp__channels *channels, const message *m) {
  const char *at = m->bytes;
  const char *end = at + m->targets_len;
  cp_bytes name = cp_bytes_of(end, m->channel_len);
  cp_bytes body = cp_bytes_of(end + m->channel_len, m->body_len);

  while (at < end) {
    cp_bytes pattern = cp_bytes_of(at + 1, (uint8_t)*at);
    cp__channel *channel = find_target(channels, pattern, name);
    at += 1 + pattern.len;
    if (channel != NULL)
      call_handlers(channel, name, pattern, body);
  }
}

static void free_message(cp__channels *channels, message *m) {
  channels->n_messages -= size_of(m);
  cp__free(channels->alloc, m);
}

/* Those that came before this turn; what handlers publish comes in the next. */
static void deliver_all(cp__channels *channels) {
  cp__list now;
  cp__list *link;

  cp__list_init(&now);
  cp__list_splice(&now, &channels->messages);
  while ((link = cp__list_pop(&now)) != NULL) {
    message *m = cp__container_of(link, message, link);
    if (!channels->closed)
      deliver(channels, m);
    free_message(channels, m);
  }
}

static void add_targets(const cp__channels *channels, cp_bytes name,
                        cp__buf *out) {
  char target[TARGET_MAX];
  const cp__list *it;

  if (find(channels, 'c', name) != NULL)
    cp__buf_append_bytes(out, put_target(target, cp_bytes_of(NULL, 0)));
  for (it = channels->patterns.next; it != &channels->patterns; it = it->next) {
    const cp__channel *channel =
        cp__container_of(it, const cp__channel, in_patterns);
    if (cp__glob_matches(name_of(channel), name))
      cp__buf_append_bytes(out, put_target(target, name_of(channel)));
  }
}

/* One message always fits. */
static int keep_if_room(cp__channels *channels, cp_bytes targets, cp_bytes name,
                        cp_bytes body) {
  size_t len = sizeof(message) + targets.len + name.len + body.len;

  if (channels->n_messages > 0 &&
      channels->n_messages + len > channels->max_messages)
    return CP_E_FULL;
  return keep_message(channels, targets, name, body) ? 0 : CP_E_NOMEM;
}

int cp__channels_deliver(cp__channels *channels, cp_bytes name, cp_bytes body,
                         uint32_t *n) {
  cp__buf targets;
  int rc = 0;

  cp__buf_init(&targets, channels->alloc);
  add_targets(channels, name, &targets);
  *n = cp__buf_len(&targets) > 0;
  if (targets.failed)
    rc = CP_E_NOMEM;
  else if (*n > 0)
    rc = keep_if_room(channels, cp__buf_bytes(&targets), name, body);
  cp__buf_finish(&targets);
  return rc;
}

static void free_dead(cp__channels *channels) {
  cp__list *link;

  while ((link = cp__list_pop(&channels->dead)) != NULL)
    cp__free(channels->alloc, cp__container_of(link, cp_subscription, link));
}

void cp__channels_turn(cp__channels *channels) {
  tell_status(channels);
  deliver_all(channels);
  free_dead(channels);
  if (channels->bus == NULL || channels->closed)
    return;
  cp__subs_pump(&channels->subs);
  channels->bus->ops->flush(channels->bus);
}

bool cp__channels_has_work(const cp__channels *channels) {
  return !cp__list_empty(&channels->messages) ||
         !cp__list_empty(&channels->due);
}

/* Life. ------------------------------------------------------------------- */

void cp__channels_init(cp__channels *channels, const cp_allocator *alloc,
                       const cp__channels_options *options) {
  const cp_transport_host host = {
      .size = sizeof host,
      .ctx = channels,
      .loop = options->loop,
      .allocator = alloc,
      .on_linked = on_linked,
      .on_unlinked = on_unlinked,
      .on_health = on_health,
      .on_confirmed = on_confirmed,
      .on_published = on_published,
      .on_message = on_message,
      .log = on_log,
      .on_closed = on_bus_closed,
      .on_pattern_message = on_pattern_message,
      .on_lagged = on_lagged,
  };

  memset(channels, 0, sizeof *channels);
  channels->alloc = alloc;
  channels->transport = options->transport;
  channels->host = host;
  channels->prefix = options->prefix;
  channels->max_subscriptions = options->max_subscriptions;
  channels->max_messages = options->max_messages;
  channels->n_lags = options->n_lags;
  channels->on_closed = options->on_closed;
  channels->ctx = options->ctx;
  cp__map_init(&channels->names, alloc, key_of, options->seed);
  cp__list_init(&channels->patterns);
  cp__list_init(&channels->due);
  cp__list_init(&channels->dead);
  cp__list_init(&channels->messages);
}

void cp__channels_close(cp__channels *channels) {
  channels->closed = true;
  if (channels->bus == NULL)
    return;
  cp__subs_close(&channels->subs);
  channels->bus->ops->close(channels->bus, &channels->host, 0);
}

void cp__channels_finish(cp__channels *channels) {
  cp__map_node *node;
  cp__list *link;

  if (channels->alloc == NULL)
    return;
  while ((link = cp__list_pop(&channels->messages)) != NULL)
    free_message(channels, cp__container_of(link, message, link));
  while ((node = cp__map_any(&channels->names)) != NULL) {
    cp__channel *channel = cp__container_of(node, cp__channel, node);
    while ((link = cp__list_pop(&channel->handlers)) != NULL) {
      cp__list_remove(&cp__container_of(link, cp_subscription, link)->due);
      cp__list_push_back(&channels->dead, link);
    }
    destroy_channel(channel);
  }
  free_dead(channels);
  cp__map_finish(&channels->names);
}
