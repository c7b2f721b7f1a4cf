/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CLUSTERPUSH_REDIS_H
#define CLUSTERPUSH_REDIS_H

/* Redis: how a server or publisher uses it.
 *
 * Redis closes a subscriber when more waits for it than the server's
 * client-output-buffer-limit for pubsub allows, and drops all that waited. A
 * node reads ahead of all other work, so that happens if it was stopped, or has
 * no CPU left, or if more comes at once than Redis hands out (64 KiB a turn of
 * its own to each client). Then the reason in on_transport says so,
 * cp_stats.lags counts it, and on_gap tells what was missed. If the limit is
 * below max_queue, which another node may send at once, that is logged at the
 * start, where CONFIG GET is allowed.
 *
 * With redis+sentinel://HOST[:PORT],HOST[:PORT].../MASTER[/DB] the hosts are
 * Sentinels (port 26379 by default), which are asked in turn where the master
 * of that name is: at the start, after every break of a link, every
 * probe_interval_ms, and when they say that it has moved. Sentinels that these
 * know of, as they said last, are asked too. Who answered last comes first, who
 * failed last. What a sentinel names is used only if it says itself that it is
 * a master. A link that stands is kept while no sentinel answers, and while
 * those that answer missed the last failover (by the config-epoch of SENTINEL
 * MASTER; who refuses that is believed). User and password in the URL are for
 * the Redis servers, not for the sentinels.
 *
 * Redis Cluster: a URL redis+cluster:// (or rediss+cluster://) names some of
 * its nodes, of which one that answers is enough; masters or replicas, the rest
 * is learned. It must be Redis 7 or later, for its sharded pub/sub; create
 * can't know, so of an older one, as of one that is no cluster, on_transport
 * and the log tell. Each master gets a pair of links, and a probe;
 * `db` is 0.
 *
 * The cluster is up while every slot's master is linked; degraded if one is
 * not: what its slots carry waits, all else goes on; and down when none is
 * linked. What is sent to users and groups of a master that is away waits until
 * it is back, or a replica is promoted, in its order, within outbox_bytes and
 * outbox_age_ms of the server or publisher: beyond them it is CP_E_FULL, or
 * CP_DROPPED with CP_E_TIMEOUT. (Redis promotes a replica
 * cluster-node-timeout after the master went, 15 s if not set: let
 * outbox_age_ms be more.) What that master had been given and did not answer is
 * CP_UNKNOWN: unlike over a single server it is not published a second time.
 *
 * When slots move, or a replica is promoted, messages follow; results are
 * CP_UNSURE from then on for settle_ms, since other nodes may still be
 * following, too. Redis drops the subscriptions of a slot that moves, until
 * they stand at the new owner, milliseconds later: what reaches nobody there is
 * published again, for settle_ms at most. A node that is back later than
 * another one of the same user's may miss what is published in between, and the
 * sender's result is CP_UNSURE.
 *
 * Rights needed: ssubscribe, sunsubscribe, spublish, cluster|slots and the
 * channels &PREFIX:*. */

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Zero stands for the default in every field. Strings are copied. */
typedef struct cp_redis_options {
  size_t size; /* sizeof(cp_redis_options), set by cp_redis_options_init() */

  /* Override what the URL says; NULL: the URL's. */
  const char *user;
  const char *password;
  /* For CLIENT SETNAME: no spaces, "clusterpush" if NULL. */
  const char *client_name;

  unsigned connect_timeout_ms; /* one attempt, all of it: 5,000 */
  unsigned backoff_min_ms;     /* first pause between attempts, about: 50 */
  unsigned backoff_max_ms;     /* longest pause: 1,000; it is no longer
                                  than that in an outage's first 10 s */
  unsigned probe_interval_ms;  /* the link is proven this often: 3,000 */
  unsigned probe_timeout_ms;   /* unheard this long, the link breaks: 5,000 */

  size_t max_queue; /* bytes of commands that wait to be written or answered;
                       more is CP_E_FULL: 8 MiB. In a cluster: for each
                       master, and once more for what waits for a slot to be
                       moved, where outbox_bytes doesn't say how much may */
  size_t max_reply; /* bytes of one reply or message; more breaks the link:
                       64 MiB */

  /* TLS, which an URL asks for by rediss://; with any other these must be NULL
   * (CP_E_INVALID). The files are in PEM and read once, by create: what is of
   * no use is CP_E_INVALID. A link whose handshake fails breaks with
   * CP_E_PROTOCOL, and the reason in OpenSSL's words. */
  const char *tls_ca;          /* file of whom to trust; NULL: the system's
                                  store */
  const char *tls_cert;        /* file of the own certificate, with those
                                  between it and the CA's; NULL: none */
  const char *tls_key;         /* file of its key, not encrypted; NULL: in
                                  tls_cert */
  const char *tls_server_name; /* a name or address that the certificate must
                                  be for. NULL: the host that is connected to
                                  (the URL's, or as a sentinel or CLUSTER SLOTS
                                  named it); "": anybody whom the CA knows */

  /* For redis+sentinel:// alone (else CP_E_INVALID). */
  const char *sentinel_user;     /* NULL: the password alone */
  const char *sentinel_password; /* NULL: none; never the URL's */
  int sentinel_tls;              /* 0: to sentinels as to servers, so TLS with
                                    rediss+sentinel://; 1: with TLS; -1: without. The tls_
                                    options above hold for both */
  unsigned sentinel_timeout_ms;  /* for one of them: to connect, and to answer;
                                    then the next is asked: 1,000 */
} cp_redis_options;

/* Set every field to its default (zero), and the size. */
#define cp_redis_options_init(options)      \
  (memset((options), 0, sizeof *(options)), \
   (void)((options)->size = sizeof *(options)))

#ifdef __cplusplus
}
#endif

#endif
