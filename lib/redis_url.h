/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_REDIS_URL_H
#define CP_REDIS_URL_H

/* Redis URLs:
 *   redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]     HOST may be [v6]
 *   rediss://...                                   the same, over TLS
 *   redis://PASSWORD... is not a form: a password stands behind a colon
 *   unix://[[USER]:PASSWORD@]/PATH[?db=DB]
 *   redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT],HOST[:PORT].../MASTER[/DB]
 *   redis+cluster://[[USER]:PASSWORD@]HOST[:PORT],HOST[:PORT]...
 *   rediss+sentinel://... and rediss+cluster://... the same, over TLS
 * User, password, path and master are percent-decoded. Defaults: port 6379, a
 * sentinel's 26379; db 0. A user may have an empty password; ":@" is as good as
 * nothing. */

#include "alloc.h"

#include <stdbool.h>

#define CP__REDIS_HOSTS_MAX 64 /* in one list */

typedef enum cp__redis_url_kind {
  CP__REDIS_DIRECT,      /* one server: `host` or `path` */
  CP__REDIS_BY_SENTINEL, /* `hosts` are sentinels, who know `master` */
  CP__REDIS_CLUSTER      /* `hosts` are some of its nodes */
} cp__redis_url_kind;

typedef struct cp__redis_host {
  const char *name; /* or an address, without brackets */
  int port;
} cp__redis_host;

/* One allocation holds everything; NULL where the URL has none. */
typedef struct cp__redis_url {
  cp__redis_url_kind kind;
  const char *host; /* NULL: a Unix socket at `path`, or a list */
  char *path;
  cp__redis_host *hosts; /* `n_hosts` of them: at least one in a list, else 0 */
  size_t n_hosts;
  char *master;
  char *user;
  char *password;
  int port;
  int db;
  bool tls;
  void *memory; /* holds the hosts and the strings */
  size_t memory_len;
} cp__redis_url;

/* Parse. Returns 0, CP_E_NOMEM, or CP_E_URL: then `*why` says in a few static
 * words what is wrong, else it is NULL. After an error there is nothing to
 * finish. Whether this build has the TLS for rediss is found out by who needs a
 * cp__tls_context. */
int cp__redis_url_parse(cp__redis_url *url, const char *text,
                        const cp_allocator *alloc, const char **why);
/* Overwrites the password before it frees. All zero is accepted. */
void cp__redis_url_finish(cp__redis_url *url, const cp_allocator *alloc);

#endif
