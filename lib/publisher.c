/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A publisher is a server without its connections: a transport that only
 * publishes, a sender, and the turn that runs them. Its close goes the same
 * way. */

#include "clusterpush/channels.h"

#include "log.h"
#include "process.h"
#include "sender.h"
#include "sized.h"
#include "transport.h"
#include "turn.h"

#include <stdio.h>
#include <string.h>

#define REASON_MAX 256

struct cp_publisher {
  atomic_uint refs;
  cp_allocator allocator;
  cp_publisher_options options; /* `prefix` is the one string kept: below */
  char prefix[CP__PREFIX_MAX + 1];
  cp__log log;
  uv_loop_t *loop;
  cp_stats stats;
  cp__turn turn;
  cp__sender sender;
  bool has_sender;
  cp_transport *transport; /* NULL: closed */
  cp_transport_host host;

  bool link_changed; /* on_link is due */
  bool linked;
  int link_err;
  char link_reason[REASON_MAX];

  bool closing;
  bool draining; /* closing, but something waits for the link */
  bool sender_closed;
  bool has_grace; /* the timer is open */
  uv_timer_t grace;
  void (*close_cb)(void *data);
};

static const cp_publisher_options defaults = {
    .size = sizeof(cp_publisher_options),
    .prefix = "cp",
    .max_message = 1024 * 1024,
    .max_thread_queue = 16 * 1024 * 1024,
    .settle_ms = 3000,
    .outbox_bytes = 8 * 1024 * 1024,
    .outbox_age_ms = 10000,
    .log_level = CP_LOG_INFO,
};

void cp_publisher_options_init_sized(cp_publisher_options *options,
                                     size_t size) {
  memset(options, 0, size);
  memcpy(options, &defaults, size < sizeof defaults ? size : sizeof defaults);
  options->size = size;
}

/* Close. ------------------------------------------------------------------ */

cp_publisher *cp_publisher_ref(cp_publisher *publisher) {
  atomic_fetch_add_explicit(&publisher->refs, 1, memory_order_relaxed);
  return publisher;
}

void cp_publisher_unref(cp_publisher *publisher) {
  cp_allocator allocator;

  if (publisher == NULL ||
      atomic_fetch_sub_explicit(&publisher->refs, 1, memory_order_acq_rel) != 1)
    return;
  allocator = publisher->allocator;
  if (publisher->has_sender)
    cp__sender_finish(&publisher->sender);
  cp__free(&allocator, publisher);
}

static void on_turn_closed(void *ctx) {
  cp_publisher *publisher = ctx;

  cp__sender_finish_callbacks(&publisher->sender);
  if (publisher->close_cb != NULL)
    publisher->close_cb(publisher->options.data);
  cp_publisher_unref(publisher);
}

static void maybe_end(cp_publisher *publisher) {
  if (publisher->closing && publisher->sender_closed &&
      publisher->transport == NULL && !publisher->has_grace)
    cp__turn_close(&publisher->turn, on_turn_closed);
}

static void on_sender_closed(void *ctx) {
  cp_publisher *publisher = ctx;

  publisher->sender_closed = true;
  maybe_end(publisher);
}

static void on_transport_closed(void *ctx) {
  cp_publisher *publisher = ctx;

  publisher->transport = NULL;
  maybe_end(publisher);
}

static void on_grace_closed(uv_handle_t *handle) {
  cp_publisher *publisher = handle->data;

  publisher->has_grace = false;
  maybe_end(publisher);
}

/* Nothing waits any more, or may. */
static void end_draining(cp_publisher *publisher) {
  uint64_t grace_ms = uv_timer_get_due_in(&publisher->grace);

  publisher->draining = false;
  uv_close((uv_handle_t *)&publisher->grace, on_grace_closed);
  cp__sender_close(&publisher->sender, on_sender_closed, publisher);
  if (publisher->transport != NULL)
    publisher->transport->ops->close(publisher->transport, &publisher->host,
                                     grace_ms);
}

