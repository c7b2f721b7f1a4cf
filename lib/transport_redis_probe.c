/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A TCP connection that lost its peer keeps silent, and so does one on which
 * nothing happens. So every interval the transport publishes to its own channel
 * and asks for the server's role. Both must be heard: the echo proves that the
 * way through both links and the server is open, but a master that was demoted
 * echoes happily to whoever stayed with it.
 *
 * What is not heard when the next probe is due is late, which the host is told;
 * what is not heard within the timeout breaks the links. There is one probe at
 * a time.
 *
 * A probe doesn't prove the way to Redis on the subscriber: nothing goes there
 * unless something is to be subscribed. So when the timer comes round it also
 * looks whether that is answered. */
#include "transport_redis.h"

#include <stdio.h>
#include <string.h>

#include "envelope.h"

static uint64_t elapsed_ms(const cp__transport_redis *self) {
  return uv_now(self->host->loop) - self->probe.sent_ms;
}

static bool is_missing(const cp__redis_probe *probe) {
  return probe->awaits_echo || probe->awaits_role;
}

static void tell_health(cp__transport_redis *self, bool late,
                        const char *reason) {
  if (self->probe.late == late)
    return;
  self->probe.late = late;
  self->host->on_health(self->host->ctx, late, reason);
}

/* Sending. ---------------------------------------------------------------- */

static int publish_probe(cp__transport_redis *self) {
  const cp__envelope envelope = {
      .kind = CP__KIND_PROBE,
      .instance = self->instance,
      .incarnation = self->base.incarnation,
  };
  void *const no_token[] = {NULL};
  const cp_bytes name = cp__redis_name_of(self, CP__REDIS_PROBE_PUBLISH);
  uint8_t head[CP__ENVELOPE_HEAD_MAX];
  cp_bytes parts[2];
  cp__buf *out = cp__redis_link_begin(self->commands.link);

  parts[0] = cp_bytes_of(head, cp__envelope_write_head(head, &envelope));
  parts[1] = cp_bytes_of(&self->probe.nonce, sizeof self->probe.nonce);
  cp__resp_command_head(out, 3);
  cp__resp_word(out, &name, 1);
  cp__resp_word(out, &self->node_channel, 1);
  cp__resp_word(out, parts, 2);
  return cp__redis_link_end(self->commands.link, CP__REDIS_PROBE_PUBLISH,
                            no_token, 1);
}

static int ask_role(cp__transport_redis *self) {
  const cp_bytes word = cp_str(self->probe.role_is_refused ? "PING" : "ROLE");
  void *const no_token[] = {NULL};

  cp__resp_command(cp__redis_link_begin(self->commands.link), &word, 1);
  return cp__redis_link_end(self->commands.link, CP__REDIS_PROBE_ROLE, no_token,
                            1);
}

static void on_timer(uv_timer_t *timer);

static void wait_ms(cp__transport_redis *self, uint64_t ms) {
  uv_timer_start(&self->timer, on_timer, ms, 0);
}

static uint64_t first_look_ms(const cp__transport_redis *self) {
  const cp_redis_options *o = &self->options;
  return o->probe_interval_ms < o->probe_timeout_ms ? o->probe_interval_ms
                                                    : o->probe_timeout_ms;
}

static void send_probe(cp__transport_redis *self) {
  cp__redis_probe *probe = &self->probe;
  int rc = 0;

  probe->nonce++;
  probe->sent_ms = uv_now(self->host->loop);
  probe->awaits_role = true;
  probe->awaits_echo = !self->host->publish_only;
  probe->last_call = false;
  if (probe->awaits_echo)
    rc = publish_probe(self);
  if (rc == 0)
    rc = ask_role(self);
  if (rc != 0) {
    cp__transport_redis_break(self, rc, cp_strerror(rc));
    return;
  }
  wait_ms(self, first_look_ms(self));
  cp__redis_link_flush(self->commands.link);
}

void cp__redis_probe_start(cp__transport_redis *self) {
  const cp__redis_info *info = cp__redis_link_info(self->commands.link);

  self->probe.stuck_ms = 0;
  self->probe.late = false;
  self->probe.role_is_refused = !info->is_master;
  send_probe(self);
}

/* The timer. -------------------------------------------------------------- */

