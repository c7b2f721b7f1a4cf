/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What the host asks for, and the answers. A publish goes straight into the
 * write buffer of the commands link. SUBSCRIBEs of one turn are collected in a
 * batch; one command of them all is made at the end of the turn, when it is
 * full, or when an UNSUBSCRIBE follows: so the order is kept. */
#include "transport_redis.h"

#include "bytes.h"

#include <string.h>

#define KEEP 16384 /* what the batch holds on to when empty */

/* Replies. ---------------------------------------------------------------- */

/* The first refusal on a link is told to everybody, more of them to those who
 * debug. */
static void log_refusal(cp__transport_redis *self, bool *logged, cp_bytes name,
                        cp_bytes error) {
  cp__logf(&self->log, *logged ? CP_LOG_DEBUG : CP_LOG_WARN,
           "Redis refused %.*s: %.*s", (int)name.len, (const char *)name.data,
           error.len < 256 ? (int)error.len : 256, (const char *)error.data);
  *logged = true;
}

cp_bytes cp__redis_name_of(const cp__transport_redis *self,
                           cp__redis_kind kind) {
  const char *name;

  if (kind == CP__REDIS_PUBLISH || kind == CP__REDIS_PROBE_PUBLISH)
    name = "SPUBLISH";
  else if (kind == CP__REDIS_UNSUBSCRIBE)
    name = "SUNSUBSCRIBE";
  else
    name = "SSUBSCRIBE";
  return cp_str(self->shard != NULL ? name : name + 1);
}

/* Which channel it names doesn't matter: confirmations come in the order of the
 * commands. */
bool cp__redis_is_confirmation(const cp__transport_redis *self,
                               cp__redis_kind kind,
                               const cp__resp_reply *reply) {
  return reply->n_nodes == 4 && reply->nodes[0].type == CP__RESP_ARRAY &&
         cp__bytes_equal_any_case(reply->nodes[1].text,
                                  cp__redis_name_of(self, kind));
}

bool cp__redis_shard_took(cp__transport_redis *self, cp__redis_kind kind,
                          void *token, cp_bytes error) {
  return self->shard != NULL &&
         self->shard->on_error(self->shard->ctx, kind, token, error);
}

static void on_confirmation(cp__transport_redis *self, cp__redis_kind kind,
                            void *token, const cp__resp_reply *reply) {
  const cp_transport_host *host = self->host;

  if (cp__redis_is_confirmation(self, kind, reply)) {
    host->on_confirmed(host->ctx, token, 0);
  } else if (reply->nodes[0].type == CP__RESP_ERROR) {
    if (cp__redis_shard_took(self, kind, token, reply->nodes[0].text))
      return;
    log_refusal(self, &self->subscribe_error_logged,
                cp__redis_name_of(self, kind), reply->nodes[0].text);
    host->on_confirmed(host->ctx, token, CP_E_REDIS);
  } else {
    host->on_confirmed(host->ctx, token, CP_E_DOWN);
    cp__transport_redis_break(self, CP_E_PROTOCOL,
                              "unexpected kind of answer to SUBSCRIBE");
  }
}