static void on_grace_over(uv_timer_t *timer) {
  end_draining(timer->data);
}

void cp_publisher_close(cp_publisher *publisher, uint64_t grace_ms,
                        void (*cb)(void *data)) {
  if (publisher == NULL || publisher->closing)
    return;
  publisher->closing = true;
  publisher->draining = true;
  publisher->close_cb = cb;
  cp__sender_stop(&publisher->sender);
  uv_timer_start(&publisher->grace, on_grace_over, grace_ms, 0);
  if (grace_ms == 0 || cp__sender_is_drained(&publisher->sender))
    end_draining(publisher);
}

/* What the transport tells. ----------------------------------------------- */

static void note_link(cp_publisher *publisher, bool linked, int err,
                      const char *reason) {
  if (publisher->closing)
    return;
  publisher->linked = linked;
  publisher->link_err = err;
  publisher->link_changed = true;
  snprintf(publisher->link_reason, REASON_MAX, "%s", reason);
}

static void on_linked(void *ctx, int settle) {
  cp_publisher *publisher = ctx;

  publisher->stats.links++;
  cp__sender_on_linked(&publisher->sender, settle != 0);
  cp__sender_set_up(&publisher->sender, true);
  /* It hears nobody, so it waits for as long as nodes may need. */
  cp__sender_hold(&publisher->sender, publisher->stats.links > 1 && settle);
  note_link(publisher, true, 0, "linked");
}

static void on_unlinked(void *ctx, int err, const char *reason) {
  cp_publisher *publisher = ctx;

  cp__sender_on_unlinked(&publisher->sender);
  note_link(publisher, false, err, reason);
}

static void on_health(void *ctx, int degraded, const char *reason) {
  cp_publisher *publisher = ctx;

  (void)reason;
  cp__sender_set_up(&publisher->sender, degraded == 0);
}

static void on_confirmed(void *ctx, void *token, int status) {
  (void)ctx;
  (void)token;
  (void)status;
}

static void on_published(void *ctx, void *token, int status,
                         uint32_t subscribers) {
  cp_publisher *publisher = ctx;
  cp__sender_on_published(&publisher->sender, token, status, subscribers);
}

static void on_unanswered(void *ctx, void *token, int written, cp_bytes channel,
                          cp_bytes payload) {
  cp_publisher *publisher = ctx;
  cp__sender_on_unanswered(&publisher->sender, token, written != 0, channel,
                           payload);
}

static void on_changed(void *ctx) {
  cp_publisher *publisher = ctx;
  cp__sender_on_changed(&publisher->sender);
}

static uint32_t on_message(void *ctx, cp_bytes channel, cp_bytes payload) {
  (void)ctx;
  (void)channel;
  (void)payload;
  return 0;
}

static void on_log(void *ctx, cp_log_level level, const char *text) {
  cp_publisher *publisher = ctx;
  cp__logf(&publisher->log, level, "%s", text);
}

static void init_host(cp_publisher *publisher) {
  cp_transport_host *host = &publisher->host;

  host->size = sizeof *host;
  host->ctx = publisher;
  host->loop = publisher->loop;
  host->allocator = &publisher->allocator;
  host->publish_only = 1;
  host->on_linked = on_linked;
  host->on_unlinked = on_unlinked;
  host->on_health = on_health;
  host->on_confirmed = on_confirmed;
  host->on_published = on_published;
  host->on_message = on_message;
  host->log = on_log;
  host->on_closed = on_transport_closed;
  host->unhurried = &publisher->sender.unheeded;
  host->on_unanswered = on_unanswered;
  host->on_changed = on_changed;
  host->wait_ms = publisher->options.outbox_age_ms;
  host->wait_bytes = publisher->options.outbox_bytes;
  host->settle_ms = publisher->options.settle_ms;
}

