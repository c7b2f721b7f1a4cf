/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "server.h"

#include "sized.h"

#include <string.h>

static const cp_server_options defaults = {
    .size = sizeof(cp_server_options),
    .name = "node",
    .prefix = "cp",
    .leave_delay_ms = 2000,
    .subscribe_wait_ms = 1000,
    .settle_ms = 3000,
    .max_subscriptions = 10000,
    .retry_after_s = 5,
    .outbox_bytes = 8 * 1024 * 1024,
    .outbox_age_ms = 10000,
    .echo_bytes = 8 * 1024 * 1024,
    .max_conns_per_user = 32,
    .max_groups_per_conn = 128,
    .handshake_timeout_ms = 10000,
    .max_request = 16 * 1024,
    .max_message = 1024 * 1024,
    .compress_min = 256,
    .max_receive_memory = 256 * 1024 * 1024,
    .max_inflate_memory = 64 * 1024 * 1024,
    .max_send_queue = 1024 * 1024,
    .slow_policy = CP_SLOW_CLOSE,
    .max_thread_queue = 16 * 1024 * 1024,
    .max_receipts = 65536,
    .ping_interval_ms = 25000,
    .max_missed_pings = 2,
    .close_timeout_ms = 5000,
    .log_level = CP_LOG_INFO,
};

void cp_server_options_init_sized(cp_server_options *options, size_t size) {
  memset(options, 0, size);
  memcpy(options, &defaults, size < sizeof defaults ? size : sizeof defaults);
  options->size = size;
}

bool cp__server_options_have_size(const cp_server_options *options) {
  return cp__is_sized(options, on_log);
}

static int refuse(const char **why, const char *text) {
  *why = text;
  return CP_E_INVALID;
}

/* As browsers write them: "null" is one, too. */
static bool origins_are_valid(const char *const *origins) {
  for (; origins != NULL && *origins != NULL; origins++) {
    const char *host = strstr(*origins, "://");
    if (strcmp(*origins, "*") != 0 && strcmp(*origins, "null") != 0 &&
        (host == NULL || host == *origins || host[3] == '\0'))
      return false;
  }
  return true;
}

static int check(const cp_server_options *o, const char **why) {
  if (o->name == NULL || o->prefix == NULL)
    return refuse(why, "name or prefix is NULL");
  if (!cp__prefix_is_valid(o->prefix))
    return refuse(why, "prefix is not 1..64 bytes without braces and spaces");
  if (o->redis != NULL && o->transport != NULL)
    return refuse(why, "both redis and transport are set");
  if (!origins_are_valid(o->origins))
    return refuse(why, "an origin is neither \"*\" nor scheme://host[:port]");
  if ((o->tls_cert == NULL) != (o->tls_key == NULL))
    return refuse(why, "one of tls_cert and tls_key is missing");
  if (o->slow_policy < CP_SLOW_CLOSE || o->slow_policy > CP_SLOW_DROP_OLD)
    return refuse(why, "slow_policy is none of its values");
  if (o->max_message == 0 || o->max_send_queue == 0 || o->max_request == 0 ||
      o->max_thread_queue == 0 || o->max_inflate_memory == 0 ||
      o->max_receive_memory == 0 || o->max_receipts == 0)
    return refuse(why, "a size limit is 0");
  if (o->max_message > CP__SIZE_LIMIT || o->max_request > CP__SIZE_LIMIT ||
      o->max_send_queue > CP__SIZE_LIMIT)
    return refuse(why, "max_message, max_request or max_send_queue is above "
                       "1 GiB");
  if (o->compress != 0 && o->compress != 1)
    return refuse(why, "compress is neither 0 nor 1");
  if (o->handshake_timeout_ms == 0 || o->close_timeout_ms == 0)
    return refuse(why, "handshake_timeout_ms or close_timeout_ms is 0");
  if (o->max_missed_pings == 0 || o->max_missed_pings > UINT8_MAX)
    return refuse(why, "max_missed_pings is not 1..255");
  return 0;
}

static size_t count_origins(const char *const *origins) {
  size_t n = 0;

  while (origins != NULL && origins[n] != NULL)
    n++;
  return n;
}

/* Strings are laid one after the other behind the array of origins; reserved at
 * once, so that nothing moves while pointers are taken. */
static const char *keep(cp__buf *strings, const char *text) {
  const char *place = (const char *)strings->data + strings->end;

  cp__buf_append(strings, text, strlen(text) + 1);
  return place;
}

static int keep_strings(cp_server *server) {
  cp_server_options *o = &server->options;
  cp__buf *strings = &server->strings;
  size_t n = count_origins(o->origins);
  size_t size =
      (n + 1) * sizeof(char *) + strlen(o->name) + 1 + strlen(o->prefix) + 1;
  const char **origins;
  size_t i;

  for (i = 0; i < n; i++)
    size += strlen(o->origins[i]) + 1;
  origins = (const char **)(void *)cp__buf_reserve(strings, size);
  if (origins == NULL)
    return CP_E_NOMEM;
  cp__buf_commit(strings, (n + 1) * sizeof(char *));
  o->name = keep(strings, o->name);
  o->prefix = keep(strings, o->prefix);
  for (i = 0; i < n; i++)
    origins[i] = keep(strings, o->origins[i]);
  origins[n] = NULL;
  o->origins = o->origins != NULL ? origins : NULL;
  return 0;
}

int cp__server_take_options(cp_server *server, const cp_server_options *options,
                            const char **why) {
  int rc;

  server->options = defaults;
  memcpy(&server->options, options,
         options->size < sizeof defaults ? options->size : sizeof defaults);
  rc = check(&server->options, why);
  return rc != 0 ? rc : keep_strings(server);
}
