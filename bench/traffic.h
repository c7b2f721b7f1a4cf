/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef BENCH_TRAFFIC_H
#define BENCH_TRAFFIC_H

/* Traffic: users who get messages, senders who send them, and the check of
 * every single one. A message begins with a stamp: sender, user, number, time.
 * The numbers count for each pair of sender and user (in a broadcast, for the
 * sender), so the receiver sees what is lost, came twice or out of order, or
 * was somebody else's. */

#include "histogram.h"
#include "options.h"
#include "swarm.h"

#define STAMP_LEN         36
#define STAMP_SENDERS_MAX 65536
#define TO_EVERYBODY      UINT32_MAX

/* What came of one pair of sender and user. */
typedef struct track {
  uint32_t next; /* the highest number that came, plus one */
  uint64_t seen; /* bit i: number next - 1 - i came */
} track;

typedef struct traffic {
  swarm swarm; /* users, then senders, then others */
  uint32_t n_users;
  uint32_t n_senders;
  bool slow_half; /* users with odd numbers don't count */
  size_t size;
  char *filling; /* what follows the stamp */

  bool broadcast;
  uint32_t *numbers; /* next one to be sent: for each pair, or each sender */
  track *tracks;     /* for each pair */

  uint64_t n_sent;
  uint64_t n_due;      /* deliveries that must come of it */
  uint64_t n_received; /* of these, each once */
  uint64_t n_duplicate;
  uint64_t n_disordered; /* came behind a younger one */
  uint64_t n_misrouted;
  uint64_t n_malformed;

  /* A delivery that is due came. */
  void (*on_received)(void *ctx, uint32_t sender);
  void *ctx;
  histogram *latency; /* of each, if not NULL */
} traffic;

/* Creates users, senders and `n_others` more clients, as the options say, and
 * opens all of them, or ends the program. */
void traffic_open(traffic *t, const options *o, bool broadcast,
                  uint32_t n_others, const swarm_events *events);
/* The same without opening them. */
void traffic_init(traffic *t, const options *o, bool broadcast,
                  uint32_t n_others, const swarm_events *events);
void traffic_finish(traffic *t);

/* One message, stamped with the time at which it was due. */
void traffic_send(traffic *t, uint32_t sender, uint32_t user, uint64_t due_ns);

/* As swarm_events.on_message, with a traffic as `ctx`. */
void traffic_on_message(void *ctx, client *client, const uint8_t *data,
                        size_t len);

/* Does a user count who doesn't, in the end, read? */
static inline bool traffic_counts(const traffic *t, uint32_t user) {
  return !t->slow_half || user % 2 == 0;
}
uint32_t traffic_n_counted(const traffic *t);

/* Report what went wrong; false: something did. */
bool traffic_report(const traffic *t);

#endif