/* Turn. ------------------------------------------------------------------- */

static bool run_turn(void *ctx) {
  cp_publisher *publisher = ctx;

  if (publisher->link_changed) {
    publisher->link_changed = false;
    if (publisher->options.on_link != NULL)
      publisher->options.on_link(publisher->options.data, publisher->linked,
                                 publisher->link_err, publisher->link_reason);
  }
  cp__sender_turn(&publisher->sender);
  if (publisher->draining && cp__sender_is_drained(&publisher->sender))
    end_draining(publisher);
  if (publisher->transport != NULL)
    publisher->transport->ops->flush(publisher->transport);
  return publisher->link_changed || cp__sender_has_work(&publisher->sender);
}

/* Create. ----------------------------------------------------------------- */

/* NULL: nothing is. */
static const char *what_is_wrong(const cp_publisher_options *o) {
  if ((o->redis == NULL) == (o->transport == NULL))
    return "one of redis and transport must be set";
  if (o->prefix == NULL || !cp__prefix_is_valid(o->prefix))
    return "prefix is not 1..64 bytes without braces and spaces";
  if (o->max_message == 0 || o->max_message > CP__SIZE_LIMIT)
    return "max_message is not 1 byte to 1 GiB";
  if (o->max_thread_queue == 0)
    return "max_thread_queue is 0";
  return NULL;
}

static int take_options(cp_publisher *publisher,
                        const cp_publisher_options *options) {
  const char *wrong;

  publisher->options = defaults;
  memcpy(&publisher->options, options,
         options->size < sizeof defaults ? options->size : sizeof defaults);
  wrong = what_is_wrong(&publisher->options);
  if (wrong != NULL) {
    cp__logf(&publisher->log, CP_LOG_ERROR, "publisher options: %s", wrong);
    return CP_E_INVALID;
  }
  strcpy(publisher->prefix, publisher->options.prefix);
  return 0;
}

static int create_transport(cp_publisher *publisher) {
  const cp_publisher_options *o = &publisher->options;

  publisher->transport = o->transport;
  if (o->transport != NULL)
    return 0;
  return cp__transport_redis_create(&publisher->transport, o->redis,
                                    o->redis_options, cp_bytes_of(NULL, 0), 0,
                                    &publisher->log, &publisher->allocator);
}

static int init_sender(cp_publisher *publisher) {
  cp__sender_options options;
  uint64_t instance;
  int rc = uv_random(NULL, NULL, &instance, sizeof instance, 0, NULL);

  if (rc != 0)
    return rc;
  memset(&options, 0, sizeof options);
  options.transport = publisher->transport;
  options.stats = &publisher->stats;
  options.prefix = publisher->prefix;
  options.instance = instance;
  options.max_message = publisher->options.max_message;
  options.max_posted = publisher->options.max_thread_queue;
  options.settle_ms = publisher->options.settle_ms;
  options.outbox_bytes = publisher->options.outbox_bytes;
  options.outbox_age_ms = publisher->options.outbox_age_ms;
  rc = cp__sender_init(&publisher->sender, publisher->loop,
                       &publisher->allocator, &options);
  publisher->has_sender = rc == 0;
  return rc;
}

static void on_unused_transport_closed(void *ctx) {
  cp_publisher_unref(ctx);
}

/* As the server's: before anything was started. */
static void abandon(cp_publisher *publisher) {
  if (publisher->transport == NULL || publisher->options.transport != NULL) {
    cp_publisher_unref(publisher);
    return;
  }
  publisher->host.on_closed = on_unused_transport_closed;
  publisher->transport->ops->close(publisher->transport, &publisher->host, 0);
}

/* With handles in the loop. */
static void abandon_started(cp_publisher *publisher) {
  if (publisher->options.transport != NULL)
    publisher->transport = NULL;
  cp_publisher_close(publisher, 0, NULL);
  publisher->link_changed = false;
  publisher->log.cb = NULL;
}

