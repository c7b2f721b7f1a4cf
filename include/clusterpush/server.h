/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CLUSTERPUSH_SERVER_H
#define CLUSTERPUSH_SERVER_H

/* Server: one node. It accepts WebSocket connections, names a user for each,
 * and pushes messages to users, wherever in the cluster they are connected. */

#include "base.h"
#include "redis.h"

#ifdef __cplusplus
extern "C" {
#endif

struct uv_loop_s;
struct uv_stream_s;
struct cp_transport;

typedef struct cp_server cp_server;
typedef struct cp_conn cp_conn;
typedef struct cp_request cp_request;
typedef struct cp_gap cp_gap;

/* How the cluster stands, as this node sees it. */
typedef enum cp_cluster_state {
  CP_UP = 0,       /* linked, every subscription confirmed */
  CP_DEGRADED = 1, /* linked, but subscriptions or a probe are outstanding */
  CP_DOWN = 2      /* no link: only this node's own connections are reached */
} cp_cluster_state;

/* What happens to a connection whose send queue is full. */
typedef enum cp_slow_policy {
  CP_SLOW_CLOSE = 0,    /* close it with 1013: it must fetch what it missed */
  CP_SLOW_DROP_NEW = 1, /* the new message is not queued */
  CP_SLOW_DROP_OLD = 2  /* the oldest messages not yet begun make room */
} cp_slow_policy;

/* Close code for the oldest connection of a user who opens one more than
 * max_conns_per_user. */
#define CP_CLOSE_TOO_MANY 4008

/* Options. -------------------------------------------------------------- */

/* cp_server_options_init() sets every field to the default that stands behind
 * it. Everything is copied, except where "borrowed" is said. */
typedef struct cp_server_options {
  size_t size; /* sizeof(cp_server_options) */
  void *data;  /* yours: cp_server_data() */

  /* The cluster. */
  const char *redis; /* redis://[[USER]:PASSWORD@]HOST[:PORT][/DB],
                        unix://[[USER]:PASSWORD@]/PATH[?db=DB],
                        redis+sentinel://HOST[:PORT],HOST.../MASTER[/DB] or, for
                        a Redis Cluster,
                        redis+cluster://[[USER]:PASSWORD@]HOST[:PORT],HOST...
                        (see redis.h); over TLS with rediss in place of redis;
                        NULL: one node, no Redis */
  const cp_redis_options *redis_options; /* NULL: defaults */
  struct cp_transport *transport;        /* instead of redis: your own; taken if
                                            create succeeds. NULL */
  const char *name;                      /* for logs and people: "node" */
  const char *prefix;      /* of every channel, 1..64 bytes without braces and
                              white space: "cp" */
  unsigned leave_delay_ms; /* a user's channel is left this long after the last
                              connection went: 2,000 */
  unsigned subscribe_wait_ms; /* the longest an upgrade waits for the user's
                                 subscription: 1,000 */
  unsigned settle_ms; /* results are unsure this long after a link, and what
                         is for nodes known before waits for them at most this
                         long: 3,000 */
  unsigned
      outbox_age_ms;   /* what is sent while Redis is away waits this long for
                          it, then it is CP_DROPPED with CP_E_TIMEOUT: 10,000 */
  size_t outbox_bytes; /* ... and is this much at most, the newer is
                          CP_DROPPED with CP_E_FULL. If either is 0 nothing
                          waits: what is sent meanwhile reaches this node's
                          own connections alone (CP_UNSURE with CP_E_DOWN):
                          8 MiB */
  size_t echo_bytes;   /* what is sent to users who are here too comes back from
                          Redis, so that all of a user's connections see one
                          order. Of what was not heard yet copies are kept, for
                          the case that the link breaks: so many bytes; what is
                          beyond that is delivered here at once: 8 MiB */
  size_t max_subscriptions; /* by cp_subscribe() and cp_psubscribe(); 0: none
                               is allowed: 10,000 */

  /* Who may connect. */
  const char *const *origins;   /* allowed Origin headers, NULL-terminated; "*"
                                   allows all. NULL: same host only. A client
                                   that sends no Origin is no browser: allowed */
  size_t max_conns;             /* accepted ones; 0: no limit; above it: 503 */
  size_t max_conns_per_address; /* sockets from one IPv4 address or IPv6 /64,
                                   in whatever state; one more is closed
                                   unanswered. Behind a proxy all have its
                                   address. 0: no limit */
  unsigned max_handshakes_per_second; /* on this node, by ws: above it: 503;
                                         TLS handshakes, by wss: closed
                                         unanswered. 0: no limit */
  unsigned retry_after_s;             /* what a 503 says: 5 */
  unsigned max_conns_per_user;        /* on this node; the oldest is closed with
                                         CP_CLOSE_TOO_MANY; 0: no limit: 32 */
  unsigned max_groups_per_conn;       /* 0: no limit: 128 */
  unsigned handshake_timeout_ms;      /* until the request is read, TLS and
                                         on_upgrade included; not 0: 10,000 */
  size_t max_request;                 /* bytes of a request head: 16 KiB */

  /* TLS: with both, every listener is wss (TLS 1.2 and 1.3). PEM files, read by
   * create: the certificate with those between it and the CA's behind it, and
   * its key, not encrypted. NULL: ws */
  const char *tls_cert;
  const char *tls_key;

  /* Messages. Sizes, max_request's too, are 1 byte to 1 GiB; no memory is 0. */
  size_t max_message;  /* bytes, both directions, decompressed: 1 MiB */
  int compress;        /* 1: permessage-deflate with clients that offer
                          it. A message is compressed once, whatever the
                          number of recipients, and a connection at rest
                          owns no memory for it. 0: off */
  size_t compress_min; /* shorter messages go out as they are: 256 */
  unsigned max_messages_per_second; /* from one client, of which a second's
                                       worth may come at once; every frame
                                       counts, pings and fragments too. More:
                                       close 1008. 0: no limit */
  size_t max_bytes_per_second; /* likewise, of what it sends (behind TLS, but as
                                  compressed as it came), frame heads included;
                                  at least the largest message that you want to
                                  let through */
  size_t max_receive_memory;   /* for messages and frames that are unfinished,
                                  of all clients, 5 KB more for each. Above it
                                  who has had one for longest: close 1013: 256
                                  MiB */
  size_t max_inflate_memory;   /* for compressed messages that are arriving, 45
                                  KB each while one is unfinished; likewise: 64
                                  MiB */
  size_t max_send_queue;      /* bytes that wait for one connection, and 64 more
                                 for each message; one message always fits into
                                 an empty queue: 1 MiB */
  cp_slow_policy slow_policy; /* CP_SLOW_CLOSE */
  size_t max_thread_queue;    /* bytes between sending threads and the loop;
                                 one message always fits. As many again for
                                 cp_server_adopt(): 16 MiB */
  size_t max_receipts;        /* sends with CP_RECEIPT that wait for answers,
                                 some 200 bytes each: 65,536 */
  unsigned ping_interval_ms;  /* 25,000; 0: no pings */
  unsigned max_missed_pings;  /* then the connection is dead, 1..255: 2 */
  unsigned
      close_timeout_ms; /* for a peer's answer to our close; not 0: 5,000 */

  /* Process. */
  int no_yield; /* nonzero: never offer the core to others. 0: after a turn of
                   the loop that handled several messages; nodes that share
                   cores then work in larger batches */
  int no_uring; /* nonzero: each connection is written to by itself. 0: by
                   io_uring, many in one system call, where the library was
                   built with it and the kernel allows it; not those with TLS.
                   A process that forks and goes on in the child needs it */
  int keep_sigpipe; /* nonzero: leave SIGPIPE as it is. 0: ignored if it is at
                       its default, since a write to a closed peer would end
                       the process */
  const cp_allocator *allocator; /* NULL: malloc and friends */
  cp_log_level log_level;        /* CP_LOG_INFO */

  /* Hooks, all on the loop thread, NULL where you don't care. Any cp_ call is
   * allowed in each, cp_server_close() included; but for on_log. */

  /* Who is this? Answer by cp_request_accept() or cp_request_refuse(), now or
   * later. NULL: everybody is refused with 403. */
  void (*on_upgrade)(cp_server *server, cp_request *request);
  /* A GET or HEAD that is no upgrade: answer by cp_request_respond(), now or
   * later. NULL: 426. */
  void (*on_http)(cp_server *server, cp_request *request);
  /* The connection is open, and its user reachable from every node; not so if
   * `unconfirmed` is nonzero: the subscription was not confirmed in time, or
   * there is no link, and it will be as soon as Redis answers. Until then it
   * misses what others send: on_gap tells of that if there had been a link; at
   * a node's first, fetch it at CP_UP. */
  void (*on_open)(cp_server *server, cp_conn *conn, int unconfirmed);
  /* A message came. `body` is borrowed until the hook returns. */
  void (*on_message)(cp_server *server, cp_conn *conn, cp_type type,
                     cp_bytes body);
  /* The connection's send queue, which had grown above half of its limit, is
   * empty again. */
  void (*on_writable)(cp_server *server, cp_conn *conn);
  /* An opened connection is gone: the last call for it. `code` is the peer's
   * close code, 1005 if it sent none; ours, if the peer broke the protocol or a
   * limit (1002, 1007, 1009); or 1006 if the connection just ended. */
  void (*on_close)(cp_server *server, cp_conn *conn, uint16_t code,
                   cp_bytes reason);
  /* The cluster's state or its reason changed. `reason` is text for people.
   * Not called any more once cp_server_close() was. */
  void (*on_transport)(cp_server *server, cp_cluster_state state,
                       const char *reason);
  /* Messages from elsewhere may not have reached this node for a while, which
   * is over now: see Gaps below. `gap` is borrowed until the hook returns. */
  void (*on_gap)(cp_server *server, const cp_gap *gap);
  cp_log_cb on_log; /* with `data` */
} cp_server_options;

#define cp_server_options_init(options) \
  cp_server_options_init_sized((options), sizeof *(options))
/* Behind the macro: `size` tells which fields the caller's version has. */
CP_EXTERN void cp_server_options_init_sized(cp_server_options *options,
                                            size_t size);

/* Life. ------------------------------------------------------------------ */

/* Create a server on a libuv loop, on the thread that runs that loop or before
 * it runs; other threads may send at once. Linking to Redis begins at once too
 * and goes on in the background: a Redis that is away is no error.
 *
 * Returns 0; CP_E_INVALID (an option breaks its shape, or a TLS file is of no
 * use), CP_E_URL, CP_E_UNSUPPORTED (the URL's scheme, or a build without TLS),
 * CP_E_NOMEM, or a libuv code; the cause is also logged, unless the options
 * were not initialized. After an error the loop may need some turns to be rid
 * of what was begun. */
CP_EXTERN int cp_server_create(cp_server **server, struct uv_loop_s *loop,
                               const cp_server_options *options);

/* Listen on "HOST:PORT", "[V6]:PORT", ":PORT" (every address) or
 * "unix:/PATH" (a stale socket file is replaced). May be called several times.
 * A HOST that is a name is looked up at once, which blocks; of its addresses
 * the first is taken that this machine has.
 *
 * Returns 0; CP_E_INVALID (not of that shape), CP_E_CLOSED, CP_E_NOMEM, or a
 * libuv code (UV_EADDRINUSE, UV_EACCES, ...); the cause is also logged. */
CP_EXTERN int cp_server_listen(cp_server *server, const char *address);

/* Take another certificate and key for the TLS connections to come; those that
 * stand keep theirs. The files are read now, which blocks. After an error,
 * whose cause is logged too, everything is as it was.
 *
 * Returns 0; CP_E_INVALID (a file is missing or of no use, or the two don't
 * belong together), CP_E_STATE (created without TLS), CP_E_CLOSED, CP_E_NOMEM.
 */
CP_EXTERN int cp_server_reload_tls(cp_server *server, const char *cert,
                                   const char *key);

/* The TCP port of the first listener (for port 0), or 0. */
CP_EXTERN int cp_server_port(const cp_server *server);

typedef void (*cp_server_close_cb)(void *data);

/* Close: stop listening, close every connection with 1001 (or 503 while its
 * request waits for an answer), write what is queued, at most for `grace_ms`,
 * to clients and to Redis, which is waited for if it is away: what it never
 * gets ends as CP_CANCELED. A look-up of Redis' name that hangs can't be ended,
 * the close waits for it. `cb` (may be NULL) gets the server's `data` and is
 * the last thing that happens: after it, and once every reference is given
 * back, the memory is freed. Sends whose callback is due get it before;
 * receipts that are still out make their results partial. A second call only
 * shortens the grace of the connections, and of what waits for a link to Redis;
 * its `cb` is not called. */
CP_EXTERN void cp_server_close(cp_server *server, uint64_t grace_ms,
                               cp_server_close_cb cb);

/* Hold the server's memory: for a thread other than the loop's that sends.
 * After the close such a send returns CP_E_CLOSED. Take the reference on the
 * loop thread before the other thread starts, give it back anywhere. Thread:
 * any. Returns `server`. */
CP_EXTERN cp_server *cp_server_ref(cp_server *server);
CP_EXTERN void cp_server_unref(cp_server *server);

/* The `data` of the options. Thread: any. */
CP_EXTERN void *cp_server_data(const cp_server *server);
/* The `name` of the options. Thread: any. */
CP_EXTERN const char *cp_server_name(const cp_server *server);
/* The random number of this start. Thread: any. */
CP_EXTERN uint64_t cp_server_instance(const cp_server *server);
/* How the cluster stands now. */
CP_EXTERN cp_cluster_state cp_server_cluster_state(const cp_server *server);
/* Why, as text for people; "" before anything is known. Borrowed until the next
 * change. */
CP_EXTERN const char *cp_server_cluster_reason(const cp_server *server);

/* Numbers since the start; gauges are marked. */
typedef struct cp_stats {
  size_t size;             /* of the caller's struct */
  uint64_t conns;          /* gauge: open connections */
  uint64_t users;          /* gauge: users with a connection */
  uint64_t handshakes;     /* gauge: connections not open yet, or closing */
  uint64_t opened;         /* connections that became open */
  uint64_t refused;        /* requests refused with a status of 400 and more */
  uint64_t messages_in;    /* from clients */
  uint64_t bytes_in;       /* their payload, decompressed */
  uint64_t messages_out;   /* queued for clients, each recipient counts */
  uint64_t bytes_out;      /* the same as frames, in bytes */
  uint64_t queue_drops;    /* messages dropped by a slow_policy */
  uint64_t slow_closes;    /* connections closed by CP_SLOW_CLOSE */
  uint64_t ping_timeouts;  /* connections dead by max_missed_pings */
  uint64_t sends;          /* messages sent by this node's application */
  uint64_t published;      /* of these, handed to the transport */
  uint64_t publish_errors; /* sends dropped, canceled or of unknown end */
  uint64_t cluster_in;     /* messages that came over the transport */
  uint64_t malformed;      /* of these, dropped as malformed or unknown */
  uint64_t links;          /* times the transport got its link */
  uint64_t queued_bytes;   /* gauge: bytes waiting for all clients */
  uint64_t compressed;     /* messages that were compressed for clients */
  uint64_t adopted;        /* sockets taken over by cp_server_adopt() */
  uint64_t full_refusals;  /* of refused: by max_conns */
  uint64_t rate_refusals;  /* handshakes above max_handshakes_per_second */
  uint64_t address_refusals;   /* sockets above max_conns_per_address */
  uint64_t handshake_timeouts; /* connections not open in time */
  uint64_t tls_failures;       /* connections that ended in a TLS error, most in
                                  their handshake */
  uint64_t protocol_closes;    /* by 1002 or 1007: malformed frames or text */
  uint64_t size_closes;        /* by 1009: max_message */
  uint64_t rate_closes;   /* by 1008: max_messages_ or max_bytes_per_second */
  uint64_t memory_closes; /* by 1013: max_receive_ or max_inflate_memory */
  uint64_t user_closes;   /* by 4008: max_conns_per_user */

  uint64_t outbox_messages; /* gauge: waiting for Redis (without what waits
                               for one master of a cluster) */
  uint64_t outbox_bytes;    /* gauge: their bytes */
  uint64_t outbox_dropped;  /* too many or too old to wait for Redis */
  uint64_t republished;     /* published again, since a link broke before Redis
                               answered */
  uint64_t duplicates;      /* messages and receipts that came a second time:
                               dropped */
  uint64_t gaps;            /* spans in which messages may have been missed */
  uint64_t lags;            /* links that Redis closed since too much waited for
                               this node (see redis.h) */
} cp_stats;

/* Fill `stats`; its `size` must be set to sizeof(cp_stats). */
CP_EXTERN void cp_server_stats(const cp_server *server, cp_stats *stats);

/* Sends. ----------------------------------------------------------------- */

/* All four copy the body, and may be called from any thread (see
 * cp_server_ref()). They return 0; CP_E_CLOSED; CP_E_INVALID (a user id not of
 * 1..255 bytes or one that begins with '}', a connection of instance 0, an
 * unknown type or flag, a deadline above 60,000, CP_RECEIPT without a
 * callback, options without cp_send_options_init(), a length without bytes);
 * CP_E_TOOBIG (above max_message); CP_E_UTF8 (CP_TEXT that is none); CP_E_FULL
 * (too many bytes wait: max_thread_queue, or max_queue while Redis is there; or
 * too many receipts); CP_E_NOMEM. After an error nothing was sent and no
 * callback comes. What goes wrong later is the result's, CP_DROPPED: all that
 * is sent on another thread than the loop's, and what is more than may wait
 * while Redis is away (outbox_bytes). Without a callback stats.outbox_dropped
 * still counts it.
 *
 * What is sent from one thread to one target arrives in the order of the
 * calls. */

/* Send to every connection of a user, on whichever nodes they are. While Redis
 * (of a Redis Cluster, the user's master) is away the connections on this node
 * get it at once, and it waits for the others (outbox_bytes); the callback
 * waits with it. */
CP_EXTERN int cp_send_to_user(cp_server *server, cp_bytes user, cp_type type,
                              cp_bytes body, const cp_send_options *options);

/* Send to one connection. CP_REACHED says that it is open (this node's own), or
 * that its node was reached (another's); CP_DROPPED with CP_E_FULL that this
 * node's own is open but its send queue or memory has no room, CP_DROPPED with
 * CP_E_DOWN that its node can't be reached now and nothing waits. */
CP_EXTERN int cp_send_to_conn(cp_server *server, cp_conn_id conn, cp_type type,
                              cp_bytes body, const cp_send_options *options);

/* Send to every connection of a group (see Groups below), whether or not this
 * node has one in it. While Redis is away as cp_send_to_user(). */
CP_EXTERN int cp_send_to_group(cp_server *server, cp_bytes group, cp_type type,
                               cp_bytes body, const cp_send_options *options);

/* Send to every connection of every node. */
CP_EXTERN int cp_broadcast(cp_server *server, cp_type type, cp_bytes body,
                           const cp_send_options *options);

/* Gaps. ------------------------------------------------------------------ */

/* When this node loses its link to Redis, or on a Redis Cluster one of them,
 * what others publish meanwhile does not reach it, and its senders can't always
 * know: a link may have been dead for some seconds before anybody noticed. So
 * after the break, when everything is subscribed again, on_gap tells from when
 * to when, and who on this node may have missed something: messages to them, to
 * groups that they are in, and to all. Let those fetch what they missed. What
 * was sent outside of that span either arrived, or its sender was told.
 *
 * It comes after on_transport() has said CP_UP, if it says so; not for the time
 * before the first link. What Redis refuses to subscribe again gets a gap of
 * its own when it is allowed. The application's own channels are not meant:
 * their gaps are from on_status to on_status (channels.h). */

/* The span, in milliseconds since 1970 by this node's clock: it begins a second
 * before the last probe that was heard before the break, since messages are
 * published up to a second after the call that is told CP_REACHED. */
CP_EXTERN uint64_t cp_gap_from_ms(const cp_gap *gap);
CP_EXTERN uint64_t cp_gap_to_ms(const cp_gap *gap);
/* What broke, as text for people. */
CP_EXTERN const char *cp_gap_reason(const cp_gap *gap);

/* Call `fn` once for each user concerned who has an open connection here.
 * `user` is borrowed until it returns. */
CP_EXTERN void cp_gap_each_user(const cp_gap *gap,
                                void (*fn)(void *data, cp_bytes user),
                                void *data);
/* Call `fn` for each of their open connections. */
CP_EXTERN void cp_gap_each_conn(const cp_gap *gap,
                                void (*fn)(void *data, cp_conn *conn),
                                void *data);

/* Online? ---------------------------------------------------------------- */

/* On how many nodes each of the `n` users is, in the order of the question.
 * With `status` other than 0 it is not known, and `nodes` all 0: CP_E_DOWN (the
 * link went), CP_E_FULL, CP_E_REDIS (it refused: PUBSUB isn't allowed),
 * CP_E_CANCELED (the server closed). `nodes` is borrowed until the callback
 * returns. */
typedef void (*cp_user_nodes_cb)(void *data, int status, const uint32_t *nodes,
                                 size_t n);

/* Ask on how many nodes a user is connected now. Redis is asked, nothing is
 * kept anywhere; its count includes a node that the user left within the last
 * leave_delay_ms, and any foreign observer of the channel. Without Redis the
 * node knows by itself.
 *
 * Returns 0; CP_E_INVALID (the user id, no callback); CP_E_DOWN (Redis is away:
 * nobody knows); CP_E_FULL (1,000 questions wait, or too many bytes for Redis);
 * CP_E_UNSUPPORTED (the application's own transport doesn't count);
 * CP_E_CLOSED; CP_E_NOMEM. A Redis Cluster is asked master by master, all of
 * which must be there; a slot that is just moving may be counted too low. */
CP_EXTERN int cp_user_nodes(cp_server *server, cp_bytes user,
                            cp_user_nodes_cb cb, void *data);

/* Ask for 1 to 1,000 users in one round trip. Returns as cp_user_nodes(),
 * CP_E_INVALID for another number too. */
CP_EXTERN int cp_users_nodes(cp_server *server, const cp_bytes *users, size_t n,
                             cp_user_nodes_cb cb, void *data);

/* Groups. ---------------------------------------------------------------- */

/* A group is a named set of connections, wherever they are: a room, a topic, a
 * tenant. It exists as long as somebody is in it; nobody creates it. Its name
 * is 1..255 bytes and does not begin with '}'. A connection leaves its groups
 * when it closes. A node subscribes to a group's channel while one of its
 * connections is in it, and leave_delay_ms longer.
 *
 * A membership costs the node some 50 bytes, the first of a connection some 60
 * more; who is in no group costs nothing. */

/* Put a connection into a group. This node's sends to the group reach it from
 * now on, those of others once Redis has confirmed the channel, some
 * milliseconds later; if that takes a second, on_gap tells. Returns 0, also if
 * it was in it; CP_E_INVALID (the name); CP_E_FULL (max_groups_per_conn);
 * CP_E_CLOSED (it is closing); CP_E_NOMEM. */
CP_EXTERN int cp_group_join(cp_conn *conn, cp_bytes group);
/* Take it out of the group. Returns 0; CP_E_INVALID; CP_E_NOTFOUND (it was not
 * in it). */
CP_EXTERN int cp_group_leave(cp_conn *conn, cp_bytes group);

/* Put every connection that a user has now, on whichever nodes, into a group,
 * or take them out. It travels on the user's channel and keeps its place among
 * the messages sent to the user; but a message to the group may overtake it:
 * where that matters, wait for the callback with CP_RECEIPT. Nothing is stored:
 * a connection that opens later is not in the group, on_open is the place to
 * put it there.
 *
 * `options` as of a send; with CP_RECEIPT `connections` is the number of those
 * that are in the group now and get what any node sends to it, or that were
 * taken out. (Those of this node count at once while it does not hear their
 * user.) Returns as cp_send_to_user(), CP_E_INVALID for a bad group too.
 * Thread: any. */
CP_EXTERN int cp_group_add_user(cp_server *server, cp_bytes group,
                                cp_bytes user, const cp_send_options *options);
CP_EXTERN int cp_group_remove_user(cp_server *server, cp_bytes group,
                                   cp_bytes user,
                                   const cp_send_options *options);

/* Closing from afar. ----------------------------------------------------- */

/* Close every connection that a user has now, on whichever nodes, as
 * cp_conn_close() does, but for the `n_except` (at most 32) in `except`: "log
 * out my other devices". It travels on the user's channel: what was sent to the
 * user before arrives before.
 *
 * `options` as of a send; with CP_RECEIPT `connections` is the number that were
 * closed. While Redis is away as a send: this node's own are closed at once,
 * and the order waits in the outbox; it then closes on other nodes, too, what
 * was opened meanwhile (within outbox_age_ms). Returns as cp_send_to_user(),
 * CP_E_INVALID for a bad code, reason or number too. Thread:
 * any. */
CP_EXTERN int cp_disconnect_user(cp_server *server, cp_bytes user,
                                 uint16_t code, cp_bytes reason,
                                 const cp_conn_id *except, size_t n_except,
                                 const cp_send_options *options);

/* Close one connection, wherever it is. The result as of cp_send_to_conn().
 * Returns as cp_disconnect_user(). Thread: any. */
CP_EXTERN int cp_disconnect_conn(cp_server *server, cp_conn_id conn,
                                 uint16_t code, cp_bytes reason,
                                 const cp_send_options *options);

/* Connections. ----------------------------------------------------------- */

/* A cp_conn is borrowed until the hook that it was given to returns, or, if you
 * keep it, until on_close returns. Loop thread only. */

/* Its name in the cluster, to be kept and used anywhere. */
CP_EXTERN cp_conn_id cp_conn_get_id(const cp_conn *conn);
/* Its user. Borrowed as the connection is. */
CP_EXTERN cp_bytes cp_conn_user(const cp_conn *conn);
/* Yours: what cp_request_accept() was given, or the last set. */
CP_EXTERN void *cp_conn_data(const cp_conn *conn);
CP_EXTERN void cp_conn_set_data(cp_conn *conn, void *data);
/* Bytes that wait to be written to it, as max_send_queue counts them. */
CP_EXTERN size_t cp_conn_queued(const cp_conn *conn);

/* Close with a code (1000, 1001, 1007..1014, 3000..4999) and a reason of at
 * most 123 bytes of UTF-8, behind what is queued. on_close follows. Returns 0;
 * CP_E_INVALID; CP_E_CLOSED (it is closing already); CP_E_NOMEM (it ends
 * without a word to the client). */
CP_EXTERN int cp_conn_close(cp_conn *conn, uint16_t code, cp_bytes reason);

/* Requests. --------------------------------------------------------------- */

/* A request waits for one answer: accept, refuse or respond. Until then it is
 * yours, even if the client left meanwhile (the answer then returns
 * CP_E_CLOSED), or the server was closed, its callback included; with the
 * answer, whatever that returned, it is gone, and so is all that was borrowed
 * from it. Every request must be answered. Loop thread only. */

/* "GET" or "HEAD". */
CP_EXTERN cp_bytes cp_request_method(const cp_request *request);
/* The path, not decoded. */
CP_EXTERN cp_bytes cp_request_path(const cp_request *request);
/* A header by name, in any case; data NULL if there is none. */
CP_EXTERN cp_bytes cp_request_header(const cp_request *request,
                                     const char *name);
/* Decode a query parameter. `*value` is borrowed until the answer. Returns 0,
 * CP_E_NOTFOUND, CP_E_INVALID (a bad percent escape) or CP_E_NOMEM. */
CP_EXTERN int cp_request_query(cp_request *request, const char *name,
                               cp_bytes *value);
/* The client's address as text ("192.0.2.1", "unix"; "unknown" if it is asked
 * for first when the client has left). Borrowed. */
CP_EXTERN const char *cp_request_address(cp_request *request);

typedef struct cp_header {
  const char *name;
  const char *value;
} cp_header;

/* How to accept, where the default does not fit. */
typedef struct cp_accept_options {
  size_t size;              /* set by cp_accept_options_init() */
  void *data;               /* becomes cp_conn_data() */
  const char *protocol;     /* the subprotocol chosen, one that was offered */
  const cp_header *headers; /* more headers for the 101, but for those of the
                               handshake itself (see cp_request_respond()) */
  size_t n_headers;
} cp_accept_options;

#define cp_accept_options_init(options)     \
  (memset((options), 0, sizeof *(options)), \
   (void)((options)->size = sizeof *(options)))

/* Accept an upgrade for a user (1..255 bytes, not beginning with '}'). The 101
 * goes out when the user's subscription is confirmed; then on_open follows.
 * Returns 0; CP_E_CLOSED (the client left or the server closes); CP_E_INVALID
 * (bad user, protocol not offered, bad header, options without
 * cp_accept_options_init(): the client gets a 500, the log the cause);
 * CP_E_STATE (a plain request: likewise); CP_E_FULL (max_conns was reached
 * meanwhile: the client gets a 503); CP_E_NOMEM. */
CP_EXTERN int cp_request_accept(cp_request *request, cp_bytes user,
                                const cp_accept_options *options);

/* Refuse with an HTTP status of 300..599 and a plain text. With 405 goes an
 * Allow, with 426 what it needs, with 503 a Retry-After of retry_after_s.
 * Returns as cp_request_respond(). */
CP_EXTERN int cp_request_refuse(cp_request *request, int status,
                                const char *text);

/* Answer a plain request, or refuse an upgrade, with status 200..599. An empty
 * `content_type` (or NULL) stands for plain text in UTF-8. `headers` may be
 * NULL; an Allow, Retry-After or Content-Type among them, in any case, goes out
 * instead of the library's (see cp_request_refuse()) and of `content_type`.
 * Everything is copied. The connection closes behind it. Returns 0;
 * CP_E_CLOSED; CP_E_INVALID (a status or header that can't be, or one of the
 * headers that the library alone writes: Connection, Content-Length, Upgrade,
 * Transfer-Encoding, Sec-WebSocket-...; a body above 1 GiB. The client gets a
 * 500, the log the cause); CP_E_NOMEM. */
CP_EXTERN int cp_request_respond(cp_request *request, int status,
                                 const char *content_type, cp_bytes body,
                                 const cp_header *headers, size_t n_headers);

/* Adopt. ------------------------------------------------------------------ */

/* A socket that the application accepted itself, because it speaks HTTP on the
 * same port. Exactly one of `fd` and `stream` is set. */
typedef struct cp_adopt_options {
  size_t size; /* set by cp_adopt_options_init() */

  /* A connected TCP or Unix stream socket, blocking or not: it will be
   * non-blocking. The default, -1, is none. Nothing else may read, write or
   * watch it (epoll, uv_poll) any more. */
  int fd;
  /* A uv_tcp_t or uv_pipe_t of yours, on this server's loop or another; call
   * from the thread of that loop. The library reads and writes the same
   * connection by a descriptor of its own, and stops your reading: all that is
   * left to do is uv_close() the handle, now or soon, for a connection that
   * the library gives up ends only when both have closed it. No uv_shutdown(),
   * no uv_tcp_close_reset(). NULL: none. */
  struct uv_stream_s *stream;

  /* What you have read from it, in order: copied. If you parsed the request,
   * only what came behind its head. */
  cp_bytes received;

  /* You parsed the request, a GET of HTTP/1.1 without a body, and its bytes are
   * gone (if you still have them, hand them over as `received`, as if you
   * hadn't parsed): its target ("/ws?user=alice") and all of its headers, as
   * they came, twice what came twice. Copied. NULL: you didn't; the library
   * reads it, from `received` on. */
  const char *target;
  const cp_header *headers;
  size_t n_headers;

  int tls; /* nonzero: a client that begins with a TLS handshake, of which you
              read at most the bytes in `received`; needs tls_cert. 0: plain,
              whatever the listeners of this server are */
} cp_adopt_options;

#define cp_adopt_options_init(options)      \
  (memset((options), 0, sizeof *(options)), \
   (void)((options)->fd = -1, (options)->size = sizeof *(options)))

/* Take over a socket, as if this server had accepted it: on_upgrade or on_http
 * is next, in a later turn of the loop, or an answer of the library's own if
 * the request is bad. A request that you parsed is judged as strictly as one
 * that you didn't, and the limits are the same: handshake_timeout_ms begins
 * when the loop takes the socket, max_request counts a parsed head as it would
 * be written, max_conns answers with 503.
 *
 * Memory: with 0 the socket is taken: don't close `fd`. After an error it is
 * yours as before, unread and unwritten, a stream still reading, to be answered
 * or closed by you. Once taken, a socket that can't be served (no memory, the
 * server closes) is closed. Thread: any, for `fd` (see cp_server_ref()).
 * Returns 0; CP_E_INVALID (not exactly one socket, `tls` with a target, a
 * target or header that can't stand in a request, a stream that is no TCP or
 * pipe handle, a length without bytes), CP_E_UNSUPPORTED (neither TCP nor Unix
 * stream), CP_E_STATE (`tls` without tls_cert; a stream that has writes to do,
 * or that can't write, since it listens, connects or was shut down), CP_E_FULL
 * (max_thread_queue bytes wait to be taken), CP_E_CLOSED, CP_E_NOMEM, or a
 * libuv code (UV_ENOTSOCK, UV_EBADF, UV_ENOTCONN: the client has left,
 * UV_EMFILE). */
CP_EXTERN int cp_server_adopt(cp_server *server,
                              const cp_adopt_options *options);

#ifdef __cplusplus
}
#endif

#endif