static uint32_t clamp(long long n) {
  if (n < 0)
    return 0;
  return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

static void answer_publish(cp__transport_redis *self, void *token, int status,
                           uint32_t subscribers) {
  if (token != NULL)
    self->host->on_published(self->host->ctx, token, status, subscribers);
}

static void on_publish_reply(cp__transport_redis *self, void *token,
                             const cp__resp_reply *reply) {
  const cp__resp_node *node = &reply->nodes[0];

  if (node->type == CP__RESP_INTEGER) {
    answer_publish(self, token, 0, clamp(node->integer));
  } else if (node->type == CP__RESP_ERROR) {
    if (cp__redis_shard_took(self, CP__REDIS_PUBLISH, token, node->text))
      return;
    log_refusal(self, &self->publish_error_logged,
                cp__redis_name_of(self, CP__REDIS_PUBLISH), node->text);
    answer_publish(self, token, CP_E_REDIS, 0);
  } else {
    answer_publish(self, token, CP_E_CLOSED, 0);
    cp__transport_redis_break(self, CP_E_PROTOCOL,
                              "unexpected kind of answer to PUBLISH");
  }
}

/* Of what a shard carries only its own master knows. */
static cp_bytes count_name_of(const cp__transport_redis *self) {
  return cp_str(self->shard != NULL ? "PUBSUB SHARDNUMSUB" : "PUBSUB NUMSUB");
}

static void answer_count(cp__transport_redis *self, void *token, int status,
                         const uint32_t *subscribers, size_t n) {
  self->host->on_counted(self->host->ctx, token, status, subscribers, n);
}

/* Channel, number, channel, number: the channels are in our order. Returns
 * false if it is not that. */
static bool read_counts(const cp__resp_reply *reply,
                        uint32_t counts[CP__NUMSUB_MAX], size_t *n) {
  size_t i;

  if (reply->nodes[0].type != CP__RESP_ARRAY || reply->n_nodes % 2 == 0 ||
      reply->n_nodes > 1 + 2 * CP__NUMSUB_MAX)
    return false;
  *n = reply->n_nodes / 2;
  for (i = 0; i < *n; i++) {
    const cp__resp_node *node = &reply->nodes[2 * i + 2];
    if (node->type != CP__RESP_INTEGER)
      return false;
    counts[i] = clamp(node->integer);
  }
  return true;
}

static void on_count_reply(cp__transport_redis *self, void *token,
                           const cp__resp_reply *reply) {
  const cp__resp_node *node = &reply->nodes[0];
  uint32_t counts[CP__NUMSUB_MAX];
  size_t n;

  if (read_counts(reply, counts, &n)) {
    answer_count(self, token, 0, counts, n);
  } else if (node->type == CP__RESP_ERROR) {
    log_refusal(self, &self->count_error_logged, count_name_of(self),
                node->text);
    answer_count(self, token, CP_E_REDIS, NULL, 0);
  } else {
    answer_count(self, token, CP_E_DOWN, NULL, 0);
    cp__transport_redis_break(self, CP_E_PROTOCOL,
                              "unexpected kind of answer to PUBSUB NUMSUB");
  }
}

void cp__redis_on_command_reply(cp__transport_redis *self, cp__redis_kind kind,
                                void *token, const cp__resp_reply *reply) {
  if (kind == CP__REDIS_PUBLISH)
    on_publish_reply(self, token, reply);
  else if (kind == CP__REDIS_COUNT)
    on_count_reply(self, token, reply);
  else if (kind == CP__REDIS_ASKING)
    return; /* if it was refused, the command behind it is refused as well */
  else
    on_confirmation(self, kind, token, reply);
}

/* Requests. --------------------------------------------------------------- */

/* Make a command of the batch. No memory for it breaks the links: its tokens
 * were accepted, and may not be answered before older ones. */
void cp__redis_seal_batch(cp__transport_redis *self) {
  cp__redis_batch *batch = &self->batch;
  cp__redis_link *link = self->subscriber.link;
  const cp_bytes name = cp__redis_name_of(self, batch->kind);
  cp__buf *out;
  int rc;

  if (batch->n == 0)
    return;
  out = cp__redis_link_begin(link);
  cp__resp_command_head(out, 1 + batch->n);
  cp__resp_word(out, &name, 1);
  cp__buf_append_bytes(out, cp__buf_bytes(&batch->words));
  rc = cp__redis_link_end(link, (int)batch->kind, batch->tokens, batch->n);
  if (rc != 0) {
    cp__transport_redis_break(self, rc, cp_strerror(rc));
    return;
  }
  batch->n = 0;
  cp__buf_reset(&batch->words, KEEP);
}

static bool has_room(const cp__transport_redis *self, size_t queued,
                     size_t len) {
  size_t max = self->options.max_queue;
  return queued <= max && len <= max - queued;
}

static int add_to_batch(cp__transport_redis *self, cp_bytes channel,
                        void *token) {
  cp__redis_batch *batch = &self->batch;
  size_t len = cp__buf_len(&batch->words);

  if (!has_room(self, cp__redis_link_queued(self->subscriber.link) + len,
                channel.len))
    return CP_E_FULL;
  cp__resp_word(&batch->words, &channel, 1);
  if (batch->words.failed) {
    batch->words.end = batch->words.start + len;
    batch->words.failed = false;
    return CP_E_NOMEM;
  }
  batch->tokens[batch->n++] = token;
  return 0;
}

int cp__redis_request(cp__transport_redis *self, cp__redis_kind kind,
                      cp_bytes channel, void *token) {
  cp__redis_batch *batch = &self->batch;
  uint16_t slot = self->shard != NULL ? cp__slot_of(channel) : 0;

  if (self->host->publish_only)
    return CP_E_STATE;
  if (self->state != CP__REDIS_LINKED)
    return CP_E_DOWN;
  if (batch->kind != kind || batch->slot != slot ||
      batch->n == CP__SUBSCRIBE_MAX)
    cp__redis_seal_batch(self);
  if (self->state != CP__REDIS_LINKED)
    return CP_E_DOWN;
  batch->kind = kind;
  batch->slot = slot;
  return add_to_batch(self, channel, token);
}

static size_t total_len(const cp_bytes *parts, size_t n) {
  size_t len = 0;
  size_t i;

  for (i = 0; i < n; i++)
    len += parts[i].len;
  return len;
}

/* By this command. */
static int publish(cp__transport_redis *self, cp_bytes name, cp_bytes channel,
                   const cp_bytes *parts, size_t n, void *token) {
  cp__redis_link *link = self->commands.link;
  cp__buf *out;

  if (self->state != CP__REDIS_LINKED)
    return CP_E_DOWN;
  if (!has_room(self, cp__redis_link_queued(link),
                channel.len + total_len(parts, n)))
    return CP_E_FULL;
  out = cp__redis_link_begin(link);
  cp__resp_command_head(out, 3);
  cp__resp_word(out, &name, 1);
  cp__resp_word(out, &channel, 1);
  cp__resp_word(out, parts, n);
  return cp__redis_link_end(link, CP__REDIS_PUBLISH, &token, 1);
}

int cp__redis_publish(cp__transport_redis *self, cp_bytes channel,
                      const cp_bytes *parts, size_t n, void *token) {
  return publish(self, cp__redis_name_of(self, CP__REDIS_PUBLISH), channel,
                 parts, n, token);
}

int cp__redis_publish_plain(cp__transport_redis *self, cp_bytes channel,
                            const cp_bytes *parts, size_t n, void *token) {
  return publish(self, cp_str("PUBLISH"), channel, parts, n, token);
}

int cp__redis_count(cp__transport_redis *self, const cp_bytes *channels,
                    size_t n, void *token) {
  cp__redis_link *link = self->commands.link;
  cp_bytes name = count_name_of(self);
  cp_bytes word = cp__bytes_cut(&name, ' ');
  cp__buf *out;
  size_t i;

  if (self->state != CP__REDIS_LINKED)
    return CP_E_DOWN;
  if (!has_room(self, cp__redis_link_queued(link), total_len(channels, n)))
    return CP_E_FULL;
  out = cp__redis_link_begin(link);
  cp__resp_command_head(out, 2 + n);
  cp__resp_word(out, &word, 1);
  cp__resp_word(out, &name, 1);
  for (i = 0; i < n; i++)
    cp__resp_word(out, &channels[i], 1);
  return cp__redis_link_end(link, CP__REDIS_COUNT, &token, 1);
}

int cp__redis_ask(cp__transport_redis *self, cp__redis_kind kind) {
  const cp_bytes word = cp_str("ASKING");
  void *const no_token[] = {NULL};
  cp__redis_link *link;

  if (self->state != CP__REDIS_LINKED)
    return CP_E_DOWN;
  if (kind != CP__REDIS_PUBLISH)
    cp__redis_seal_batch(self);
  if (self->state != CP__REDIS_LINKED)
    return CP_E_DOWN;
  link =
      kind == CP__REDIS_PUBLISH ? self->commands.link : self->subscriber.link;
  cp__resp_command(cp__redis_link_begin(link), &word, 1);
  return cp__redis_link_end(link, CP__REDIS_ASKING, no_token, 1);
}

/* Answering what waits. --------------------------------------------------- */

static void end_subscriptions(cp__transport_redis *self, int status) {
  const cp_transport_host *host = self->host;
  cp__redis_link *link = self->subscriber.link;
  cp__redis_batch *batch = &self->batch;
  cp__redis_unanswered lost;
  size_t n = batch->n;
  size_t i;

  while (link != NULL && cp__redis_link_take(link, &lost))
    if (lost.kind != CP__REDIS_NODE_CHANNEL && lost.kind != CP__REDIS_ASKING)
      host->on_confirmed(host->ctx, lost.token, status);
  batch->n = 0;
  cp__buf_reset(&batch->words, KEEP);
  for (i = 0; i < n; i++)
    host->on_confirmed(host->ctx, batch->tokens[i], status);
}

/* False: the host can't have it back. */
static bool give_back(cp__transport_redis *self,
                      const cp__redis_unanswered *lost) {
  const cp_transport_host *host = self->host;
  cp_bytes words[3];

  if (host->on_unanswered == NULL ||
      !cp__resp_read_command(lost->command, words, 3))
    return false;
  host->on_unanswered(host->ctx, lost->token, lost->written, words[1],
                      words[2]);
  return true;
}

/* ... and counts. */
static void end_publishes(cp__transport_redis *self,
                          const cp__redis_ending *how) {
  const cp_transport_host *host = self->host;
  cp__redis_link *link = self->commands.link;
  cp__redis_unanswered lost;

  while (link != NULL && cp__redis_link_take(link, &lost))
    if (lost.kind == CP__REDIS_PUBLISH && lost.token != NULL &&
        !(how->give_back && give_back(self, &lost)))
      host->on_published(host->ctx, lost.token,
                         lost.written ? how->written : how->unwritten, 0);
    else if (lost.kind == CP__REDIS_COUNT)
      answer_count(self, lost.token, how->unwritten, NULL, 0);
}

void cp__redis_end_pending(cp__transport_redis *self,
                           const cp__redis_ending *how) {
  end_subscriptions(self, how->subscription);
  end_publishes(self, how);
}