static int init_parts(cp_publisher *publisher,
                      const cp_publisher_options *options) {
  int rc;

  init_host(publisher);
  rc = take_options(publisher, options);
  if (rc == 0)
    rc = create_transport(publisher);
  if (rc == 0)
    rc = init_sender(publisher);
  return rc;
}

static int create_parts(cp_publisher *publisher,
                        const cp_publisher_options *options) {
  int rc = init_parts(publisher, options);

  if (rc != 0) {
    cp__logf(&publisher->log, CP_LOG_ERROR, "publisher: %s", cp_strerror(rc));
    abandon(publisher);
    return rc;
  }
  uv_timer_init(publisher->loop, &publisher->grace);
  publisher->grace.data = publisher;
  publisher->has_grace = true;
  cp__turn_start(&publisher->turn, publisher->loop, run_turn, publisher);
  rc = publisher->transport->ops->start(publisher->transport, &publisher->host);
  if (rc != 0) {
    cp__logf(&publisher->log, CP_LOG_ERROR, "transport: %s", cp_strerror(rc));
    abandon_started(publisher);
  }
  return rc;
}

static cp_publisher *publisher_alloc(uv_loop_t *loop,
                                     const cp_publisher_options *options) {
  const cp_allocator *alloc =
      options->allocator != NULL ? options->allocator : &cp__default_allocator;
  cp_publisher *publisher = cp__calloc(alloc, sizeof *publisher);

  if (publisher == NULL)
    return NULL;
  publisher->allocator = *alloc;
  publisher->loop = loop;
  publisher->log.cb = options->on_log;
  publisher->log.data = options->data;
  publisher->log.level = options->log_level;
  if (publisher->log.level < CP_LOG_ERROR)
    publisher->log.level = CP_LOG_ERROR;
  atomic_init(&publisher->refs, 1);
  return publisher;
}

int cp_publisher_create(cp_publisher **out, uv_loop_t *loop,
                        const cp_publisher_options *options) {
  cp_publisher *publisher;
  int rc;

  *out = NULL;
  if (loop == NULL || options == NULL || !cp__is_sized(options, on_link))
    return CP_E_INVALID;
  publisher = publisher_alloc(loop, options);
  if (publisher == NULL)
    return CP_E_NOMEM;
  rc = create_parts(publisher, options);
  if (rc != 0)
    return rc;
  if (!publisher->options.keep_sigpipe)
    cp__process_ignore_sigpipe();
  *out = publisher;
  return 0;
}

/* Sends. ------------------------------------------------------------------ */

int cp_publisher_send_to_user(cp_publisher *publisher, cp_bytes user,
                              cp_type type, cp_bytes body,
                              const cp_send_options *options) {
  cp__target target = {CP__TO_USER, user, {0, 0}, 0, 0};
  return cp__sender_send(&publisher->sender, &target, type, body, options);
}

int cp_publisher_broadcast(cp_publisher *publisher, cp_type type, cp_bytes body,
                           const cp_send_options *options) {
  cp__target target = {CP__TO_ALL, {NULL, 0}, {0, 0}, 0, 0};
  return cp__sender_send(&publisher->sender, &target, type, body, options);
}

int cp_publisher_send_to_group(cp_publisher *publisher, cp_bytes group,
                               cp_type type, cp_bytes body,
                               const cp_send_options *options) {
  cp__target target = {CP__TO_GROUP, group, {0, 0}, 0, 0};
  return cp__sender_send(&publisher->sender, &target, type, body, options);
}

int cp_publisher_publish(cp_publisher *publisher, cp_bytes channel,
                         cp_bytes body, const cp_send_options *options) {
  cp__target target = {CP__TO_CHANNEL, channel, {0, 0}, 0, 0};
  return cp__sender_send(&publisher->sender, &target, CP_BINARY, body, options);
}
