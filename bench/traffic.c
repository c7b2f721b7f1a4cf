/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "traffic.h"

#include "clock.h"
#include "die.h"
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Stamp: numbers as letters, four bits each, so that it is text. */

static char *put_letters(char *at, uint64_t number, unsigned bits) {
  for (; bits > 0; bits -= 4)
    *at++ = (char)('a' + (number >> (bits - 4) & 15));
  return at;
}

/* NULL if these are no such letters. */
static const uint8_t *get_letters(const uint8_t *at, uint64_t *number,
                                  unsigned bits) {
  *number = 0;
  for (; at != NULL && bits > 0; bits -= 4, at++) {
    unsigned digit = *at - (unsigned)'a';
    if (digit > 15)
      return NULL;
    *number = *number << 4 | digit;
  }
  return at;
}

typedef struct stamp {
  uint64_t sender;
  uint64_t user;
  uint64_t number;
  uint64_t due_ns;
} stamp;

static void write_stamp(char out[STAMP_LEN], const stamp *s) {
  out = put_letters(out, s->sender, 16);
  out = put_letters(out, s->user, 32);
  out = put_letters(out, s->number, 32);
  put_letters(out, s->due_ns, 64);
}

static bool read_stamp(const uint8_t in[STAMP_LEN], stamp *s) {
  in = get_letters(in, &s->sender, 16);
  in = get_letters(in, &s->user, 32);
  in = get_letters(in, &s->number, 32);
  in = get_letters(in, &s->due_ns, 64);
  return in != NULL;
}

/* Send. ------------------------------------------------------------------- */

uint32_t traffic_n_counted(const traffic *t) {
  return t->slow_half ? (t->n_users + 1) / 2 : t->n_users;
}

static uint32_t *number_for(traffic *t, uint32_t sender, uint32_t user) {
  return t->broadcast ? &t->numbers[sender]
                      : &t->numbers[(size_t)sender * t->n_users + user];
}

void traffic_send(traffic *t, uint32_t sender, uint32_t user, uint64_t due_ns) {
  stamp s = {sender, user, (*number_for(t, sender, user))++, due_ns};
  char text[STAMP_LEN];
  char target[16];
  struct iovec parts[3];
  int len = t->broadcast ? snprintf(target, sizeof target, "* ")
                         : snprintf(target, sizeof target, "u%u ",
                                    (unsigned)(t->swarm.first + user));

  write_stamp(text, &s);
  parts[0] = (struct iovec){target, (size_t)len};
  parts[1] = (struct iovec){text, STAMP_LEN};
  parts[2] = (struct iovec){t->filling, t->size - STAMP_LEN};
  client_send(&t->swarm.clients[t->n_users + sender], WS_TEXT, parts, 3);
  t->n_sent++;
  t->n_due += t->broadcast ? traffic_n_counted(t) : 1;
}

/* Receive. ---------------------------------------------------------------- */

typedef enum arrival { IN_ORDER, LATE, AGAIN } arrival;

static arrival take_number(track *pair, uint32_t number) {
  uint32_t age = pair->next - 1 - number;

  if (number >= pair->next) {
    uint32_t step = number - pair->next + 1;
    pair->seen = (step < 64 ? pair->seen << step : 0) | 1;
    pair->next = number + 1;
    return IN_ORDER;
  }
  if (age >= 64 || (pair->seen >> age & 1) != 0)
    return AGAIN;
  pair->seen |= (uint64_t)1 << age;
  return LATE;
}

static void take_stamp(traffic *t, const stamp *s, uint32_t user) {
  track *pair = &t->tracks[(size_t)s->sender * t->n_users + user];
  arrival how = take_number(pair, (uint32_t)s->number);
  uint64_t now = now_ns();

  if (how == AGAIN) {
    t->n_duplicate++;
    return;
  }
  if (how == LATE)
    t->n_disordered++;
  t->n_received++;
  if (t->latency != NULL)
    histogram_add(t->latency, now > s->due_ns ? now - s->due_ns : 0);
  t->on_received(t->ctx, (uint32_t)s->sender);
}

void traffic_on_message(void *ctx, client *c, const uint8_t *data, size_t len) {
  traffic *t = ctx;
  stamp s;

  if (len != t->size || !read_stamp(data, &s) || s.sender >= t->n_senders)
    t->n_malformed++;
  else if (t->broadcast ? s.user == TO_EVERYBODY
                        : c->kind == 'u' && s.user == c->number) {
    /* A broadcast reaches its sender too. */
    if (c->kind == 'u' && traffic_counts(t, c->number))
      take_stamp(t, &s, c->number);
  } else
    t->n_misrouted++;
}

bool traffic_report(const traffic *t) {
  uint64_t lost = t->n_due - t->n_received;

  report_count("sent", t->n_sent);
  report_count("lost", lost);
  report_count("duplicate", t->n_duplicate);
  report_count("disordered", t->n_disordered);
  report_count("misrouted", t->n_misrouted);
  report_count("malformed", t->n_malformed + t->swarm.n_malformed);
  report_count("broken", t->swarm.n_broken);
  return lost + t->n_duplicate + t->n_disordered + t->n_misrouted +
             t->n_malformed + t->swarm.n_malformed + t->swarm.n_broken ==
         0;
}

/* Life. ------------------------------------------------------------------- */

static void *zeroed(size_t n, size_t size) {
  void *memory = calloc(n, size);

  if (memory == NULL)
    die("no memory");
  return memory;
}

static void name_clients(client *clients, uint32_t n, char kind,
                         const ports *from) {
  uint32_t i;

  for (i = 0; i < n; i++) {
    clients[i].kind = kind;
    clients[i].number = i;
    clients[i].port = from->list[i % from->n];
  }
}

void traffic_init(traffic *t, const options *o, bool broadcast,
                  uint32_t n_others, const swarm_events *events) {
  client *clients;
  uint32_t i;

  memset(t, 0, sizeof *t);
  t->n_users = o->users;
  t->n_senders = o->senders;
  t->slow_half = o->slow_half;
  t->size = o->size;
  t->broadcast = broadcast;
  t->filling = zeroed(1, o->size);
  memset(t->filling, 'x', o->size);
  t->numbers = zeroed((size_t)o->senders * o->users, sizeof *t->numbers);
  t->tracks = zeroed((size_t)o->senders * o->users, sizeof *t->tracks);
  swarm_init(&t->swarm, o->users + o->senders + n_others, events, t);
  t->swarm.first = o->first_user;
  clients = t->swarm.clients;
  name_clients(clients, o->users, 'u', &o->user_ports);
  name_clients(clients + o->users, o->senders, 's', &o->send_ports);
  name_clients(clients + o->users + o->senders, n_others, 'o', &o->user_ports);
  for (i = 0; i < o->users; i++)
    clients[i].narrow = !traffic_counts(t, i);
}

void traffic_open(traffic *t, const options *o, bool broadcast,
                  uint32_t n_others, const swarm_events *events) {
  traffic_init(t, o, broadcast, n_others, events);
  if (!swarm_open(&t->swarm, o->concurrency, 120))
    die("%u of %u connections opened, %u were refused",
        (unsigned)t->swarm.n_open, (unsigned)t->swarm.n,
        (unsigned)t->swarm.n_refused);
}

void traffic_finish(traffic *t) {
  swarm_finish(&t->swarm);
  free(t->filling);
  free(t->numbers);
  free(t->tracks);
}
