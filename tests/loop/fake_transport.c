/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "fake_transport.h"

#include "envelope.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* A library that breaks its promises ends the test. */
#define PROMISED(condition) \
  ((condition) ? (void)0 : broken_promise(#condition, __LINE__))

static void broken_promise(const char *condition, int line) {
  fprintf(stderr, "fake_transport.c:%d: %s\n", line, condition);
  abort();
}

static fake_transport *from_base(cp_transport *transport) {
  return (fake_transport *)(void *)transport;
}

static void note(fake_transport *fake, const char *format, ...) {
  va_list args;
  int n;

  va_start(args, format);
  n = vsnprintf(fake->asked + fake->len, sizeof fake->asked - fake->len, format,
                args);
  va_end(args);
  if (n > 0 && (size_t)n < sizeof fake->asked - fake->len)
    fake->len += (size_t)n;
}

static void push(fake_transport *fake, char kind, void *token) {
  fake_pending *last;

  if (fake->n_pending == FAKE_MAX_PENDING)
    abort();
  last = &fake->pending[fake->n_pending++];
  memset(last, 0, sizeof *last);
  last->kind = kind;
  last->token = token;
}

static void keep_copy(fake_transport *fake, cp_bytes channel) {
  fake_pending *last = &fake->pending[fake->n_pending - 1];

  last->len = fake->last_payload.len;
  last->copy = malloc(channel.len + 1 + last->len);
  memcpy(last->copy, channel.data, channel.len);
  last->copy[channel.len] = '\0';
  memcpy(last->copy + channel.len + 1, fake->last_payload.data, last->len);
}

static bool pop(fake_transport *fake, bool is_publish, void **token) {
  size_t i;

  for (i = 0; i < fake->n_pending; i++) {
    if ((fake->pending[i].kind == '<') != is_publish)
      continue;
    *token = fake->pending[i].token;
    free(fake->pending[i].copy);
    fake->n_pending--;
    memmove(&fake->pending[i], &fake->pending[i + 1],
            (fake->n_pending - i) * sizeof *fake->pending);
    return true;
  }
  return false;
}

/* What the library calls. ------------------------------------------------- */

static int start(cp_transport *transport, const cp_transport_host *host) {
  fake_transport *fake = from_base(transport);

  PROMISED(!fake->started);
  PROMISED(host->size == sizeof *host && host->allocator != NULL);
  if (fake->fail_start != 0)
    return fake->fail_start;
  fake->started = true;
  fake->host = host;
  uv_async_init(host->loop, &fake->handle, NULL);
  fake->handle.data = fake;
  return 0;
}

static void confirm_now(fake_transport *fake, void *token, int status) {
  bool outer = fake->in_host;

  fake->in_host = true;
  fake->host->on_confirmed(fake->host->ctx, token, status);
  fake->in_host = outer;
}

static int request(fake_transport *fake, char sign, cp_bytes channel,
                   void *token) {
  PROMISED(fake->linked && !fake->closing && !fake->in_host);
  note(fake, "%c%.*s ", sign, (int)channel.len, (const char *)channel.data);
  if (fake->confirm_at_once)
    confirm_now(fake, token, fake->confirm_status);
  else
    push(fake, sign, token);
  return 0;
}

static int subscribe(cp_transport *transport, cp_bytes channel, void *token) {
  fake_transport *fake = from_base(transport);

  if (fake->fail_subscribe != 0)
    return fake->fail_subscribe;
  fake->n_subscribed++;
  fake->last_subscribed = token;
  return request(fake, '+', channel, token);
}

static int unsubscribe(cp_transport *transport, cp_bytes channel, void *token) {
  fake_transport *fake = from_base(transport);

  if (fake->fail_unsubscribe != 0)
    return fake->fail_unsubscribe;
  fake->n_unsubscribed++;
  return request(fake, '-', channel, token);
}

static void keep_payload(fake_transport *fake, const cp_bytes *parts,
                         size_t n) {
  size_t len = 0;
  size_t i;

  for (i = 0; i < n; i++) {
    if (len + parts[i].len > sizeof fake->payload)
      abort();
    if (parts[i].len > 0)
      memcpy(fake->payload + len, parts[i].data, parts[i].len);
    len += parts[i].len;
  }
  fake->last_payload = cp_bytes_of(fake->payload, len);
}

static void note_publish(fake_transport *fake, cp_bytes channel) {
  cp__envelope envelope;

  if (cp__envelope_read(&envelope, fake->last_payload) != 0)
    abort();
  note(fake, "%.*s<%.*s ", (int)channel.len, (const char *)channel.data,
       (int)envelope.body.len, (const char *)envelope.body.data);
}

/* Nodes greet each other, which most tests don't care about. */
static bool is_greeting(fake_transport *fake, const cp_bytes *parts, size_t n) {
  cp__envelope envelope;

  if (n != 1 || cp__envelope_read(&envelope, parts[0]) != 0 ||
      (envelope.kind != CP__KIND_HELLO && envelope.kind != CP__KIND_WELCOME))
    return false;
  fake->n_hellos++;
  return !fake->notes_hellos;
}

static int publish(cp_transport *transport, cp_bytes channel,
                   const cp_bytes *parts, size_t n, void *token) {
  fake_transport *fake = from_base(transport);

  PROMISED(fake->linked && !fake->closing && !fake->in_host);
  if (fake->fail_publish != 0)
    return fake->fail_publish;
  if (is_greeting(fake, parts, n))
    return 0;
  fake->n_published++;
  keep_payload(fake, parts, n);
  note_publish(fake, channel);
  if (token != NULL)
    push(fake, '<', token);
  if (token != NULL && fake->hands_back)
    keep_copy(fake, channel);
  if (fake->echo_at_once)
    fake->host->on_message(fake->host->ctx, channel, fake->last_payload);
  if (fake->answer_at_once && token != NULL)
    fake_transport_answer(fake, 0, fake->subscribers);
  return 0;
}

static int count_channels(cp_transport *transport, const cp_bytes *channels,
                          size_t n, void *token) {
  fake_transport *fake = from_base(transport);
  size_t i;

  PROMISED(fake->linked && !fake->closing && !fake->in_host);
  PROMISED(fake->counting == NULL);
  if (fake->fail_count != 0)
    return fake->fail_count;
  for (i = 0; i < n; i++)
    note(fake, "%.*s? ", (int)channels[i].len, (const char *)channels[i].data);
  fake->counting = token;
  return 0;
}

void fake_transport_count(fake_transport *fake, int status,
                          const uint32_t *subscribers, size_t n) {
  void *token = fake->counting;
  bool outer = fake->in_host;

  if (token == NULL)
    return;
  fake->counting = NULL;
  fake->in_host = true;
  fake->host->on_counted(fake->host->ctx, token, status, subscribers, n);
  fake->in_host = outer;
}

static void flush(cp_transport *transport) {
  fake_transport *fake = from_base(transport);

  PROMISED(fake->started && !fake->closed && !fake->in_host);
  fake->n_flushed++;
}

static void end_pending(fake_transport *fake, int subscription, int written) {
  void *token;

  fake->in_host = true;
  fake_transport_count(fake, subscription, NULL, 0);
  while (pop(fake, false, &token))
    fake->host->on_confirmed(fake->host->ctx, token, subscription);
  while (pop(fake, true, &token))
    fake->host->on_published(fake->host->ctx, token, written, 0);
  fake->in_host = false;
}

static void on_closed(uv_handle_t *handle) {
  fake_transport *fake = handle->data;

  end_pending(fake, CP_E_CANCELED, CP_E_CLOSED);
  fake->closed = true;
  fake->in_host = true;
  fake->host->on_closed(fake->host->ctx);
  fake->in_host = false;
}

void fake_transport_finish_close(fake_transport *fake) {
  uv_close((uv_handle_t *)&fake->handle, on_closed);
}

static void close_transport(cp_transport *transport,
                            const cp_transport_host *host, uint64_t grace_ms) {
  fake_transport *fake = from_base(transport);

  PROMISED(fake->started && !fake->closing && host == fake->host);
  note(fake, "close:%llu ", (unsigned long long)grace_ms);
  fake->closing = true;
  if (!fake->hold_close)
    fake_transport_finish_close(fake);
}

/* What the test calls. ---------------------------------------------------- */

void fake_transport_init(fake_transport *fake) {
  static const cp_transport_ops ops = {
      .size = sizeof ops,
      .start = start,
      .subscribe = subscribe,
      .unsubscribe = unsubscribe,
      .publish = publish,
      .flush = flush,
      .close = close_transport,
      .count = count_channels,
  };

  memset(fake, 0, sizeof *fake);
  fake->base.ops = &ops;
}

void fake_transport_init_old(fake_transport *fake) {
  static const cp_transport_ops ops = {
      .size = offsetof(cp_transport_ops, count),
      .start = start,
      .subscribe = subscribe,
      .unsubscribe = unsubscribe,
      .publish = publish,
      .flush = flush,
      .close = close_transport,
      .count = count_channels, /* not looked at */
  };

  memset(fake, 0, sizeof *fake);
  fake->base.ops = &ops;
}

void fake_transport_link(fake_transport *fake, int settle) {
  assert(!fake->linked);
  fake->linked = true;
  fake->base.incarnation++;
  fake->in_host = true;
  fake->host->on_linked(fake->host->ctx, settle);
  fake->in_host = false;
}

static void hand_back(fake_transport *fake) {
  size_t i;
  void *token;

  fake->in_host = true;
  for (i = 0; i < fake->n_pending; i++) {
    const fake_pending *lost = &fake->pending[i];
    cp_bytes channel = cp_str(lost->copy);

    if (lost->copy == NULL)
      continue;
    fake->n_handed_back++;
    fake->host->on_unanswered(
        fake->host->ctx, lost->token, 1, channel,
        cp_bytes_of(lost->copy + channel.len + 1, lost->len));
  }
  fake->in_host = false;
  while (fake->hands_back && pop(fake, true, &token))
    continue;
}

void fake_transport_unlink(fake_transport *fake, const char *reason) {
  hand_back(fake);
  end_pending(fake, CP_E_DOWN, CP_E_CLOSED);
  fake->linked = false;
  fake->in_host = true;
  fake->host->on_unlinked(fake->host->ctx, CP_E_DOWN, reason);
  fake->in_host = false;
}

void fake_transport_set_health(fake_transport *fake, int degraded,
                               const char *reason) {
  fake->in_host = true;
  fake->host->on_health(fake->host->ctx, degraded, reason);
  fake->in_host = false;
}

bool fake_transport_confirm(fake_transport *fake, int status) {
  void *token;

  if (!pop(fake, false, &token))
    return false;
  confirm_now(fake, token, status);
  return true;
}

bool fake_transport_answer(fake_transport *fake, int status,
                           uint32_t subscribers) {
  bool outer = fake->in_host;
  void *token;

  if (!pop(fake, true, &token))
    return false;
  fake->in_host = true;
  fake->host->on_published(fake->host->ctx, token, status, subscribers);
  fake->in_host = outer;
  return true;
}

void fake_transport_confirm_all(fake_transport *fake) {
  while (fake_transport_confirm(fake, 0))
    continue;
}

uint32_t fake_transport_say(fake_transport *fake, const char *channel,
                            cp_bytes payload) {
  uint32_t n;

  fake->in_host = true;
  n = fake->host->on_message(fake->host->ctx, cp_str(channel), payload);
  fake->in_host = false;
  return n;
}

uint32_t fake_transport_echo(fake_transport *fake, const char *channel) {
  return fake_transport_say(fake, channel, fake->last_payload);
}

static size_t count(const fake_transport *fake, bool is_publish) {
  size_t n = 0;
  size_t i;

  for (i = 0; i < fake->n_pending; i++)
    n += (fake->pending[i].kind == '<') == is_publish;
  return n;
}

size_t fake_transport_n_unconfirmed(const fake_transport *fake) {
  return count(fake, false);
}

size_t fake_transport_n_unanswered(const fake_transport *fake) {
  return count(fake, true);
}

void fake_transport_forget(fake_transport *fake) {
  fake->len = 0;
  fake->asked[0] = '\0';
}
