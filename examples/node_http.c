/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "node.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *node_state_name(cp_cluster_state state) {
  static const char *const names[] = {"up", "degraded", "down"};
  return names[state];
}

/* The length of the UTF-8 character at `p`, or 0 if there is none. (Overlong
 * forms and surrogates are caught by their second byte.) */
static size_t character_len(const unsigned char *p, size_t left) {
  size_t len = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
  size_t i;

  if (len == 1)
    return 1;
  if (p[0] < 0xc2 || p[0] > 0xf4 || left < len)
    return 0;
  if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
      (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
    return 0;
  for (i = 1; i < len; i++)
    if ((p[i] & 0xc0) != 0x80)
      return 0;
  return len;
}

void node_print(char *out, size_t size, cp_bytes bytes, bool json) {
  const unsigned char *p = bytes.data;
  size_t left = bytes.len;
  size_t n = 0;

  while (left > 0 && n + 7 < size) {
    size_t len = character_len(p, left);
    if (len == 0) {
      n += (size_t)sprintf(out + n, "\xef\xbf\xbd");
    } else if (json && (*p == '"' || *p == '\\')) {
      n += (size_t)sprintf(out + n, "\\%c", *p);
    } else if (json && *p < 0x20) {
      n += (size_t)sprintf(out + n, "\\u%04x", *p);
    } else {
      memcpy(out + n, p, len);
      n += len;
    }
    len += len == 0;
    p += len;
    left -= len;
  }
  out[n] = '\0';
}

static void answer_page(cp_request *request) {
  static const cp_header headers[] = {
      {"Cache-Control", "no-cache"},
      {"Content-Security-Policy",
       "default-src 'none'; script-src 'unsafe-inline'; style-src "
       "'unsafe-inline'; connect-src *; img-src data:; base-uri 'none'; "
       "form-action 'none'; frame-ancestors 'none'"},
  };
  cp_request_respond(request, 200, "text/html; charset=utf-8",
                     cp_bytes_of(node_page, node_page_len), headers, 2);
}

/* 200 only if a message sent anywhere reaches the users of this node. */
static void answer_health(cp_server *server, cp_request *request) {
  cp_cluster_state state = cp_server_cluster_state(server);
  char reason[512];
  char node[512];
  char body[2048];
  int len;

  node_print(node, sizeof node, cp_str(cp_server_name(server)), true);
  node_print(reason, sizeof reason, cp_str(cp_server_cluster_reason(server)),
             true);
  len = snprintf(body, sizeof body,
                 "{\"node\":\"%s\",\"alive\":true,\"redis\":%s,"
                 "\"cluster\":\"%s\",\"reason\":\"%s\"}\n",
                 node, state == CP_DOWN ? "false" : "true",
                 node_state_name(state), reason);
  cp_request_respond(request, state == CP_UP ? 200 : 503, "application/json",
                     cp_bytes_of(body, (size_t)len), NULL, 0);
}

/* Prometheus text format, version 0.0.4. */
struct page {
  char text[16384];
  size_t len;
};

static void add(struct page *page, const char *name, const char *type,
                const char *help, uint64_t value) {
  int n = snprintf(page->text + page->len, sizeof page->text - page->len,
                   "# HELP clusterpush_%s %s\n# TYPE clusterpush_%s %s\n"
                   "clusterpush_%s %" PRIu64 "\n",
                   name, help, name, type, name, value);
  if (n > 0 && (size_t)n < sizeof page->text - page->len)
    page->len += (size_t)n;
}

static void answer_metrics(cp_server *server, cp_request *request) {
  struct page page;
  cp_stats s;

  page.len = 0;
  s.size = sizeof s;
  cp_server_stats(server, &s);
  add(&page, "connections", "gauge", "Open connections.", s.conns);
  add(&page, "users", "gauge", "Users with an open connection.", s.users);
  add(&page, "handshakes", "gauge", "Connections not yet open, or closing.",
      s.handshakes);
  add(&page, "queued_bytes", "gauge", "Bytes waiting for all connections.",
      s.queued_bytes);
  add(&page, "cluster_state", "gauge", "0 up, 1 degraded, 2 down.",
      (uint64_t)cp_server_cluster_state(server));
  add(&page, "opened_total", "counter", "Connections opened.", s.opened);
  add(&page, "refused_total", "counter", "Requests refused.", s.refused);
  add(&page, "full_refusals_total", "counter",
      "Of these, by the limit of connections.", s.full_refusals);
  add(&page, "rate_refusals_total", "counter",
      "Handshakes refused, too many a second.", s.rate_refusals);
  add(&page, "address_refusals_total", "counter",
      "Sockets closed, too many of one address.", s.address_refusals);
  add(&page, "handshake_timeouts_total", "counter",
      "Connections that did not open in time.", s.handshake_timeouts);
  add(&page, "tls_failures_total", "counter",
      "Connections that ended in a TLS error.", s.tls_failures);
  add(&page, "protocol_closes_total", "counter",
      "Connections closed for malformed frames or text.", s.protocol_closes);
  add(&page, "size_closes_total", "counter",
      "Connections closed for a message too large.", s.size_closes);
  add(&page, "rate_closes_total", "counter",
      "Connections closed for too much a second.", s.rate_closes);
  add(&page, "memory_closes_total", "counter",
      "Connections closed for want of memory for what arrives.",
      s.memory_closes);
  add(&page, "user_closes_total", "counter",
      "Connections closed for a newer one of the user.", s.user_closes);
  add(&page, "messages_in_total", "counter", "Messages from clients.",
      s.messages_in);
  add(&page, "bytes_in_total", "counter", "Their payload in bytes.",
      s.bytes_in);
  add(&page, "messages_out_total", "counter", "Messages queued for clients.",
      s.messages_out);
  add(&page, "bytes_out_total", "counter", "Their frames in bytes.",
      s.bytes_out);
  add(&page, "compressed_total", "counter",
      "Messages compressed for clients, each once.", s.compressed);
  add(&page, "queue_drops_total", "counter",
      "Messages dropped because a send queue was full.", s.queue_drops);
  add(&page, "slow_closes_total", "counter",
      "Connections closed because their send queue was full.", s.slow_closes);
  add(&page, "ping_timeouts_total", "counter",
      "Connections that answered no ping.", s.ping_timeouts);
  add(&page, "sends_total", "counter", "Messages sent by this node.", s.sends);
  add(&page, "published_total", "counter", "Of these, published.", s.published);
  add(&page, "publish_errors_total", "counter", "Of these, failed.",
      s.publish_errors);
  add(&page, "cluster_in_total", "counter", "Messages from the cluster.",
      s.cluster_in);
  add(&page, "malformed_total", "counter", "Of these, dropped as malformed.",
      s.malformed);
  add(&page, "outbox_messages", "gauge", "Messages waiting for Redis.",
      s.outbox_messages);
  add(&page, "outbox_bytes", "gauge", "Their bytes.", s.outbox_bytes);
  add(&page, "outbox_dropped_total", "counter",
      "Messages too many or too old to wait for Redis.", s.outbox_dropped);
  add(&page, "duplicates_total", "counter",
      "Messages that came a second time, and were dropped.", s.duplicates);
  add(&page, "gaps_total", "counter",
      "Spans in which messages from elsewhere may have been missed.", s.gaps);
  add(&page, "lags_total", "counter",
      "Links that Redis closed since too much waited for this node.", s.lags);
  add(&page, "republished_total", "counter",
      "Messages published again after a broken link.", s.republished);
  add(&page, "links_total", "counter", "Times the link to Redis came up.",
      s.links);
  cp_request_respond(request, 200, "text/plain; version=0.0.4; charset=utf-8",
                     cp_bytes_of(page.text, page.len), NULL, 0);
}

static bool is_path(cp_request *request, const char *path) {
  cp_bytes have = cp_request_path(request);
  return have.len == strlen(path) && memcmp(have.data, path, have.len) == 0;
}

void node_on_http(cp_server *server, cp_request *request) {
  if (is_path(request, "/"))
    answer_page(request);
  else if (is_path(request, "/healthz"))
    answer_health(server, request);
  else if (is_path(request, "/metrics"))
    answer_metrics(server, request);
  else if (is_path(request, "/ws"))
    cp_request_refuse(request, 426, "connect by WebSocket\n");
  else
    cp_request_refuse(request, 404, "not found\n");
}
