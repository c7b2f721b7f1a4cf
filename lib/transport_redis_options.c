/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "transport_redis.h"

#include "sized.h"

#include <string.h>

#define DEFAULT_CLIENT_NAME         "clusterpush"
#define DEFAULT_CONNECT_TIMEOUT_MS  5000
#define DEFAULT_BACKOFF_MIN_MS      50
#define DEFAULT_BACKOFF_MAX_MS      1000
#define DEFAULT_PROBE_INTERVAL_MS   3000
#define DEFAULT_PROBE_TIMEOUT_MS    5000
#define DEFAULT_SENTINEL_TIMEOUT_MS 1000
#define DEFAULT_MAX_QUEUE           (8 * 1024 * 1024)
#define DEFAULT_MAX_REPLY           (64 * 1024 * 1024)

#define MAX_SERVER_NAME 255 /* what cp__tls_create takes */

static void default_to(unsigned *field, unsigned value) {
  if (*field == 0)
    *field = value;
}

static void default_size_to(size_t *field, size_t value) {
  if (*field == 0)
    *field = value;
}

static void fill_defaults(cp_redis_options *o) {
  if (o->client_name == NULL)
    o->client_name = DEFAULT_CLIENT_NAME;
  default_to(&o->connect_timeout_ms, DEFAULT_CONNECT_TIMEOUT_MS);
  default_to(&o->backoff_min_ms, DEFAULT_BACKOFF_MIN_MS);
  default_to(&o->backoff_max_ms, DEFAULT_BACKOFF_MAX_MS);
  if (o->backoff_max_ms < o->backoff_min_ms)
    o->backoff_max_ms = o->backoff_min_ms;
  default_to(&o->probe_interval_ms, DEFAULT_PROBE_INTERVAL_MS);
  default_to(&o->probe_timeout_ms, DEFAULT_PROBE_TIMEOUT_MS);
  default_to(&o->sentinel_timeout_ms, DEFAULT_SENTINEL_TIMEOUT_MS);
  default_size_to(&o->max_queue, DEFAULT_MAX_QUEUE);
  default_size_to(&o->max_reply, DEFAULT_MAX_REPLY);
}

/* What CLIENT SETNAME takes. */
static bool is_client_name(const char *name) {
  for (; *name != '\0'; name++)
    if (*name < '!' || *name > '~')
      return false;
  return true;
}

/* As much as the caller's version has of them. */
static bool read_options(cp_redis_options *out,
                         const cp_redis_options *options) {
  memset(out, 0, sizeof *out);
  if (options == NULL)
    return true;
  if (!cp__is_sized(options, size))
    return false;
  memcpy(out, options,
         options->size < sizeof *out ? options->size : sizeof *out);
  return true;
}

static size_t size_of(const char *s) {
  return s != NULL ? strlen(s) + 1 : 0;
}

/* Copy a string to `*place` and move on behind it. */
static const char *copy_string(char **place, const char *s) {
  char *copy = *place;

  if (s == NULL)
    return NULL;
  memcpy(copy, s, size_of(s));
  *place += size_of(s);
  return copy;
}

static int copy_strings(cp__transport_redis *self, cp_bytes node_channel) {
  cp_redis_options *o = &self->options;
  const char **const strings[] = {
      &o->user,
      &o->password,
      &o->client_name,
      &o->tls_ca,
      &o->tls_cert,
      &o->tls_key,
      &o->tls_server_name,
      &o->sentinel_user,
      &o->sentinel_password,
  };
  const size_t n = sizeof strings / sizeof strings[0];
  char *place;
  size_t i;

  self->memory_len = node_channel.len;
  for (i = 0; i < n; i++)
    self->memory_len += size_of(*strings[i]);
  self->memory = place = cp__malloc(self->alloc, self->memory_len);
  if (place == NULL)
    return CP_E_NOMEM;
  for (i = 0; i < n; i++)
    *strings[i] = copy_string(&place, *strings[i]);
  if (node_channel.len > 0)
    memcpy(place, node_channel.data, node_channel.len);
  self->node_channel = cp_bytes_of(place, node_channel.len);
  return 0;
}