/* Is the subscriber asked something that it doesn't answer? */
static bool is_stuck(cp__transport_redis *self) {
  cp__redis_probe *probe = &self->probe;
  const cp__redis_link *link = self->subscriber.link;
  uint64_t now = uv_now(self->host->loop);

  if (link == NULL || cp__redis_link_pending(link) == 0) {
    probe->stuck_ms = 0;
  } else if (probe->stuck_ms == 0 ||
             probe->answered != cp__redis_link_answered(link)) {
    probe->stuck_ms = now;
    probe->answered = cp__redis_link_answered(link);
  }
  return probe->stuck_ms > 0 &&
         now - probe->stuck_ms >= self->options.probe_timeout_ms;
}

/* If this process slept, or its loop was blocked, what we miss may have arrived
 * long ago: the loop reads before it comes back here. (Not after 0 ms: some
 * versions of libuv would call at once.) */
static void on_overdue(cp__transport_redis *self) {
  cp__redis_probe *probe = &self->probe;

  if (!probe->last_call) {
    probe->last_call = true;
    wait_ms(self, 1);
    return;
  }
  cp__transport_redis_break(self, CP_E_TIMEOUT,
                            probe->awaits_echo ? "the node doesn't hear itself"
                            : probe->awaits_role
                                ? "no answer on the commands link"
                                : "no answer on the subscriber link");
}

static void on_timer(uv_timer_t *timer) {
  cp__transport_redis *self = timer->data;
  uint64_t elapsed = elapsed_ms(self);

  if (is_stuck(self)) {
    on_overdue(self);
  } else if (is_missing(&self->probe)) {
    if (elapsed >= self->options.probe_timeout_ms) {
      on_overdue(self);
      return;
    }
    tell_health(self, true, "a probe is late");
    wait_ms(self, self->options.probe_timeout_ms - elapsed);
  } else if (elapsed < self->options.probe_interval_ms) {
    wait_ms(self, self->options.probe_interval_ms - elapsed);
  } else {
    send_probe(self);
  }
}

void cp__redis_probe_moved(cp__transport_redis *self) {
  cp__redis_probe *probe = &self->probe;

  probe->nonce++;
  if (!is_missing(probe))
    probe->sent_ms = uv_now(self->host->loop);
  probe->awaits_echo = true;
}

/* Hearing. ---------------------------------------------------------------- */

static void check_heard(cp__transport_redis *self) {
  const cp_transport_host *host = self->host;

  if (is_missing(&self->probe))
    return;
  tell_health(self, false, "the probe was heard");
  if (host->on_proven != NULL && !host->publish_only)
    host->on_proven(host->ctx, self->probe.sent_ms);
}

void cp__redis_probe_confirmed(cp__transport_redis *self) {
  self->probe.awaits_echo = false;
  check_heard(self);
}

static void on_role(cp__transport_redis *self, const cp__resp_reply *reply) {
  const cp__resp_node *node = &reply->nodes[0];
  char reason[256];

  if (node->type == CP__RESP_ERROR)
    self->probe.role_is_refused = true;
  else if (!self->probe.role_is_refused &&
           !cp__redis_is_master(reply, reason, sizeof reason)) {
    cp__transport_redis_break(self, CP_E_REDIS, reason);
    return;
  }
  self->probe.awaits_role = false;
  check_heard(self);
}

void cp__redis_probe_on_reply(cp__transport_redis *self, cp__redis_kind kind,
                              const cp__resp_reply *reply) {
  cp_bytes text = reply->nodes[0].text;
  char reason[256];

  if (kind == CP__REDIS_PROBE_ROLE) {
    on_role(self, reply);
    return;
  }
  if (reply->nodes[0].type != CP__RESP_ERROR)
    return; /* how many heard it doesn't matter: we must */
  if (cp__redis_shard_took(self, kind, NULL, text))
    return;
  snprintf(reason, sizeof reason, "Redis refused the probe: %.*s",
           text.len < 160 ? (int)text.len : 160, (const char *)text.data);
  cp__transport_redis_break(self, CP_E_REDIS, reason);
}

static bool is_last_probe(const cp__transport_redis *self,
                          const cp__envelope *envelope) {
  const cp__redis_probe *probe = &self->probe;

  return envelope->instance == self->instance &&
         envelope->body.len == sizeof probe->nonce &&
         memcmp(envelope->body.data, &probe->nonce, sizeof probe->nonce) == 0;
}

bool cp__redis_probe_on_message(cp__transport_redis *self, cp_bytes payload) {
  cp__envelope envelope;

  if (cp__envelope_read(&envelope, payload) != 0 ||
      envelope.kind != CP__KIND_PROBE)
    return false;
  if (is_last_probe(self, &envelope)) {
    self->probe.awaits_echo = false;
    check_heard(self);
  }
  return true;
}
