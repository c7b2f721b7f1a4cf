/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_RECEIPTS_H
#define CP_RECEIPTS_H

/* Receipts: on how many connections a message was queued, in the words of the
 * nodes that own them. */

#include "buf.h"
#include "clusterpush/transport.h"
#include "map.h"
#include "sweep.h"

#include <stdbool.h>

/* The longest deadline, and the one that stands for 0. */
#define CP__RECEIPT_MAX_MS     60000
#define CP__RECEIPT_DEFAULT_MS 2000

/* In a send that asks for answers. */
typedef struct cp__receipt {
  cp__map_node node; /* in cp__receipts.asked */
  cp__timed timed;   /* in cp__receipts.waiting */
  uint64_t number;   /* in the envelope; 0: not asked */
  uint32_t deadline_ms;
  uint32_t n_expected; /* answers, once PUBLISH has counted */
  uint32_t n_answers;
  uint32_t connections;
  bool is_counted; /* n_expected is known */
} cp__receipt;

typedef struct cp__receipts {
  const cp_allocator *alloc;
  uint64_t instance;
  const char *prefix; /* borrowed */
  size_t max_asked;

  /* Ours: answers come for these. */
  cp__map asked; /* cp__receipt.node, by number */
  cp__sweep_list waiting;
  uint64_t n_numbers;
  void (*on_done)(void *ctx, cp__receipt *receipt);
  void *ctx;

  /* What this turn answers to others: struct answer. */
  cp__buf answers;
} cp__receipts;

void cp__receipts_init(cp__receipts *receipts, const cp_allocator *alloc,
                       cp__sweep *sweep, const char *prefix, uint64_t instance,
                       size_t max_asked);
/* Nothing is asked any more. */
void cp__receipts_finish(cp__receipts *receipts);

/* Sending. --------------------------------------------------------------- */

void cp__receipt_init(cp__receipt *receipt, unsigned deadline_ms);
/* Before the publish: take a number. Returns 0, CP_E_FULL or CP_E_NOMEM. */
int cp__receipts_ask(cp__receipts *receipts, cp__receipt *receipt);
/* PUBLISH counted `n_expected` nodes. Returns false if all of them have
 * answered: it is done. Else on_done(ctx, receipt) follows. */
bool cp__receipts_await(cp__receipts *receipts, cp__receipt *receipt,
                        uint32_t n_expected);
/* Nothing more is waited for. */
void cp__receipts_drop(cp__receipts *receipts, cp__receipt *receipt);
/* No answer will come any more: all that wait are done. */
void cp__receipts_end(cp__receipts *receipts);

/* Did a node that PUBLISH counted not answer? */
static inline bool cp__receipt_is_partial(const cp__receipt *receipt) {
  return !receipt->is_counted || receipt->n_answers < receipt->n_expected;
}

/* Receiving. ------------------------------------------------------------- */

/* What came for the request of `instance` was queued on so many connections.
 * Our own request is answered at once, another's at the end of the turn. */
void cp__receipts_answer(cp__receipts *receipts, uint64_t instance,
                         uint64_t number, uint32_t connections);
/* Others' answers came, the body of a CP__KIND_RECEIPT. Returns false if it is
 * malformed. */
bool cp__receipts_on_answers(cp__receipts *receipts, cp_bytes body);

/* The end of a turn: publish what others are to be told, with the numbers that
 * follow *sequence. With NULL for a transport, or if it can't be published,
 * that is forgotten: their deadline tells them. */
void cp__receipts_turn(cp__receipts *receipts, cp_transport *transport,
                       uint64_t *sequence);

#endif