static void init_peer(cp__transport_redis *self) {
  const cp_redis_options *o = &self->options;
  cp__redis_identity *identity = &self->identity;

  identity->user = o->user != NULL ? o->user : self->url.user;
  identity->password = o->password != NULL ? o->password : self->url.password;
  identity->db = self->url.db;
  identity->client_name = o->client_name;
  self->endpoint.host = self->url.host;
  self->endpoint.port = self->url.port;
  self->endpoint.path = self->url.path;
  self->sentinel_identity.user = o->sentinel_user;
  self->sentinel_identity.password = o->sentinel_password;
  self->sentinel_identity.client_name = o->client_name;
  self->sentinel_identity.any_role = true;
}

static int refuse(const char **why, const char *text) {
  *why = text;
  return CP_E_INVALID;
}

/* A wish for TLS that the URL would leave unheard is an error. */
static int check_no_tls(const cp_redis_options *o, const char **why) {
  if (o->tls_ca == NULL && o->tls_cert == NULL && o->tls_key == NULL &&
      o->tls_server_name == NULL)
    return 0;
  return refuse(why, "a tls_ option, but the URL is not rediss://");
}

static int check_sentinel(const cp__transport_redis *self, const char **why) {
  const cp_redis_options *o = &self->options;
  bool wishes = o->sentinel_user != NULL || o->sentinel_password != NULL ||
                o->sentinel_tls != 0;

  if (wishes && self->url.kind != CP__REDIS_BY_SENTINEL)
    return refuse(why, "a sentinel_ option, but the URL is not redis+sentinel");
  if (o->sentinel_user != NULL && o->sentinel_password == NULL)
    return refuse(why, "a sentinel_user without a sentinel_password");
  if (o->sentinel_tls < -1 || o->sentinel_tls > 1)
    return refuse(why, "sentinel_tls is none of -1, 0, 1");
  return 0;
}

static int init_tls(cp__transport_redis *self, char *text, const char **why) {
  const cp_redis_options *o = &self->options;
  const cp__tls_options files = {
      .cert_file = o->tls_cert,
      .key_file = o->tls_key,
      .ca_file = o->tls_ca,
  };
  int rc;

  if (!self->url.tls && o->sentinel_tls != 1)
    return check_no_tls(o, why);
  self->tls_host =
      o->tls_server_name != NULL ? o->tls_server_name : self->url.host;
  /* In a list each host is asked for its own name. */
  if (self->tls_host != NULL && strlen(self->tls_host) > MAX_SERVER_NAME)
    return refuse(why, "the server's name is too long for TLS");
  rc = cp__tls_context_create(&self->tls, &files, self->alloc, text);
  if (rc != 0)
    *why = text;
  return rc;
}

int cp__transport_redis_configure(cp__transport_redis *self, const char *url,
                                  const cp_redis_options *options,
                                  cp_bytes node_channel,
                                  char text[CP__TLS_TEXT_SIZE],
                                  const char **why) {
  int rc;

  *why = NULL;
  if (!read_options(&self->options, options))
    return refuse(why, "cp_redis_options without cp_redis_options_init()");
  fill_defaults(&self->options);
  if (!is_client_name(self->options.client_name))
    return refuse(why, "client_name with a space or an unprintable character");
  rc = cp__redis_url_parse(&self->url, url, self->alloc, why);
  if (rc != 0)
    return rc;
  rc = copy_strings(self, node_channel);
  if (rc != 0)
    return rc;
  init_peer(self);
  if (self->identity.user != NULL && self->identity.password == NULL)
    return refuse(why, "a user without a password");
  rc = check_sentinel(self, why);
  if (rc != 0)
    return rc;
  return init_tls(self, text, why);
}

void cp__transport_redis_unconfigure(cp__transport_redis *self) {
  /* Through a volatile pointer: the compiler would drop a memset in front of a
   * free. */
  volatile char *p = self->memory;
  size_t i;

  for (i = 0; p != NULL && i < self->memory_len; i++)
    p[i] = 0;
  cp__free(self->alloc, self->memory);
  cp__tls_context_unref(self->tls);
  cp__redis_url_finish(&self->url, self->alloc);
}
