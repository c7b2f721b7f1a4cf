/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "transport_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void note(transport_host *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void note(transport_host *self, const char *format, ...) {
  size_t room = sizeof self->heard - self->len;
  va_list args;
  int len;

  va_start(args, format);
  len = vsnprintf(self->heard + self->len, room, format, args);
  va_end(args);
  assert_true(len >= 0 && (size_t)len < room);
  self->len += (size_t)len;
}

static void on_linked(void *ctx, int settle) {
  transport_host *self = ctx;

  assert_false(self->linked);
  self->linked = true;
  self->late = false;
  self->n_linked++;
  assert_int_equal(self->transport->incarnation, self->n_linked);
  note(self, "linked:%d ", settle);
}

static void on_unlinked(void *ctx, int err, const char *reason) {
  transport_host *self = ctx;

  self->linked = false;
  self->n_unlinked++;
  self->err = err;
  snprintf(self->reason, sizeof self->reason, "%s", reason);
  note(self, "unlinked ");
}

static void on_health(void *ctx, int degraded, const char *reason) {
  transport_host *self = ctx;

  assert_true(self->linked);
  assert_true(*reason != '\0');
  self->late = degraded != 0;
  note(self, "%s ", degraded ? "late" : "good");
}

static void on_confirmed(void *ctx, void *token, int status) {
  transport_host *self = ctx;

  self->n_confirmed++;
  if (status == 0)
    note(self, "+%s ", (char *)token);
  else
    note(self, "-%s:%s ", (char *)token, cp_err_name(status));
}

static void on_published(void *ctx, void *token, int status,
                         uint32_t subscribers) {
  transport_host *self = ctx;

  assert_non_null(token);
  self->n_published++;
  if (status == 0)
    note(self, "%s=%u ", (char *)token, subscribers);
  else
    note(self, "%s!%s ", (char *)token, cp_err_name(status));
}

static void on_counted(void *ctx, void *token, int status,
                       const uint32_t *subscribers, size_t n) {
  transport_host *self = ctx;
  size_t i;

  assert_true((status == 0) == (subscribers != NULL));
  note(self, "%s#", (char *)token);
  if (status != 0)
    note(self, "%s", cp_err_name(status));
  for (i = 0; status == 0 && i < n; i++)
    note(self, "%s%u", i > 0 ? "," : "", subscribers[i]);
  note(self, " ");
}

static uint32_t on_message(void *ctx, cp_bytes channel, cp_bytes payload) {
  transport_host *self = ctx;

  self->n_messages++;
  if (!self->messages_only_counted)
    note(self, "<%.*s|%.*s> ", (int)channel.len, (const char *)channel.data,
         (int)payload.len, (const char *)payload.data);
  return 3;
}

static void on_lost(void *ctx, void *token, uint64_t since_ms) {
  transport_host *self = ctx;

  assert_true(self->linked);
  assert_true(since_ms <= uv_now(&self->loop.loop));
  note(self, "lost:%s ", (char *)token);
}

static void on_changed(void *ctx) {
  static const char word[] = "changed ";
  transport_host *self = ctx;

  assert_true(self->linked);
  self->n_changed++;
  if (self->len < strlen(word) ||
      strcmp(self->heard + self->len - strlen(word), word) != 0)
    note(self, "%s", word);
}

static void on_host_log(void *ctx, cp_log_level level, const char *text) {
  (void)ctx;
  (void)level;
  (void)text;
}

void transport_host_on_unanswered(void *ctx, void *token, int written,
                                  cp_bytes channel, cp_bytes payload) {
  transport_host *self = ctx;

  note(self, "%s%s<%.*s|%.*s> ", (char *)token, written ? "?" : "~",
       (int)channel.len, (const char *)channel.data, (int)payload.len,
       (const char *)payload.data);
}

static void on_closed(void *ctx) {
  transport_host *self = ctx;

  self->closed = true;
  self->transport = NULL;
}

static void on_log(void *ctx, cp_log_level level, const char *text) {
  transport_host *self = ctx;
  size_t len = strlen(self->log_text);

  if (level <= CP_LOG_WARN)
    self->n_warnings++;
  snprintf(self->log_text + len, sizeof self->log_text - len, "%s\n", text);
}

void transport_host_init(transport_host *self) {
  memset(self, 0, sizeof *self);
  test_loop_init(&self->loop);
  failing_alloc_init(&self->memory, 0);
  self->log = (cp__log){on_log, self, CP_LOG_DEBUG};
  self->host = (cp_transport_host){
      .size = sizeof self->host,
      .ctx = self,
      .loop = &self->loop.loop,
      .allocator = &self->memory.alloc,
      .on_linked = on_linked,
      .on_unlinked = on_unlinked,
      .on_health = on_health,
      .on_confirmed = on_confirmed,
      .on_published = on_published,
      .on_counted = on_counted,
      .on_message = on_message,
      .log = on_host_log,
      .on_closed = on_closed,
      .on_lost = on_lost,
      .on_changed = on_changed,
  };
}

void transport_host_start(transport_host *self, const char *url,
                          const cp_redis_options *options) {
  cp_bytes channel = cp_str(self->host.publish_only ? NULL : NODE_CHANNEL);
  int rc;

  rc = cp__transport_redis_create(&self->transport, url, options, channel,
                                  0x0123456789abcdef, &self->log,
                                  &self->memory.alloc);
  assert_int_equal(rc, 0);
  rc = self->transport->ops->start(self->transport, &self->host);
  assert_int_equal(rc, 0);
}

void transport_host_link(transport_host *self, const char *url,
                         const cp_redis_options *options) {
  transport_host_start(self, url, options);
  run_until(&self->loop, self->linked || self->n_unlinked > 0);
  assert_string_equal(self->reason, "");
  transport_host_forget(self);
}

int transport_host_subscribe(transport_host *self, const char *channel,
                             const char *token) {
  return self->transport->ops->subscribe(self->transport, cp_str(channel),
                                         (void *)token);
}

int transport_host_unsubscribe(transport_host *self, const char *channel,
                               const char *token) {
  return self->transport->ops->unsubscribe(self->transport, cp_str(channel),
                                           (void *)token);
}

int transport_host_publish(transport_host *self, const char *channel,
                           const char *payload, const char *token) {
  size_t half = strlen(payload) / 2;
  const cp_bytes parts[] = {cp_bytes_of(payload, half), cp_str(NULL),
                            cp_str(payload + half)};

  return self->transport->ops->publish(self->transport, cp_str(channel), parts,
                                       3, (void *)token);
}

void transport_host_flush(transport_host *self) {
  self->transport->ops->flush(self->transport);
}

void transport_host_forget(transport_host *self) {
  self->heard[0] = '\0';
  self->len = 0;
}

bool transport_host_heard(const transport_host *self, const char *words) {
  return strstr(self->heard, words) != NULL;
}

void transport_host_begin_close(transport_host *self, uint64_t grace_ms) {
  cp_transport *transport = self->transport;

  transport->ops->close(transport, &self->host, grace_ms);
  assert_false(self->closed);
}

void transport_host_close(transport_host *self, uint64_t grace_ms) {
  transport_host_begin_close(self, grace_ms);
  run_until(&self->loop, self->closed);
}

void transport_host_finish(transport_host *self) {
  if (self->transport != NULL && !self->closed)
    transport_host_close(self, 0);
  assert_int_equal(test_loop_finish(&self->loop), 0);
  assert_int_equal(self->memory.n_live, 0);
}
